//! Arguments are read strictly, forgiving only how clients write values.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ibkr_agent_domain::{AssetClass, Conid, Instrument, OrderType, Pricing, Side, TimeInForce};
use ibkr_agent_protocol::catalogue::{
    self, Tool, account, approvals, audit, market, orders, session,
};
use ibkr_agent_protocol::service::{ErrorBody, MAX_ARGUMENT_BYTES, ToolCall};
use serde_json::value::RawValue;

fn read<T: Tool>(arguments: &str) -> Result<T::Input, ErrorBody> {
    let raw = RawValue::from_string(arguments.to_owned()).unwrap();
    catalogue::decode::<T>(&ToolCall::new(T::DECLARATION.name, raw))
}

fn refusal<T: Tool>(arguments: &str) -> String {
    let Err(error) = read::<T>(arguments) else { panic!("accepted: {arguments}") };
    assert_eq!(error.code, "INPUT_INVALID", "{arguments}");
    error.message
}

type Preview = approvals::OrderPreview;

const ORDER: &str =
    r#"{"account_id":"DU1234567","symbol":"AAPL","side":"buy","quantity":1,"limit_price":"100"}"#;

#[test]
fn an_order_is_read_with_typed_and_with_stringified_arguments() {
    for arguments in [
        ORDER,
        r#"{"account_id":"DU1234567","symbol":"AAPL","side":"BUY","quantity":"1","limit_price":100,
            "order_type":"LIMIT","time_in_force":"DAY","outside_rth":"false","asset_class":null}"#,
    ] {
        let input = read::<Preview>(arguments).unwrap();
        let terms = input.terms().unwrap();
        assert_eq!(terms.side, Side::Buy);
        assert_eq!(terms.quantity.to_string(), "1");
        assert_eq!(terms.time_in_force, TimeInForce::Day);
        assert!(!terms.outside_rth);
        let Pricing::Limit { limit } = terms.pricing else { panic!("not a limit order") };
        assert_eq!(limit.to_string(), "100");
    }
}

