//! How a verb fails: an error as every door shows it, and the exit code that follows from it.

use ibkr_agent_domain::{ErrorCode, Fault, Untrusted};
use ibkr_agent_gateway::invocation::Invocation;
use ibkr_agent_protocol::service::ErrorBody;
use std::fmt;

/// Longest message that is shown, in characters.
const MAX_MESSAGE: usize = 600;

/// Why a verb didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) ErrorBody);

impl Failure {
    /// A failure of a code with its sentence; outside text in it is escaped.
    pub(crate) fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        let message = Untrusted::bounded(message.as_ref(), MAX_MESSAGE);
        Self(ErrorBody::new(code, message.as_str()))
    }

    /// A wrong argument.
    pub(crate) fn input(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::InputInvalid, message)
    }

    /// A failure of the system under us, with its whole chain of reasons.
    pub(crate) fn because(code: ErrorCode, what: &str, error: &dyn std::error::Error) -> Self {
        Self::new(code, format!("{what}: {}", chain(error)))
    }

    /// The same failure with another next step.
    pub(crate) fn next_step(mut self, action: &str) -> Self {
        self.0.user_action = action.to_owned();
        self
    }

    /// The same failure, its commands as they are typed in another terminal.
    pub(crate) fn spelled(mut self, invocation: &Invocation) -> Self {
        self.0.user_action = invocation.spell(&self.0.user_action);
        self
    }

    /// The process exit code. A code that this version doesn't know is a refusal.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.error_code().map_or(Fault::Refused, ErrorCode::fault).exit_code()
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self(body)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl std::error::Error for Failure {}

/// An error and the errors behind it, outermost first; what an outer one says already isn't said
/// again.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let cause = inner.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_from_the_code() {
        let exit = |code| Failure::new(code, "x").exit_code();
        assert_eq!(exit(ErrorCode::KillSwitchClosed), 1);
        assert_eq!(exit(ErrorCode::AuditChainInvalid), 2);
        assert_eq!(exit(ErrorCode::BrokerSessionRequired), 3);
        assert_eq!(exit(ErrorCode::AuthMissingScope), 4);
        assert_eq!(exit(ErrorCode::BrokerRateLimited), 5);
        assert_eq!(exit(ErrorCode::OutputUnsafe), 6);
        assert_eq!(exit(ErrorCode::ConfigInvalid), 7);
        let mut newer = Failure::new(ErrorCode::InternalError, "x");
        newer.0.code = "CODE_OF_ANOTHER_VERSION".to_owned();
        assert_eq!(newer.exit_code(), 1);
    }

    #[test]
    fn a_cause_that_the_outer_error_quotes_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the files can't be opened: {0}")]
        struct Outer(#[from] std::io::Error);
        let outer = Outer(std::io::Error::other("no luck"));
        let failure = Failure::because(ErrorCode::StoreUnavailable, "no start", &outer);
        assert_eq!(failure.0.message, "no start: the files can't be opened: no luck");
    }

    #[test]
    fn outside_text_in_a_message_is_escaped_and_bounded() {
        let failure = Failure::input(format!("\u{1b}[31m{}", "x".repeat(5000)));
        assert!(!failure.0.message.contains('\u{1b}'));
        assert!(failure.0.message.chars().count() < 700);
    }
}
