//! The golden shapes of `fixtures/shapes`, each read by the parser of its endpoint. The simulator
//! serves the same files, so what it says and what we understand can't drift apart.

use super::cancels::cancellation;
use super::parsers::{ALL, answer};
use super::replies::{Placement, placement};
use crate::CancelOutcome;
use crate::session::{Fault, check};
use ibkr_agent_domain::{BrokerOrderId, ClientOrderId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Golden {
    request: Request,
    status: u16,
    response: Value,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    body: Value,
}

/// What reads an endpoint's answer.
enum Reader {
    /// The parser of this name.
    Read(&'static str),
    /// The answer to a placement, a modification or a reply.
    Placement,
    /// The answer to a cancel.
    Cancel,
    /// The client asks nothing of it: its failures must be told apart all the same.
    Unused,
}

use Reader::{Cancel, Placement as Placing, Read, Unused};

/// Method, path with `*` for one segment, reader. The first that fits counts.
const ENDPOINTS: &[(&str, &str, Reader)] = &[
    ("POST", "/tickle", Read("tickle")),
    ("GET", "/tickle", Read("tickle")),
    ("POST", "/iserver/auth/status", Read("auth status")),
    ("GET", "/iserver/auth/status", Read("auth status")),
    ("POST", "/iserver/auth/ssodh/init", Read("auth status")),
    ("GET", "/iserver/accounts", Read("brokerage accounts")),
    ("GET", "/portfolio/accounts", Read("portfolio accounts")),
    ("GET", "/portfolio/subaccounts", Read("portfolio accounts")),
    ("GET", "/portfolio/allocation", Read("allocation")),
    ("POST", "/portfolio/allocation", Read("allocation")),
    ("GET", "/portfolio/positions/*", Read("positions by account")),
    ("GET", "/portfolio/*/meta", Read("account description")),
    ("GET", "/portfolio/*/summary", Read("account summary")),
    ("GET", "/portfolio/*/ledger", Read("ledger")),
    ("GET", "/portfolio/*/allocation", Read("allocation")),
    ("GET", "/portfolio/*/positions/*", Read("positions")),
    ("GET", "/portfolio/*/position/*", Read("positions")),
    ("GET", "/portfolio/*/combo/positions", Read("combinations")),
    ("POST", "/portfolio/*/positions/invalidate", Unused),
    ("GET", "/portfolio2/*/positions", Read("positions")),
    ("GET", "/iserver/account/pnl/partitioned", Read("profit and loss")),
    ("POST", "/pa/performance", Read("performance")),
    ("POST", "/pa/transactions", Read("transactions")),
    ("GET", "/iserver/secdef/search", Read("search")),
    ("POST", "/iserver/secdef/search", Read("search")),
    ("GET", "/iserver/secdef/strikes", Read("strikes")),
    ("GET", "/iserver/secdef/info", Read("options")),
    ("GET", "/trsrv/secdef", Read("definitions")),
    ("GET", "/trsrv/stocks", Read("stocks")),
    ("GET", "/trsrv/futures", Read("futures")),
    ("GET", "/iserver/currency/pairs", Read("currency pairs")),
    ("GET", "/iserver/exchangerate", Read("exchange rate")),
    ("GET", "/iserver/contract/*/info", Read("contract")),
    ("GET", "/iserver/contract/*/info-and-rules", Read("contract")),
    ("POST", "/iserver/contract/rules", Read("contract rules")),
    ("GET", "/contract/trading-schedule", Read("trading schedule")),
    ("GET", "/iserver/marketdata/snapshot", Read("snapshot")),
    ("GET", "/iserver/marketdata/history", Read("history")),
    ("GET", "/iserver/scanner/params", Read("scanner parameters")),
    ("POST", "/iserver/scanner/run", Read("scan")),
    ("GET", "/iserver/watchlists", Read("watchlists")),
    ("GET", "/iserver/watchlist", Read("watchlist")),
    ("GET", "/iserver/account/*/alerts", Read("alerts")),
    ("GET", "/iserver/account/alert/*", Read("alert")),
    ("GET", "/iserver/account/mta", Read("alert")),
    ("GET", "/fyi/notifications", Read("notifications")),
    ("GET", "/fyi/notifications/more", Read("notifications")),
    ("GET", "/iserver/account/orders", Read("orders")),
    ("GET", "/iserver/account/order/status/*", Read("order status")),
    ("GET", "/iserver/account/trades", Read("trades")),
    ("POST", "/iserver/account/*/orders/whatif", Read("what-if")),
    ("POST", "/iserver/account/*/orders", Placing),
    ("POST", "/iserver/account/*/order/*", Placing),
    ("POST", "/iserver/reply/*", Placing),
    ("DELETE", "/iserver/account/*/order/*", Cancel),
    // What the client has no use for.
    ("GET", "/sso/validate", Unused),
    ("GET", "/sso/ping", Unused),
    ("POST", "/logout", Unused),
    ("POST", "/iserver/reauthenticate", Unused),
    ("POST", "/iserver/account", Unused),
    ("POST", "/iserver/dynaccount", Unused),
    ("GET", "/iserver/account/search/*", Unused),
    ("GET", "/iserver/account/*/summary", Unused),
    ("GET", "/iserver/account/*/summary/*", Unused),
    ("GET", "/acesws/*/signatures-and-owners", Unused),
    ("GET", "/portfolio/subaccounts2", Unused),
    ("POST", "/pa/allperiods", Unused),
    ("POST", "/pa/summary", Unused),
    ("GET", "/trsrv/all-conids", Unused),
    ("GET", "/trsrv/secdef/schedule", Unused),
    ("GET", "/iserver/secdef/bond-filters", Unused),
    ("GET", "/iserver/contract/*/algos", Unused),
    ("POST", "/iserver/marketdata/unsubscribe", Unused),
    ("GET", "/iserver/marketdata/unsubscribeall", Unused),
    ("GET", "/md/regsnapshot", Unused),
    ("POST", "/iserver/questions/suppress", Unused),
    ("POST", "/iserver/questions/suppress/reset", Unused),
    ("POST", "/iserver/notification", Unused),
    ("POST", "/iserver/watchlist", Unused),
    ("DELETE", "/iserver/watchlist", Unused),
    ("POST", "/iserver/account/*/alert", Unused),
    ("POST", "/iserver/account/*/alert/activate", Unused),
    ("DELETE", "/iserver/account/*/alert/*", Unused),
    ("GET", "/fyi/unreadnumber", Unused),
    ("GET", "/fyi/settings", Unused),
    ("POST", "/fyi/settings/*", Unused),
    ("GET", "/fyi/disclaimer/*", Unused),
    ("PUT", "/fyi/disclaimer/*", Unused),
    ("GET", "/fyi/deliveryoptions", Unused),
    ("PUT", "/fyi/deliveryoptions/email", Unused),
    ("POST", "/fyi/deliveryoptions/device", Unused),
    ("DELETE", "/fyi/deliveryoptions/*", Unused),
    ("PUT", "/fyi/notifications/*", Unused),
    ("GET", "/iserver/news", Unused),
    ("GET", "/iserver/news/*", Unused),
    ("GET", "/iserver/fundamentals/*/*", Unused),
    ("GET", "/hmds/history", Unused),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/shapes")
}

fn files() -> Vec<PathBuf> {
    let entries = |at: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let areas = entries(&folder()).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = areas.flat_map(|area| entries(&area)).collect();
    files.sort();
    files
}

fn reader(method: &str, path: &str) -> Option<&'static Reader> {
    let segments: Vec<&str> = path.split('/').collect();
    let is_path = |pattern: &str| {
        let wanted: Vec<&str> = pattern.split('/').collect();
        let fits = |(wanted, own): (&&str, &&str)| *wanted == "*" || wanted == own;
        wanted.len() == segments.len() && wanted.iter().zip(&segments).all(fits)
    };
    ENDPOINTS.iter().find(|row| row.0 == method && is_path(row.1)).map(|row| &row.2)
}

/// What is wrong with how a shape is read.
fn complaint(golden: &Golden) -> Option<String> {
    let body = match golden.response.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => serde_json::to_vec(&golden.response).unwrap(),
    };
    let answer = answer(golden.status, &body);
    match reader(&golden.request.method, &golden.request.path) {
        None => Some("no reader is named for this endpoint".to_owned()),
        Some(Placing) => placed(golden, &placement(&answer, &reference(golden))),
        Some(Cancel) => match cancellation(&answer, &order_id(golden)) {
            CancelOutcome::Unknown { why } => Some(format!("cancel is unknown: {why}")),
            CancelOutcome::Requested { .. }
            | CancelOutcome::Refused { .. }
            | CancelOutcome::NotSent { .. } => None,
        },
        Some(Unused) => check(&answer).err().and_then(failure),
        Some(Read(name)) => match check(&answer) {
            Err(fault) => failure(fault),
            Ok(()) => {
                let parser = ALL.iter().find(|row| row.0 == *name).unwrap().1;
                parser(&body).err().map(|error| format!("{name}: {error}"))
            }
        },
    }
}

