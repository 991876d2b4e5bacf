//! Orders per trading day.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let (used, most) = (case.facts.own.orders_today, case.limits().max_orders_per_day);
    let observed = format!("{used} so far today");
    Check::policy(Gate::OrdersPerDay, used < most, "day.max_orders", observed, most)
        .exempt_if(case.reduces)
}
