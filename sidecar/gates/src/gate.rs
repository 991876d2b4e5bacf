//! The gates, one file each. All of them judge each order; none stops another one from speaking.
//!
//! A gate is a function from a [`Case`] to a [`Check`]: what was seen, what it was compared with,
//! the policy's key, and the nearest order that would pass.

mod account;
mod approval;
mod audit;
mod buying_power;
mod clock;
mod collar;
mod concentration;
mod data_status;
mod day_loss;
mod day_notional;
mod day_orders;
mod drift;
mod duplicate;
mod excess_liquidity;
mod frequency;
mod gross_exposure;
mod halted;
mod in_doubt;
mod instrument;
mod kill_switch;
mod margin_loan;
mod margin_use;
mod market_hours;
mod messages;
mod mode;
mod notional;
mod open_orders;
mod order_form;
mod position_notional;
mod price_step;
mod quantity;
mod quote_age;
mod relation;
mod same_execution;
mod self_match;
mod session;
mod short;
mod size_step;
mod spread;
mod venue;
mod what_if;

pub(crate) use approval::check as approval;
pub(crate) use drift::check as drift;
pub(crate) use relation::check as relation;

use crate::case::Case;
use crate::{Check, Policy, Switches};
use ibkr_agent_domain::CanonicalOrder;

/// The gates that look at facts of the moment, in the order in which they are shown.
const OF_THE_MOMENT: &[fn(&Case<'_>) -> Check] = &[
    account::check,
    in_doubt::check,
    session::check,
    clock::check,
    short::check,
    quantity::check,
    size_step::check,
    price_step::check,
    notional::check,
    data_status::check,
    quote_age::check,
    halted::check,
    market_hours::check,
    spread::check,
    collar::check,
    what_if::check,
    buying_power::check,
    margin_loan::check,
    excess_liquidity::check,
    margin_use::check,
    position_notional::check,
    concentration::check,
    gross_exposure::check,
    day_loss::check,
    duplicate::check,
    self_match::check,
    open_orders::check,
    frequency::check,
    messages::check,
    same_execution::check,
    day_orders::check,
    day_notional::check,
];

/// The gates that need nothing but the order and the switches.
pub(crate) fn standing(policy: &Policy, order: &CanonicalOrder, switches: Switches) -> Vec<Check> {
    let limits = policy.limits();
    vec![
        mode::check(limits, order),
        kill_switch::check(switches),
        audit::check(switches),
        instrument::symbol(limits, order),
        instrument::class(limits, order),
        venue::check(limits, order),
        order_form::check(limits, order),
    ]
}

/// Every gate but the approval's.
pub(crate) fn every(case: &Case<'_>) -> Vec<Check> {
    let mut checks = standing(case.policy, case.order, case.facts.own.switches);
    checks.extend(OF_THE_MOMENT.iter().map(|gate| gate(case)));
    checks
}
