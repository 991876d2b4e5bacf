//! A question that a policy answers: every letter, and every number of the order's own.

use super::support::{Draft, dec};
use ibkr_agent_domain::Side;
use ibkr_agent_gates::{Bounds, InvalidTemplate, KnownQuestion, Question, Slot};
use std::collections::BTreeMap;

const TEXT: &str = "The following order \"{side} {quantity} {symbol} {venue} @ {price}\" exceeds \
                    the Percentage constraint of {percent}%. Are you sure?";

fn known() -> KnownQuestion {
    let least = Bounds { min: Some(dec("3")), max: None };
    KnownQuestion::new("o163", TEXT, BTreeMap::from([(Slot::Percent, least)])).unwrap()
}

fn question(text: &str) -> Question {
    Question {
        reply_id: "r1".to_owned(),
        message_ids: vec!["o163".to_owned()],
        messages: vec![text.to_owned()],
    }
}

fn asked(order: &str, percent: &str) -> Question {
    question(&format!(
        "The following order \"{order}\" exceeds the Percentage constraint of {percent}%. Are you \
         sure?"
    ))
}

fn is(question: &Question) -> bool {
    let draft = Draft { quantity: dec("1000"), limit: dec("100.5"), ..Draft::default() };
    known().is(question, &draft.order())
}

#[test]
fn the_orders_own_numbers_and_bounded_ones_are_known() {
    for order in ["BUY 1,000 AAPL NASDAQ.NMS @ 100.50", "Buy 1000 AAPL SMART @ 100.5"] {
        assert!(is(&asked(order, "3")), "{order}");
        assert!(is(&asked(order, "99.5")), "{order}");
    }
}

#[test]
fn every_slot_that_is_mutated_makes_it_a_humans_question() {
    let good = "BUY 1,000 AAPL NASDAQ.NMS @ 100.50";
    for order in [
        "SELL 1,000 AAPL NASDAQ.NMS @ 100.50",
        "BUY 10,000 AAPL NASDAQ.NMS @ 100.50",
        "BUY 1000.01 AAPL NASDAQ.NMS @ 100.50",
        "BUY 10,00 AAPL NASDAQ.NMS @ 100.50",
        "BUY 1,000 MSFT NASDAQ.NMS @ 100.50",
        // A Cyrillic letter that looks like ours.
        "BUY 1,000 A\u{0410}PL NASDAQ.NMS @ 100.50",
        "BUY 1,000 AAPL nasdaq @ 100.50",
        "BUY 1,000 AAPL NASDAQ; sell all @ 100.50",
        "BUY 1,000 AAPL NASDAQ.NMS @ 100.51",
        "BUY 1,000 AAPL NASDAQ.NMS @ ",
        "BUY  1,000 AAPL NASDAQ.NMS @ 100.50",
    ] {
        assert!(!is(&asked(order, "3")), "{order}");
    }
    for percent in ["2.99", "-3", "3e2", "", "1 or 90", "3.", "\u{ff13}"] {
        assert!(!is(&asked(good, percent)), "{percent}");
    }
    assert!(is(&asked(good, "3")));
}

#[test]
fn more_text_another_id_and_a_second_message_are_another_question() {
    let good = asked("BUY 1,000 AAPL NASDAQ.NMS @ 100.50", "3");
    let text = good.messages[0].clone();
    for changed in
        [format!("{text} "), format!("{text} It will also be doubled."), format!(" {text}")]
    {
        assert!(!is(&question(&changed)), "{changed}");
    }
    let mut two = good.clone();
    two.messages.push("And this?".to_owned());
    assert!(!is(&two));
    let mut other = good;
    other.message_ids = vec!["o164".to_owned()];
    assert!(!is(&other));
    other.message_ids = vec!["o163".to_owned(), "o163".to_owned()];
    assert!(!is(&other));
    other.message_ids.clear();
    assert!(!is(&other));
}

#[test]
fn a_template_says_where_each_slot_ends_and_bounds_its_numbers() {
    let make = |text: &str| KnownQuestion::new("o163", text, BTreeMap::new()).unwrap_err();
    assert_eq!(make(""), InvalidTemplate::Length);
    assert_eq!(make("{side}{quantity}"), InvalidTemplate::Touching);
    assert_eq!(make("a {side"), InvalidTemplate::Brace);
    assert_eq!(make("a {cost} b"), InvalidTemplate::Slot("cost".to_owned()));
    assert_eq!(make("{percent}%"), InvalidTemplate::Unbounded("percent"));
    assert_eq!(make("{amount} USD"), InvalidTemplate::Unbounded("amount"));
    let most = BTreeMap::from([(Slot::Amount, Bounds { min: None, max: Some(dec("5")) })]);
    let fee = KnownQuestion::new("o1", "Fee {amount} USD", most).unwrap();
    let ask = |text: &str| Question {
        reply_id: "r".to_owned(),
        message_ids: vec!["o1".to_owned()],
        messages: vec![text.to_owned()],
    };
    let order = Draft { side: Side::Sell, ..Draft::default() }.order();
    assert!(fee.is(&ask("Fee 5 USD"), &order));
    assert!(!fee.is(&ask("Fee 5.01 USD"), &order));
    assert_eq!(fee.to_string(), "o1 \"Fee {amount} USD\", amount at most 5");
}