/// A failure must have a meaning; "not understood" is none.
fn failure(fault: Fault) -> Option<String> {
    match fault {
        Fault::Error(error) if error.code().as_str() == "BROKER_RESPONSE_INVALID" => {
            Some(error.to_string())
        }
        Fault::PreflightMissing | Fault::Error(_) => None,
    }
}

/// A placement that failed before anything was taken may not be unknown, nor may one that worked.
fn placed(golden: &Golden, placement: &Placement) -> Option<String> {
    let is_clear = !matches!(placement, Placement::Unknown(_));
    let may_be_unknown = golden.status >= 500
        || golden.response.get("error").is_some_and(|text| {
            text.as_str().is_some_and(|text| text.contains("reply id not found"))
        })
        || golden.response.get("prompt").is_some();
    (!is_clear && !may_be_unknown).then(|| format!("{placement:?}"))
}

/// The reference of the order that was placed; of the last one where several were.
fn reference(golden: &Golden) -> ClientOrderId {
    let orders = golden.request.body.get("orders").and_then(Value::as_array);
    let first = orders.and_then(|orders| orders.first());
    let reference = first.and_then(|order| order.get("cOID")).and_then(Value::as_str);
    let listed = golden.response.get(0).and_then(|row| row.get("local_order_id"));
    let reference = reference.or_else(|| listed.and_then(Value::as_str));
    ClientOrderId::parse(reference.unwrap_or("none")).unwrap()
}

