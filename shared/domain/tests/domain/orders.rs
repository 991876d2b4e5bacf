//! Orders of every kind and class, and the laws of their bytes: two orders share bytes exactly when
//! they are equal, and bytes read back as the order that wrote them.

use ibkr_agent_domain::{
    AccountId, BrokerName, CanonicalOrder, ComboLeg, ComboLegs, Conid, Contract, ContractIdentity,
    Currency, Date, GivenPrices, InvalidOrder, Mode, OptionRight, OrderContract, OrderTarget,
    OrderTerms, OrderType, Price, Pricing, Quantity, Side, TimeInForce, Untrusted,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Everything that an order is made of.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) target: OrderTarget,
    pub(crate) contract: Contract,
    pub(crate) identity: ContractIdentity,
    pub(crate) terms: OrderTerms,
}

impl Draft {
    pub(crate) fn order(self) -> Result<CanonicalOrder, InvalidOrder> {
        let contract = OrderContract::new(&self.contract, self.identity)?;
        CanonicalOrder::of(self.target, contract, self.terms)
    }
}

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn quantity(text: &str) -> Quantity {
    Quantity::new(dec(text)).unwrap()
}

/// One identity of each kind, the stock first and the option second.
pub(crate) fn identities() -> Vec<ContractIdentity> {
    let expiry = Date::parse("20270115").unwrap();
    let leg = |conid, side, ratio| ComboLeg { conid: Conid::new(conid).unwrap(), side, ratio };
    let legs = vec![leg(2, Side::Sell, 1), leg(1, Side::Buy, 2)];
    vec![
        ContractIdentity::Stock,
        ContractIdentity::Option {
            right: OptionRight::Call,
            strike: Price::new(dec("600")).unwrap(),
            expiry,
            trading_class: "SPYW".to_owned(),
        },
        ContractIdentity::Future { expiry },
        ContractIdentity::Pair { base: Currency::parse("EUR").unwrap() },
        ContractIdentity::Combo {
            class: ibkr_agent_domain::AssetClass::Option,
            legs: ComboLegs::new(legs).unwrap(),
        },
    ]
}

/// Prices that a type takes, the optional ones too.
fn prices(order_type: OrderType, price: Decimal) -> GivenPrices {
    let none = GivenPrices::default();
    let price = Some(price);
    match order_type {
        OrderType::Market => none,
        OrderType::Limit | OrderType::AtClose | OrderType::AtOpen => {
            GivenPrices { limit: price, ..none }
        }
        OrderType::Stop | OrderType::MarketIfTouched => GivenPrices { trigger: price, ..none },
        OrderType::StopLimit | OrderType::LimitIfTouched => {
            GivenPrices { trigger: price, limit: price, ..none }
        }
        OrderType::Trailing => GivenPrices { trail_percent: Some(Decimal::TWO), ..none },
        OrderType::TrailingLimit => {
            GivenPrices { trail_amount: price, limit_offset: price, ..none }
        }
        OrderType::MidPrice => GivenPrices { cap: price, ..none },
    }
}

/// BUY 1.5 of a contract, for the day.
pub(crate) fn draft(order_type: OrderType, identity: ContractIdentity) -> Draft {
    Draft {
        target: OrderTarget {
            broker: BrokerName::parse("paper").unwrap(),
            mode: Mode::Paper,
            account: AccountId::parse("DU1234567").unwrap(),
        },
        contract: Contract {
            conid: Conid::new(265_598).unwrap(),
            symbol: Untrusted::new("AAPL"),
            name: Untrusted::new("APPLE INC"),
            class: identity.class(),
            exchange: "SMART".to_owned(),
            listing_exchange: Untrusted::new("NASDAQ"),
            currency: Currency::USD,
            multiplier: Decimal::ONE,
            price_increment: None,
        },
        identity,
        terms: OrderTerms {
            side: Side::Buy,
            quantity: quantity("1.50"),
            pricing: Pricing::new(order_type, prices(order_type, dec("100.50"))).unwrap(),
            time_in_force: TimeInForce::Day,
            outside_rth: false,
        },
    }
}

prop_compose! {
    fn some_identity()(
        which in 0_usize..5, call in any::<bool>(), strike in 1_i64..4, day in 1_u8..4,
        class in prop_oneof![Just("SPY"), Just("SPYW"), Just("a=b")],
        base in prop_oneof![Just("EUR"), Just("GBP")], ratio in 1_u32..3, sold in any::<bool>(),
    ) -> ContractIdentity {
        let expiry = Date::parse(&format!("2027010{day}")).unwrap();
        let side = if sold { Side::Sell } else { Side::Buy };
        let leg = |conid, side, ratio| ComboLeg { conid: Conid::new(conid).unwrap(), side, ratio };
        match which {
            0 => ContractIdentity::Stock,
            1 => ContractIdentity::Option {
                right: if call { OptionRight::Call } else { OptionRight::Put },
                strike: Price::new(Decimal::from(strike)).unwrap(),
                expiry,
                trading_class: class.to_owned(),
            },
            2 => ContractIdentity::Future { expiry },
            3 => ContractIdentity::Pair { base: Currency::parse(base).unwrap() },
            _ => ContractIdentity::Combo {
                class: ibkr_agent_domain::AssetClass::Stock,
                legs: ComboLegs::new(vec![leg(2, side, ratio), leg(1, Side::Buy, 1)]).unwrap(),
            },
        }
    }
}

