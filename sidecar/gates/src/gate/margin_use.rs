//! Initial margin takes no more of the equity than allowed, by the broker's own preview.

use crate::case::{Case, percent_of, plain};
use crate::{Check, Gate, Guard};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_margin_use_percent;
    let (rule, limit) = ("exposure.max_margin_use_percent", format!("{} %", plain(most)));
    let told = case.facts.broker.what_if.as_ref().and_then(|what_if| what_if.estimate());
    let used = told.and_then(|told| {
        let equity = told.equity.after.filter(|equity| *equity > Decimal::ZERO)?;
        percent_of(told.initial_margin.after?, equity)
    });
    let Some(used) = used else {
        // A policy that insists on the broker's preview insists on its margins.
        let passed = case.limits().what_if == Guard::Warn;
        return Check::policy(Gate::MarginUse, passed, rule, "not told", limit)
            .exempt_if(case.reduces);
    };
    let observed = format!("{} % after it", used.round_dp(1).normalize());
    Check::policy(Gate::MarginUse, used <= most, rule, observed, limit).exempt_if(case.reduces)
}
