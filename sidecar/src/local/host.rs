//! One process owns the store; the others of the same user attach to it.
//!
//! [`LocalService::open`] attaches to a living owner or becomes the owner, for up to
//! [`PATIENCE`]. An attached process whose owner goes away tries the same again, with jitter, until
//! it is closed; calls wait meanwhile, each no longer than its own time-out. The lock of the store
//! decides who owns it: the socket is opened under that lock and closed before it is let go.
//!
//! Nothing here sends a call twice: a call that was in flight at a lost owner ends with what
//! [`super::attached`] says of it.

use aws_lc_rs::rand;
use core::future::Future;
use core::time::Duration;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::catalogue::ToolSpec;
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, LocalCaller, MAX_TIMEOUT, Progress, ToolCall, ToolEvent, ToolReply,
    ToolService,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::attached::{AttachError, AttachedService, EVENTS, NotSent, stream_of};
use super::door::Door;
use super::server::{open_agent_door, serve_agents};
use super::{agent_socket, wire};

/// How long opening waits for a store that is locked by a process that can't be attached to.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long starting an owner may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an owner may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Shortest rest between two tries; the longest is [`MAX_REST`] after failures in a row.
const MIN_REST: Duration = Duration::from_millis(40);

/// Longest rest between two tries.
const MAX_REST: Duration = Duration::from_secs(1);

/// How this process reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalMode {
    /// It owns it.
    Owner,
    /// Another process owns it.
    Attached,
}

/// Why an owner didn't start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Another process holds the store.
    #[error("another process holds the store")]
    Locked,
    /// Anything else.
    #[error("{}", .0.message)]
    Failed(ErrorBody),
}

/// A sidecar that runs in this process and holds the store's lock.
pub struct Owner<S> {
    /// Answers tool calls. Dropped before `close` is awaited, save what calls in flight hold.
    pub service: Arc<S>,
    /// Run once, last: drains and lets the store go.
    pub close: BoxFuture<'static, ()>,
}

impl<S> core::fmt::Debug for Owner<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Owner")
    }
}

/// Where calls go now.
enum Stand<S> {
    Owner(Arc<S>),
    Attached(AttachedService),
    /// The owner has gone and there is no other yet.
    Between {
        tools: Vec<&'static ToolSpec>,
        trouble: Option<ErrorBody>,
    },
    Closed,
}

impl<S> Stand<S> {
    fn takes_calls(&self) -> bool {
        match self {
            Self::Owner(_) | Self::Closed => true,
            Self::Attached(attached) => !attached.cut().is_cancelled(),
            Self::Between { .. } => false,
        }
    }
}

impl<S> Clone for Stand<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Owner(service) => Self::Owner(Arc::clone(service)),
            Self::Attached(attached) => Self::Attached(attached.clone()),
            Self::Between { tools, trouble } => {
                Self::Between { tools: tools.clone(), trouble: trouble.clone() }
            }
            Self::Closed => Self::Closed,
        }
    }
}

/// A tool service of this process's user, wherever the store's owner is.
pub struct LocalService<S> {
    stand: watch::Receiver<Stand<S>>,
    events: broadcast::Sender<ToolEvent>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    _closes_when_dropped: DropGuard,
}

impl<S> core::fmt::Debug for LocalService<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LocalService")
    }
}

impl<S: ToolService<Caller = LocalCaller>> LocalService<S> {
    /// Attaches to the owner of a state folder, or starts one in this process.
    ///
    /// `start` takes the store's lock or says [`StartError::Locked`]. It doesn't open the agents'
    /// socket: that is done here, once it has started.
    ///
    /// # Errors
    /// What starting failed with; `STORE_LOCKED` when the store stays locked for [`PATIENCE`] by a
    /// process that doesn't serve agents.
    pub async fn open<F, Fut>(state: &Path, start: F) -> Result<Self, ErrorBody>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Owner<S>, StartError>> + Send + 'static,
    {
        let host = Host { state: state.to_owned(), start };
        let settled = host.settle_soon().await?;
        let shutdown = CancellationToken::new();
        let (stands, stand) = watch::channel(settled.stand());
        let (events, _) = broadcast::channel(EVENTS);
        let tasks = TaskTracker::new();
        let supervisor =
            Supervisor { host, stands, events: events.clone(), shutdown: shutdown.clone() };
        tasks.spawn(supervisor.run(settled));
        tasks.close();
        let _closes_when_dropped = shutdown.clone().drop_guard();
        Ok(Self { stand, events, shutdown, tasks, _closes_when_dropped })
    }

