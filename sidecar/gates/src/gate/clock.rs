//! Our clock and the broker's agree.

use crate::case::{Case, MAX_CLOCK_SKEW_MS};
use crate::{Check, Gate};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let (passed, observed) = match case.facts.broker.clock_skew_ms {
        Some(skew) => (skew.unsigned_abs() <= MAX_CLOCK_SKEW_MS, format!("{skew} ms")),
        None => (false, "unknown".to_owned()),
    };
    let limit = format!("{MAX_CLOCK_SKEW_MS} ms between our clock and the broker's");
    Check::new(Gate::Clock, passed, ErrorCode::OrderPolicyRefused, observed, limit)
}
