//! Numbers at the door: what callers may send for a decimal, an integer, a yes or no, or a contract
//! id, and how decimals leave.
//!
//! Decimals leave as strings. They come in as strings, or as JSON numbers that a double holds
//! exactly; a longer number may have been rounded on its way and is refused. Some clients send
//! every argument as a string, so integers, booleans and lists in string form are taken too. Domain
//! rules (above zero, not too large) are not checked here.

use ibkr_agent_domain::{Conid, Currency, Money};
use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Significant decimal digits that a double always holds.
const DOUBLE_DIGITS: usize = 15;

/// Significant digits that [`Decimal`] always holds.
const DECIMAL_DIGITS: usize = 28;

/// Why a value at the door is not a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNumber {
    /// The string isn't a plain decimal.
    #[error("must be a plain decimal such as \"100.25\": digits, at most one point and sign")]
    NotPlain,
    /// The string has more digits than a decimal can hold.
    #[error("must have at most {DECIMAL_DIGITS} digits")]
    TooLong,
    /// The JSON number may have been rounded before it arrived.
    #[error(
        "has more than {DOUBLE_DIGITS} digits, which a JSON number can't carry exactly: \
         give it as a string"
    )]
    Inexact,
}

/// A JSON value that holds no other values.
pub(crate) enum Scalar {
    /// A string, unescaped.
    Text(String),
    /// A number, as written.
    Number(String),
    /// True or false.
    Bool(bool),
    /// An object, an array or null.
    Other,
}

/// Reads one JSON value without losing how a number was written.
pub(crate) fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => Scalar::Text(serde_json::from_str(text).map_err(D::Error::custom)?),
        Some(b'-' | b'0'..=b'9') => Scalar::Number(text.to_owned()),
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        _ => Scalar::Other,
    })
}

/// Parses a strict plain decimal: optional sign, digits, optional fraction; no exponent, no spaces.
///
/// # Errors
/// [`InvalidNumber`] for anything else, or beyond 28 digits.
pub fn parse_decimal(text: &str) -> Result<Decimal, InvalidNumber> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(InvalidNumber::NotPlain),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(InvalidNumber::NotPlain);
    }
    if whole.len() + fraction.len() > DECIMAL_DIGITS {
        return Err(InvalidNumber::TooLong);
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    Decimal::from_str_exact(plain).map_err(|_| InvalidNumber::TooLong)
}

/// Parses the text of a JSON number, if a double holds it exactly.
fn parse_json_number(text: &str) -> Result<Decimal, InvalidNumber> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i32>().map_err(|_| InvalidNumber::Inexact)?)
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| InvalidNumber::Inexact)?;
    let scale = fraction_digits.checked_sub(exponent).ok_or(InvalidNumber::Inexact)?;
    let zeros = usize::try_from(scale.min(0).unsigned_abs()).map_err(|_| InvalidNumber::Inexact)?;
    if digits.len().saturating_add(zeros) > DOUBLE_DIGITS {
        return Err(InvalidNumber::Inexact);
    }
    let padded = format!("{digits}{}", "0".repeat(zeros));
    let magnitude: i64 = padded.parse().map_err(|_| InvalidNumber::Inexact)?;
    let signed = if negative { -magnitude } else { magnitude };
    let scale = u32::try_from(scale.max(0)).map_err(|_| InvalidNumber::Inexact)?;
    Decimal::try_new(signed, scale).map_err(|_| InvalidNumber::Inexact)
}

/// Whether every parser reads the same in the text of a JSON number: a 64-bit integer, or a decimal
/// that a double holds.
#[must_use]
pub fn is_exact_json_number(text: &str) -> bool {
    text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok() || parse_json_number(text).is_ok()
}

/// A decimal that a caller sends, as a string or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputNumber(pub Decimal);

