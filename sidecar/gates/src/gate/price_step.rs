//! The price is one that the contract takes: steps may depend on the price.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::{ErrorCode, Side};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let Some(rules) = &case.facts.broker.rules else {
        let limit = "the contract's price steps";
        return passed("they aren't known", limit).warned_if(true);
    };
    let Some(price) = case.limit_price().map(|price| price.get()) else {
        return passed("no limit price", "the contract's price steps");
    };
    let Some(step) = rules.increment_at(price).filter(|step| *step > Decimal::ZERO) else {
        return passed("no step is told", "the contract's price steps");
    };
    let rest = price.checked_rem(step);
    let limit = format!("a multiple of {}", step.normalize());
    let Some(rest) = rest.filter(|rest| !rest.is_zero()) else {
        return passed(price, limit);
    };
    // On the side that costs less.
    let below = price.checked_sub(rest);
    let near = match case.side() {
        Side::Buy => below,
        Side::Sell => below.and_then(|below| below.checked_add(step)),
    };
    let code = ErrorCode::OrderValidationFailed;
    Check::new(Gate::PriceStep, false, code, price, limit)
        .nearest(near.map(|near| format!("{} would pass", near.normalize())))
}

fn passed(observed: impl core::fmt::Display, limit: impl core::fmt::Display) -> Check {
    Check::new(Gate::PriceStep, true, ErrorCode::OrderValidationFailed, observed, limit)
}