    /// How this process reaches the store now; `None` between two owners and after closing.
    #[must_use]
    pub fn mode(&self) -> Option<LocalMode> {
        match &*self.stand.borrow() {
            Stand::Owner(_) => Some(LocalMode::Owner),
            Stand::Attached(_) => Some(LocalMode::Attached),
            Stand::Between { .. } | Stand::Closed => None,
        }
    }

    /// Waits until this process owns the store, or is closed.
    pub async fn owned(&self) -> bool {
        let mut stand = self.stand.clone();
        let settled = stand
            .wait_for(|stand| matches!(stand, Stand::Owner(_) | Stand::Closed))
            .await
            .map(|stand| matches!(&*stand, Stand::Owner(_)));
        settled.unwrap_or(false)
    }

    /// Takes no more calls, lets those in hand finish for a bounded time, and lets the store go.
    pub async fn close(&self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
    }

    /// Waits for somebody to answer calls.
    async fn ready(
        &self,
        left: Duration,
        cancelled: &CancellationToken,
    ) -> Result<Stand<S>, ErrorBody> {
        let mut stand = self.stand.clone();
        let found = tokio::select! {
            biased;
            found = stand.wait_for(Stand::takes_calls) => {
                found.map_or(Stand::Closed, |found| found.clone())
            }
            () = cancelled.cancelled() => {
                let message = "the call was withdrawn before it was sent";
                return Err(ErrorBody::new(ErrorCode::CallCancelled, message));
            }
            () = tokio::time::sleep(left) => self.stand.borrow().clone(),
        };
        match found {
            Stand::Owner(_) | Stand::Attached(_) => Ok(found),
            Stand::Closed => Err(unavailable("this process is closing; nothing was sent")),
            Stand::Between { trouble: Some(error), .. } => Err(error),
            Stand::Between { trouble: None, .. } => {
                Err(unavailable("no process owns the store yet; nothing was sent"))
            }
        }
    }
}

fn unavailable(message: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::SidecarUnavailable, message)
}

impl<S: ToolService<Caller = LocalCaller>> ToolService for LocalService<S> {
    type Caller = LocalCaller;

    fn tools(&self, caller: &LocalCaller) -> Vec<&'static ToolSpec> {
        match &*self.stand.borrow() {
            Stand::Owner(service) => service.tools(caller),
            Stand::Attached(attached) => attached.tools(caller),
            Stand::Between { tools, .. } => tools.clone(),
            Stand::Closed => Vec::new(),
        }
    }

    async fn call(
        &self,
        caller: LocalCaller,
        mut call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let deadline = Instant::now() + call.timeout.min(MAX_TIMEOUT);
        loop {
            call.timeout = deadline.saturating_duration_since(Instant::now());
            match self.ready(call.timeout, &cancelled).await {
                Ok(Stand::Owner(service)) => {
                    return service.call(caller, call, progress, cancelled).await;
                }
                Ok(Stand::Attached(attached)) => {
                    let running = attached.run(&caller, &call, progress.clone(), &cancelled);
                    match running.await {
                        Ok(reply) => return reply,
                        // It has not left this process: it may go to the next owner.
                        Err(NotSent) if Instant::now() < deadline => {}
                        Err(NotSent) => {
                            let error =
                                unavailable("the owner of the store has gone; nothing was sent");
                            return ToolReply::failure(call.call_id, error);
                        }
                    }
                }
                Ok(Stand::Between { .. } | Stand::Closed) => {
                    let error = unavailable("no process owns the store; nothing was sent");
                    return ToolReply::failure(call.call_id, error);
                }
                Err(error) => return ToolReply::failure(call.call_id, error),
            }
        }
    }

    fn events(&self, _caller: &LocalCaller) -> EventStream {
        stream_of(self.events.subscribe())
    }
}

/// What came of trying to own or attach.
enum Settled<S> {
    Owner { owner: Owner<S>, door: Door },
    Attached(AttachedService),
}

impl<S> Settled<S> {
    fn stand(&self) -> Stand<S> {
        match self {
            Self::Owner { owner, .. } => Stand::Owner(Arc::clone(&owner.service)),
            Self::Attached(attached) => Stand::Attached(attached.clone()),
        }
    }
}

/// Tries to own or attach.
struct Host<F> {
    state: PathBuf,
    start: F,
}

impl<F> Host<F> {
    /// Attaching comes first: it costs little, and a living owner means that owning would fail.
    async fn settle<S, Fut>(&self) -> Result<Settled<S>, StartError>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<Owner<S>, StartError>> + Send,
    {
        match AttachedService::connect(&agent_socket(&self.state)).await {
            Ok(attached) => return Ok(Settled::Attached(attached)),
            Err(error @ AttachError::Version(_)) => return Err(StartError::Failed(error.into())),
            // Whether somebody owns the store is for its lock to say.
            Err(AttachError::Absent | AttachError::Door(_) | AttachError::Greeting(_)) => {}
        }
        let owner = match tokio::time::timeout(START_TIMEOUT, (self.start)()).await {
            Ok(started) => started?,
            Err(_) => {
                return Err(StartError::Failed(unavailable("starting the sidecar took too long")));
            }
        };
        match open_agent_door(&self.state).await {
            Ok(door) => Ok(Settled::Owner { owner, door }),
            Err(error) => {
                close(owner).await;
                Err(StartError::Failed(error.into()))
            }
        }
    }

