//! Orders per minute.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let (used, most) = (case.facts.own.orders_last_minute, case.limits().max_orders_per_minute);
    let observed = format!("{used} in the last minute");
    Check::policy(Gate::Frequency, used < most, "rate.orders_per_minute", observed, most)
        .exempt_if(case.reduces)
}
