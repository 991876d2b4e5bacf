//! All positions together, short ones counted as they are large, stay within the limit, with every
//! buy at work.

use crate::at_work::buys_at_work;
use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::{Money, Position};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_gross;
    let account = &case.facts.broker.account;
    let mut held = account.positions.iter().filter(|held| !held.quantity.is_zero());
    let all = held.try_fold(Decimal::ZERO, |sum, held| {
        let worth = account.in_policy(Money::new(worth(held)?, held.currency))?;
        sum.checked_add(worth.abs())
    });
    let at_work =
        buys_at_work(case).into_iter().try_fold(Decimal::ZERO, |sum, (currency, cost)| {
            sum.checked_add(account.in_policy(Money::new(cost?, currency))?)
        });
    let after = all.zip(at_work).zip(case.value());
    let after = after.and_then(|((all, work), value)| all.checked_add(work)?.checked_add(value));
    let passed = after.is_some_and(|after| after <= most);
    let observed = format!("{} with it", case.shown(after));
    let (rule, limit) = ("exposure.max_gross", case.shown(Some(most)));
    Check::policy(Gate::GrossExposure, passed, rule, observed, limit).exempt_if(case.reduces)
}

/// What a position is worth in its currency: as the broker says, else at what it cost.
fn worth(held: &Position) -> Option<Decimal> {
    let at_cost = || held.average_cost?.checked_mul(held.quantity);
    held.market_value.or_else(at_cost)
}
