//! No earlier order on this account and instrument has an unknown outcome.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let in_doubt = case.facts.own.in_doubt;
    let observed = if in_doubt { "an order's outcome is unknown" } else { "none" };
    let limit = "no order in doubt on this account and instrument";
    Check::new(Gate::InDoubt, !in_doubt, ErrorCode::OrderInDoubt, observed, limit)
        .exempt_if(case.reduces)
}
