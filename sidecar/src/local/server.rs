//! The owner's end of `agent.sock`: tool calls in, answers out.
//!
//! It decides nothing about a call: the [`ToolService`] does. A frame that isn't a tool call or the
//! cancelling of one ends its connection. When a client leaves, its reads are asked to stop and its
//! writes run to their end, so that their outcome is known. When the owner leaves, it says so,
//! answers the calls that it has and declines those that come after, so that none is in doubt.

use bytes::Bytes;
use core::ops::ControlFlow;
use core::time::Duration;
use futures_util::StreamExt as _;
use ibkr_agent_domain::{CallId, ErrorCode, Untrusted};
use ibkr_agent_protocol::catalogue::find;
use ibkr_agent_protocol::relay::frame::Reply;
use ibkr_agent_protocol::service::{
    ErrorBody, LocalCaller, MAX_TIMEOUT, Progress, ProgressUpdate, ToolCall, ToolReply, ToolService,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::door::{Door, DoorError};
use super::frames::{FrameError, Reader, Writer, encode, framed, receive, send_bytes};
use super::wire::{
    CallFrame, DeclinedFrame, Hello, MAX_CALLS, MAX_CLIENT_CHARS, MAX_NOTICE_BYTES,
    MAX_REQUEST_BYTES, Notice, ProgressFrame, Request, VERSION, anyone,
};
use super::{AGENT_FOLDER, AGENT_SOCKET};

/// Most processes that can be attached at once.
pub const MAX_CLIENTS: usize = 64;

/// Frames that wait for a slow client: an answer for each call, and room for progress and events.
const OUTBOX: usize = 256;

/// Progress updates that wait to be forwarded.
const PROGRESS_QUEUE: usize = 16;

/// How much longer than its time-out we wait for a service that must always answer.
const GRACE: Duration = Duration::from_secs(2);

/// How long calls may go on after shutdown began.
const CALL_DRAIN: Duration = Duration::from_secs(5);

/// How long an idle client may take to close its end after shutdown began.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// How long the last answers may take to leave.
const OUTBOX_DRAIN: Duration = Duration::from_secs(2);

/// Opens the agents' socket of a state folder. Only the owner of its store may.
///
/// # Errors
/// [`DoorError`].
pub async fn open_agent_door(state: &Path) -> Result<Door, DoorError> {
    Door::open(&state.join(AGENT_FOLDER), AGENT_SOCKET).await
}

/// Serves local agents until `shutdown`; then lets calls in hand finish for a bounded time.
pub async fn serve_agents<S: ToolService<Caller = LocalCaller>>(
    socket: Door,
    service: Arc<S>,
    shutdown: CancellationToken,
) {
    let stop = shutdown.clone();
    let inside = move |stream| converse(stream, Arc::clone(&service), stop.clone());
    socket.serve(MAX_CLIENTS, shutdown, inside).await;
}

async fn converse<S: ToolService<Caller = LocalCaller>>(
    stream: UnixStream,
    service: Arc<S>,
    shutdown: CancellationToken,
) {
    let (reader, writer) = framed(stream, MAX_REQUEST_BYTES, MAX_NOTICE_BYTES);
    let (outbox, leaving) = mpsc::channel(OUTBOX);
    let mut writing = tokio::spawn(write(writer, leaving));
    let connection = Connection { service, outbox, flights: HashMap::new(), calls: JoinSet::new() };
    connection.run(reader, &shutdown).await;
    if tokio::time::timeout(OUTBOX_DRAIN, &mut writing).await.is_err() {
        writing.abort();
    }
}

/// Writes frames until there are no more or the client stops reading.
async fn write(mut writer: Writer, mut leaving: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = leaving.recv().await {
        if let Err(error) = send_bytes(&mut writer, bytes).await {
            tracing::info!(local.error = %error, "a local client stopped reading");
            return;
        }
    }
}

/// A call that runs.
struct Flight {
    cancelled: CancellationToken,
    read_only: bool,
}

/// One client's connection.
struct Connection<S> {
    service: Arc<S>,
    outbox: mpsc::Sender<Bytes>,
    flights: HashMap<CallId, Flight>,
    calls: JoinSet<CallId>,
}

impl<S: ToolService<Caller = LocalCaller>> Connection<S> {
    async fn run(mut self, mut reader: Reader, shutdown: &CancellationToken) {
        let mut events = self.service.events(&anyone()).fuse();
        self.tell(&self.hello());
        let closed = self.outbox.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.finish(reader).await;
                    return;
                }
                () = closed.closed() => break,
                Some(done) = self.calls.join_next() => self.landed(done),
                Some(event) = events.next() => self.tell(&Notice::Event(event)),
                received = receive::<Request>(&mut reader) => match received {
                    Ok(Some(Request::Call(frame))) => {
                        if self.begin(frame).is_break() {
                            break;
                        }
                    }
                    Ok(Some(Request::Cancel(frame))) => self.cancel(&frame.id),
                    Ok(None) => break,
                    Err(error) => {
                        self.refuse(&error);
                        break;
                    }
                },
            }
        }
        self.stop_reads();
    }

    fn hello(&self) -> Notice {
        let tools = self.service.tools(&anyone());
        let tools = tools.into_iter().map(|tool| tool.name.to_owned()).collect();
        Notice::Hello(Hello { version: VERSION, tools })
    }

    /// Sends what may be lost when the client is slow: it never holds the reading of frames up.
    fn tell(&self, notice: &Notice) {
        if let Ok(bytes) = encode(notice)
            && self.outbox.try_send(bytes).is_err()
        {
            tracing::debug!("a notice to a local client was dropped");
        }
    }

    fn refuse(&self, error: &FrameError) {
        tracing::warn!(local.error = %error, "a local client was refused");
        let message = format!("only tool calls are understood here: {error}");
        let message = Untrusted::bounded(&message, 300);
        self.tell(&Notice::Refused(ErrorBody::new(ErrorCode::InputInvalid, message.as_str())));
    }

    /// Starts a call or refuses it. Breaks when the client doesn't take its answers.
    fn begin(&mut self, frame: CallFrame) -> ControlFlow<()> {
        let Ok(id) = CallId::parse(&frame.id) else {
            let error = ErrorBody::new(ErrorCode::InputInvalid, "a call's id isn't one");
            self.tell(&Notice::Refused(error));
            return ControlFlow::Break(());
        };
        let refused = if self.flights.contains_key(&id) {
            Some(ErrorBody::new(ErrorCode::InputInvalid, "this call id is in use"))
        } else if self.flights.len() >= MAX_CALLS {
            Some(ErrorBody::new(
                ErrorCode::SidecarBusy,
                format!("{MAX_CALLS} calls are in flight on this connection"),
            ))
        } else {
            None
        };
        if let Some(error) = refused {
            let bytes = encoded_reply(ToolReply::failure(id, error), true);
            let told = bytes.is_some_and(|bytes| self.outbox.try_send(bytes).is_ok());
            return if told { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        }
        let cancelled = CancellationToken::new();
        let read_only = find(&frame.tool).is_some_and(|tool| tool.read_only);
        let flight = Flight { cancelled: cancelled.clone(), read_only };
        self.flights.insert(id.clone(), flight);
        let caller = LocalCaller { client: Untrusted::bounded(&frame.client, MAX_CLIENT_CHARS) };
        let call = ToolCall {
            call_id: id,
            tool: frame.tool,
            arguments: frame.arguments,
            timeout: Duration::from_millis(frame.timeout_ms).min(MAX_TIMEOUT),
        };
        let service = Arc::clone(&self.service);
        let outbox = self.outbox.clone();
        self.calls.spawn(answer(service, caller, call, read_only, cancelled, outbox));
        ControlFlow::Continue(())
    }

    fn cancel(&self, id: &str) {
        let flight = CallId::parse(id).ok().and_then(|id| self.flights.get(&id));
        if let Some(flight) = flight {
            flight.cancelled.cancel();
        }
    }

    fn landed(&mut self, done: Result<CallId, JoinError>) {
        match done {
            Ok(id) => {
                self.flights.remove(&id);
            }
            Err(error) => tracing::error!(local.error = %error, "forwarding an answer failed"),
        }
    }

    fn stop_reads(&self) {
        for flight in self.flights.values().filter(|flight| flight.read_only) {
            flight.cancelled.cancel();
        }
    }

    /// Lets the calls in hand answer, and declines new ones until the client closes; for a bounded
    /// time.
    async fn finish(mut self, mut reader: Reader) {
        self.stop_reads();
        self.tell(&Notice::Leaving);
        let until = Instant::now() + CALL_DRAIN;
        let mut gone = false;
        while !(gone && self.calls.is_empty()) {
            let patience = if self.calls.is_empty() { CLOSING_GRACE } else { CALL_DRAIN };
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + patience)) => break,
                Some(done) = self.calls.join_next() => self.landed(done),
                received = receive::<Request>(&mut reader), if !gone => match received {
                    Ok(Some(Request::Call(CallFrame { id, .. }))) => {
                        self.tell(&Notice::Declined(DeclinedFrame { id }));
                    }
                    Ok(Some(Request::Cancel(frame))) => self.cancel(&frame.id),
                    Ok(None) | Err(_) => gone = true,
                },
            }
        }
        if !self.calls.is_empty() {
            tracing::warn!(local.calls = self.flights.len(), "calls were cut at shutdown");
        }
    }
}

