//! The wire form of domain values that travel as text: ids, names, times, outside text.
//!
//! [`Wire`] is the only place where a domain value meets serde; the domain types stay free of it.
//! Names are taken in any case, since models write `BUY` as often as `buy`.

use crate::number::{Scalar, scalar};
use ibkr_agent_domain::{
    AccountId, ApprovalId, AssetClass, BrokerName, BrokerOrderId, BrokerOrderStatus, CallId,
    ClientOrderId, Currency, DataStatus, Date, Digest, IdempotencyKey, Instrument, Mode,
    OnApproval, OptionRight, OrderState, OrderType, PreviewId, Reason, SessionState, Side,
    TimeInForce, Timestamp, Untrusted,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A value with one text form.
pub trait TextForm: Sized {
    /// Longest text in bytes; 0 if it isn't stated in schemas.
    const MAX: usize = 0;
    /// Every text that there is, when the value is one of a fixed set.
    const NAMES: &'static [&'static str] = &[];

    /// Parses the text form.
    ///
    /// # Errors
    /// What the text must be, as a phrase that follows the argument's name.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The text form.
    fn to_text(&self) -> String;
}

/// A domain value in its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire<T>(pub T);

impl<T> From<T> for Wire<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: TextForm> Serialize for Wire<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_text())
    }
}

impl<'de, T: TextForm> Deserialize<'de> for Wire<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match scalar(deserializer)? {
            // Ids made of digits often arrive as numbers.
            Scalar::Text(text) | Scalar::Number(text) => {
                T::from_text(&text).map(Self).map_err(D::Error::custom)
            }
            Scalar::Bool(_) | Scalar::Other => Err(D::Error::custom("must be a string")),
        }
    }
}

impl<T: TextForm> JsonSchema for Wire<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if !T::NAMES.is_empty() {
            return json_schema!({"type": "string", "enum": T::NAMES});
        }
        if T::MAX > 0 {
            return json_schema!({"type": "string", "minLength": 1, "maxLength": T::MAX});
        }
        json_schema!({"type": "string"})
    }
}

macro_rules! ids {
    ($($name:ident: $max:literal),* $(,)?) => {$(
        impl TextForm for $name {
            const MAX: usize = $max;

            fn from_text(text: &str) -> Result<Self, String> {
                Self::parse(text).map_err(|error| error.to_string())
            }

            fn to_text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

ids!(
    AccountId: 32, BrokerName: 32, CallId: 64, PreviewId: 64, ApprovalId: 64, BrokerOrderId: 32,
    IdempotencyKey: 128, ClientOrderId: 64,
);

/// What the text must be one of.
pub(super) fn one_of(names: &[&str]) -> String {
    format!("must be one of {}", names.join(", "))
}

macro_rules! domain_names {
    ($($name:ident { $($variant:ident),* $(,)? })*) => {$(
        impl TextForm for $name {
            const NAMES: &'static [&'static str] = &[$(Self::$variant.as_str(),)*];

            fn from_text(text: &str) -> Result<Self, String> {
                [$(Self::$variant,)*]
                    .into_iter()
                    .find(|value| value.as_str().eq_ignore_ascii_case(text))
                    .ok_or_else(|| one_of(Self::NAMES))
            }

            fn to_text(&self) -> String {
                // One that isn't listed would leave with a name that no schema has.
                match self { $(Self::$variant)|* => self.as_str().to_owned() }
            }
        }
    )*};
}

domain_names! {
    Side { Buy, Sell }
    OnApproval { Hold, Submit }
    Mode { Simulated, Paper, Live }
    SessionState { Unreachable, LoginRequired, BrokerageDown, Competing, Ready }
    DataStatus { RealTime, Delayed, Frozen, FrozenDelayed, NotSubscribed, Unknown }
    OrderState {
        Intended, Question, Working, Held, PendingCancel, Filled, Cancelled, Expired, Rejected,
        NotSent, Unknown,
    }
    BrokerOrderStatus {
        Inactive, PendingSubmit, PreSubmitted, Submitted, Filled, PendingCancel, PreCancelled,
        Cancelled, WarnState, Other,
    }
}

impl TextForm for Reason {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "must be a known reason".to_owned())
    }

    fn to_text(&self) -> String {
        self.text()
    }
}

impl TextForm for AssetClass {
    const NAMES: &'static [&'static str] = &[
        "stock",
        "option",
        "future",
        "future_option",
        "forex",
        "index",
        "bond",
        "fund",
        "cfd",
        "warrant",
        "crypto",
    ];

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| one_of(Self::NAMES))
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl TextForm for TimeInForce {
    const NAMES: &'static [&'static str] = &["day", "gtc"];

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| one_of(Self::NAMES))
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl TextForm for OrderType {
    /// The types that are accepted; the others are known, so that they are refused by name.
    const NAMES: &'static [&'static str] = &[Self::Limit.as_str()];

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| one_of(Self::NAMES))
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl TextForm for OptionRight {
    const NAMES: &'static [&'static str] = &["call", "put"];

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| one_of(Self::NAMES))
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl TextForm for Date {
    const MAX: usize = 10;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextForm for Currency {
    const MAX: usize = 4;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextForm for Timestamp {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextForm for Digest {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl TextForm for Untrusted {
    fn from_text(text: &str) -> Result<Self, String> {
        // Escaped text may be longer than what it stood for; it was bounded where it was made.
        Ok(Self::bounded(text, 8192))
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl TextForm for Instrument {
    const MAX: usize = 64;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_text(&self) -> String {
        match self {
            Self::Conid(conid) => conid.to_string(),
            Self::Symbol { symbol, exchange, currency, class: _ } => {
                let exchange = exchange.as_ref().map(|e| format!("@{e}")).unwrap_or_default();
                let currency = currency.map(|c| format!(":{c}")).unwrap_or_default();
                format!("{symbol}{exchange}{currency}")
            }
            Self::Option { symbol, expiry, right, strike } => {
                format!("{symbol} {expiry} {right} {strike}")
            }
        }
    }
}

/// A short free text that a caller sends: 1 to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortText(String);

impl ShortText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TextForm for ShortText {
    const MAX: usize = 64;

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= Self::MAX;
        if !fits || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(format!("must be 1 to {} printable ASCII characters", Self::MAX));
        }
        Ok(Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Why a caller wants something, in its own words for a human: 1 to 280 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why(String);

impl Why {
    /// Longest, in characters.
    pub const CHARS: usize = 280;

    /// The words as they are shown: data, with nothing in them that could deceive.
    #[must_use]
    pub fn shown(&self) -> Untrusted {
        Untrusted::bounded(&self.0, Self::CHARS)
    }
}

impl TextForm for Why {
    const MAX: usize = Self::CHARS;

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > Self::CHARS {
            return Err(format!("must be 1 to {} characters", Self::CHARS));
        }
        Ok(Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Where to go on in a list: the `next_cursor` of an earlier answer, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TextForm for Cursor {
    const MAX: usize = 128;

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = !text.is_empty() && text.len() <= Self::MAX;
        if !fits || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must be the next_cursor of an earlier answer".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Declares a set of names: an enum whose text forms are fixed.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The name as it stands in requests and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl $crate::catalogue::TextForm for $name {
            const NAMES: &'static [&'static str] = &[$($text,)*];

            fn from_text(text: &str) -> Result<Self, String> {
                [$(Self::$variant,)*]
                    .into_iter()
                    .find(|value| value.as_str().eq_ignore_ascii_case(text))
                    .ok_or_else(|| $crate::catalogue::text::one_of(Self::NAMES))
            }

            fn to_text(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )*};
}
pub(super) use names;
