//! The client's end of `agent.sock`: a [`ToolService`] whose calls run in the owner's process.
//!
//! One connection, many calls. It doesn't reconnect: [`super::host`] does, since the answer to a
//! lost owner may be to become the owner. A call that was in flight when the connection ended is
//! `CALL_OUTCOME_UNKNOWN`, unless its tool only reads. A call that an owner can't have run, because
//! its frame never left whole or was declined, is handed back as [`NotSent`]; no other is ever sent
//! again.

use bytes::Bytes;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use ibkr_agent_domain::{CallId, ErrorCode};
use ibkr_agent_protocol::catalogue::{self, ToolSpec, find};
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, LocalCaller, MAX_TIMEOUT, Progress, ToolCall, ToolEvent, ToolReply,
    ToolService,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::door::{DoorError, knock};
use super::frames::{FrameError, Reader, Writer, encode, framed, receive, send_bytes};
use super::wire::{
    CallFrame, CancelFrame, Hello, MAX_CALLS, MAX_NOTICE_BYTES, MAX_REQUEST_BYTES, Notice, Request,
    VERSION,
};

/// How long the owner may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than a call's time-out we wait for the owner, which answers by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Commands that wait for the connection's task.
const COMMANDS: usize = 256;

/// Events that wait for a slow listener.
pub(super) const EVENTS: usize = 256;

/// Why this process can't attach to an owner.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody serves agents on this state folder.
    #[error("no process serves agents on this state folder")]
    Absent,
    /// The socket can't be entered.
    #[error(transparent)]
    Door(DoorError),
    /// The owner didn't greet as it should.
    #[error("the owner of the store didn't greet as expected: {0}")]
    Greeting(String),
    /// The owner is another version.
    #[error("the owner of the store speaks version {0} of the agents' socket, not {VERSION}")]
    Version(u32),
}

impl From<AttachError> for ErrorBody {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Door(door) => door.into(),
            AttachError::Absent | AttachError::Greeting(_) | AttachError::Version(_) => {
                Self::new(ErrorCode::SidecarUnavailable, error.to_string())
            }
        }
    }
}

/// The owner hasn't run the call and never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotSent;

/// A cheap handle of a connection to the owner. The last one dropped ends it.
#[derive(Debug, Clone)]
pub struct AttachedService {
    commands: mpsc::Sender<Command>,
    tools: Arc<[&'static ToolSpec]>,
    events: broadcast::Sender<ToolEvent>,
    cut: CancellationToken,
}

impl AttachedService {
    /// Attaches to the owner that listens at a socket.
    ///
    /// # Errors
    /// [`AttachError`]: [`AttachError::Absent`] when nobody listens.
    pub async fn connect(path: &Path) -> Result<Self, AttachError> {
        let stream = match knock(path).await {
            Ok(stream) => stream,
            Err(DoorError::Absent(_)) => return Err(AttachError::Absent),
            Err(error) => return Err(AttachError::Door(error)),
        };
        let (mut reader, writer) = framed(stream, MAX_NOTICE_BYTES, MAX_REQUEST_BYTES);
        let greeting = |text: &str| AttachError::Greeting(text.to_owned());
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, receive(&mut reader)).await {
            Ok(Ok(Some(Notice::Hello(hello)))) => hello,
            Ok(Ok(Some(_))) => return Err(greeting("it said something else")),
            Ok(Ok(None)) => return Err(greeting("it closed the connection")),
            Ok(Err(error)) => return Err(greeting(&error.to_string())),
            Err(_) => return Err(greeting("it took too long")),
        };
        let Hello { version, tools } = hello;
        if version != VERSION {
            return Err(AttachError::Version(version));
        }
        let known = catalogue::all().iter();
        let tools = known.filter(|tool| tools.iter().any(|name| name == tool.name)).collect();
        let (commands, arriving) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let cut = CancellationToken::new();
        let mut link = Link {
            reader,
            writer,
            arriving,
            events: events.clone(),
            flights: HashMap::new(),
            cut: cut.clone(),
        };
        tokio::spawn(async move {
            // Dropped before the calls in hand are: whoever learns that a call wasn't sent finds
            // the connection cut already.
            let ended = link.cut.clone().drop_guard();
            link.run().await;
            drop(ended);
            drop(link);
        });
        Ok(Self { commands, tools, events, cut })
    }

