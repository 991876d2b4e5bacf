//! The position stays a small enough part of the account's value.

use crate::case::{Case, percent_of, plain};
use crate::{Check, Gate};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_concentration_percent;
    let account = &case.facts.broker.account;
    let worth = account.net_liquidation.and_then(|money| account.in_policy(money));
    let worth = worth.filter(|worth| *worth > Decimal::ZERO);
    let part = case.position_value().zip(worth).and_then(|(value, worth)| percent_of(value, worth));
    let passed = part.is_some_and(|part| part <= most);
    let observed = match part {
        Some(part) => format!("{} % of the account after it", part.round_dp(1).normalize()),
        None => "the account's value isn't known".to_owned(),
    };
    let rule = "exposure.max_concentration_percent";
    Check::policy(Gate::Concentration, passed, rule, observed, format!("{} %", plain(most)))
        .exempt_if(case.reduces)
}
