//! The quantity is whole, unless policy and contract allow parts of a unit.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::ErrorCode;
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let quantity = case.quantity();
    let is_whole = quantity.fract().is_zero();
    let whole = |number: Decimal| {
        let down = number.floor();
        (down > Decimal::ZERO).then(|| format!("{down} would pass"))
    };
    if !is_whole && !case.limits().fractions {
        return Check::policy(Gate::SizeStep, false, "orders.fractions", quantity, "whole units")
            .nearest(whole(quantity));
    }
    let code = ErrorCode::OrderValidationFailed;
    let Some(rules) = &case.facts.broker.rules else {
        let limit = "the contract's size step";
        return Check::new(Gate::SizeStep, true, code, "it isn't known", limit).warned_if(true);
    };
    if !is_whole {
        let limit = "a part of a unit that the contract takes";
        let passed = rules.takes_quantity(quantity);
        return Check::new(Gate::SizeStep, passed, code, quantity, limit)
            .nearest(whole(quantity).filter(|_| !passed));
    }
    // The step that IBKR shows beside it is an entry field's: 100 for shares that trade singly.
    Check::new(Gate::SizeStep, rules.takes_quantity(quantity), code, quantity, "whole units")
}
