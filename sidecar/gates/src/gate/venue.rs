//! Trading currency and route are allowed.

use crate::{Check, Gate, PolicyLimits};
use ibkr_agent_domain::CanonicalOrder;

pub(super) fn check(limits: &PolicyLimits, order: &CanonicalOrder) -> Check {
    let currency = limits.currencies.as_ref().is_none_or(|some| some.contains(&order.currency()));
    let exchange = limits.exchanges.as_ref().is_none_or(|some| some.contains(order.exchange()));
    let rule = if currency { "instruments.exchanges" } else { "instruments.currencies" };
    let observed = format!("{} on {}", order.currency(), order.exchange());
    let limit = "an allowed currency and exchange";
    Check::policy(Gate::Venue, currency && exchange, rule, observed, limit)
}
