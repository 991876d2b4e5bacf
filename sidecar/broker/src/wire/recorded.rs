//! The answers of `fixtures/recorded`, which IBKR's text or a recording shows and the simulator
//! doesn't serve: each must mean what its file says.

use super::cancels::cancellation;
use super::many::Row;
use super::orders::{OrderStatus, Orders, orders};
use super::parsers::answer;
use super::replies::placement;
use super::trades::{TradeRow, executions};
use super::what_if::WhatIfAnswer;
use ibkr_agent_domain::{AccountId, BrokerOrder, BrokerOrderId, ClientOrderId, Estimate};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    source: String,
    request: Request,
    status: u16,
    response: Value,
    means: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    body: Value,
}

/// What we understand, in the words of the files.
fn meaning(recorded: &Recorded) -> String {
    let body = serde_json::to_vec(&recorded.response).unwrap();
    let answer = answer(recorded.status, &body);
    let account = AccountId::parse("DU1234567").unwrap();
    let path: Vec<&str> = recorded.request.path.trim_start_matches('/').split('/').collect();
    match (recorded.request.method.as_str(), path.as_slice()) {
        ("DELETE", [.., id]) => kind(&cancellation(&answer, &BrokerOrderId::parse(id).unwrap())),
        ("POST", [.., "whatif"]) => {
            let raw: WhatIfAnswer = serde_json::from_slice(&body).unwrap();
            let told = Estimate::try_from(raw).unwrap();
            let after = |figure: Option<Decimal>| figure.unwrap().to_string();
            let (margin, position) = (told.initial_margin.after, told.position.after);
            format!("initial margin {}, position {}", after(margin), after(position))
        }
        ("POST", [.., "orders"]) => {
            let own = recorded.request.body.pointer("/orders/0/cOID").and_then(Value::as_str);
            kind(&placement(&answer, &ClientOrderId::parse(own.unwrap()).unwrap()))
        }
        (_, [.., "status", _]) => {
            let raw: OrderStatus = serde_json::from_slice(&body).unwrap();
            let order = BrokerOrder::try_from(raw).unwrap();
            assert_eq!(prices(&order), "no limit, no trigger");
            let (filled, average) = (order.filled.unwrap(), order.average_price.unwrap());
            format!("{} {filled} at {average}, no price", order.status.as_str())
        }
        (_, [.., "trades"]) => {
            let rows: Vec<Row<TradeRow>> = serde_json::from_slice(&body).unwrap();
            let listed = executions(rows, &account);
            match listed.unread.first() {
                None => format!("{} read", listed.rows.len()),
                Some(row) => format!("{} unread: {}", listed.unread.len(), row.why),
            }
        }
        (_, _) => {
            let list: Orders = serde_json::from_slice(&body).unwrap();
            let listed = orders(list, &account);
            assert!(listed.is_whole());
            prices(&listed.rows[0])
        }
    }
}

/// The variant's name.
fn kind(outcome: &impl core::fmt::Debug) -> String {
    let text = format!("{outcome:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap();
    name.to_lowercase()
}

fn prices(order: &BrokerOrder) -> String {
    match (order.limit_price, order.trigger_price) {
        (None, None) => "no limit, no trigger".to_owned(),
        (Some(limit), None) => format!("limit {limit}, no trigger"),
        (None, Some(trigger)) => format!("trigger {trigger}, no limit"),
        (Some(limit), Some(trigger)) => format!("limit {limit}, trigger {trigger}"),
    }
}

#[test]
fn what_ibkr_documents_or_was_recorded_means_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/recorded/orders");
    let mut wrong = Vec::new();
    let mut count = 0_usize;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let recorded: Recorded = serde_json::from_str(&text).unwrap();
        assert!(!recorded.source.is_empty(), "{}", path.display());
        let read = meaning(&recorded);
        count += 1;
        if read != recorded.means {
            wrong.push(format!("{}: {read}, not {}", path.display(), recorded.means));
        }
    }
    assert!(count >= 13, "{count} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
