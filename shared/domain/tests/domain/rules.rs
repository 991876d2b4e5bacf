//! What a contract's rules say of a price and a quantity.

use ibkr_agent_domain::{Conid, ContractRules, PriceStep};
use rust_decimal::Decimal;

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Rules with these steps by price and a step that holds now.
fn rules(steps: &[(&str, &str)], now: Option<&str>) -> ContractRules {
    let step = |(from, step): &(&str, &str)| PriceStep { from: dec(from), step: dec(step) };
    ContractRules {
        conid: Conid::new(1).unwrap(),
        order_types: Vec::new(),
        order_types_outside: Vec::new(),
        times_in_force: Vec::new(),
        price_increment: now.map(dec),
        price_steps: steps.iter().map(step).collect(),
        size_increment: Some(dec("100")),
        default_size: None,
        takes_fractions: false,
        fraction_digits: None,
        takes_cash_quantity: false,
        overnight: None,
        negative_prices: None,
    }
}

#[test]
fn the_step_at_a_price_is_that_of_the_highest_edge_at_or_below_it_in_any_order() {
    for steps in [[("0", "0.0001"), ("1", "0.01")], [("1", "0.01"), ("0", "0.0001")]] {
        let rules = rules(&steps, Some("0.01"));
        for (price, step) in [("0", "0.0001"), ("0.9999", "0.0001"), ("1", "0.01"), ("9", "0.01")] {
            assert_eq!(rules.increment_at(dec(price)), Some(dec(step)), "{price}");
        }
        assert_eq!(rules.increment_at(dec("-0.01")), None, "below the lowest edge");
    }
}

#[test]
fn without_steps_by_price_the_step_of_now_holds_and_without_any_nothing_is_known() {
    assert_eq!(rules(&[], Some("0.05")).increment_at(dec("7")), Some(dec("0.05")));
    assert_eq!(rules(&[], None).increment_at(dec("7")), None);
    assert_eq!(rules(&[], None).takes_price(dec("7")), None);
}

#[test]
fn a_price_is_taken_on_the_step_that_holds_at_it() {
    let rules = rules(&[("0", "0.0001"), ("1", "0.01")], Some("0.01"));
    for (price, taken) in
        [("0.6512", true), ("0.65125", false), ("1.01", true), ("1.0101", false), ("10.855", false)]
    {
        assert_eq!(rules.takes_price(dec(price)), Some(taken), "{price}");
    }
}

#[test]
fn a_quantity_is_whole_or_a_fraction_with_the_places_that_are_taken() {
    let whole = rules(&[], None);
    for (quantity, taken) in
        [("1", true), ("1.00", true), ("7", true), ("0", false), ("-1", false), ("0.5", false)]
    {
        assert_eq!(whole.takes_quantity(dec(quantity)), taken, "{quantity}");
    }
    let fractions =
        ContractRules { takes_fractions: true, fraction_digits: Some(4), ..whole.clone() };
    for (quantity, taken) in [("0.0001", true), ("1.23450", true), ("0.00000001", false)] {
        assert_eq!(fractions.takes_quantity(dec(quantity)), taken, "{quantity}");
    }
    let untold = ContractRules { fraction_digits: None, ..fractions };
    assert!(untold.takes_quantity(dec("2")) && !untold.takes_quantity(dec("0.5")));
    let not_taken = ContractRules { fraction_digits: Some(4), ..whole };
    assert!(!not_taken.takes_quantity(dec("0.5")), "places without fractions");
}
