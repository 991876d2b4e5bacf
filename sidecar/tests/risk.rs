//! The policy file: sections and old names, bindings, and what is refused with its key.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ibkr_agent_domain::{AccountId, AssetClass, Mode};
use ibkr_agent_gates::{Guard, MarketHours, PolicyLimits};
use ibkr_agent_gateway::config::{ConfigError, Settings, describe_policies, policy_differences};
use ibkr_agent_protocol::config::load;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::time::Duration;

const BROKER: &str = "broker:\n  backend: client_portal_gateway\n  \
    base_url: https://localhost:5000\naccounts:\n  allowed: [DU7000001, DU7000002]\npaper:\n  \
    enabled: true\n";

const SECTIONS: &str = r#"
risk:
  policies:
    - id: mine
      mode: paper
      currency: EUR
      instruments: {allow_symbols: [aapl], deny_symbols: [gme], classes: [stock],
                    currencies: [EUR], exchanges: [smart]}
      orders: {types: [limit], time_in_force: [day], outside_rth: true, fractions: true,
               market_hours: extended}
      size: {max_quantity: {stock: 7, option: 1}, max_notional: "1234.50"}
      price: {collar_percent: 1, mid_percent: 1.5, last_percent: 4, max_spread_percent: 0.5,
              passive_warning_percent: 8, max_quote_age_seconds: 5, data: real_time,
              max_drift_percent: 0.5}
      exposure: {shorts: warn, margin_loan: warn, max_position_notional: "25000",
                 max_concentration_percent: 20, max_gross: "90000",
                 min_excess_liquidity: "20000", max_margin_use_percent: 50, what_if: required}
      day: {max_orders: 9, max_notional: "5000", max_loss: "150"}
      rate: {orders_per_minute: 2, messages_per_minute: 11, same_order_window_seconds: 30,
             same_execution_limit: 3, max_open_orders: 10}
      guard: {self_match: warn}
      questions:
        known:
          - {id: o163, text: "Exceeds {percent}%. Sure?", bounds: {percent: {min: 3}}}
"#;

fn read(text: &str) -> Result<Settings, ConfigError> {
    Settings::try_from_raw(&load(&format!("{BROKER}{text}")).unwrap())
}

#[test]
fn every_key_of_every_section_reaches_the_limits() {
    let limits = read(SECTIONS).unwrap().limits;
    let built_in = PolicyLimits::tight(BTreeSet::from([Mode::Paper]));
    let dec = |text: &str| text.parse::<Decimal>().unwrap();
    assert_eq!(limits.max_quantity_of.get(&AssetClass::Stock), Some(&dec("7")));
    assert_eq!(limits.max_notional.to_string(), "1234.5 EUR");
    assert_eq!((limits.shorts, limits.what_if), (Guard::Warn, Guard::Deny));
    assert_eq!(limits.market_hours, MarketHours::Extended);
    assert_eq!(limits.same_order_window, Duration::from_secs(30));
    assert_eq!(limits.known_questions.len(), 1);
    // Each key differs from the built-in one: none was read into nothing.
    let (built_in, given) = (
        ibkr_agent_gates::Policy::new(built_in).unwrap(),
        ibkr_agent_gates::Policy::new(limits).unwrap(),
    );
    let changed: BTreeSet<&str> =
        built_in.changes_to(&given).into_iter().map(|change| change.key).collect();
    let entries = given.entries();
    let same: Vec<&str> =
        entries.iter().map(|entry| entry.key).filter(|key| !changed.contains(key)).collect();
    // Those that the file above sets to what is built in, has no key for, or leaves out.
    let expected = |key: &&str| {
        key.starts_with("size.max_quantity.")
            || ["mode", "instruments.classes", "orders.types", "price.slippage_percent"]
                .contains(key)
    };
    assert!(same.iter().all(expected), "{same:?}");
}

#[test]
fn an_old_name_beside_its_section_is_refused() {
    for (old, section) in [
        ("max_quantity: 1", "size: {max_quantity: 1}"),
        ("max_notional: 1", "size: {max_notional: 1}"),
        ("allowed_symbols: [A]", "instruments: {allow_symbols: [A]}"),
        ("price_collar_percent: 1", "price: {collar_percent: 1}"),
        ("accept_delayed_for_paper: false", "price: {data: real_time}"),
        ("max_orders_per_minute: 1", "rate: {orders_per_minute: 1}"),
    ] {
        let text = format!("risk:\n  policies:\n  - id: p\n    {old}\n    {section}\n");
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains("given twice"), "{old}: {error}");
    }
}

