//! The relay link as two sans-IO state machines: [`RemoteEnd`] sends calls, [`SidecarEnd`] answers.
//!
//! `handle(input, now) -> actions`, `next_deadline()`. The shells own sockets, keys and clocks.
//! Handshake: `hello` → (shell verifies the signature) → `welcome` or `refuse`, then credit.
//!
//! Invariants: a call ends exactly once. When a link ends, a call that was never sent ends as
//! SIDECAR_UNAVAILABLE; a sent read likewise (it may be repeated); a sent call that may have an
//! effect ends as CALL_OUTCOME_UNKNOWN with its call id. Nothing is ever sent twice. A late reply
//! is dropped and counted. Everything that waits is bounded and has a deadline.

mod remote;
mod sidecar;

use core::time::Duration;
use std::time::Instant;

use ibkr_agent_domain::{CallId, ErrorCode};

pub use remote::{RemoteAction, RemoteEnd, RemoteInput};
pub use sidecar::{SidecarAction, SidecarEnd, SidecarInput};

use super::frame::{Beat, Frame, GoAwayReason, MAX_CALLS_IN_FLIGHT, Message, Refuse};
use crate::service::{ErrorBody, ToolReply};

/// Times and bounds of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time for the whole handshake after the upgrade.
    pub handshake: Duration,
    /// A ping is sent after this long without sending anything.
    pub heartbeat: Duration,
    /// The link ends after this long without receiving anything; a multiple of `heartbeat`.
    pub silence: Duration,
    /// How long a drain may last.
    pub drain: Duration,
    /// How much longer than the caller the remote waits, so that the sidecar's own answer to an
    /// elapsed deadline arrives.
    pub grace: Duration,
    /// Calls that a sidecar grants at first; at most [`MAX_CALLS_IN_FLIGHT`].
    pub window: u32,
    /// Calls that may wait for credit at the remote.
    pub waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            grace: Duration::from_millis(500),
            window: 128,
            waiting: 256,
        }
    }
}

/// A peer that broke the rules of the link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that this end never receives, or not now.
    #[error("a {kind} frame is out of place")]
    OutOfPlace {
        /// The frame's type.
        kind: &'static str,
    },
    /// A call beyond the credit that was granted.
    #[error("more than {granted} calls in flight")]
    BeyondCredit {
        /// The credit.
        granted: u32,
    },
    /// A call number that is still in use.
    #[error("call number {number} is in use")]
    NumberInUse {
        /// The number.
        number: u64,
    },
    /// A reply whose call id isn't that of the call it answers.
    #[error("reply {number} answers another call")]
    WrongCallId {
        /// The number.
        number: u64,
    },
    /// The remote chose a version that wasn't offered.
    #[error("version {version} was not offered")]
    WrongVersion {
        /// The version.
        version: u16,
    },
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The handshake took too long.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// Nothing was received for too long.
    #[error("the peer fell silent")]
    Silent,
    /// The transport closed.
    #[error("the connection closed")]
    Closed,
    /// The link was refused.
    #[error("the link was refused ({}): {}", .0.code, .0.message)]
    Refused(Refuse),
    /// The pairing was revoked.
    #[error("the pairing was revoked")]
    Revoked,
    /// The link was drained.
    #[error("the link was drained ({0:?})")]
    Drained(GoAwayReason),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(Violation),
}

/// Whether a tool may change something. What isn't in the catalogue counts as a write.
pub(super) fn may_have_effect(tool: &str) -> bool {
    crate::catalogue::find(tool).is_none_or(|spec| !spec.read_only)
}

/// The answer to a call that was sent and whose fate isn't known.
#[must_use]
pub fn cut_reply(call_id: CallId, tool: &str) -> ToolReply {
    if may_have_effect(tool) {
        let message = format!("The link to the sidecar broke during call {call_id}.");
        failure(call_id, ErrorCode::CallOutcomeUnknown, message)
    } else {
        failure(call_id, ErrorCode::SidecarUnavailable, "The link to the sidecar broke.")
    }
}

/// The answer to a call that was sent and not answered in time.
#[must_use]
pub fn late_reply(call_id: CallId, tool: &str) -> ToolReply {
    if may_have_effect(tool) {
        let message = format!("The sidecar did not answer call {call_id} in time.");
        failure(call_id, ErrorCode::CallOutcomeUnknown, message)
    } else {
        failure(call_id, ErrorCode::CallTimedOut, "The sidecar did not answer in time.")
    }
}

/// A failure of a code.
pub(super) fn failure(call_id: CallId, code: ErrorCode, message: impl Into<String>) -> ToolReply {
    ToolReply::failure(call_id, ErrorBody::new(code, message))
}

/// When to ping and when to give up.
#[derive(Debug)]
struct Heartbeat {
    interval: Duration,
    silence: Duration,
    sent: Instant,
    received: Instant,
    nonce: u64,
}

impl Heartbeat {
    const fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            interval: settings.heartbeat,
            silence: settings.silence,
            sent: now,
            received: now,
            nonce: 0,
        }
    }

    fn next_deadline(&self) -> Instant {
        let ping = self.sent.checked_add(self.interval).unwrap_or(self.sent);
        let give_up = self.received.checked_add(self.silence).unwrap_or(self.received);
        ping.min(give_up)
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.received) >= self.silence
    }

    fn ping(&mut self, now: Instant) -> Option<Message> {
        if now.saturating_duration_since(self.sent) < self.interval {
            return None;
        }
        self.nonce = self.nonce.wrapping_add(1);
        Some(Message::link(Frame::Ping(Beat { nonce: self.nonce })))
    }
}

/// `now + duration`, or `now` where that can't be represented (then it is due at once).
fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or(now)
}

/// Adds a grant without passing the cap.
fn add_credit(credit: u32, granted: u32) -> u32 {
    credit.saturating_add(granted).min(MAX_CALLS_IN_FLIGHT)
}
