//! One JSON scalar of whatever type the gateway chose today, and the numbers in its texts.

use core::str::FromStr as _;
use ibkr_agent_domain::{AccountId, BrokerOrderId, Conid, Currency, Date, Timestamp, Untrusted};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON string, number or boolean as text; null, empty text, objects and arrays are nothing.
/// Numbers keep their digits: they never become floats.
#[derive(Clone, Default)]
pub(crate) struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        Ok(Self(match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).ok(),
            None | Some(b'n' | b'{' | b'[') => None,
            Some(_) => Some(text.to_owned()),
        }))
    }
}

impl Scalar {
    /// The text, unless it is empty.
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.as_str().map(str::to_owned)
    }

    pub(crate) fn untrusted(&self) -> Option<Untrusted> {
        self.as_str().map(Untrusted::new)
    }

    /// A name with its HTML entities decoded, escaped.
    pub(crate) fn named(&self) -> Option<Untrusted> {
        self.as_str().map(|text| Untrusted::new(&super::html::decode(text)))
    }

    /// The text with its white space, unless it is absent.
    pub(crate) fn exact(&self) -> Option<String> {
        self.0.clone()
    }

    /// The text escaped; empty when absent.
    pub(crate) fn shown(&self) -> Untrusted {
        self.untrusted().unwrap_or_default()
    }

    /// A number: `12`, `1.5e3`, `"1,234.50"`, `"90.4K"`, `"0.54%"`.
    pub(crate) fn decimal(&self) -> Option<Decimal> {
        amount(self.as_str()?)
    }

    pub(crate) fn conid(&self) -> Option<Conid> {
        let number = self.decimal()?;
        Conid::new(u64::try_from(number).ok()?).ok()
    }

    pub(crate) fn account(&self) -> Option<AccountId> {
        AccountId::parse(self.as_str()?).ok()
    }

    pub(crate) fn currency(&self) -> Option<Currency> {
        Currency::parse(self.as_str()?).ok()
    }

    /// An order id: digits only, so `-1`, which means all orders, isn't one.
    pub(crate) fn order_id(&self) -> Option<BrokerOrderId> {
        order_id(self.as_str()?)
    }

    /// Milliseconds since the epoch.
    pub(crate) fn millis(&self) -> Option<Timestamp> {
        self.as_str()?.parse().ok().map(Timestamp::from_millis)
    }

    /// Seconds since the epoch, whole or not.
    pub(crate) fn seconds(&self) -> Option<Timestamp> {
        let millis = self.decimal()?.checked_mul(Decimal::ONE_THOUSAND)?;
        i64::try_from(millis.trunc()).ok().map(Timestamp::from_millis)
    }

    /// A whole number, not below zero.
    pub(crate) fn whole(&self) -> Option<u64> {
        let number = self.decimal()?;
        u64::try_from(number).ok().filter(|_| number.fract().is_zero())
    }

    /// `20261218`, as text or number.
    pub(crate) fn date(&self) -> Option<Date> {
        Date::parse(self.as_str()?).ok()
    }

    pub(crate) fn is_true(&self) -> Option<bool> {
        match self.as_str()? {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

/// Parses an order id of digits.
pub(crate) fn order_id(text: &str) -> Option<BrokerOrderId> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    BrokerOrderId::parse(text).ok()
}

/// A number with thousands commas, a percent sign or a suffix K, M or B; nothing else around it.
pub(crate) fn amount(text: &str) -> Option<Decimal> {
    let text = text.trim().trim_end_matches('%');
    let (digits, scale) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 1_000),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 1_000_000),
        b'B' | b'b' => (text.get(..text.len() - 1)?, 1_000_000_000),
        _ => (text, 1),
    };
    let plain: String = digits.chars().filter(|c| *c != ',').collect();
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    let value = Decimal::from_str(plain).or_else(|_| Decimal::from_scientific(plain)).ok()?;
    value.checked_mul(Decimal::from(scale)).map(|value| value.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> Scalar {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_in_every_documented_dress_are_read_exactly() {
        for (json, expected) in [
            ("12", "12"),
            ("0.1", "0.1"),
            ("1.0E-5", "0.00001"),
            ("\"1,234,567.89\"", "1234567.89"),
            ("\"50.2M\"", "50200000"),
            ("\"90.4K\"", "90400"),
            ("\"1.2B\"", "1200000000"),
            ("\"0.54%\"", "0.54"),
            ("\"-3\"", "-3"),
            ("\"+3\"", "3"),
            ("123456789012345.6789", "123456789012345.6789"),
        ] {
            let value = scalar(json).decimal().map(|value| value.to_string());
            assert_eq!(value.as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_number_is_nothing_never_zero() {
        for json in ["\"\"", "null", "\"N/A\"", "{}", "[]", "\"K\"", "\"1e999\"", "true", "\"-\""] {
            assert_eq!(scalar(json).decimal(), None, "{json}");
        }
    }

    #[test]
    fn ids_come_as_numbers_or_text() {
        assert_eq!(scalar("265598").conid(), scalar("\"265598\"").conid());
        assert_eq!(scalar("-1").conid(), None);
        assert_eq!(scalar("1370093239").order_id(), scalar("\"1370093239\"").order_id());
    }

    #[test]
    fn the_id_that_means_all_orders_is_no_order_id() {
        assert_eq!(scalar("\"-1\"").order_id(), None);
        assert_eq!(scalar("-1").order_id(), None);
        assert_eq!(order_id(".."), None);
        assert_eq!(order_id(""), None);
    }
}
