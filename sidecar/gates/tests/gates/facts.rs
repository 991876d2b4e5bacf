//! Facts that follow from the broker's lists: of the order's contract and side only, and never a
//! guess.

use crate::support::{Draft, account, dec};
use ibkr_agent_domain::{
    AssetClass, BrokerOrder, BrokerOrderId, BrokerOrderStatus, Conid, Currency, Listed, Position,
    Side, UnreadRow, Untrusted,
};
use ibkr_agent_gates::{Untold, position_in, working_in};
use rust_decimal::Decimal;

fn position(conid: Conid, quantity: Decimal) -> Position {
    Position {
        account: account(),
        conid,
        symbol: Untrusted::new("AAPL"),
        class: Some(AssetClass::Stock),
        quantity,
        market_price: None,
        market_value: None,
        average_cost: None,
        unrealized_pnl: None,
        currency: Currency::USD,
    }
}

fn open(conid: Conid, side: Option<Side>, quantity: &str, filled: &str) -> BrokerOrder {
    BrokerOrder {
        side,
        quantity: Some(dec(quantity)),
        filled: Some(dec(filled)),
        status: BrokerOrderStatus::Submitted,
        ..BrokerOrder::of(BrokerOrderId::parse("1").unwrap(), account(), conid)
    }
}

#[test]
fn a_position_is_the_sum_of_the_rows_of_its_contract() {
    let order = Draft::default().order();
    let (own, other) = (order.conid(), Conid::new(1).unwrap());
    let rows = [position(own, dec("7")), position(other, dec("90")), position(own, dec("-2"))];
    assert_eq!(position_in(&rows, &order), Ok(dec("5")));
    assert_eq!(position_in(&[], &order), Ok(Decimal::ZERO));
    let rows = [position(own, Decimal::MAX), position(own, Decimal::MAX)];
    assert_eq!(position_in(&rows, &order), Err(Untold::Position));
}

#[test]
fn what_works_is_what_is_left_of_open_orders_of_the_contract_on_its_side_or_on_none_told() {
    let order = Draft::default().order();
    let (own, other) = (order.conid(), Conid::new(1).unwrap());
    let mut ended = open(own, Some(Side::Buy), "90", "0");
    ended.status = BrokerOrderStatus::Cancelled;
    let rows = vec![
        open(own, Some(Side::Buy), "10", "4"),
        open(own, None, "3", "0"),
        open(own, Some(Side::Buy), "1", "5"),
        open(own, Some(Side::Sell), "90", "0"),
        open(other, Some(Side::Buy), "90", "0"),
        ended,
    ];
    assert_eq!(working_in(&Listed::of(rows), &order), Ok(dec("9")));
    let huge = open(own, None, &Decimal::MAX.to_string(), "0");
    assert_eq!(working_in(&Listed::of(vec![huge.clone(), huge]), &order), Err(Untold::Orders));
}

#[test]
fn nothing_is_guessed_of_an_order_that_shows_no_quantity_or_cannot_be_read() {
    let order = Draft::default().order();
    let other = Conid::new(1).unwrap();
    let unknown = |conid| BrokerOrder { quantity: None, ..open(conid, Some(Side::Buy), "1", "0") };
    assert_eq!(
        working_in(&Listed::of(vec![unknown(order.conid())]), &order),
        Err(Untold::Quantity)
    );
    assert_eq!(working_in(&Listed::of(vec![unknown(other)]), &order), Ok(Decimal::ZERO));
    let unread = |conid| UnreadRow {
        order_id: None,
        reference: None,
        account: None,
        conid,
        contract: None,
        status: None,
        why: "contract id of an order",
    };
    for (conid, expected) in [
        (None, Err(Untold::Unread)),
        (Some(order.conid()), Err(Untold::Unread)),
        (Some(other), Ok(Decimal::ZERO)),
    ] {
        let listed = Listed { rows: Vec::new(), unread: vec![unread(conid)] };
        assert_eq!(working_in(&listed, &order), expected, "{conid:?}");
    }
}