/// Runs a call and sends its progress and its answer.
async fn answer<S: ToolService<Caller = LocalCaller>>(
    service: Arc<S>,
    caller: LocalCaller,
    call: ToolCall,
    read_only: bool,
    cancelled: CancellationToken,
    outbox: mpsc::Sender<Bytes>,
) -> CallId {
    let id = call.call_id.clone();
    let bound = call.timeout.saturating_add(GRACE);
    let (sender, mut updates) = mpsc::channel(PROGRESS_QUEUE);
    // Its own task: a client that leaves must not drop a write halfway.
    let task =
        tokio::spawn(
            async move { service.call(caller, call, Progress::to(sender), cancelled).await },
        );
    let mut waiting = core::pin::pin!(tokio::time::timeout(bound, task));
    let ended = loop {
        tokio::select! {
            biased;
            Some(update) = updates.recv() => tell_progress(&outbox, &id, update),
            ended = &mut waiting => break ended,
        }
    };
    while let Ok(update) = updates.try_recv() {
        tell_progress(&outbox, &id, update);
    }
    let reply = match ended {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            tracing::error!(call.id = %id, call.error = %error, "a tool call failed badly");
            ToolReply::failure(id.clone(), unanswered(read_only, ErrorCode::InternalError))
        }
        Err(_) => {
            tracing::error!(call.id = %id, "a tool call wasn't answered in time");
            ToolReply::failure(id.clone(), unanswered(read_only, ErrorCode::CallTimedOut))
        }
    };
    if let Some(bytes) = encoded_reply(reply, read_only) {
        // A client that has gone needs no answer.
        drop(outbox.send(bytes).await);
    }
    id
}

