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
