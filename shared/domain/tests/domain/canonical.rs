//! The bytes that a human's approval covers, fixed in `fixtures/canonical`. `UPDATE_GOLDEN=1`
//! writes those of version 2 anew, which is a change of the format: it needs a new version.

use super::orders::{Draft, dec, draft, quantity};
use ibkr_agent_domain::{
    AccountId, AssetClass, BrokerName, CanonicalOrder, Conid, Contract, ContractIdentity, Currency,
    Date, Digest, Field, Form, InvalidOrder, Mode, OptionRight, OrderType, Price, PriceField,
    Pricing, Side, SidecarId, TimeInForce, Untrusted, client_order_id,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn limit(text: &str) -> Pricing {
    Pricing::Limit { limit: Price::new(dec(text)).unwrap().into() }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/canonical").join(name)
}

fn golden(name: &str, order: &CanonicalOrder) {
    let bytes = order.canonical_bytes();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && order.form() == Form::V2 {
        std::fs::write(path(name), &bytes).unwrap();
    }
    let expected = std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected, "{name}");
    assert_eq!(order.digest(), Digest::of(expected.as_bytes()));
    assert_eq!(CanonicalOrder::parse(&expected).as_ref(), Ok(order), "{name}");
}

#[test]
fn canonical_bytes_are_the_recorded_ones_and_read_back() {
    for order_type in OrderType::ALL {
        let order = draft(*order_type, ContractIdentity::Stock).order().unwrap();
        golden(&format!("{}-v2.txt", order_type.as_str()), &order);
    }
    for identity in super::orders::identities() {
        let name = match &identity {
            ContractIdentity::Stock => "stock-v2.txt",
            ContractIdentity::Option { .. } => "option-v2.txt",
            ContractIdentity::Future { .. } => "future-v2.txt",
            ContractIdentity::Pair { .. } => "pair-v2.txt",
            ContractIdentity::Combo { .. } => "combo-v2.txt",
        };
        golden(name, &draft(OrderType::Limit, identity).order().unwrap());
    }
}

#[test]
fn an_order_of_version_1_keeps_the_bytes_and_the_digest_that_its_approval_covered() {
    let recorded = std::fs::read_to_string(path("stock-v1.txt")).unwrap();
    let order = CanonicalOrder::parse(&recorded).unwrap();
    assert_eq!(order.form(), Form::V1);
    golden("stock-v1.txt", &order);
    let mut new = stock();
    new.terms.quantity = quantity("1");
    let new = new.order().unwrap();
    assert_eq!(new.clone().in_form_1().unwrap(), order);
    assert_ne!(new.digest(), order.digest());
    assert_ne!(new, order);
    // What no version 1 ever placed isn't made up: these classes lack what tells them apart.
    for name in ["option-v1.txt", "forex-v1.txt"] {
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert_eq!(CanonicalOrder::parse(&text), Err(InvalidOrder::NotCanonical), "{name}");
    }
    for order_type in OrderType::ALL.iter().filter(|kind| **kind != OrderType::Limit) {
        let order = draft(*order_type, ContractIdentity::Stock).order().unwrap();
        assert_eq!(order.in_form_1(), Err(InvalidOrder::Form), "{order_type}");
    }
}

fn stock() -> Draft {
    let mut draft = draft(OrderType::Limit, ContractIdentity::Stock);
    draft.terms.pricing = limit("100.50");
    draft
}

type Change = fn(&mut Draft);