/// What is said of a call that the service didn't answer: of a write, nothing is known.
fn unanswered(read_only: bool, read_code: ErrorCode) -> ErrorBody {
    let code = if read_only { read_code } else { ErrorCode::CallOutcomeUnknown };
    ErrorBody::new(code, "the call wasn't answered")
}

fn tell_progress(outbox: &mpsc::Sender<Bytes>, id: &CallId, update: ProgressUpdate) {
    let ProgressUpdate { progress, message } = update;
    let notice = Notice::Progress(ProgressFrame { id: id.to_string(), progress, message });
    if let Ok(bytes) = encode(&notice) {
        // Progress may be lost when the client is slow; the next update replaces it.
        drop(outbox.try_send(bytes));
    }
}

fn reply_notice(reply: ToolReply) -> Notice {
    Notice::Reply(Box::new(Reply { reply, credit: 1 }))
}

/// The frame of an answer; an answer that is too long is replaced by an error that says so.
fn encoded_reply(reply: ToolReply, read_only: bool) -> Option<Bytes> {
    let id = reply.call_id.clone();
    let event = reply.audit_event_id.clone();
    match encode(&reply_notice(reply)) {
        Ok(bytes) if bytes.len() <= MAX_NOTICE_BYTES => Some(bytes),
        Ok(_) | Err(_) => {
            let mut error = unanswered(read_only, ErrorCode::OutputUnsafe);
            error.message = "the answer is too long for the local socket".to_owned();
            error.audit_event_id = event;
            encode(&reply_notice(ToolReply::failure(id, error))).ok()
        }
    }
}
