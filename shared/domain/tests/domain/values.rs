//! Laws of prices, quantities, money, currencies, times, digests, ids and instruments.

use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, Conid, Currency, Digest, IdempotencyKey, Instrument, Money, Price, Quantity, Scope,
    ScopeSet, Tier, Timestamp,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn decimal() -> impl Strategy<Value = Decimal> {
    (any::<i64>(), 0_u32..12).prop_map(|(number, scale)| Decimal::new(number, scale))
}

fn most() -> Decimal {
    Decimal::from(1_000_000_000_000_000_i64)
}

#[test]
fn prices_and_quantities_have_two_sides() {
    let least = Decimal::new(1, 28);
    for good in [least, Decimal::ONE, most()] {
        assert_eq!(Price::new(good).map(Price::get), Ok(good));
        assert_eq!(Quantity::new(good).map(Quantity::get), Ok(good));
    }
    for bad in [Decimal::ZERO, -least, -Decimal::ONE, most() + Decimal::new(1, 4), Decimal::MAX] {
        assert!(Price::new(bad).is_err(), "{bad}");
        assert!(Quantity::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_currency_is_three_letters_or_base() {
    for good in ["USD", "usd", "EUR", "BASE", "base"] {
        assert_eq!(Currency::parse(good).unwrap().as_str(), good.to_ascii_uppercase());
    }
    for bad in ["", "US", "USDT", "U$D", "US ", "éé"] {
        assert!(Currency::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn ids_are_bounded_and_need_no_escaping() {
    for good in ["DU1234567", "a", "a-b_c.d:e", &"x".repeat(32)] {
        assert_eq!(AccountId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a/b", "a\n", "é", "a|b", "\u{202e}", &"x".repeat(33)] {
        assert!(AccountId::parse(bad).is_err(), "{bad:?}");
    }
    assert!(IdempotencyKey::parse("any visible? NO").is_err());
    assert!(IdempotencyKey::parse("any/visible?yes!").is_ok());
    assert!(Conid::new(0).is_err() && Conid::new(u64::from(u32::MAX) + 1).is_err());
}

#[test]
fn a_tier_holds_every_scope_below_it_and_a_ceiling_never_widens() {
    let paper = ScopeSet::up_to(Tier::Paper);
    let asked = ScopeSet::parse_list("ibkr:orders:live:submit ibkr:accounts:read nonsense");
    let allowed = asked.intersection(&paper);
    assert!(allowed.contains(Scope::AccountsRead));
    assert_eq!(allowed.iter().count(), 1);
    assert!(ScopeSet::default().is_empty());
}

#[test]
fn a_digest_with_signs_is_none() {
    assert!(Digest::parse(&"+f".repeat(32)).is_err());
    assert!(Digest::parse(&"ff".repeat(31)).is_err());
    assert_eq!(Digest::parse(&"Ff".repeat(32)), Ok(Digest::from_bytes([0xff; 32])));
}

proptest! {
    #[test]
    fn a_value_is_above_zero_within_bounds_and_shown_without_trailing_zeros(number in decimal()) {
        let good = number > Decimal::ZERO && number <= most();
        prop_assert_eq!(Price::new(number).is_ok(), good);
        prop_assert_eq!(Quantity::new(number).is_ok(), good);
        if let Ok(price) = Price::new(number) {
            let shown = price.to_string();
            prop_assert_eq!(shown.parse::<Decimal>().unwrap(), number);
            prop_assert!(!shown.contains('.') || !shown.ends_with('0'), "{}", shown);
            prop_assert!(!shown.contains(['e', 'E']), "{}", shown);
        }
    }

    #[test]
    fn a_notional_grows_with_price_and_quantity(
        price in 1_i64..1_000_000, more in 1_i64..1_000_000, quantity in 1_i64..1_000_000,
    ) {
        let value = |price: i64, quantity: i64| {
            let price = Price::new(Decimal::new(price, 2)).unwrap();
            let quantity = Quantity::new(Decimal::new(quantity, 1)).unwrap();
            price.notional(quantity, Decimal::ONE, Currency::USD).unwrap().amount
        };
        prop_assert!(value(price + more, quantity) > value(price, quantity));
        prop_assert!(value(price, quantity + more) > value(price, quantity));
        prop_assert_eq!(value(price, quantity), Decimal::new(price * quantity, 3));
    }

    #[test]
    fn money_is_shown_with_its_currency(number in decimal()) {
        let shown = Money::new(number, Currency::USD).to_string();
        let (amount, currency) = shown.split_once(' ').unwrap();
        prop_assert_eq!((amount.parse::<Decimal>().unwrap(), currency), (number, "USD"));
    }

    #[test]
    fn a_time_reads_back_as_it_is_shown(millis in 0_i64..4_102_444_800_000) {
        let time = Timestamp::from_millis(millis);
        prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        prop_assert_eq!(time.since(time), Duration::ZERO);
    }

    #[test]
    fn time_never_runs_backwards_or_over(
        millis in any::<i64>(), other in any::<i64>(), seconds in any::<u64>(),
    ) {
        let (time, other) = (Timestamp::from_millis(millis), Timestamp::from_millis(other));
        prop_assert!(time.plus(Duration::from_secs(seconds)) >= time);
        prop_assert!(time.since(other).is_zero() || other < time);
    }

    #[test]
    fn a_digest_reads_back_as_it_is_shown(bytes in any::<[u8; 32]>()) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_nothing_else(text in "[0-9a-fA-F+ ]{60,66}") {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        prop_assert_eq!(Digest::parse(&text).is_ok(), good, "{}", text);
    }

    #[test]
    fn no_text_breaks_a_parser(text in "\\PC{0,80}") {
        drop(Instrument::parse(&text));
        drop(AccountId::parse(&text));
        drop(Currency::parse(&text));
        drop(Digest::parse(&text));
        drop(Timestamp::parse(&text));
    }
}
