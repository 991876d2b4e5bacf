//! A type and its prices: one constructor, which refuses by name what is missing or doesn't belong.

use ibkr_agent_domain::{GivenPrices, InvalidPricing, OrderType, PriceField, Pricing};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Prices of a bit set, in the order of the canonical lines.
fn given(bits: u8, price: Decimal) -> GivenPrices {
    let pick = |bit: u8| (bits & (1 << bit) != 0).then_some(price);
    GivenPrices {
        trigger: pick(0),
        limit: pick(1),
        trail_amount: pick(2),
        trail_percent: pick(3),
        limit_offset: pick(4),
        cap: pick(5),
    }
}

/// What each type must have and may have, written down a second time, as a table.
fn table(order_type: OrderType) -> (Vec<u8>, u8) {
    let (trigger, limit, amount, percent, offset, cap) = (1, 2, 4, 8, 16, 32);
    match order_type {
        OrderType::Market => (vec![0], 0),
        OrderType::Limit => (vec![limit], 0),
        OrderType::Stop | OrderType::MarketIfTouched => (vec![trigger], 0),
        OrderType::StopLimit | OrderType::LimitIfTouched => (vec![trigger | limit], 0),
        OrderType::Trailing => (vec![amount, percent], 0),
        OrderType::TrailingLimit => (vec![amount | offset, percent | offset], 0),
        OrderType::AtClose | OrderType::AtOpen => (vec![0], limit),
        OrderType::MidPrice => (vec![0], cap),
    }
}

#[test]
fn each_type_takes_exactly_its_own_prices() {
    for order_type in OrderType::ALL.iter().copied() {
        let (needed, optional) = table(order_type);
        for bits in 0..64 {
            let fits = needed.iter().any(|need| bits == *need || bits == need | optional);
            let made = Pricing::new(order_type, given(bits, Decimal::TEN));
            assert_eq!(made.is_ok(), fits, "{order_type} {bits:06b}: {made:?}");
            let Ok(pricing) = made else { continue };
            assert_eq!(pricing.order_type(), order_type);
            assert_eq!(pricing.prices(), given(bits, Decimal::TEN));
        }
    }
}

#[test]
fn what_is_missing_and_what_does_not_belong_is_named() {
    let made = |order_type, bits| Pricing::new(order_type, given(bits, Decimal::TEN));
    let missing = |order_type, field| Err(InvalidPricing::Missing { order_type, field });
    let foreign = |order_type, field| Err(InvalidPricing::Foreign { order_type, field });
    assert_eq!(made(OrderType::Limit, 0), missing(OrderType::Limit, PriceField::Limit));
    assert_eq!(made(OrderType::StopLimit, 2), missing(OrderType::StopLimit, PriceField::Trigger));
    assert_eq!(made(OrderType::Market, 2), foreign(OrderType::Market, PriceField::Limit));
    assert_eq!(made(OrderType::Limit, 3), foreign(OrderType::Limit, PriceField::Trigger));
    assert_eq!(
        made(OrderType::Trailing, 12),
        foreign(OrderType::Trailing, PriceField::TrailPercent)
    );
    let text = made(OrderType::Trailing, 0).unwrap_err().to_string();
    assert!(text.contains("trail_amount or trail_percent is missing"), "{text}");
}

#[test]
fn a_percentage_is_above_zero_and_below_a_hundred() {
    let by = |value: i64| {
        let prices = GivenPrices { trail_percent: Some(value.into()), ..GivenPrices::default() };
        Pricing::new(OrderType::Trailing, prices)
    };
    assert!(by(1).is_ok() && by(99).is_ok());
    for wrong in [0, -1, 100, 1000] {
        assert!(by(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_read_back_and_differ() {
    for order_type in OrderType::ALL {
        assert_eq!(OrderType::parse(order_type.as_str()), Some(*order_type));
    }
    assert_eq!(OrderType::parse("LIMIT"), Some(OrderType::Limit));
    assert_eq!(OrderType::parse("iceberg"), None);
}

proptest! {
    #[test]
    fn type_and_prices_make_the_same_pricing_again(
        kind in 0..OrderType::ALL.len(), bits in 0_u8..64, cents in 1_i64..9_999,
    ) {
        let order_type = OrderType::ALL[kind];
        let Ok(pricing) = Pricing::new(order_type, given(bits, Decimal::new(cents, 2))) else {
            return Ok(());
        };
        prop_assert_eq!(Pricing::new(pricing.order_type(), pricing.prices()), Ok(pricing));
    }
}
