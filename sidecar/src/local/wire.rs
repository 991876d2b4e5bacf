//! What is said over `agent.sock`, in length-prefixed JSON.
//!
//! ```text
//! owner   Hello     { version, tools }
//! client  Call      { id, tool, arguments, timeout_ms, client }   many at once, each id once
//! client  Cancel    { id }                                        asks; the call still answers
//! owner   Progress  { id, progress, message }
//! owner   Reply     the answer of a call, in the relay's form
//! owner   Event     { resource }
//! owner   Leaving   it takes no more calls and answers those that it has
//! owner   Declined  { id }                                        a call that came after: not run
//! owner   Refused   an error; the connection ends
//! ```
//!
//! There is no frame for an operator's verb, and unknown frames and fields are refused.

use ibkr_agent_protocol::relay::frame;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, ToolEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Version of this conversation; both ends must speak the same.
pub(super) const VERSION: u32 = 1;

/// Longest frame from a client: the longest arguments and some room.
pub(super) const MAX_REQUEST_BYTES: usize = 128 * 1024;

/// Longest frame from the owner.
pub(super) const MAX_NOTICE_BYTES: usize = frame::MAX_FRAME_BYTES;

/// Most calls in flight on one connection.
pub(super) const MAX_CALLS: usize = 64;

/// Longest name of a client, in characters.
pub(super) const MAX_CLIENT_CHARS: usize = 64;

/// A client's frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Call(CallFrame),
    Cancel(CancelFrame),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFrame {
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) arguments: Box<RawValue>,
    pub(super) timeout_ms: u64,
    pub(super) client: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelFrame {
    pub(super) id: String,
}

/// The owner's frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Notice {
    Hello(Hello),
    Progress(ProgressFrame),
    Reply(Box<frame::Reply>),
    Event(ToolEvent),
    Leaving,
    Declined(DeclinedFrame),
    Refused(ErrorBody),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclinedFrame {
    pub(super) id: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) tools: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressFrame {
    pub(super) id: String,
    pub(super) progress: u64,
    pub(super) message: String,
}

/// The caller that stands for every process at the local door: what it may use and hear of doesn't
/// depend on the name that a client gives itself.
pub(super) fn anyone() -> LocalCaller {
    LocalCaller { client: ibkr_agent_domain::Untrusted::new("local") }
}
