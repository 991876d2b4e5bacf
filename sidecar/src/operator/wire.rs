//! What is said over `operator.sock`, in length-prefixed JSON (see [`crate::local`]).
//!
//! ```text
//! sidecar   Hello    { version, sidecar, domain, challenge }
//! operator  Request  { verb, proof? }                           signed over the newest challenge
//! sidecar   Answer   { outcome: { ok } | { error }, challenge }  a new challenge for each answer
//! ```
//!
//! One request at a time. A challenge is good for one request of its own connection.

use ibkr_agent_protocol::service::ErrorBody;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::verb::{Challenge, Proof, Verb};

/// Version of this conversation; both ends must speak the same.
pub(super) const VERSION: u32 = 2;

/// Folder of the socket in the state folder.
pub(super) const FOLDER: &str = "operator";

/// Name of the socket in its folder.
pub(super) const SOCKET: &str = "operator.sock";

/// Longest frame.
pub(super) const MAX_FRAME_BYTES: usize = 256 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) sidecar: String,
    pub(super) domain: String,
    pub(super) challenge: Challenge,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) verb: Verb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proof: Option<Proof>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Ok(Value),
    Error(ErrorBody),
}

impl From<Result<Value, ErrorBody>> for Outcome {
    fn from(result: Result<Value, ErrorBody>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(error),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) challenge: Challenge,
}

/// Whether a verb only looks. Verbs that aren't known to are taken to change something.
pub(super) const fn only_looks(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Status {}
            | Verb::Approvals { .. }
            | Verb::Approval { .. }
            | Verb::ApprovalProof { .. }
            | Verb::Questions {}
            | Verb::HaltStatus {}
            | Verb::Limits {}
            | Verb::Orders {}
            | Verb::Callers {}
            | Verb::Caller { .. }
            | Verb::AuditTail { .. }
            | Verb::AuditVerify {}
    )
}