impl<'de> Deserialize<'de> for InputNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed = match scalar(deserializer)? {
            Scalar::Text(text) => parse_decimal(&text),
            Scalar::Number(text) => parse_json_number(&text),
            Scalar::Bool(_) | Scalar::Other => Err(InvalidNumber::NotPlain),
        };
        parsed.map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for InputNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InputNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["number", "string"], "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?$"})
    }
}

/// A whole number that a caller sends, perhaps in string form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputInteger(pub u64);

impl InputInteger {
    /// The number, if it is in a range.
    #[must_use]
    pub fn within(self, least: u64, most: u64) -> Option<u64> {
        (least..=most).contains(&self.0).then_some(self.0)
    }
}

impl<'de> Deserialize<'de> for InputInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match scalar(deserializer)? {
            Scalar::Text(text) | Scalar::Number(text) => text,
            Scalar::Bool(_) | Scalar::Other => String::new(),
        };
        // A client that knows only doubles writes 5 as 5.0.
        let whole = text.strip_suffix(".0").unwrap_or(&text);
        let digits = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
        match whole.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(D::Error::custom("must be a whole number, zero or above")),
        }
    }
}

impl JsonSchema for InputInteger {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InputInteger".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }
}

/// A yes or no that a caller sends, perhaps in string form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBool(pub bool);

impl<'de> Deserialize<'de> for InputBool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match scalar(deserializer)? {
            Scalar::Bool(value) => Ok(Self(value)),
            Scalar::Text(text) if text.eq_ignore_ascii_case("true") => Ok(Self(true)),
            Scalar::Text(text) if text.eq_ignore_ascii_case("false") => Ok(Self(false)),
            Scalar::Text(_) | Scalar::Number(_) | Scalar::Other => {
                Err(D::Error::custom("must be true or false"))
            }
        }
    }
}

impl JsonSchema for InputBool {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InputBool".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "boolean"})
    }
}

/// A contract id that a caller sends, as an integer or as a string of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputConid(pub Conid);

impl<'de> Deserialize<'de> for InputConid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let InputInteger(number) = InputInteger::deserialize(deserializer)?;
        Conid::new(number).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for InputConid {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InputConid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]{1,10}$"})
    }
}

/// A list that a caller sends, perhaps as a string that holds a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputList<T>(pub Vec<T>);

impl<T> InputList<T> {
    /// Most items that any list argument may hold.
    pub const MAX: usize = 50;
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for InputList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let array = if raw.get().starts_with('"') {
            serde_json::from_str::<String>(raw.get()).map_err(D::Error::custom)?
        } else {
            raw.get().to_owned()
        };
        let items: Vec<T> = serde_json::from_str(&array)
            .map_err(|error| D::Error::custom(format!("must be a list: {error}")))?;
        if items.is_empty() || items.len() > Self::MAX {
            return Err(D::Error::custom(format!("must hold 1 to {} items", Self::MAX)));
        }
        Ok(Self(items))
    }
}

impl<T: JsonSchema> JsonSchema for InputList<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("InputList_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": generator.subschema_for::<T>(),
            "minItems": 1,
            "maxItems": Self::MAX,
        })
    }
}

/// A decimal that we send: a string without needless zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputNumber(pub Decimal);

impl From<Decimal> for OutputNumber {
    fn from(value: Decimal) -> Self {
        Self(value)
    }
}

impl core::fmt::Display for OutputNumber {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.normalize().fmt(f)
    }
}

impl Serialize for OutputNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OutputNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_decimal(&text).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for OutputNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OutputNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// An amount of one currency that we send: `{"amount":"100.25","currency":"USD"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputMoney {
    /// The signed amount, a decimal string.
    pub amount: OutputNumber,
    /// ISO 4217 code, or BASE for the account's base currency.
    pub currency: String,
}

impl OutputMoney {
    /// An amount of a currency.
    #[must_use]
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount: OutputNumber(amount), currency: currency.to_string() }
    }
}

impl From<Money> for OutputMoney {
    fn from(money: Money) -> Self {
        Self::new(money.amount, money.currency)
    }
}

#[cfg(test)]
mod tests;
