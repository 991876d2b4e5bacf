//! Every verb that is a tool call: what it sends, and that no tool lacks one.

use super::*;
use crate::args::Cli;
use clap::Parser;
use ibkr_agent_protocol::catalogue;
use std::collections::BTreeSet;

const LINES: &[(&str, &str)] = &[
    ("health", "{}"),
    ("backend status", "{}"),
    ("session requirements", "{}"),
    ("session renew", "{}"),
    ("accounts list", "{}"),
    ("account metadata --account DU1", r#"{"account_id":"DU1"}"#),
    ("account summary --account DU1", r#"{"account_id":"DU1"}"#),
    ("portfolio snapshot --full", r#"{"detail":"full"}"#),
    (
        "positions list --account DU1 --symbol AAPL --limit 5",
        r#"{"account_id":"DU1","limit":5,"symbol":"AAPL"}"#,
    ),
    ("contracts search AAPL --exchange NYSE", r#"{"exchange":"NYSE","query":"AAPL"}"#),
    (
        "contracts resolve AAPL --asset-class stock --currency USD --exchange SMART",
        r#"{"asset_class":"stock","currency":"USD","exchange":"SMART","symbol":"AAPL"}"#,
    ),
    ("market snapshot --contract-id 265598", r#"{"contract_id":"265598"}"#),
    ("market snapshot --contract-id 1,2", r#"{"contract_ids":["1","2"]}"#),
    (
        "market snapshot --instrument AAPL --fields bid,ask",
        r#"{"fields":["bid","ask"],"instrument":"AAPL"}"#,
    ),
    ("orders list --status all", r#"{"status":"all"}"#),
    ("orders outcome --call-id c1", r#"{"call_id":"c1"}"#),
    (
        "orders preview --account DU1 --symbol AAPL --side buy --quantity 1 \
         --limit-price 100 --enable-preview",
        r#"{"account_id":"DU1","limit_price":"100","order_type":"limit","quantity":"1",
            "side":"buy","symbol":"AAPL"}"#,
    ),
    (
        "orders submit --account DU1 --approval-id a --idempotency-key k --enable-paper",
        r#"{"account_id":"DU1","approval_id":"a","idempotency_key":"k"}"#,
    ),
    (
        "orders cancel --account DU1 --broker-order-id 7 --idempotency-key k --enable-paper",
        r#"{"account_id":"DU1","broker_order_id":"7","idempotency_key":"k"}"#,
    ),
    ("executions list --from 2026-01-01T00:00:00Z", r#"{"from":"2026-01-01T00:00:00Z"}"#),
    ("approvals status a --wait-seconds 3", r#"{"approval_id":"a","wait_seconds":3}"#),
    ("kill-switch status", "{}"),
    ("limits show --account DU1", r#"{"account_id":"DU1"}"#),
    ("audit tail --limit 20 --own", r#"{"detail":"full","limit":20}"#),
    ("account pnl --account DU1", r#"{"account_id":"DU1"}"#),
    ("account pnl --realtime", "{}"),
    ("account ledger", "{}"),
    ("account allocation --account DU1", r#"{"account_id":"DU1"}"#),
    ("account performance --period 1M --limit 9", r#"{"limit":9,"period":"1M"}"#),
    ("account transfers --instrument AAPL --days 30", r#"{"days":30,"instrument":"AAPL"}"#),
    ("portfolio overview --currency EUR --top 3", r#"{"currency":"EUR","top":3}"#),
    ("positions list --min-value 100 --watch", r#"{"min_value":"100"}"#),
    ("positions combos --account DU1", r#"{"account_id":"DU1"}"#),
    ("contracts details --instrument ESZ6 --full", r#"{"detail":"full","instrument":"ESZ6"}"#),
    ("contracts futures ES --limit 2", r#"{"limit":2,"symbol":"ES"}"#),
    ("market brief --instrument AAPL", r#"{"instrument":"AAPL"}"#),
    (
        "market bars --contract-id 265598 --duration 1d --bar-size 5min --outside-rth",
        r#"{"bar_size":"5min","contract_id":"265598","duration":"1d","outside_rth":true}"#,
    ),
    ("market depth --contract-id 1 --levels 5", r#"{"contract_id":"1","levels":5}"#),
    ("market session NASDAQ", r#"{"exchange":"NASDAQ"}"#),
    ("market holidays --instrument AAPL", r#"{"instrument":"AAPL"}"#),
    (
        "options chain SPY --expiry JAN27 --strikes 4 --right call",
        r#"{"expiry":"JAN27","right":"call","strikes":4,"symbol":"SPY"}"#,
    ),
    ("options greeks --contract-id 7", r#"{"contract_id":"7"}"#),
    (
        "scanner run TOP_PERC_GAIN --location STK.US.MAJOR --filter priceAbove=5",
        r#"{"filters":[{"code":"priceAbove","value":"5"}],"location":"STK.US.MAJOR",
            "scanner_code":"TOP_PERC_GAIN"}"#,
    ),
    ("scanner parameters --list filters --search price", r#"{"list":"filters","search":"price"}"#),
    ("currency rate EUR USD", r#"{"base":"EUR","quote":"USD"}"#),
    ("currency pairs USD", r#"{"currency":"USD"}"#),
    ("fundamentals show AAPL", r#"{"symbol":"AAPL"}"#),
    ("news list AAPL", r#"{"symbol":"AAPL"}"#),
    ("news article n1", r#"{"article_id":"n1"}"#),
    ("watchlists list 100", r#"{"watchlist_id":"100"}"#),
    ("alerts list --account DU1", r#"{"account_id":"DU1"}"#),
    ("notifications list --kind EA", r#"{"kind":"EA"}"#),
    ("changes since 1.2", r#"{"cursor":"1.2"}"#),
    (
        "changes wait ibkr://accounts/DU1/orders --wait-seconds 0",
        r#"{"resources":["ibkr://accounts/DU1/orders"],"wait_seconds":0}"#,
    ),
    ("orders history --status all", r#"{"status":"all"}"#),
    (
        "orders status --account DU1 --broker-order-id 123",
        r#"{"account_id":"DU1","broker_order_id":"123"}"#,
    ),
    ("audit export --limit 5", r#"{"limit":5}"#),
];

fn plan(line: &str) -> Option<Planned> {
    let words = std::iter::once("ibkr-agent").chain(line.split_whitespace());
    planned(&Cli::try_parse_from(words).unwrap().verb)
}

fn sorted(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_flag_arrives_under_the_tools_own_name() {
    for (line, expected) in LINES {
        let (tool, arguments) = plan(line).unwrap();
        let sent = arguments.into_raw().unwrap();
        assert_eq!(sorted(sent.get()), sorted(expected), "{line}");
        let schema = catalogue::find(tool).unwrap().input_schema();
        let known = schema["properties"].as_object().unwrap();
        for key in sorted(sent.get()).as_object().unwrap().keys() {
            assert!(known.contains_key(key), "{line}: {tool} has no {key}");
        }
    }
}

#[test]
fn every_tool_has_a_verb() {
    let mut reached: BTreeSet<&str> =
        LINES.iter().filter_map(|(line, _)| plan(line)).map(|(tool, _)| tool).collect();
    // `approvals create` asks and approves: it has a file of its own.
    reached.insert("ibkr_approvals_create");
    let all: BTreeSet<&str> = catalogue::all().iter().map(|spec| spec.name).collect();
    assert_eq!(all.difference(&reached).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn the_generic_write_names_go_to_the_service_to_be_refused_and_recorded() {
    for line in ["orders modify --account DU1 7 --limit-price 3", "orders approve x"] {
        let (tool, arguments) = plan(line).unwrap();
        assert!(catalogue::FORBIDDEN.contains(&tool), "{line}");
        assert_eq!(arguments, Arguments::new());
    }
}