prop_compose! {
    /// Few values for each part, so that two orders are often equal or differ in one part.
    fn some_order()(
        identity in some_identity(),
        kind in 0..OrderType::ALL.len(),
        price in prop_oneof![Just("1"), Just("1.0"), Just("100.5")],
        drop_optional in any::<bool>(),
        side in any::<bool>(), gtc in any::<bool>(), outside in any::<bool>(),
        count in prop_oneof![Just("1"), Just("1.00"), Just("0.5")],
        symbol in prop_oneof![Just("AAPL"), Just("BRK B"), Just("A=B")],
        mode in prop_oneof![Just(Mode::Paper), Just(Mode::Live)],
        old in any::<bool>(),
    ) -> CanonicalOrder {
        let order_type = *OrderType::ALL.get(kind).unwrap();
        let mut draft = draft(order_type, identity);
        let given = prices(order_type, dec(price));
        let bare = Pricing::new(order_type, GivenPrices::default());
        draft.terms.pricing = match bare {
            Ok(bare) if drop_optional => bare,
            Ok(_) | Err(_) => Pricing::new(order_type, given).unwrap(),
        };
        draft.terms.side = if side { Side::Buy } else { Side::Sell };
        if gtc {
            draft.terms.time_in_force = TimeInForce::GoodTillCancelled;
        }
        draft.terms.outside_rth = outside;
        draft.terms.quantity = quantity(count);
        draft.contract.symbol = Untrusted::new(symbol);
        draft.target.mode = mode;
        let order = draft.order().unwrap();
        match order.clone().in_form_1() {
            Ok(first) if old => first,
            Ok(_) | Err(_) => order,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn two_orders_share_bytes_exactly_when_they_are_equal(
        one in some_order(), other in some_order(),
    ) {
        prop_assert_eq!(one.canonical_bytes() == other.canonical_bytes(), one == other);
    }

    #[test]
    fn bytes_read_back_as_the_order_that_wrote_them(order in some_order()) {
        let text = String::from_utf8(order.canonical_bytes()).unwrap();
        prop_assert_eq!(CanonicalOrder::parse(&text), Ok(order));
    }

    #[test]
    fn changed_bytes_never_read_as_the_same_order(
        order in some_order(), at in any::<prop::sample::Index>(), byte in 0x0a_u8..0x7f,
    ) {
        let mut bytes = order.canonical_bytes();
        let index = at.index(bytes.len());
        prop_assume!(bytes[index] != byte);
        bytes[index] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(read) = CanonicalOrder::parse(&text) {
            prop_assert_ne!(read, order);
        }
    }

    #[test]
    fn a_line_that_is_missing_twice_or_elsewhere_is_refused(
        order in some_order(), at in any::<prop::sample::Index>(), how in 0_u8..3,
    ) {
        let text = String::from_utf8(order.canonical_bytes()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let index = 1 + at.index(lines.len() - 2);
        match how {
            0 => drop(lines.remove(index)),
            1 => lines.insert(index, lines[index]),
            _ => lines.swap(index, index + 1),
        }
        let changed = format!("{}\n", lines.join("\n"));
        // Without an optional price it is another order, never the same one.
        prop_assert_ne!(CanonicalOrder::parse(&changed), Ok(order));
    }
}

#[test]
fn a_combination_has_two_to_eight_different_legs_in_one_order() {
    let leg =
        |conid: u64, ratio| ComboLeg { conid: Conid::new(conid).unwrap(), side: Side::Buy, ratio };
    let one = ComboLegs::new(vec![leg(1, 1), leg(2, 2)]).unwrap();
    assert_eq!(ComboLegs::new(vec![leg(2, 2), leg(1, 1)]), Ok(one));
    for wrong in [
        vec![leg(1, 1)],
        vec![leg(1, 1), leg(1, 2)],
        vec![leg(1, 0), leg(2, 1)],
        vec![leg(1, 1), leg(2, 1001)],
        (1..10).map(|conid| leg(conid, 1)).collect(),
    ] {
        assert_eq!(ComboLegs::new(wrong), Err(InvalidOrder::Legs));
    }
    assert!(ComboLegs::new((1..9).map(|conid| leg(conid, 1)).collect()).is_ok());
}
