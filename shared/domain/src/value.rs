//! Prices, quantities and money as decimals with units; never floats.
//!
//! | expression | gives |
//! |---|---|
//! | `Price × Quantity` ([`Price::notional`]) | a [`Money`] in the price's currency |
//! | `Quantity + Quantity` ([`Quantity::checked_add`]) | a [`Quantity`] |
//!
//! Bounds: at most 28 significant digits (the decimal type's own) and a magnitude of 10^15, which
//! keeps every product of two values representable.

use core::fmt;
use rust_decimal::Decimal;

/// Largest magnitude that is accepted for any price, quantity or amount.
const MAX_MAGNITUDE: i64 = 1_000_000_000_000_000;

/// Why a number is not a value of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Not a decimal number.
    #[error("{0} is not a decimal number")]
    NotDecimal(&'static str),
    /// Zero or below where only a positive value makes sense.
    #[error("{0} must be above zero")]
    NotPositive(&'static str),
    /// Beyond what any account can hold.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// Not three upper-case letters.
    #[error("a currency is three letters, such as USD")]
    Currency,
}

fn bounded(kind: &'static str, value: Decimal) -> Result<Decimal, InvalidValue> {
    if value.abs() > Decimal::from(MAX_MAGNITUDE) {
        return Err(InvalidValue::TooLarge(kind));
    }
    Ok(value.normalize())
}

/// An ISO 4217 currency code, or IBKR's pseudo-currency `BASE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 4]);

impl Currency {
    /// US dollars.
    pub const USD: Self = Self(*b"USD ");
    /// The account's own base currency, as the broker's ledger names it.
    pub const BASE: Self = Self(*b"BASE");

    /// Parses a currency code; lower case is accepted.
    ///
    /// # Errors
    /// [`InvalidValue::Currency`] unless the text is three letters or `BASE`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let upper = text.to_ascii_uppercase();
        if upper == "BASE" {
            return Ok(Self::BASE);
        }
        match upper.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|x| x.is_ascii_uppercase()) => {
                Ok(Self([*a, *b, *c, b' ']))
            }
            _ => Err(InvalidValue::Currency),
        }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("???").trim_end()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A price per unit, above zero, in the instrument's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(Decimal);

impl Price {
    /// A positive price.
    ///
    /// # Errors
    /// [`InvalidValue`] for zero, a negative or a too large number.
    pub fn new(value: Decimal) -> Result<Self, InvalidValue> {
        if value <= Decimal::ZERO {
            return Err(InvalidValue::NotPositive("price"));
        }
        bounded("price", value).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> Decimal {
        self.0
    }

    /// Price times quantity times contract multiplier: the value of an order.
    ///
    /// # Errors
    /// [`InvalidValue::TooLarge`] when the product can't be represented.
    pub fn notional(
        self,
        quantity: Quantity,
        multiplier: Decimal,
        currency: Currency,
    ) -> Result<Money, InvalidValue> {
        let product = self
            .0
            .checked_mul(quantity.0)
            .and_then(|value| value.checked_mul(multiplier))
            .ok_or(InvalidValue::TooLarge("notional"))?;
        Ok(Money { amount: product.normalize(), currency })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price per unit that may be zero or below: futures and combinations of contracts trade there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedPrice(Decimal);

impl SignedPrice {
    /// A price of any sign.
    ///
    /// # Errors
    /// [`InvalidValue`] for a too large number.
    pub fn new(value: Decimal) -> Result<Self, InvalidValue> {
        bounded("price", value).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> Decimal {
        self.0
    }
}

impl From<Price> for SignedPrice {
    fn from(price: Price) -> Self {
        Self(price.0)
    }
}

impl fmt::Display for SignedPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of shares or contracts, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(Decimal);

impl Quantity {
    /// A positive quantity.
    ///
    /// # Errors
    /// [`InvalidValue`] for zero, a negative or a too large number.
    pub fn new(value: Decimal) -> Result<Self, InvalidValue> {
        if value <= Decimal::ZERO {
            return Err(InvalidValue::NotPositive("quantity"));
        }
        bounded("quantity", value).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> Decimal {
        self.0
    }

    /// The sum of two quantities.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount of one currency; may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// The signed amount.
    pub amount: Decimal,
    /// Its currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of a currency.
    #[must_use]
    pub const fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount.normalize(), self.currency)
    }
}