#[test]
fn an_order_type_that_nobody_can_place_yet_is_refused_by_its_name() {
    for order_type in OrderType::ALL.iter().filter(|kind| **kind != OrderType::Limit) {
        let named = format!("\"order_type\":\"{order_type}\"");
        for arguments in [
            ORDER.replace('}', &format!(",{named}}}")),
            ORDER.replace("\"limit_price\":\"100\"", &named),
        ] {
            let error = read::<Preview>(&arguments).unwrap().terms().unwrap_err();
            assert_eq!(error.code, "INPUT_INVALID");
            assert_eq!(
                error.message,
                format!("order_type: {order_type} orders are not supported yet")
            );
        }
    }
    let message = refusal::<Preview>(&ORDER.replace('}', r#","order_type":"iceberg"}"#));
    assert!(message.starts_with("order_type: must be one of limit"), "{message}");
}

#[test]
fn an_unknown_argument_is_refused_by_name() {
    let message = refusal::<Preview>(&ORDER.replace("\"quantity\"", "\"quantitty\""));
    assert!(message.contains("quantitty"), "{message}");
    assert!(refusal::<session::Health>(r#"{"verbose":true}"#).contains("verbose"));
}

#[test]
fn an_argument_that_stands_twice_is_refused_by_name() {
    let message = refusal::<Preview>(&ORDER.replace('}', r#","quantity":100}"#));
    assert!(message.contains("duplicate") && message.contains("quantity"), "{message}");
}

#[test]
fn a_missing_or_mistyped_argument_is_refused_by_name() {
    let message = refusal::<Preview>(&ORDER.replace(r#""side":"buy","#, ""));
    assert!(message.contains("side"), "{message}");
    let message = refusal::<Preview>(&ORDER.replace("\"buy\"", "\"hold\""));
    assert!(message.starts_with("side: must be one of buy, sell"), "{message}");
    let message =
        refusal::<Preview>(&ORDER.replace("\"quantity\":1", "\"quantity\":0.12345678901234567"));
    assert!(
        message.starts_with("quantity: ") && message.contains("give it as a string"),
        "{message}"
    );
    let message = refusal::<Preview>(&ORDER.replace("DU1234567", "DU 1"));
    assert!(message.starts_with("account_id: "), "{message}");
}

#[test]
fn writes_need_their_account_and_reads_do_not() {
    assert!(read::<account::PositionsList>("{}").is_ok());
    for message in [
        refusal::<orders::PaperOrderSubmit>(r#"{"approval_id":"a"}"#),
        refusal::<orders::PaperOrderCancel>(r#"{"broker_order_id":"1"}"#),
        refusal::<approvals::ApprovalsCreate>(r#"{"preview_id":"p"}"#),
    ] {
        assert!(message.contains("account_id"), "{message}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for arguments in ["[]", "null", "\"x\"", "3"] {
        refusal::<session::Health>(arguments);
    }
    let long = format!("{{\"query\":\"{}\"}}", "a".repeat(MAX_ARGUMENT_BYTES));
    assert!(refusal::<market::ContractsSearch>(&long).contains("longer"));
}

#[test]
fn outside_text_in_a_refusal_is_escaped_and_bounded() {
    let key = format!("{{\"\\u001b[31m{}\":1}}", "x".repeat(2000));
    let message = refusal::<session::Health>(&key);
    assert!(!message.contains('\u{1b}') && message.len() < 400, "{message}");
}

#[test]
fn one_instrument_is_named_in_one_way() {
    let named = |extra: &str| {
        let order = ORDER.replace(r#""symbol":"AAPL""#, extra);
        read::<Preview>(&order).unwrap().named().instrument()
    };
    let apple = Conid::new(265_598).unwrap();
    assert!(matches!(named(r#""contract_id":"265598""#), Ok(Instrument::Conid(id)) if id == apple));
    let narrowed = named(r#""symbol":"ASML@AEB","currency":"EUR","asset_class":"STK""#).unwrap();
    let Instrument::Symbol { symbol, exchange, currency, class } = narrowed else {
        panic!("not a symbol")
    };
    assert_eq!((symbol.as_str(), exchange.as_deref()), ("ASML", Some("AEB")));
    assert_eq!(currency.map(|c| c.to_string()).as_deref(), Some("EUR"));
    assert_eq!(class, Some(AssetClass::Stock));
    assert!(named(r#""outside_rth":false"#).is_err());
    assert!(named(r#""symbol":"AAPL","contract_id":265598"#).is_err());
    let error = named(r#""symbol":"ASML@AEB:EUR","currency":"USD""#).unwrap_err();
    assert!(error.message.contains("currency differs"), "{}", error.message);
}

#[test]
fn prices_and_quantities_must_be_above_zero_and_a_limit_order_needs_its_price() {
    for (from, to) in [("\"quantity\":1", "\"quantity\":-1"), ("\"100\"", "\"0\"")] {
        assert!(read::<Preview>(&ORDER.replace(from, to)).unwrap().terms().is_err(), "{to}");
    }
    let unpriced = ORDER.replace(r#","limit_price":"100""#, "");
    let error = read::<Preview>(&unpriced).unwrap().terms().unwrap_err();
    assert!(error.message.contains("limit_price"), "{}", error.message);
}

#[test]
fn a_snapshot_takes_one_to_fifty_instruments_in_one_of_four_ways() {
    let count = |arguments: &str| {
        read::<market::MarketSnapshot>(arguments).ok()?.instruments().ok().map(|list| list.len())
    };
    assert_eq!(count(r#"{"contract_id":265598}"#), Some(1));
    assert_eq!(count(r#"{"contract_ids":[265598,"8314"]}"#), Some(2));
    assert_eq!(count(r#"{"contract_ids":"[265598,8314]"}"#), Some(2));
    assert_eq!(count(r#"{"instrument":"AAPL"}"#), Some(1));
    assert_eq!(count(r#"{"instruments":["AAPL","ASML@AEB:EUR"]}"#), Some(2));
    assert_eq!(count("{}"), None);
    assert_eq!(count(r#"{"contract_id":1,"instrument":"AAPL"}"#), None);
    let ids = |n: usize| format!("{{\"contract_ids\":{:?}}}", vec![1; n]);
    assert_eq!(count(&ids(50)), Some(50));
    assert_eq!(count(&ids(51)), None);
}

#[test]
fn bounds_of_waits_rows_and_ranges_hold_on_both_sides() {
    let wait = |seconds: &str| {
        let input = format!("{{\"approval_id\":\"a\",\"wait_seconds\":{seconds}}}");
        read::<approvals::ApprovalStatus>(&input).unwrap().wait().ok().map(|wait| wait.as_secs())
    };
    assert_eq!(wait("25"), Some(25));
    assert_eq!(wait("\"0\""), Some(0));
    assert_eq!(wait("26"), None);
    let rows = |limit: &str| {
        let input = read::<audit::AuditTail>(&format!("{{\"limit\":{limit}}}")).unwrap();
        catalogue::row_limit(input.limit).ok()
    };
    assert_eq!(rows("1"), Some(1));
    assert_eq!(rows("200"), Some(200));
    assert_eq!(rows("0"), None);
    assert_eq!(rows("201"), None);
    let range = |from: &str, to: &str| {
        let input = format!("{{\"from\":\"{from}\",\"to\":\"{to}\"}}");
        read::<orders::ExecutionsList>(&input).unwrap().check_range().map_err(|error| error.code)
    };
    assert_eq!(range("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"), Ok(()));
    assert_eq!(
        range("2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z"),
        Err("INPUT_INVALID_TIME_RANGE".to_owned())
    );
}

#[test]
fn an_outcome_is_asked_for_by_exactly_one_handle() {
    let handle = |arguments: &str| read::<orders::OrderOutcome>(arguments).unwrap().handle();
    assert!(matches!(handle(r#"{"call_id":"c"}"#), Ok(orders::OutcomeHandle::Call(_))));
    assert!(matches!(handle(r#"{"idempotency_key":"k"}"#), Ok(orders::OutcomeHandle::Key(_))));
    assert!(handle("{}").is_err());
    assert!(handle(r#"{"call_id":"c","approval_id":"a"}"#).is_err());
}

#[test]
fn a_submit_without_a_key_gets_one_that_only_its_approval_makes() {
    let key = |arguments: &str| read::<orders::PaperOrderSubmit>(arguments).unwrap().key().unwrap();
    let made = key(r#"{"account_id":"DU1","approval_id":"a1"}"#);
    assert_eq!(made.as_str(), "approval:a1");
    let given = key(r#"{"account_id":"DU1","approval_id":"a1","idempotency_key":"mine"}"#);
    assert_eq!(given.as_str(), "mine");
}
