//! The market and the position are where they were when it was approved.

use crate::case::{percent_of, plain};
use crate::decide::mid_price;
use crate::{Approval, Check, Facts, Gate, Policy};
use ibkr_agent_domain::ErrorCode;

pub(crate) fn check(policy: &Policy, facts: &Facts, approval: &Approval) -> Check {
    let limit = policy.limits().max_drift_percent;
    let text = format!("market within {} %, position unchanged", plain(limit));
    let moved = |passed, observed: String| {
        let check = Check::new(Gate::Drift, passed, ErrorCode::OrderDrifted, observed, &text);
        Check { rule: Some("price.max_drift_percent"), ..check }
    };
    let position = facts.broker.position;
    if position != approval.position {
        let observed = format!("position {} became {position}", approval.position);
        return Check { rule: None, ..moved(false, observed) };
    }
    let now_price = facts.broker.quote.as_ref().and_then(mid_price);
    let (Some(then), Some(now)) = (approval.reference_price, now_price) else {
        return moved(false, "no price to compare".to_owned());
    };
    let drift = now.checked_sub(then).and_then(|difference| percent_of(difference.abs(), then));
    match drift {
        Some(drift) => {
            let shown = drift.round_dp(3).normalize();
            moved(drift <= limit, format!("{then} then, {now} now: {shown} %"))
        }
        None => moved(false, "not computable".to_owned()),
    }
}