    /// Cancelled when the owner takes no more calls: it is leaving, or the connection has ended.
    #[must_use]
    pub const fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Runs a call at the owner.
    pub(super) async fn run(
        &self,
        caller: &LocalCaller,
        call: &ToolCall,
        progress: Progress,
        cancelled: &CancellationToken,
    ) -> Result<ToolReply, NotSent> {
        let id = call.call_id.clone();
        let timeout = call.timeout.min(MAX_TIMEOUT);
        let Some(bytes) = encoded(caller, call, timeout) else {
            let error = ErrorBody::new(ErrorCode::InputInvalid, "the arguments are too long");
            return Ok(ToolReply::failure(id, error));
        };
        let sent = Arc::new(AtomicBool::new(false));
        let (answer, mut answered) = oneshot::channel();
        let outgoing = Outgoing { id, bytes, sent: Arc::clone(&sent), answer, progress };
        let mut late = core::pin::pin!(tokio::time::sleep(timeout.saturating_add(GRACE)));
        tokio::select! {
            queued = self.commands.send(Command::Call(Box::new(outgoing))) => {
                queued.map_err(|_| NotSent)?;
            }
            () = &mut late => return Err(NotSent),
        }
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut answered => return match reply {
                    Ok(reply) => Ok(reply),
                    Err(_) if sent.load(Ordering::Acquire) => Ok(lost(call)),
                    Err(_) => Err(NotSent),
                },
                () = cancelled.cancelled(), if !asked => {
                    asked = true;
                    self.ask_to_cancel(&call.call_id);
                }
                () = &mut late => {
                    if only_reads(call) {
                        self.ask_to_cancel(&call.call_id);
                    }
                    return Ok(overdue(call));
                }
            }
        }
    }

    /// Cancelling only asks: a queue too full to take it makes the answer no other.
    fn ask_to_cancel(&self, id: &CallId) {
        drop(self.commands.try_send(Command::Cancel(id.clone())));
    }
}

impl ToolService for AttachedService {
    type Caller = LocalCaller;

    fn tools(&self, _caller: &LocalCaller) -> Vec<&'static ToolSpec> {
        self.tools.to_vec()
    }

    async fn call(
        &self,
        caller: LocalCaller,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        match self.run(&caller, &call, progress, &cancelled).await {
            Ok(reply) => reply,
            Err(NotSent) => ToolReply::failure(
                call.call_id,
                ErrorBody::new(
                    ErrorCode::SidecarUnavailable,
                    "the owner of the store has gone; the call wasn't run",
                ),
            ),
        }
    }

    fn events(&self, _caller: &LocalCaller) -> EventStream {
        stream_of(self.events.subscribe())
    }
}

