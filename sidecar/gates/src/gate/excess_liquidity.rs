//! Enough excess liquidity is left: equity less maintenance margin, by the broker's own preview.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::Money;
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let least = case.limits().min_excess_liquidity;
    let limit = format!("at least {}", case.shown(Some(least)));
    let rule = "exposure.min_excess_liquidity";
    let broker = &case.facts.broker;
    let told = broker.what_if.as_ref().and_then(|what_if| what_if.estimate());
    let after = told.and_then(|told| {
        let margin = told.maintenance_margin.after?;
        let left = told.equity.after?.checked_sub(margin)?;
        // The broker's margins are in the account's base currency.
        broker.account.in_policy(Money::new(left, broker.account.base?))
    });
    let Some(after) = after else {
        let passed = least <= Decimal::ZERO;
        return Check::policy(Gate::ExcessLiquidity, passed, rule, "not told", limit)
            .exempt_if(case.reduces);
    };
    let observed = format!("{} after it", case.shown(Some(after)));
    Check::policy(Gate::ExcessLiquidity, after >= least, rule, observed, limit)
        .exempt_if(case.reduces)
}
