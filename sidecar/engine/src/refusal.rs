//! Why something isn't done: what every door tells in its own form.

use ibkr_agent_domain::ErrorCode;

/// A refusal with its code, sentence and details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// One sentence; outside text in it is escaped.
    pub message: String,
    /// Every check that denied.
    pub details: Vec<String>,
}

impl Refusal {
    /// A refusal with one sentence.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }
}
