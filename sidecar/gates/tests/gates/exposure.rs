//! What an order counts as: a table over kinds and sides, at bid 99 and ask 100.

use super::support::{Draft, dec, quote};
use ibkr_agent_domain::{
    CanonicalOrder, Currency, GivenPrices, Money, OrderType, Pricing, Quote, Side,
};
use ibkr_agent_gates::{Exposure, exposure};

fn prices() -> GivenPrices {
    GivenPrices::default()
}

fn market() -> Quote {
    Quote { bid: Some(dec("99")), ask: Some(dec("100")), ..quote() }
}

fn order(side: Side, order_type: OrderType, prices: GivenPrices) -> CanonicalOrder {
    let pricing = Pricing::new(order_type, prices).unwrap();
    Draft { side, quantity: dec("10"), pricing: Some(pricing), ..Draft::default() }.order()
}

fn counted(side: Side, order_type: OrderType, prices: GivenPrices) -> String {
    match exposure(&order(side, order_type, prices), Some(&market()), dec("2")) {
        Exposure::Bounded(Money { amount, currency }) => {
            assert_eq!(currency, Currency::USD);
            amount.to_string()
        }
        Exposure::Unbounded => "unbounded".to_owned(),
    }
}

#[test]
fn an_order_counts_its_worst_price() {
    let limit = |text| GivenPrices { limit: Some(dec(text)), ..prices() };
    let trigger = |text| GivenPrices { trigger: Some(dec(text)), ..prices() };
    let both = GivenPrices { trigger: Some(dec("110")), limit: Some(dec("111")), ..prices() };
    let amount = GivenPrices { trail_amount: Some(dec("5")), ..prices() };
    let percent = GivenPrices { trail_percent: Some(dec("10")), ..prices() };
    let offset = GivenPrices { limit_offset: Some(dec("1")), ..amount };
    let table = [
        (OrderType::Market, prices(), "1020", "1009.8"),
        (OrderType::Limit, limit("90"), "900", "990"),
        (OrderType::Limit, limit("110"), "1100", "1100"),
        // A stop beyond the market trades at its trigger, with slippage.
        (OrderType::Stop, trigger("110"), "1122", "1122"),
        (OrderType::Stop, trigger("90"), "1020", "1009.8"),
        (OrderType::StopLimit, both, "1110", "1110"),
        (OrderType::Trailing, amount, "1071", "1060.8"),
        (OrderType::Trailing, percent, "1122", "1110.78"),
        (OrderType::TrailingLimit, offset, "1060", "1050"),
        (OrderType::MarketIfTouched, trigger("95"), "1020", "1009.8"),
        (OrderType::LimitIfTouched, both, "1110", "1110"),
        (OrderType::AtClose, prices(), "1020", "1009.8"),
        (OrderType::AtClose, limit("90"), "900", "990"),
        (OrderType::AtOpen, prices(), "1020", "1009.8"),
        (OrderType::MidPrice, prices(), "1020", "1009.8"),
        (OrderType::MidPrice, GivenPrices { cap: Some(dec("101")), ..prices() }, "1010", "1010"),
    ];
    for (order_type, prices, buy, sell) in table {
        assert_eq!(counted(Side::Buy, order_type, prices), buy, "buy {order_type} {prices:?}");
        assert_eq!(counted(Side::Sell, order_type, prices), sell, "sell {order_type} {prices:?}");
    }
    for order_type in OrderType::ALL {
        assert!(table.iter().any(|row| row.0 == *order_type), "{order_type} has no row");
    }
}

#[test]
fn without_a_market_only_a_buy_at_a_limit_is_bounded() {
    let limit = GivenPrices { limit: Some(dec("90")), ..prices() };
    let bound = |side, order_type, prices| {
        exposure(&order(side, order_type, prices), None, dec("2")).bound()
    };
    assert!(bound(Side::Buy, OrderType::Limit, limit).is_some());
    assert_eq!(bound(Side::Sell, OrderType::Limit, limit), None);
    assert_eq!(bound(Side::Buy, OrderType::Market, prices()), None);
    assert_eq!(bound(Side::Sell, OrderType::Market, prices()), None);
}