fn order_id(golden: &Golden) -> BrokerOrderId {
    let last = golden.request.path.rsplit('/').next().unwrap();
    BrokerOrderId::parse(last).unwrap()
}

#[test]
fn every_golden_shape_is_understood() {
    let files = files();
    assert!(files.len() >= 100, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        if let Some(complaint) = complaint(&golden) {
            let name = file.strip_prefix(folder()).unwrap().display().to_string();
            wrong.push(format!("{name} ({} {}): {complaint}", golden.status, golden.request.path));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_parser_has_a_golden_shape() {
    let mut missing: BTreeSet<&str> = ALL.iter().map(|row| row.0).collect();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        if let Some(Read(name)) = reader(&golden.request.method, &golden.request.path)
            && golden.status == 200
        {
            missing.remove(name);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_endpoint_that_nobody_named_and_a_shape_that_changed_are_seen() {
    let golden = |method: &str, path: &str, response: &str| Golden {
        request: Request { method: method.to_owned(), path: path.to_owned(), body: Value::Null },
        status: 200,
        response: serde_json::from_str(response).unwrap(),
    };
    assert!(complaint(&golden("GET", "/new/path", "{}")).is_some());
    let renamed = r#"[{"contract":1,"position":2,"currency":"USD"}]"#;
    assert!(complaint(&golden("GET", "/portfolio2/DU1/positions", renamed)).is_some());
    let whole = r#"[{"conid":1,"position":2,"currency":"USD"}]"#;
    assert!(complaint(&golden("GET", "/portfolio2/DU1/positions", whole)).is_none());
}
