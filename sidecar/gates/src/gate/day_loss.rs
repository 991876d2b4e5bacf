//! The day's loss hasn't reached the limit; from there on orders may only reduce.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::Mode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_loss_per_day;
    let (rule, limit) = ("day.max_loss", format!("a loss of {}", case.shown(Some(most))));
    let account = &case.facts.broker.account;
    let profit = account.daily_profit.and_then(|money| account.in_policy(money));
    let Some(profit) = profit else {
        let is_real = case.order.mode() == Mode::Live;
        return Check::policy(Gate::DayLoss, !is_real, rule, "not told", limit)
            .warned_if(true)
            .exempt_if(case.reduces);
    };
    let observed = format!("{} today", case.shown(Some(profit)));
    Check::policy(Gate::DayLoss, profit > -most, rule, observed, limit).exempt_if(case.reduces)
}
