//! Each key of a policy made tighter. A key that isn't named here fails the tests.

use super::support::limits;
use core::time::Duration;
use ibkr_agent_domain::AssetClass;
use ibkr_agent_gates::{Change, Guard, KnownQuestion, MarketHours, Policy, PolicyLimits};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

/// Every key that a policy can be tightened by.
pub(crate) fn keys() -> Vec<&'static str> {
    let entries = Policy::new(limits()).unwrap().entries();
    entries.into_iter().map(|entry| entry.key).filter(|key| *key != "id").collect()
}

/// Makes one key tighter; whether that changed anything.
pub(crate) fn tighten(limits: &mut PolicyLimits, key: &str) {
    let half = |value: &mut Decimal| *value /= Decimal::TWO;
    if let Some(class) = key.strip_prefix("size.max_quantity.") {
        let class = AssetClass::parse(class).unwrap();
        let most = *limits.max_quantity_of.get(&class).unwrap_or(&limits.max_quantity);
        limits.max_quantity_of.insert(class, most / Decimal::TWO);
        return;
    }
    match key {
        "mode" => limits.modes.clear(),
        "accounts" => limits.accounts.clear(),
        "instruments.allow_symbols" => limits.allowed_symbols = Some(BTreeSet::new()),
        "instruments.deny_symbols" => drop(limits.denied_symbols.insert("AAPL".to_owned())),
        "instruments.classes" => limits.asset_classes.clear(),
        "instruments.currencies" => limits.currencies = Some(BTreeSet::new()),
        "instruments.exchanges" => limits.exchanges = Some(BTreeSet::new()),
        "orders.types" => limits.order_types.clear(),
        "orders.time_in_force" => limits.times_in_force.clear(),
        "orders.outside_rth" => limits.outside_hours = false,
        "orders.fractions" => limits.fractions = false,
        "orders.market_hours" => limits.market_hours = MarketHours::Regular,
        "size.max_notional" => half(&mut limits.max_notional.amount),
        "price.collar_percent" => half(&mut limits.collar_percent),
        "price.mid_percent" => half(&mut limits.mid_percent),
        "price.last_percent" => half(&mut limits.last_percent),
        "price.max_spread_percent" => half(&mut limits.max_spread_percent),
        "price.passive_warning_percent" => half(&mut limits.passive_warning_percent),
        "price.slippage_percent" => limits.slippage_percent += Decimal::ONE,
        "price.max_quote_age_seconds" => limits.max_quote_age /= 2,
        "price.max_drift_percent" => half(&mut limits.max_drift_percent),
        "price.delayed_data" => limits.delayed_data_modes.clear(),
        "exposure.shorts" => limits.shorts = Guard::Deny,
        "exposure.margin_loan" => limits.margin_loan = Guard::Deny,
        "exposure.max_position_notional" => half(&mut limits.max_position_notional),
        "exposure.max_concentration_percent" => half(&mut limits.max_concentration_percent),
        "exposure.max_gross" => half(&mut limits.max_gross),
        "exposure.min_excess_liquidity" => limits.min_excess_liquidity += Decimal::from(999_000),
        "exposure.max_margin_use_percent" => half(&mut limits.max_margin_use_percent),
        "exposure.what_if" => limits.what_if = Guard::Deny,
        "day.max_orders" => limits.max_orders_per_day /= 2,
        "day.max_notional" => half(&mut limits.max_notional_per_day.amount),
        "day.max_loss" => half(&mut limits.max_loss_per_day),
        "rate.orders_per_minute" => limits.max_orders_per_minute /= 2,
        "rate.messages_per_minute" => limits.max_messages_per_minute /= 2,
        "rate.same_order_window_seconds" => limits.same_order_window += Duration::from_secs(60),
        "rate.same_execution_limit" => limits.same_execution_limit /= 2,
        "rate.max_open_orders" => limits.max_open_orders /= 2,
        "guard.self_match" => limits.self_match = Guard::Deny,
        "questions.known" => limits.known_questions.clear(),
        other => assert_eq!(other, "", "isn't tightened by any test"),
    }
}

/// Loose in every key.
fn loose() -> PolicyLimits {
    let known = KnownQuestion::new("o1", "Sure?", BTreeMap::new()).unwrap();
    PolicyLimits {
        outside_hours: true,
        market_hours: MarketHours::Any,
        margin_loan: Guard::Warn,
        self_match: Guard::Warn,
        denied_symbols: BTreeSet::new(),
        known_questions: BTreeSet::from([known]),
        ..limits()
    }
}

#[test]
fn each_key_compares_as_tighter_one_way_and_as_looser_the_other() {
    for key in keys() {
        let mut tight = loose();
        tighten(&mut tight, key);
        let (loose, tight) = (Policy::new(loose()).unwrap(), Policy::new(tight).unwrap());
        assert_ne!(loose.hash(), tight.hash(), "{key}");
        for (before, after, change) in
            [(&loose, &tight, Change::Tighter), (&tight, &loose, Change::Looser)]
        {
            let found = before.changes_to(after);
            let found: Vec<_> = found.iter().map(|one| (one.key, one.change)).collect();
            assert_eq!(found, [(key, change)]);
        }
        assert_eq!(loose.changes_to(&loose), []);
    }
}

#[test]
fn in_another_currency_every_amount_is_looser() {
    let before = Policy::new(limits()).unwrap();
    let mut other = limits();
    let yen = ibkr_agent_domain::Currency::parse("JPY").unwrap();
    other.max_notional.currency = yen;
    other.max_notional_per_day.currency = yen;
    let changes = before.changes_to(&Policy::new(other).unwrap());
    assert_eq!(changes.len(), 6);
    assert!(changes.iter().all(|one| one.change == Change::Looser), "{changes:?}");
}
