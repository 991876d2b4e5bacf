//! What the account's user does in TWS, as the real program with a paper login tells it. The broker
//! is a simulator in another process.

use crate::played::{Played, Told};
use crate::support::Home;
use crate::terminal::Paper;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The sidecar looks every 20 seconds; this is one look and a busy machine.
const ONE_LOOK: Duration = Duration::from_secs(30);

const AAPL: i64 = 265_598;

/// A paper login over a broker where our orders work without a question.
fn start() -> (Played, Told, Paper) {
    let home = Home::new();
    let broker = Played::start(&home);
    let told = Told::new(&home);
    broker.make(&json!({ "do": "set_precautions", "precautions": "off" }));
    broker.make(&json!({ "do": "set_price", "conid": AAPL, "price": "204" }));
    let paper = Paper::over(home, &broker.base_url, &told.config);
    paper.init();
    (broker, told, paper)
}

/// Approves and submits a purchase that rests; the approval's id and the order.
fn submitted(paper: &Paper, terms: &str) -> (String, Value) {
    let approval = paper.approve("BUY 10 AAPL", terms);
    let line = format!("orders submit --account DU1234567 --approval-id {approval}");
    let order = paper.json(&line).json();
    assert_eq!(order["status"], "working", "{order}");
    (approval, order)
}

#[test]
fn an_order_that_the_accounts_user_entered_is_told_within_one_look() {
    let (broker, mut told, paper) = start();
    let _sidecar = paper.sidecar();
    let entered = broker.make(&json!({
        "do": "new_order", "account": "DU1234567", "conid": AAPL, "side": "SELL", "quantity": 3,
        "price": 300,
    }));
    let notice = told.wait_for("foreign_order", ONE_LOOK);
    let id = entered["order"]["order_id"].to_string();
    assert_eq!(notice["details"]["broker_order_ids"], id.as_str(), "{notice}");
}

#[test]
fn an_order_that_the_accounts_user_cancelled_is_known_to_be_cancelled() {
    let (broker, _told, paper) = start();
    let _sidecar = paper.sidecar();
    let (approval, order) = submitted(&paper, "--quantity 10 --limit-price 200");
    broker.make(&json!({ "do": "cancel_order", "order": order["client_order_id"] }));
    let began = Instant::now();
    loop {
        let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
        if outcome["status"] == "cancelled" {
            break;
        }
        assert!(began.elapsed() < ONE_LOOK, "{outcome}");
    }
}

#[test]
fn with_the_broker_gone_an_outcome_says_that_nobody_looked_and_when_somebody_did() {
    let (broker, _told, paper) = start();
    let _sidecar = paper.sidecar();
    let (approval, _) = submitted(&paper, "--quantity 10 --limit-price 200");
    outcome_is(&paper, &approval, "working", "0");
    drop(broker);
    let began = Instant::now();
    loop {
        let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
        assert_eq!(outcome["status"], "working", "it is what was last seen: {outcome}");
        if says(&outcome["message"], "not looked up at the broker since") {
            assert!(outcome["checked_at"].is_string(), "{outcome}");
            break;
        }
        assert!(began.elapsed() < ONE_LOOK, "{outcome}");
    }
}

#[test]
fn an_order_that_the_accounts_user_changed_is_told_and_counted_as_it_is() {
    let (broker, mut told, paper) = start();
    let _sidecar = paper.sidecar();
    let (approval, order) = submitted(&paper, "--quantity 10 --limit-price 200");
    assert!(used(&paper, "notional_per_day") >= 2_000.0);

    broker.make(&json!({ "do": "set_price", "conid": AAPL, "price": "229.75" }));
    let changed = broker.make(&json!({
        "do": "change_order", "order": order["client_order_id"],
        "terms": { "quantity": 500, "price": 235 },
    }));
    assert_eq!(changed["order"]["filled"], "500", "500 at 229.75 are 114,875 dollars: {changed}");

    let notice = told.wait_for("order_changed_at_broker", ONE_LOOK);
    assert_eq!(notice["urgency"], "act", "{notice}");
    let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
    assert!(says(&outcome, "approved 10 @ 200, now 500 @ 235, filled 500"), "{outcome}");
    assert_eq!(number(&outcome["filled"]), 500.0, "{outcome}");
    assert!(used(&paper, "notional_per_day") >= 114_875.0, "what the broker did counts");
    paper.json("audit verify").json();
}

