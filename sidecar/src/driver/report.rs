//! What a broker's outcome is to the engine. Decides nothing.

use crate::engine::{CancelReport, Refusal};
use ibkr_agent_broker::{BrokerError, CancelOutcome};
use ibkr_agent_domain::{ErrorCode, SessionHealth, SessionState, Untrusted};

pub(super) fn shown(text: Option<Untrusted>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

pub(super) fn failed(code: ErrorCode, message: &str) -> CancelReport {
    CancelReport::Failed { code, message: message.to_owned() }
}

pub(super) fn cancel_report(outcome: CancelOutcome) -> CancelReport {
    match outcome {
        CancelOutcome::Requested { text } => CancelReport::Requested { message: shown(text) },
        CancelOutcome::AlreadyDone { message } => CancelReport::Failed {
            code: ErrorCode::BrokerRejected,
            message: format!("the order no longer works: {message}"),
        },
        CancelOutcome::NotFound { message } => CancelReport::Failed {
            code: ErrorCode::OrderNotFound,
            message: format!("the broker knows no such order: {message}"),
        },
        CancelOutcome::Rejected { message } => {
            CancelReport::Failed { code: ErrorCode::BrokerRejected, message: message.to_string() }
        }
        CancelOutcome::Unknown { why } => failed(ErrorCode::OrderOutcomeUnknown, why),
        CancelOutcome::NotSent { why } => failed(ErrorCode::OrderNotSent, why),
    }
}

/// Why the brokerage session isn't ours after it was asked for, if it isn't.
pub(super) fn not_taken(asked: Option<Result<SessionHealth, BrokerError>>) -> Option<Refusal> {
    match asked {
        Some(Ok(health)) if health.state == SessionState::Ready => None,
        Some(Ok(health)) => {
            let message = format!("the session was asked for, but {}", health.why);
            Some(Refusal::new(ErrorCode::BrokerSessionRequired, message))
        }
        Some(Err(error)) => Some(Refusal::new(error.code(), error.to_string())),
        None => Some(Refusal::new(ErrorCode::InternalError, "the broker's client broke")),
    }
}

pub(super) fn no_such_broker() -> Refusal {
    Refusal::new(ErrorCode::InputInvalid, "no broker login of this name is configured")
}

/// Why an effect has no outcome when the client that ran it panicked.
pub(super) const BROKE: &str = "the broker's client broke";

/// Runs an effect in a task of its own, so that a client that panics leaves an outcome: none.
pub(super) async fn seen_through<T: Send + 'static>(
    effect: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let ended = tokio::spawn(effect).await;
    ended.inspect_err(|error| tracing::error!(error = %error, "engine.broker_client_broke")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_effect_whose_client_breaks_has_no_outcome_and_is_told_so() {
        assert_eq!(seen_through(async { 7 }).await, Some(7));
        let breaks = async { panic!("a client that breaks") };
        assert_eq!(seen_through::<u8>(breaks).await, None);
    }
}
