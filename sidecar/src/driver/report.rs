//! What a broker's outcome is to the engine. Decides nothing.

use crate::engine::{CancelReport, FoundHalt, Input, OperatorAct, Refusal, Sought};
use ibkr_agent_broker::{Broker, BrokerError, CancelHint, CancelOutcome, Prompt};
use ibkr_agent_domain::{
    AccountId, Actor, BrokerOrderId, BrokerOrderStatus, Door, ErrorCode, SessionHealth,
    SessionState, UnknownBecause, UnreadRow, Untrusted,
};
use ibkr_agent_gates::Requester;
use ibkr_agent_protocol::service::fresh_call_id;
use std::sync::Arc;

pub(super) fn shown(text: Option<Untrusted>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

/// What the broker said to a placement that it took, with its own word where it holds the order.
pub(super) fn placed(status: BrokerOrderStatus, text: Option<Untrusted>) -> String {
    match (status, shown(text)) {
        (BrokerOrderStatus::Inactive, text) if text.is_empty() => "Inactive".to_owned(),
        (BrokerOrderStatus::Inactive, text) => format!("Inactive: {text}"),
        (_, text) => text,
    }
}

/// What the broker prompts for, in its words only: kind, text and the answers that it offers.
pub(super) fn prompted(prompt: &Prompt) -> String {
    let kind = prompt.message_id.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
    let options = match prompt.options.as_slice() {
        [] => String::new(),
        options => format!(" [{}]", options.join(" / ")),
    };
    Untrusted::new(&format!("{kind}{}{options}", prompt.text)).to_string()
}

pub(super) fn note_unread(account: &AccountId, what: &str, rows: &[UnreadRow]) {
    if !rows.is_empty() {
        let ours = rows.iter().filter(|row| row.reference.is_some()).count();
        tracing::warn!(
            account = %account,
            list = what,
            unread = rows.len(),
            unread.referenced = ours,
            "engine.evidence_incomplete"
        );
    }
}

pub(super) fn cancel_report(outcome: CancelOutcome) -> CancelReport {
    match outcome {
        CancelOutcome::Requested { text } => CancelReport::Requested { message: shown(text) },
        CancelOutcome::Refused { message, hint } => {
            let (code, means) = match hint {
                CancelHint::NoSuchOrder => {
                    (ErrorCode::OrderNotFound, "the broker may know no such order")
                }
                CancelHint::MayHaveEnded => {
                    (ErrorCode::OrderCancelRefused, "the order may have ended or may still fill")
                }
                CancelHint::NotCancellable | CancelHint::Unclear => {
                    (ErrorCode::OrderCancelRefused, "the order may still work")
                }
            };
            let message = format!(
                "the broker refused the cancel; {means}, which only its status tells: {message}"
            );
            CancelReport::Refused { code, message }
        }
        CancelOutcome::Unknown { why } => CancelReport::Unknown { why },
        CancelOutcome::NotSent { why } => CancelReport::NotSent { why },
    }
}

/// What the broker says of one order. It answers an order of a day that is over as if it failed.
pub(super) async fn sought(broker: &Arc<dyn Broker>, order: &BrokerOrderId) -> Sought {
    match broker.order(order).await {
        Ok(row) => Sought::Found(Box::new(row)),
        Err(BrokerError::UnknownOrder) => Sought::Gone,
        Err(BrokerError::Upstream { status: 503, .. })
            if broker.health().state == SessionState::Ready =>
        {
            Sought::Gone
        }
        Err(_) => Sought::Unclear,
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
        None => Some(Refusal::new(ErrorCode::InternalError, BROKE.sentence())),
    }
}

pub(super) fn no_such_broker() -> Refusal {
    Refusal::new(ErrorCode::InputInvalid, "no broker login of this name is configured")
}

/// Why an effect has no outcome when the client that ran it panicked.
pub(super) const BROKE: UnknownBecause = UnknownBecause::ClientBroke;

/// Runs an effect in a task of its own, so that a client that panics leaves an outcome: none.
pub(super) async fn seen_through<T: Send + 'static>(
    effect: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let ended = tokio::spawn(effect).await;
    ended.inspect_err(|error| tracing::error!(error = %error, "engine.broker_client_broke")).ok()
}

/// A halt that came neither by a door nor from an agent: by the halt's file or a signal.
pub(super) fn halted_by(what: &'static str, found: Vec<FoundHalt>) -> Input {
    let actor = Actor::Operator { key: None };
    let by = format!("{} ({what})", actor.label());
    let requester =
        Requester { call: fresh_call_id(), actor, door: Door::Internal, tool: "kill-switch close" };
    Input::HaltsFound { requester: Box::new(requester), by, found }
}

/// A signal that halts.
pub(super) fn signalled(name: &str) -> FoundHalt {
    FoundHalt { since: None, reason: format!("signal {name}") }
}

/// Whether a request is decided by what halts just now: an order, and the end of a halt, which must
/// know every halt that it ends.
pub(super) const fn minds_halts(input: &Input) -> bool {
    matches!(
        input,
        Input::Submit { .. }
            | Input::Operator { act: OperatorAct::Resume { .. } | OperatorAct::Accept { .. }, .. }
    )
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
