//! Equal orders that filled today: a loop that buys again and again ends here.

use crate::case::Case;
use crate::{Check, Gate, OwnOrder};
use ibkr_agent_domain::OrderState;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().same_execution_limit;
    let equal = |own: &&OwnOrder| {
        own.conid == case.order.conid()
            && own.terms == *case.order.terms()
            && own.state == OrderState::Filled
    };
    let filled = case.facts.own.orders.iter().filter(equal).count();
    let filled = u32::try_from(filled).unwrap_or(u32::MAX);
    let observed = format!("{filled} equal orders filled today");
    Check::policy(Gate::SameExecution, filled < most, "rate.same_execution_limit", observed, most)
        .exempt_if(case.reduces)
}
