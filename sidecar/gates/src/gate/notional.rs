//! The value is within the limit.

use crate::case::Case;
use crate::{Check, Gate};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let (value, most) = (case.value(), case.limits().max_notional);
    let passed = value.is_some_and(|value| value <= most.amount);
    let units = case.unit_value().filter(|unit| *unit > Decimal::ZERO);
    let units = units.and_then(|unit| most.amount.checked_div(unit)).map(|units| units.floor());
    let nearest = units.filter(|units| !passed && *units >= Decimal::ONE);
    Check::policy(Gate::Notional, passed, "size.max_notional", case.shown(value), most)
        .nearest(nearest.map(|units| format!("{units} at this price would pass")))
        .exempt_if(case.reduces)
}
