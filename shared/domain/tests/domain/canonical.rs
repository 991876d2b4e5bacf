//! The bytes that a human's approval covers, fixed in `fixtures/canonical`. `UPDATE_GOLDEN=1`
//! writes them anew, which is a change of the format: it needs a new version.

use ibkr_agent_domain::{
    AccountId, AssetClass, BrokerName, CanonicalOrder, Conid, Contract, Currency, Digest,
    InvalidOrder, Mode, OrderTarget, OrderTerms, Price, Pricing, Quantity, Side, SidecarId,
    TimeInForce, Untrusted, client_order_id,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Debug, Clone)]
struct Draft {
    target: OrderTarget,
    contract: Contract,
    terms: OrderTerms,
}

impl Draft {
    fn order(self) -> Result<CanonicalOrder, InvalidOrder> {
        CanonicalOrder::new(self.target, &self.contract, self.terms)
    }
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn limit(text: &str) -> Pricing {
    Pricing::Limit { limit: Price::new(dec(text)).unwrap().into() }
}

fn quantity(text: &str) -> Quantity {
    Quantity::new(dec(text)).unwrap()
}

fn stock() -> Draft {
    Draft {
        target: OrderTarget {
            broker: BrokerName::parse("paper").unwrap(),
            mode: Mode::Paper,
            account: AccountId::parse("DU1234567").unwrap(),
        },
        contract: Contract {
            conid: Conid::new(265_598).unwrap(),
            symbol: Untrusted::new("AAPL"),
            name: Untrusted::new("APPLE INC"),
            class: AssetClass::Stock,
            exchange: "SMART".to_owned(),
            listing_exchange: Untrusted::new("NASDAQ"),
            currency: Currency::USD,
            multiplier: Decimal::ONE,
            price_increment: None,
        },
        terms: OrderTerms {
            side: Side::Buy,
            quantity: quantity("1"),
            pricing: limit("100.50"),
            time_in_force: TimeInForce::Day,
            outside_rth: false,
        },
    }
}

fn option() -> Draft {
    let mut draft = stock();
    draft.target.mode = Mode::Live;
    draft.target.broker = BrokerName::parse("live").unwrap();
    draft.target.account = AccountId::parse("U1234567").unwrap();
    draft.contract.class = AssetClass::Option;
    draft.contract.symbol = Untrusted::new("BRK B");
    draft.contract.exchange = "CBOE".to_owned();
    draft.contract.multiplier = dec("100.0");
    draft.terms.side = Side::Sell;
    draft.terms.time_in_force = TimeInForce::GoodTillCancelled;
    draft.terms.outside_rth = true;
    draft.terms.quantity = quantity("12.000");
    draft.terms.pricing = limit("0.05");
    draft
}

fn forex() -> Draft {
    let mut draft = stock();
    draft.target.mode = Mode::Simulated;
    draft.contract.conid = Conid::new(12_087_792).unwrap();
    draft.contract.class = AssetClass::Forex;
    draft.contract.symbol = Untrusted::new("EUR.USD");
    draft.contract.exchange = "IDEALPRO".to_owned();
    draft.terms.quantity = quantity("25000.75");
    draft.terms.pricing = limit("1.08765");
    draft
}

fn golden(name: &str, draft: Draft) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/canonical");
    let path = folder.join(name);
    let order = draft.order().unwrap();
    let bytes = order.canonical_bytes();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&expected), "{name}");
    assert_eq!(order.digest(), Digest::of(&expected));
}

#[test]
fn canonical_bytes_are_the_recorded_ones() {
    golden("stock-v1.txt", stock());
    golden("option-v1.txt", option());
    golden("forex-v1.txt", forex());
}

/// Every field that the bytes carry, changed one at a time.
fn changes() -> Vec<fn(&mut Draft)> {
    vec![
        |d| d.target.broker = BrokerName::parse("other").unwrap(),
        |d| d.target.mode = Mode::Simulated,
        |d| d.target.account = AccountId::parse("DU7654321").unwrap(),
        |d| d.contract.conid = Conid::new(1).unwrap(),
        |d| d.contract.symbol = Untrusted::new("MSFT"),
        |d| d.contract.class = AssetClass::Cfd,
        |d| d.contract.exchange = "NYSE".to_owned(),
        |d| d.contract.currency = Currency::parse("EUR").unwrap(),
        |d| d.contract.multiplier = Decimal::TWO,
        |d| d.terms.side = Side::Sell,
        |d| d.terms.quantity = quantity("2"),
        |d| d.terms.pricing = limit("100.51"),
        |d| d.terms.time_in_force = TimeInForce::GoodTillCancelled,
        |d| d.terms.outside_rth = true,
    ]
}

#[test]
fn every_field_changes_the_digest() {
    let mut digests = BTreeSet::from([stock().order().unwrap().digest()]);
    let fields = stock().order().unwrap().canonical_bytes();
    let lines = fields.iter().filter(|byte| **byte == b'\n').count();
    // The first line is the version; the order type has one value so far.
    assert_eq!(changes().len(), lines - 2, "a field without a change here");
    for (index, change) in changes().into_iter().enumerate() {
        let mut draft = stock();
        change(&mut draft);
        assert!(digests.insert(draft.order().unwrap().digest()), "change {index}");
    }
}

#[test]
fn the_spelling_of_a_number_does_not_change_the_digest() {
    let mut other = stock();
    other.terms.pricing = limit("100.5000");
    other.terms.quantity = quantity("1.00");
    other.contract.multiplier = dec("1.0");
    assert_eq!(other.order().unwrap().digest(), stock().order().unwrap().digest());
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
}

#[test]
fn an_orders_value_is_price_times_quantity_times_multiplier() {
    let value = option().order().unwrap().limit_value().unwrap();
    assert_eq!((value.amount, value.currency), (dec("60"), Currency::USD));
    let mut huge = stock();
    huge.terms.quantity = quantity("1000000000000000");
    huge.terms.pricing = limit("1000000000000000");
    assert_eq!(huge.order().unwrap().limit_value(), None);
}

#[test]
fn the_summary_names_all_that_a_human_must_see() {
    let summary = option().order().unwrap().summary();
    let parts =
        ["SELL 12 BRK B", "LIMIT 0.05 USD", "GTC", "outside regular hours", "U1234567", "live"];
    for part in parts {
        assert!(summary.contains(part), "{part}: {summary}");
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

    #[test]
    fn canonical_bytes_have_one_line_per_field_whatever_the_contract_says(
        symbol in "\\PC{0,20}", exchange in "[ -~]{1,30}",
    ) {
        let mut draft = stock();
        draft.contract.symbol = Untrusted::new(&symbol);
        draft.contract.exchange = exchange;
        let Ok(order) = draft.order() else { return Ok(()) };
        let text = String::from_utf8(order.canonical_bytes()).unwrap();
        prop_assert_eq!(text.lines().count(), 16);
        prop_assert!(text.ends_with('\n'));
        let keys: BTreeSet<_> = text.lines().skip(1).map(|l| l.split('=').next()).collect();
        prop_assert_eq!(keys.len(), 15);
    }
}