#[test]
fn what_a_policy_cannot_mean_is_refused_with_its_key() {
    for (line, key) in [
        ("orders: {types: [limit, market]}", "risk.policies.orders.types"),
        ("orders: {market_hours: always}", "risk.policies.orders.market_hours"),
        ("exposure: {shorts: allow}", "risk.policies.exposure.shorts"),
        ("exposure: {what_if: never}", "risk.policies.exposure.what_if"),
        ("price: {data: old}", "risk.policies.price.data"),
        ("size: {max_quantity: {socks: 1}}", "risk.policies.size.max_quantity"),
        ("exposure: {max_gross: 0}", "exposure.max_gross"),
        ("questions: {known: [{id: o1, text: \"{percent}%\"}]}", "risk.policies.questions.known"),
    ] {
        let error = read(&format!("risk:\n  policies:\n  - id: p\n    {line}\n")).unwrap_err();
        assert!(error.to_string().contains(key), "{line}: {error}");
    }
    // A key that this version doesn't know is an error by its line.
    let unknown = load(&format!("{BROKER}risk:\n  policies:\n  - id: p\n    mandates: {{}}\n"));
    assert_eq!(unknown.unwrap_err().line, Some(11));
}

#[test]
fn with_a_binding_what_is_not_bound_may_not_trade() {
    let bound = "risk:\n  bind: [{account: DU7000001, mode: paper, policy: small}]\n  policies:\n  \
        - id: small\n    max_quantity: 3\n";
    let policies = read(bound).unwrap().policies().unwrap();
    let account = |id: &str| AccountId::parse(id).unwrap();
    let small = policies.of(&account("DU7000001"), Mode::Paper).limits();
    assert_eq!((small.id.as_str(), small.max_quantity), ("small", Decimal::from(3)));
    assert_eq!(small.accounts, BTreeSet::from([account("DU7000001")]));
    for (id, mode) in [("DU7000002", Mode::Paper), ("DU7000001", Mode::Simulated)] {
        let other = policies.of(&account(id), mode).limits();
        assert!(other.modes.is_empty() && other.asset_classes.is_empty(), "{id} {mode}");
        // Cancels stay bound to the list of accounts only.
        assert_eq!(other.accounts.len(), 2);
    }
    for (line, word) in [
        ("{account: DU9, mode: paper, policy: small}", "accounts.allowed"),
        ("{account: DU7000001, mode: slow, policy: small}", "no mode"),
        ("{account: DU7000001, mode: paper, policy: other}", "no policy"),
    ] {
        let text = bound.replace("{account: DU7000001, mode: paper, policy: small}", line);
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(word), "{line}: {error}");
    }
    let twice = bound.replace(
        "policy: small}]",
        "policy: small}, {account: DU7000001, mode: paper, policy: small}]",
    );
    assert!(read(&twice).unwrap_err().to_string().contains("bound twice"));
    let live = bound.replace("mode: paper", "mode: live");
    assert!(matches!(read(&live), Err(ConfigError::Live { .. })));
}

#[test]
fn policies_are_shown_in_full_and_compared_key_by_key() {
    let (own, other) = (read("").unwrap(), read(SECTIONS).unwrap());
    let (own, other) = (own.policies().unwrap(), other.policies().unwrap());
    let shown = describe_policies(&own);
    assert_eq!(shown["hash"], own.hash().to_string());
    let limits = shown["policies"][0]["limits"].as_array().unwrap();
    assert_eq!(limits.len(), own.others().entries().len());
    let differences = policy_differences(&own, &other);
    let row = |key: &str| {
        let rows = differences["differences"].as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).cloned().unwrap_or_default()
    };
    assert_eq!(row("exposure.shorts")["change"], "looser");
    assert_eq!(row("price.collar_percent")["change"], "tighter");
    assert_eq!(
        (&row("day.max_orders")["before"], &row("day.max_orders")["after"]),
        (&"50".into(), &"9".into())
    );
    assert!(differences["looser"].as_u64().unwrap() > 0);
    let none = policy_differences(&own, &own);
    assert_eq!((&none["looser"], &none["differences"]), (&0.into(), &serde_json::json!([])));
}
