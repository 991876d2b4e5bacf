//! Requests to place, cancel and answer per minute. Cancels count and are never refused.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let (used, most) = (case.facts.own.messages_last_minute, case.limits().max_messages_per_minute);
    let observed = format!("{used} in the last minute");
    Check::policy(Gate::Messages, used < most, "rate.messages_per_minute", observed, most)
        .exempt_if(case.reduces)
}
