//! The broker's own preview has nothing against the order.

use crate::case::Case;
use crate::{Check, Gate, Guard, Verdict};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let guard = case.limits().what_if;
    let Some(what_if) = &case.facts.broker.what_if else {
        let rule = "exposure.what_if";
        let limit = match guard {
            Guard::Deny => "the broker's own preview",
            Guard::Warn => "the broker's own preview, if it gives one",
        };
        return Check::policy(Gate::WhatIf, false, rule, "none was given", limit).guarded(guard);
    };
    let limit = "nothing that the broker has against it";
    if let Some(words) = what_if.objection() {
        let observed = format!("the broker says: {words}");
        return Check::new(Gate::WhatIf, false, ErrorCode::BrokerRejected, observed, limit);
    }
    let warning = what_if.estimate().and_then(|told| told.warning.as_ref());
    let observed = match warning {
        Some(words) => format!("the broker warns: {words}"),
        None => "nothing".to_owned(),
    };
    let mut check = Check::new(Gate::WhatIf, true, ErrorCode::BrokerRejected, observed, limit);
    if warning.is_some() {
        check.verdict = Verdict::Warned;
    }
    check
}