/// Every field that a stock limit order's bytes carry, changed one at a time.
fn changes() -> Vec<(Field, Change)> {
    vec![
        (Field::Broker, |d| d.target.broker = BrokerName::parse("other").unwrap()),
        (Field::Mode, |d| d.target.mode = Mode::Simulated),
        (Field::Account, |d| d.target.account = AccountId::parse("DU7654321").unwrap()),
        (Field::Conid, |d| d.contract.conid = Conid::new(1).unwrap()),
        (Field::Symbol, |d| d.contract.symbol = Untrusted::new("MSFT")),
        (Field::AssetClass, |d| {
            d.contract.class = AssetClass::Future;
            d.identity = ContractIdentity::Future { expiry: Date::parse("20270115").unwrap() };
        }),
        (Field::Exchange, |d| d.contract.exchange = "NYSE".to_owned()),
        (Field::Currency, |d| d.contract.currency = Currency::parse("EUR").unwrap()),
        (Field::Multiplier, |d| d.contract.multiplier = Decimal::TWO),
        (Field::Side, |d| d.terms.side = Side::Sell),
        (Field::Quantity, |d| d.terms.quantity = quantity("2")),
        (Field::OrderType, |d| d.terms.pricing = Pricing::Market),
        (Field::Limit, |d| d.terms.pricing = limit("100.51")),
        (Field::TimeInForce, |d| d.terms.time_in_force = TimeInForce::GoodTillCancelled),
        (Field::OutsideRth, |d| d.terms.outside_rth = true),
    ]
}

#[test]
fn every_field_changes_the_digest_and_the_summary() {
    let mut before = stock();
    before.terms.quantity = quantity("1");
    let order = before.clone().order().unwrap();
    let mut digests = BTreeSet::from([order.digest()]);
    let mut summaries = BTreeSet::from([order.summary()]);
    let carried: BTreeSet<Field> = order.fields().map(|(field, _)| field).collect();
    let mut changed: BTreeSet<Field> = changes().into_iter().map(|(field, _)| field).collect();
    // There is one action so far.
    changed.insert(Field::Action);
    assert_eq!(changed, carried, "a field without a change here");
    for (field, change) in changes() {
        let mut draft = before.clone();
        change(&mut draft);
        let order = draft.order().unwrap();
        assert!(digests.insert(order.digest()), "{field:?}");
        assert!(summaries.insert(order.summary()), "{field:?}: {}", order.summary());
    }
}

#[test]
fn the_spelling_of_a_number_does_not_change_the_digest() {
    let mut other = stock();
    other.terms.pricing = limit("100.5000");
    other.terms.quantity = quantity("12.000");
    other.contract.multiplier = dec("1.0");
    let mut one = stock();
    one.terms.quantity = quantity("12");
    assert_eq!(other.order().unwrap().digest(), one.order().unwrap().digest());
}

#[test]
fn what_only_describes_the_contract_does_not_change_the_digest() {
    let mut other = stock();
    other.contract.name = Untrusted::new("another name");
    other.contract.listing_exchange = Untrusted::new("ELSEWHERE");
    other.contract.price_increment = Some(Decimal::ONE);
    assert_eq!(other.order().unwrap().digest(), stock().order().unwrap().digest());
}

#[test]
fn texts_that_could_forge_a_line_are_refused() {
    for exchange in ["SMART\nside=sell", "SMART\r", "", "é", "\u{202e}", &"X".repeat(65)] {
        let mut draft = stock();
        draft.contract.exchange = exchange.to_owned();
        assert_eq!(draft.order(), Err(InvalidOrder::Text("exchange")), "{exchange:?}");
    }
    let mut draft = stock();
    draft.contract.symbol = Untrusted::new("");
    assert_eq!(draft.order(), Err(InvalidOrder::Text("symbol")));
    for multiplier in ["0", "-1"] {
        let mut draft = stock();
        draft.contract.multiplier = dec(multiplier);
        assert_eq!(draft.order(), Err(InvalidOrder::Multiplier));
    }
    let mut option = super::orders::identities().remove(1);
    if let ContractIdentity::Option { trading_class, .. } = &mut option {
        *trading_class = "SPX\nside=sell".to_owned();
    }
    let order = draft_of(option).order();
    assert_eq!(order, Err(InvalidOrder::Text("trading class")));
}

fn draft_of(identity: ContractIdentity) -> Draft {
    draft(OrderType::Limit, identity)
}

#[test]
fn a_preview_makes_stock_orders_only() {
    for identity in super::orders::identities() {
        let class = identity.class();
        let Draft { target, contract, terms, .. } = draft_of(identity.clone());
        let made = CanonicalOrder::new(target, &contract, terms);
        if identity == ContractIdentity::Stock {
            assert!(made.is_ok());
        } else if class != AssetClass::Stock {
            assert_eq!(made, Err(InvalidOrder::Class(class)));
        }
    }
    let wrong = Contract { class: AssetClass::Option, ..stock().contract };
    let made = ibkr_agent_domain::OrderContract::new(&wrong, ContractIdentity::Stock);
    assert_eq!(made, Err(InvalidOrder::Class(AssetClass::Option)));
}