#[test]
fn a_fill_that_the_broker_took_back_is_told_and_the_order_filled_nothing() {
    let (broker, mut told, paper) = start();
    let _sidecar = paper.sidecar();
    let (approval, order) = submitted(&paper, "--quantity 10 --limit-price 200");
    let filled = json!({ "do": "fill", "order": order["client_order_id"], "quantity": 10 });
    broker.make(&filled);
    outcome_is(&paper, &approval, "filled", "10");
    let executions = broker.make(&json!({ "do": "executions" }));
    let ours = executions["executions"].as_array().unwrap().last().unwrap();
    broker.make(&json!({ "do": "bust", "execution": ours["execution"] }));

    // Believed when two looks, one after the other, say it.
    let notice = told.wait_for("fill_taken_back", 2 * ONE_LOOK);
    assert!(says(&notice, "approved 10 @ 200, filled 0, after the broker"), "{notice}");
    outcome_is(&paper, &approval, "filled", "0");
    assert!(used(&paper, "notional_per_day") >= 2_000.0, "a limit gives nothing back");
}

#[test]
fn an_order_of_ours_that_cannot_be_read_is_told_and_stands_in_its_outcome() {
    let (broker, mut told, paper) = start();
    let _sidecar = paper.sidecar();
    let (approval, order) = submitted(&paper, "--quantity 10 --limit-price 200");
    broker.make(&json!({ "do": "show_as_combo", "order": order["client_order_id"] }));
    told.wait_for("order_unreadable", ONE_LOOK);
    let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
    assert_eq!(outcome["status"], "working", "{outcome}");
    assert!(says(&outcome, "the broker shows a row of it that can't be read"), "{outcome}");
}

#[test]
fn a_position_that_moved_without_a_trade_is_told_as_before_after_and_explained() {
    let (broker, mut told, paper) = start();
    let _sidecar = paper.sidecar();
    broker.make(&json!({
        "do": "new_order", "account": "DU1234567", "conid": AAPL, "side": "BUY", "quantity": 3,
        "price": 250,
    }));
    // Somebody else's trade is told as such, and explains its position.
    told.wait_for("foreign_order", ONE_LOOK);
    // Books begin with the first look around; the other record of a notice is the trade's.
    let began = Instant::now();
    let notices = || {
        let log = paper.json("audit tail --limit 100").json();
        let events = log["events"].as_array().unwrap().clone();
        events.iter().filter(|event| event["kind"] == "notice").count()
    };
    while notices() < 2 {
        assert!(began.elapsed() < 2 * ONE_LOOK, "positions are never compared");
    }
    let executions = broker.make(&json!({ "do": "executions" }));
    let theirs = executions["executions"].as_array().unwrap().last().unwrap();
    broker.make(&json!({ "do": "bust", "execution": theirs["execution"] }));
    let notice = told.wait_for("position_jumped", 4 * ONE_LOOK);
    let moved = format!("AAPL ({AAPL}) from ");
    assert!(says(&notice, &moved) && says(&notice, "of which trades explain 0"), "{notice}");
}

/// Waits until an order's outcome has this status and filled quantity.
fn outcome_is(paper: &Paper, approval: &str, status: &str, filled: &str) {
    let began = Instant::now();
    loop {
        let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
        let quantity = number(&outcome["filled"]).to_string();
        if outcome["status"] == status && quantity == filled {
            return;
        }
        assert!(began.elapsed() < ONE_LOOK, "{outcome}");
    }
}

/// How much of a limit is used, as `limits show` tells it.
fn used(paper: &Paper, name: &str) -> f64 {
    let limits = paper.json("limits show --account DU1234567").json();
    let rows = limits["limits"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap();
    row["used"].as_str().unwrap().parse().unwrap()
}

/// Whether a text stands in any field.
fn says(value: &Value, text: &str) -> bool {
    value.to_string().contains(text)
}

/// A number that may be written as text.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}
