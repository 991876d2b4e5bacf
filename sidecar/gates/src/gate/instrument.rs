//! Symbol and asset class are allowed.

use crate::{Check, Gate, PolicyLimits};
use ibkr_agent_domain::CanonicalOrder;

pub(super) fn symbol(limits: &PolicyLimits, order: &CanonicalOrder) -> Check {
    let symbol = order.symbol();
    let listed = limits.allowed_symbols.as_ref().is_none_or(|allowed| allowed.contains(symbol));
    let denied = limits.denied_symbols.contains(symbol);
    let rule = if denied { "instruments.deny_symbols" } else { "instruments.allow_symbols" };
    Check::policy(Gate::Symbol, listed && !denied, rule, symbol, "an allowed symbol")
}

pub(super) fn class(limits: &PolicyLimits, order: &CanonicalOrder) -> Check {
    let passed = limits.asset_classes.contains(&order.class());
    let (rule, limit) = ("instruments.classes", "an allowed asset class");
    Check::policy(Gate::AssetClass, passed, rule, order.class(), limit)
}
