//! Value per trading day.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_notional_per_day;
    let used = case.facts.own.notional_today;
    let day = case.value().and_then(|value| value.checked_add(used));
    let passed = day.is_some_and(|day| day <= most.amount);
    Check::policy(Gate::NotionalPerDay, passed, "day.max_notional", case.shown(day), most)
        .exempt_if(case.reduces)
}
