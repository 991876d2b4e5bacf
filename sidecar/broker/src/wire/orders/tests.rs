//! Orders of every kind and of odd forms.

use super::*;

fn read(rows: &[&str]) -> Listed<BrokerOrder> {
    let body = format!(r#"{{"orders":[{}],"snapshot":false}}"#, rows.join(","));
    orders(serde_json::from_str(&body).unwrap(), &AccountId::parse("DU1").unwrap())
}

fn one(row: &str) -> BrokerOrder {
    let mut listed = read(&[row]);
    assert!(listed.is_whole(), "{row}");
    listed.rows.remove(0)
}

fn status(body: &str) -> BrokerOrder {
    serde_json::from_str::<OrderStatus>(body).unwrap().try_into().unwrap()
}

fn dec(text: &str) -> Option<Decimal> {
    Some(text.parse().unwrap())
}

const GOOD: &str = r#"{"orderId":7,"conid":265598,"order_ref":"ia1","status":"Submitted",
    "side":"BUY","totalSize":5.0,"filledQuantity":0.0,"price":"230.10","orderType":"Limit",
    "acct":"DU1"}"#;

#[test]
fn a_row_that_cant_be_read_costs_no_other_and_is_kept_with_what_it_names() {
    let combo = r#"{"orderId":8,"conidex":"28812380;;;1/1,2/-1","acct":"DU1","order_ref":"ia2",
        "status":"Submitted"}"#;
    for (odd, why) in [
        (combo, "contract id of an order"),
        (r#"{"orderId":"-1","conid":1,"order_ref":"ia2","acct":"DU1"}"#, "id of an order"),
        (r#"{"orderId":{},"conid":[],"price":{}}"#, "id of an order"),
        (r#"["text"]"#, "row of an order"),
        ("7", "row of an order"),
    ] {
        let listed = read(&[GOOD, odd, GOOD]);
        assert_eq!(listed.rows.len(), 2, "{odd}");
        assert_eq!(listed.unread.len(), 1, "{odd}");
        assert_eq!(listed.unread[0].why, why, "{odd}");
    }
    let [row] = read(&[combo]).unread.try_into().unwrap();
    assert_eq!(row.order_id.unwrap().as_str(), "8");
    assert_eq!(row.reference.unwrap().as_str(), "ia2");
    assert_eq!(row.contract.unwrap().as_str(), "28812380;;;1/1,2/-1");
    assert_eq!(row.status, Some(BrokerOrderStatus::Submitted));
    assert_eq!(row.conid, None);
}

#[test]
fn another_accounts_order_is_left_out_read_or_not() {
    let row = r#"{"orderId":7,"conid":1,"acct":"DU2","order_ref":"x"}"#;
    let odd = r#"{"conid":1,"acct":"DU2","order_ref":"x"}"#;
    assert_eq!(read(&[row, odd]), Listed::default());
    let whose = r#"{"conid":1,"order_ref":"x"}"#;
    assert_eq!(read(&[whose]).unread.len(), 1, "it may be this account's");
}

#[test]
fn a_list_that_is_one_order_or_none_is_a_list() {
    let account = AccountId::parse("DU1").unwrap();
    let list = |body: &str| orders(serde_json::from_str(body).unwrap(), &account);
    assert_eq!(list(&format!(r#"{{"orders":{GOOD}}}"#)).rows.len(), 1);
    assert_eq!(list(r#"{"orders":null}"#), Listed::default());
    assert_eq!(list("{}"), Listed::default());
}

#[test]
fn a_price_is_what_the_kind_of_order_makes_of_it() {
    for (kind, price, aux, limit, trigger, other) in [
        ("Limit", "230.10", "", dec("230.10"), None, None),
        ("Market", "", "", None, None, None),
        ("Market", "0.0", "", None, None, None),
        // As recorded: a stop's trigger stands in the price.
        ("Stop", "0.50", "", None, dec("0.50"), None),
        ("STP", "", "210.00", None, dec("210"), None),
        // The TWS API's way, where the price of a stop is anything.
        ("Stop", "231.00", "210.00", None, dec("210"), dec("231")),
        ("Stop Limit", "209.00", "210.00", dec("209"), dec("210"), None),
        ("TRAIL", "226.85", "", None, dec("226.85"), None),
        ("TRAILLMT", "226.00", "226.85", dec("226"), dec("226.85"), None),
        ("MIDPRICE", "100", "", None, None, dec("100")),
        ("MIT", "100", "", None, None, dec("100")),
        ("Some new kind", "100", "", None, None, dec("100")),
        ("", "100", "", None, None, dec("100")),
    ] {
        let order = one(&format!(
            r#"{{"orderId":7,"conid":1,"acct":"DU1","orderType":"{kind}","price":"{price}",
                "auxPrice":"{aux}"}}"#
        ));
        let read = (order.limit_price, order.trigger_price, order.other_price);
        assert_eq!(read, (limit, trigger, other), "{kind} {price} {aux}");
    }
}

#[test]
fn all_that_a_row_tells_of_an_order_is_read() {
    let order = one(r#"{"orderId":9,"conid":1,"acct":"DU1","orderType":"TRAIL","price":"226.85",
            "trailingAmt":2,"trailingType":"%","parentId":7,"ocaGroupId":"7","timeInForce":"GTC",
            "outsideRTH":true,"status":"Cancelled","totalSize":10.0,"filledQuantity":4.0,
            "remainingQuantity":6.0,"orderDesc":"Sell 10 TRAIL Stop 226.85 Offset 2%, GTC",
            "order_cancellation_by_system_reason":"No shares to borrow."}"#);
    assert_eq!(order.order_type, BrokerOrderType::Trailing);
    assert_eq!(order.trailing.unwrap().to_string(), "2%");
    assert_eq!(order.parent.unwrap().as_str(), "7");
    assert_eq!(order.oca_group.unwrap().as_str(), "7");
    assert_eq!(order.time_in_force.unwrap().as_str(), "gtc");
    assert_eq!(order.outside_hours, Some(true));
    assert_eq!((order.quantity, order.filled, order.remaining), (dec("10"), dec("4"), dec("6")));
    assert_eq!(order.cancel_reason.unwrap().as_str(), "No shares to borrow.");
    assert!(order.description.unwrap().as_str().contains("Offset 2%"));
}

#[test]
fn an_order_with_its_contract_in_the_extended_form_only_is_read() {
    let row = |conidex: &str| format!(r#"{{"orderId":7,"acct":"DU1","conidex":"{conidex}"}}"#);
    assert_eq!(one(&row("756733")).conid.get(), 756_733);
    assert_eq!(one(&row("15016138@IDEALPRO")).conid.get(), 15_016_138);
    for combo in ["28812380;;;1/1,2/-1", "28812380@SMART;;;1/1", "@SMART", "x@SMART", ";;;"] {
        assert_eq!(read(&[&row(combo)]).unread.len(), 1, "{combo}");
    }
}

#[test]
fn a_thin_row_of_the_stream_keeps_a_stops_trigger_a_trigger() {
    let mut stop = one(
        r#"{"orderId":7,"conid":1,"acct":"DU1","ticker":"AAPL","orderType":"Stop","price":"210",
            "status":"PreSubmitted","parentId":6,"timeInForce":"GTC"}"#,
    );
    let thin: OrderRow =
        serde_json::from_str(r#"{"acct":"DU1","orderId":7,"price":"211","status":""}"#).unwrap();
    thin.onto(&mut stop);
    assert_eq!((stop.limit_price, stop.trigger_price), (None, dec("211")));
    assert_eq!(stop.status, BrokerOrderStatus::PreSubmitted);
    assert_eq!((stop.symbol.as_str(), stop.kind.as_str()), ("AAPL", "Stop"));
    assert_eq!(stop.parent.unwrap().as_str(), "6");
    assert_eq!(stop.time_in_force.unwrap().as_str(), "gtc");
}

#[test]
fn a_status_is_read_in_both_of_its_dresses() {
    let documented = status(
        r#"{"order_id":7,"conid":1,"account":"DU1","symbol":"SPY","side":"B","total_size":"5.0",
            "cum_fill":"2.0","average_price":"456.5","limit_price":"457.00","order_type":"LIMIT",
            "order_status":"Submitted","size":"3.0","tif":"GTC","outside_rth":false}"#,
    );
    let recorded = status(
        r#"{"order_id":7,"conid":1,"order_clearing_account":"DU1","symbol":"SPY","side":"BUY",
            "total_size":"5.0","filled_quantity":"2.0","avg_fill_price":"456.5","price":"457.00",
            "order_type":"LIMIT","order_status":"Submitted","remaining_quantity":"3.0",
            "tif":"GTC","outside_rth":false}"#,
    );
    assert_eq!(documented, recorded);
    assert_eq!(documented.filled, dec("2"));
    assert_eq!(documented.average_price, dec("456.5"));
    assert_eq!(documented.limit_price, dec("457"));
    assert_eq!(documented.remaining, dec("3"));
}

#[test]
fn a_status_never_shows_a_stops_price_as_a_limit() {
    for prices in [r#""price":"210""#, r#""stop_price":"210""#, r#""limit_price":"210""#] {
        let body = format!(
            r#"{{"order_id":7,"conid":1,"account":"DU1","order_type":"STP",{prices},
                "order_status":"PreSubmitted","parent_order_id":6,"oca_group_id":"6"}}"#
        );
        let order = status(&body);
        assert_eq!((order.limit_price, order.trigger_price), (None, dec("210")), "{prices}");
        assert_eq!(order.parent.unwrap().as_str(), "6");
    }
    // As recorded of a filled market order.
    let body = r#"{"order_id":7,"conid":1,"order_clearing_account":"DU1","order_type":"Market",
        "price":"0.0","order_status":"Filled","size":"1.0","remaining_quantity":"0.0"}"#;
    let order = status(body);
    assert_eq!((order.limit_price, order.other_price), (None, None));
    assert_eq!(order.remaining, dec("0"));
}
