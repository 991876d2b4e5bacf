//! A tool call and the one who answers it.
//!
//! A [`ToolCall`] holds no identity: the caller is the door's own type, so a call can't claim to be
//! somebody else. A [`ToolReply`] holds the answer's exact bytes, so that what was hashed and
//! recorded is what is delivered. Dropping the future of a write doesn't stop it; cancelling asks.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use futures_core::Stream;
use ibkr_agent_domain::{CallId, Digest, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::catalogue::ToolSpec;

/// Longest time that a tool call may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Time that a call gets when its door doesn't say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest argument text in bytes.
pub const MAX_ARGUMENT_BYTES: usize = 64 * 1024;

/// A request to run a tool. It names no caller.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Unique id, made by the door that took the call.
    pub call_id: CallId,
    /// The tool's name as the caller sent it; may be unknown.
    pub tool: String,
    /// The arguments, a JSON object, byte for byte as received.
    pub arguments: Box<RawValue>,
    /// How long the caller waits.
    pub timeout: Duration,
}

impl ToolCall {
    /// A call with a fresh id (UUIDv7) and the default time-out.
    #[must_use]
    pub fn new(tool: &str, arguments: Box<RawValue>) -> Self {
        let (call_id, tool) = (fresh_call_id(), tool.to_owned());
        Self { call_id, tool, arguments, timeout: DEFAULT_TIMEOUT }
    }

    /// SHA-256 of the argument bytes.
    #[must_use]
    pub fn input_hash(&self) -> Digest {
        Digest::of(self.arguments.get().as_bytes())
    }
}

/// A fresh call id: a UUIDv7, so ids sort by time.
#[must_use]
pub fn fresh_call_id() -> CallId {
    let text = uuid::Uuid::now_v7().to_string();
    match CallId::parse(&text) {
        Ok(id) => id,
        Err(_) => unreachable!("a UUID is made of letters, digits and hyphens"),
    }
}

/// An error as every door shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable code.
    pub code: String,
    /// What happened, one sentence; outside text in it is escaped.
    pub message: String,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// What to do next.
    pub user_action: String,
    /// The audit record, if one was written.
    pub audit_event_id: Option<String>,
    /// The call that this answers.
    pub call_id: Option<String>,
    /// Milliseconds to wait before trying again, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Every check that failed, or the candidates of an ambiguity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl ErrorBody {
    /// An error of a code with its message; action and retry follow from the code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            retryable: code.is_retryable(),
            user_action: code.user_action().to_owned(),
            audit_event_id: None,
            call_id: None,
            retry_after_ms: None,
            details: Vec::new(),
        }
    }

    /// The code, if this version knows it.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.code)
    }
}

/// The sidecar's signature over an answer, so that a client can notice an altered one.
///
/// The signed text is `ibkr-agent-receipt/v1\n<call_id>\n<output hash>\n<audit event id or ->\n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The sidecar's identity key: hexadecimal Ed25519 public key.
    pub key: String,
    /// Hexadecimal Ed25519 signature.
    pub signature: String,
}

/// The text that a [`Receipt`] signs.
#[must_use]
pub fn receipt_text(call_id: &CallId, output: &Digest, audit_event_id: Option<&str>) -> String {
    let event = audit_event_id.unwrap_or("-");
    format!("ibkr-agent-receipt/v1\n{call_id}\n{output}\n{event}\n")
}

/// What a tool answered: one JSON object on success, an [`ErrorBody`] otherwise.
#[derive(Debug, Clone)]
pub struct ToolReply {
    /// The call that this answers.
    pub call_id: CallId,
    /// The answer.
    pub result: Result<Box<RawValue>, ErrorBody>,
    /// SHA-256 of the answer's bytes (of the error's JSON when it is one).
    pub output_hash: Digest,
    /// The audit record of the call, if one was written.
    pub audit_event_id: Option<String>,
    /// The sidecar's signature, when it made one.
    pub receipt: Option<Receipt>,
}

impl ToolReply {
    /// A successful answer.
    #[must_use]
    pub fn success(call_id: CallId, body: Box<RawValue>) -> Self {
        let output_hash = Digest::of(body.get().as_bytes());
        Self { call_id, result: Ok(body), output_hash, audit_event_id: None, receipt: None }
    }

    /// An error answer.
    #[must_use]
    pub fn failure(call_id: CallId, mut error: ErrorBody) -> Self {
        error.call_id = Some(call_id.to_string());
        let bytes = serde_json::to_vec(&error).unwrap_or_default();
        Self {
            call_id,
            result: Err(error),
            output_hash: Digest::of(&bytes),
            audit_event_id: None,
            receipt: None,
        }
    }
}

/// Progress of a long call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressUpdate {
    /// Monotone step count.
    pub progress: u64,
    /// What is going on, one short sentence.
    pub message: String,
}

/// Where a call reports progress. Never blocks: an update that finds the queue full is dropped.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<mpsc::Sender<ProgressUpdate>>);

impl Progress {
    /// Nobody listens.
    #[must_use]
    pub const fn ignored() -> Self {
        Self(None)
    }

    /// Updates go to a bounded channel.
    #[must_use]
    pub const fn to(sender: mpsc::Sender<ProgressUpdate>) -> Self {
        Self(Some(sender))
    }

    /// Reports a step.
    pub fn report(&self, progress: u64, message: &str) {
        if let Some(sender) = &self.0 {
            // A full queue means that the listener is slow; the next update replaces this one.
            drop(sender.try_send(ProgressUpdate { progress, message: message.to_owned() }));
        }
    }
}

/// Something that happened outside any call: an approval was decided, an order changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolEvent {
    /// The resource that changed, such as `ibkr://approvals/<id>`.
    pub resource: String,
}

/// A stream of events.
pub type EventStream = Pin<Box<dyn Stream<Item = ToolEvent> + Send>>;

/// Whoever answers tool calls: the sidecar itself, or a relay to it.
pub trait ToolService: Send + Sync + 'static {
    /// Who calls, as this door knows it.
    type Caller: Clone + Send + Sync + 'static;

    /// The tools that this caller may use, in catalogue order.
    fn tools(&self, caller: &Self::Caller) -> Vec<&'static ToolSpec>;

    /// Runs a tool. Always answers: errors are answers too.
    fn call(
        &self,
        caller: Self::Caller,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> impl Future<Output = ToolReply> + Send;

    /// What happens outside calls and concerns this caller.
    fn events(&self, caller: &Self::Caller) -> EventStream;
}

/// A caller at a local door: a process of the same user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCaller {
    /// What the client calls itself (MCP `clientInfo.name`), escaped and bounded.
    pub client: ibkr_agent_domain::Untrusted,
}
