//! It doesn't repeat an order of a moment ago: the same contract, side, quantity, price and
//! duration. Holds for reductions too: a close that is sent twice opens.

use crate::case::Case;
use crate::{Check, Gate, OwnOrder};
use ibkr_agent_domain::{ErrorCode, OrderState};

/// Whether an order was, or may have been, taken by the broker, and wasn't called off.
const fn stands(state: OrderState) -> bool {
    match state {
        OrderState::Intended
        | OrderState::Question
        | OrderState::Working
        | OrderState::Held
        | OrderState::PendingCancel
        | OrderState::Filled
        | OrderState::Expired
        | OrderState::Unknown => true,
        OrderState::Cancelled | OrderState::Rejected | OrderState::NotSent => false,
    }
}

pub(super) fn check(case: &Case<'_>) -> Check {
    let window = case.limits().same_order_window;
    let repeats = |own: &&OwnOrder| {
        own.conid == case.order.conid() && own.terms == *case.order.terms() && stands(own.state)
    };
    let equal = case.facts.own.orders.iter().filter(repeats);
    let latest = equal.max_by_key(|own| own.created_at);
    let latest = latest.filter(|own| case.now.since(own.created_at) < window);
    let limit = format!("no equal order within {} s", window.as_secs());
    let rule = "rate.same_order_window_seconds";
    let Some(own) = latest else {
        return Check::policy(Gate::Duplicate, true, rule, "none", limit);
    };
    let age = case.now.since(own.created_at);
    let observed = format!(
        "order {} of {} s ago is the same and is {}",
        own.name(),
        age.as_secs(),
        own.state.as_str()
    );
    let wait = window.saturating_sub(age).as_secs().saturating_add(1);
    let check = Check::new(Gate::Duplicate, false, ErrorCode::OrderPolicyRefused, observed, limit);
    let nearest = format!("wait {wait} s, or cancel order {} first", own.name());
    Check { rule: Some(rule), ..check }.nearest(Some(nearest))
}