/// The events of a channel; a listener that is too slow misses some.
pub(super) fn stream_of(events: broadcast::Receiver<ToolEvent>) -> EventStream {
    Box::pin(futures_util::stream::unfold(events, |mut events| async move {
        loop {
            match events.recv().await {
                Ok(event) => return Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }))
}

fn encoded(caller: &LocalCaller, call: &ToolCall, timeout: Duration) -> Option<Bytes> {
    let frame = Request::Call(CallFrame {
        id: call.call_id.to_string(),
        tool: call.tool.clone(),
        arguments: call.arguments.clone(),
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        client: caller.client.as_str().to_owned(),
    });
    encode(&frame).ok().filter(|bytes| bytes.len() <= MAX_REQUEST_BYTES)
}

/// Whether a call changes nothing for certain; a tool that we don't know may change something.
fn only_reads(call: &ToolCall) -> bool {
    find(&call.tool).is_some_and(|tool| tool.read_only)
}

fn lost(call: &ToolCall) -> ToolReply {
    let (code, message) = if only_reads(call) {
        (ErrorCode::SidecarUnavailable, "the owner of the store went away during the call")
    } else {
        (
            ErrorCode::CallOutcomeUnknown,
            "the owner of the store went away during the call; it may have happened",
        )
    };
    ToolReply::failure(call.call_id.clone(), ErrorBody::new(code, message))
}

fn overdue(call: &ToolCall) -> ToolReply {
    let code =
        if only_reads(call) { ErrorCode::CallTimedOut } else { ErrorCode::CallOutcomeUnknown };
    let error = ErrorBody::new(code, "the owner of the store didn't answer in time");
    ToolReply::failure(call.call_id.clone(), error)
}

/// What a handle asks of the connection's task.
#[derive(Debug)]
enum Command {
    Call(Box<Outgoing>),
    Cancel(CallId),
}

#[derive(Debug)]
struct Outgoing {
    id: CallId,
    bytes: Bytes,
    /// Whether the whole frame has left; while it hasn't, the owner can't run it.
    sent: Arc<AtomicBool>,
    answer: oneshot::Sender<ToolReply>,
    progress: Progress,
}

/// A call that has left, or is about to.
struct Flight {
    sent: Arc<AtomicBool>,
    answer: oneshot::Sender<ToolReply>,
    progress: Progress,
}

/// The connection's task and all its state.
struct Link {
    reader: Reader,
    writer: Writer,
    arriving: mpsc::Receiver<Command>,
    events: broadcast::Sender<ToolEvent>,
    flights: HashMap<CallId, Flight>,
    cut: CancellationToken,
}

impl Link {
    /// Ends when the connection does, and after the owner said that it leaves once every call has
    /// its answer.
    async fn run(&mut self) {
        while !(self.cut.is_cancelled() && self.flights.is_empty()) {
            let result = tokio::select! {
                received = receive::<Notice>(&mut self.reader) => match received {
                    Ok(Some(notice)) => self.heard(notice),
                    Ok(None) => return,
                    Err(error) => Err(error),
                },
                command = self.arriving.recv() => match command {
                    Some(Command::Call(outgoing)) => self.launch(*outgoing).await,
                    Some(Command::Cancel(id)) => self.cancel(&id).await,
                    None => return,
                },
            };
            if let Err(error) = result {
                tracing::warn!(local.error = %error, "the connection to the store's owner ended");
                return;
            }
        }
    }

    fn heard(&mut self, notice: Notice) -> Result<(), FrameError> {
        match notice {
            Notice::Reply(reply) => {
                if let Some(flight) = self.flights.remove(&reply.reply.call_id) {
                    // Whoever asked may have stopped waiting.
                    drop(flight.answer.send(reply.reply));
                }
            }
            Notice::Progress(step) => {
                let id = CallId::parse(&step.id).ok();
                if let Some(flight) = id.and_then(|id| self.flights.get(&id)) {
                    flight.progress.report(step.progress, &step.message);
                }
            }
            // Nobody may be listening.
            Notice::Event(event) => drop(self.events.send(event)),
            Notice::Leaving => self.cut.cancel(),
            Notice::Declined(frame) => {
                let id = CallId::parse(&frame.id).ok();
                if let Some(flight) = id.and_then(|id| self.flights.remove(&id)) {
                    flight.sent.store(false, Ordering::Release);
                }
            }
            Notice::Refused(error) => {
                return Err(FrameError::Io(std::io::Error::other(error.message)));
            }
            Notice::Hello(_) => {
                return Err(FrameError::Io(std::io::Error::other("it greeted twice")));
            }
        }
        Ok(())
    }

    async fn launch(&mut self, outgoing: Outgoing) -> Result<(), FrameError> {
        let Outgoing { id, bytes, sent, answer, progress } = outgoing;
        if answer.is_closed() || self.cut.is_cancelled() {
            return Ok(());
        }
        let refused = if self.flights.contains_key(&id) {
            Some(ErrorBody::new(ErrorCode::InputInvalid, "this call id is in use"))
        } else if self.flights.len() >= MAX_CALLS {
            Some(ErrorBody::new(
                ErrorCode::SidecarBusy,
                format!("{MAX_CALLS} calls of this process are in flight"),
            ))
        } else {
            None
        };
        if let Some(error) = refused {
            drop(answer.send(ToolReply::failure(id, error)));
            return Ok(());
        }
        self.flights.insert(id, Flight { sent: Arc::clone(&sent), answer, progress });
        // A frame that fails to leave whole ends the connection, and half a frame is never run.
        send_bytes(&mut self.writer, bytes).await?;
        sent.store(true, Ordering::Release);
        Ok(())
    }

    async fn cancel(&mut self, id: &CallId) -> Result<(), FrameError> {
        let frame = encode(&Request::Cancel(CancelFrame { id: id.to_string() }))?;
        send_bytes(&mut self.writer, frame).await
    }
}
