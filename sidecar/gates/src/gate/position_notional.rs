//! The position's value stays within the limit, with everything that works on its side.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_position_notional;
    let value = case.position_value();
    let passed = value.is_some_and(|value| value <= most);
    let observed = format!("{} after it", case.shown(value));
    let limit = case.shown(Some(most));
    Check::policy(Gate::PositionNotional, passed, "exposure.max_position_notional", observed, limit)
        .exempt_if(case.reduces)
}
