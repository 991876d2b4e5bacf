//! What a broker's outcome is to the engine. Decides nothing.

use crate::engine::CancelReport;
use ibkr_agent_broker::CancelOutcome;
use ibkr_agent_domain::{ErrorCode, Untrusted};

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