    /// Tries for up to [`PATIENCE`] while the store is locked.
    async fn settle_soon<S, Fut>(&self) -> Result<Settled<S>, ErrorBody>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<Owner<S>, StartError>> + Send,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.settle().await {
                Ok(settled) => return Ok(settled),
                Err(StartError::Failed(error)) => return Err(error),
                Err(StartError::Locked) if Instant::now() >= deadline => {
                    return Err(ErrorBody::new(
                        ErrorCode::StoreLocked,
                        format!(
                            "another process has held the store in {} for {} seconds without \
                             serving agents{}",
                            self.state.display(),
                            PATIENCE.as_secs(),
                            crate::folder::end_of(&self.state)
                        ),
                    ));
                }
                Err(StartError::Locked) => tokio::time::sleep(jittered(MIN_REST)).await,
            }
        }
    }
}

/// Keeps this process at the store until it is closed.
struct Supervisor<F, S> {
    host: Host<F>,
    stands: watch::Sender<Stand<S>>,
    events: broadcast::Sender<ToolEvent>,
    shutdown: CancellationToken,
}

impl<F, S> Supervisor<F, S> {
    async fn run<Fut>(self, mut settled: Settled<S>)
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<Owner<S>, StartError>> + Send,
        S: ToolService<Caller = LocalCaller>,
    {
        loop {
            let attached = match settled {
                Settled::Owner { owner, door } => return self.own(owner, door).await,
                Settled::Attached(attached) => attached,
            };
            let events = attached.events(&wire::anyone());
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                () = attached.cut().cancelled() => {}
                () = self.forward(events) => {}
            }
            tracing::info!("the owner of the store has gone");
            let tools = attached.tools(&wire::anyone());
            drop(attached);
            settled = tokio::select! {
                () = self.shutdown.cancelled() => break,
                settled = self.settle_again(tools) => settled,
            };
            self.stands.send_replace(settled.stand());
        }
        self.stands.send_replace(Stand::Closed);
    }

    /// Tries until it works.
    async fn settle_again<Fut>(&self, tools: Vec<&'static ToolSpec>) -> Settled<S>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<Owner<S>, StartError>> + Send,
    {
        let mut rest = MIN_REST;
        let mut trouble = None;
        loop {
            self.stands.send_replace(Stand::Between { tools: tools.clone(), trouble });
            tokio::time::sleep(jittered(rest)).await;
            trouble = match self.host.settle().await {
                Ok(settled) => return settled,
                Err(StartError::Locked) => None,
                Err(StartError::Failed(error)) => {
                    tracing::error!(
                        error.code = error.code,
                        error.message = error.message,
                        "taking the store over failed"
                    );
                    rest = rest.saturating_mul(2).min(MAX_REST);
                    Some(error)
                }
            };
        }
    }

    /// Serves the others until this process is closed, then lets the store go.
    async fn own(self, owner: Owner<S>, door: Door)
    where
        S: ToolService<Caller = LocalCaller>,
    {
        let service = Arc::clone(&owner.service);
        let events = service.events(&wire::anyone());
        let serving = serve_agents(door, service, self.shutdown.clone());
        let closing = async {
            self.shutdown.cancelled().await;
            self.stands.send_replace(Stand::Closed);
        };
        let forwarding = async {
            tokio::select! {
                () = self.forward(events) => {}
                () = self.shutdown.cancelled() => {}
            }
        };
        tokio::join!(serving, closing, forwarding);
        close(owner).await;
    }

    /// Passes events on; never ends by itself.
    async fn forward(&self, mut events: EventStream) {
        while let Some(event) = events.next().await {
            // Nobody may be listening.
            drop(self.events.send(event));
        }
        core::future::pending::<()>().await;
    }
}

async fn close<S>(owner: Owner<S>) {
    let Owner { service, close } = owner;
    drop(service);
    if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tracing::error!("the sidecar didn't close in time");
    }
}

/// Between one and two times a rest, so that processes which lost their owner at once don't all
/// try at once.
fn jittered(rest: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness they try at once, which is harmless.
    let part = rand::fill(&mut byte).map_or(0, |()| u32::from(byte[0]));
    rest.saturating_add(rest.saturating_mul(part) / 256)
}
