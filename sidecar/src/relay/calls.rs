//! Calls that came over the relay, each in its own task: verify the token, run, answer in time.
//!
//! The token is dropped as soon as it was verified. A call that outlives its deadline or its link
//! goes on to its end in the background; its permit is given back only then, so that a remote
//! can't pile up work by cutting links.

use std::sync::Arc;
use std::time::Duration;

use ibkr_agent_domain::{CallId, ErrorCode};
use ibkr_agent_protocol::catalogue;
use ibkr_agent_protocol::relay::CallerToken;
use ibkr_agent_protocol::relay::frame::MAX_CALLS_IN_FLIGHT;
use ibkr_agent_protocol::relay::link::late_reply;
use ibkr_agent_protocol::service::{ErrorBody, Progress, ProgressUpdate, ToolCall, ToolReply};
use ibkr_agent_token::{BearerToken, Validator};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RelayDoor;

/// Time that a call gets to end by itself after its deadline asked it to.
const LAST_CHANCE: Duration = Duration::from_millis(200);
/// Progress updates that may wait for the link.
const UPDATES: usize = 8;

/// What a call's task tells its link.
#[derive(Debug)]
pub(super) enum Report {
    Progress { number: u64, update: ProgressUpdate },
    Finished { number: u64, reply: Box<ToolReply> },
}

/// Whoever runs calls, for every link of a dialler.
#[derive(Debug)]
pub(super) struct Runner<D> {
    door: Arc<D>,
    validator: Validator,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl<D> Clone for Runner<D> {
    fn clone(&self) -> Self {
        Self {
            door: Arc::clone(&self.door),
            validator: self.validator.clone(),
            permits: Arc::clone(&self.permits),
            tasks: self.tasks.clone(),
        }
    }
}

/// Whether a tool only reads. What isn't in the catalogue counts as a write.
pub(super) fn is_read(tool: &str) -> bool {
    catalogue::find(tool).is_some_and(|spec| spec.read_only)
}

impl<D: RelayDoor> Runner<D> {
    pub(super) fn new(door: Arc<D>, validator: Validator) -> Self {
        let permits = usize::try_from(MAX_CALLS_IN_FLIGHT).unwrap_or(1);
        let permits = Arc::new(Semaphore::new(permits));
        Self { door, validator, permits, tasks: TaskTracker::new() }
    }

    /// Ends when every call has, those of cut links included.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts a call. Its end is always reported, if the link still listens.
    pub(super) fn start(
        &self,
        number: u64,
        call: ToolCall,
        token: CallerToken,
        cancelled: CancellationToken,
        reports: mpsc::Sender<Report>,
    ) {
        let runner = self.clone();
        self.tasks.spawn(async move {
            let reply = runner.answer(number, call, token, cancelled, &reports).await;
            // A link that is gone loses the reply; the call itself is done and recorded.
            drop(reports.send(Report::Finished { number, reply: Box::new(reply) }).await);
        });
    }

    async fn answer(
        &self,
        number: u64,
        call: ToolCall,
        token: CallerToken,
        cancelled: CancellationToken,
        reports: &mpsc::Sender<Report>,
    ) -> ToolReply {
        let (call_id, tool, timeout) = (call.call_id.clone(), call.tool.clone(), call.timeout);
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let message = "Too many calls run at the sidecar.";
            return failure(call_id, ErrorCode::SidecarBusy, message);
        };
        let (updates_in, mut updates) = mpsc::channel(UPDATES);
        let runner = self.clone();
        let asked = cancelled.clone();
        let mut running = self.tasks.spawn(async move {
            let reply = runner.run(call, token, Progress::to(updates_in), asked).await;
            drop(permit);
            reply
        });
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                done = &mut running => {
                    return done.unwrap_or_else(|_| broken(call_id, &tool));
                }
                Some(update) = updates.recv() => {
                    // Progress is worth nothing to a link that is full or gone.
                    drop(reports.try_send(Report::Progress { number, update }));
                }
                () = &mut deadline => break,
            }
        }
        cancelled.cancel();
        match tokio::time::timeout(LAST_CHANCE, running).await {
            Ok(done) => done.unwrap_or_else(|_| broken(call_id, &tool)),
            Err(_) => late_reply(call_id, &tool),
        }
    }

    async fn run(
        &self,
        call: ToolCall,
        token: CallerToken,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let verified = match BearerToken::parse(token.expose()) {
            Ok(bearer) => self.validator.verify(&bearer).await,
            Err(error) => Err(error),
        };
        drop(token);
        match verified {
            Ok(verified) => self.door.call(verified, call, progress, cancelled).await,
            Err(error) => self.door.refused(error.code(), &call).await,
        }
    }
}

/// The answer of a call whose task broke: what it did is not known.
fn broken(call_id: CallId, tool: &str) -> ToolReply {
    tracing::error!(call.id = %call_id, tool, "a relayed call broke");
    if is_read(tool) {
        failure(call_id, ErrorCode::InternalError, "The call broke.")
    } else {
        failure(call_id, ErrorCode::CallOutcomeUnknown, "The call broke; its effect is unknown.")
    }
}

fn failure(call_id: CallId, code: ErrorCode, message: &str) -> ToolReply {
    ToolReply::failure(call_id, ErrorBody::new(code, message))
}