#[test]
fn only_contracts_that_trade_below_zero_take_such_a_price() {
    let below =
        Pricing::Limit { limit: ibkr_agent_domain::SignedPrice::new(dec("-37.63")).unwrap() };
    for identity in super::orders::identities() {
        let may =
            matches!(identity, ContractIdentity::Future { .. } | ContractIdentity::Combo { .. });
        let mut draft = draft_of(identity);
        draft.terms.pricing = below;
        let made = draft.order();
        assert_eq!(made.is_ok(), may, "{made:?}");
        if !may {
            assert_eq!(made, Err(InvalidOrder::NotPositive(PriceField::Limit)));
        }
    }
}

#[test]
fn an_orders_value_is_price_times_quantity_times_multiplier() {
    let mut draft = stock();
    draft.contract.multiplier = dec("100");
    draft.terms.quantity = quantity("12");
    draft.terms.pricing = limit("0.05");
    let value = draft.clone().order().unwrap().limit_value().unwrap();
    assert_eq!((value.amount, value.currency), (dec("60"), Currency::USD));
    draft.terms.quantity = quantity("1000000000000000");
    draft.terms.pricing = limit("1000000000000000");
    assert_eq!(draft.clone().order().unwrap().limit_value(), None);
    draft.terms.pricing = Pricing::Market;
    assert_eq!(draft.order().unwrap().limit_value(), None);
}

#[test]
fn the_summary_names_all_that_a_human_must_see() {
    let option = ContractIdentity::Option {
        right: OptionRight::Put,
        strike: Price::new(dec("600")).unwrap(),
        expiry: Date::parse("20270115").unwrap(),
        trading_class: "SPYW".to_owned(),
    };
    let mut draft = draft(OrderType::StopLimit, option);
    draft.contract.multiplier = dec("100");
    draft.terms.side = Side::Sell;
    draft.terms.time_in_force = TimeInForce::GoodTillCancelled;
    draft.terms.outside_rth = true;
    let order = draft.order().unwrap();
    let summary = order.summary().to_ascii_lowercase();
    for (field, text) in order.fields() {
        let special = [
            (Field::Action, ""),
            (Field::OutsideRth, "outside regular hours"),
            (Field::OrderType, "stop limit"),
        ];
        let special = special.into_iter().find(|(special, _)| *special == field);
        let shown = special.map_or(text.to_ascii_lowercase(), |(_, words)| words.to_owned());
        assert!(summary.contains(&shown), "{field:?}: {shown}: {summary}");
    }
}

fn reference(sidecar: &str, account: &str, claim: &str, leg: u8) -> String {
    let sidecar = SidecarId::parse(sidecar).unwrap();
    let account = AccountId::parse(account).unwrap();
    client_order_id(&sidecar, &account, claim, leg).unwrap().to_string()
}

#[test]
fn an_order_reference_is_the_recorded_one() {
    let found = reference("sidecar-1", "DU1234567", "ap-0123456789abcdef", 0);
    assert_eq!(found, "iaf8ac039bac00d9e4b4c3b1783e30219a");
}

#[test]
fn order_references_differ_by_sidecar_account_claim_and_leg() {
    let mut seen = BTreeSet::new();
    for sidecar in ["s1", "s2", "s1:a"] {
        for account in ["a", "b"] {
            for claim in ["ap-1", "ap-2", "ap-1\n0"] {
                for leg in [0, 1, 255] {
                    let reference = reference(sidecar, account, claim, leg);
                    assert!(reference.bytes().all(|b| b.is_ascii_alphanumeric()), "{reference}");
                    assert_eq!(reference.len(), 34);
                    assert!(seen.insert(reference), "{sidecar} {account} {claim} {leg}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_same_claim_always_names_the_same_order(claim in "[a-z0-9-]{1,40}", leg in any::<u8>()) {
        prop_assert_eq!(reference("s", "a", &claim, leg), reference("s", "a", &claim, leg));
    }
}
