//! Available funds cover the order: by the broker's own preview, else by what is available now.

use crate::case::{Case, plain};
use crate::{Check, Gate};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let told = case.facts.broker.what_if.as_ref().and_then(|what_if| what_if.estimate());
    let after = told.and_then(|told| {
        let margin = told.initial_margin.after?;
        told.equity.after?.checked_sub(margin)
    });
    if let Some(after) = after {
        let passed = after >= Decimal::ZERO;
        let observed = if passed {
            format!("{} of available funds left after it", plain(after))
        } else {
            format!("{} of available funds lack", plain(-after))
        };
        return judged(passed, observed).exempt_if(case.reduces);
    }
    let account = &case.facts.broker.account;
    let funds = account.available_funds.and_then(|money| account.in_policy(money));
    let (Some(funds), Some(value)) = (funds, case.value()) else {
        // What the broker doesn't tell it refuses itself.
        return judged(true, "available funds aren't known".to_owned()).warned_if(true);
    };
    // Without the broker's figure nothing says that a margin is smaller than the whole value.
    let left = funds.checked_sub(value);
    let passed = left.is_some_and(|left| left >= Decimal::ZERO);
    let observed = format!("{} of {} available", case.shown(Some(value)), plain(funds));
    judged(passed, observed).exempt_if(case.reduces)
}

fn judged(passed: bool, observed: String) -> Check {
    let code = ibkr_agent_domain::ErrorCode::OrderPolicyRefused;
    Check::new(Gate::BuyingPower, passed, code, observed, "covered by available funds")
}
