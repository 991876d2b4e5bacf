//! Order type, time in force and hours are allowed.

use crate::{Check, Gate, PolicyLimits};
use ibkr_agent_domain::CanonicalOrder;

pub(super) fn check(limits: &PolicyLimits, order: &CanonicalOrder) -> Check {
    let terms = order.terms();
    let kind = terms.pricing.order_type();
    let time = terms.time_in_force;
    let (type_ok, time_ok) =
        (limits.order_types.contains(&kind), limits.times_in_force.contains(&time));
    let hours_ok = limits.outside_hours || !terms.outside_rth;
    let rule = match (type_ok, time_ok) {
        (false, _) => "orders.types",
        (true, false) => "orders.time_in_force",
        (true, true) => "orders.outside_rth",
    };
    let hours = if terms.outside_rth { ", outside regular hours" } else { "" };
    let observed = format!("{kind}, {}{hours}", time.as_str());
    let limit = "an allowed type, time in force and hours";
    Check::policy(Gate::OrderForm, type_ok && time_ok && hours_ok, rule, observed, limit)
}
