//! `risk`: policies of limits, and which of them holds where.
//!
//! A policy has sections. The plain keys below are those of earlier versions: each means the key
//! of a section that its line names, and giving both is an error.

use super::trading::RawDecimal;
use core::fmt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer as _, MapAccess, Visitor};
use std::collections::BTreeMap;

/// `risk`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRisk {
    /// Limit policies by id.
    pub policies: Vec<RawRiskPolicy>,
    /// Which policy holds for an account in a mode. With any, what isn't bound may not trade.
    pub bind: Vec<RawBinding>,
}

/// `risk.bind[]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBinding {
    /// The account.
    pub account: String,
    /// The mode, such as paper.
    pub mode: String,
    /// The policy's id.
    pub policy: String,
}

/// One set of limits. A limit that is absent is the built-in one, never "none".
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRiskPolicy {
    /// Name of the policy.
    pub id: String,
    /// The mode that it is for; one that is bound to another is refused.
    pub mode: Option<String>,
    /// Currency of every amount, such as EUR; USD when absent.
    pub currency: Option<String>,
    /// What may be traded.
    pub instruments: RawInstruments,
    /// What an order may look like.
    pub orders: RawOrders,
    /// How large one order may be.
    pub size: RawSize,
    /// What its price may be.
    pub price: RawPrice,
    /// What the account may become by it.
    pub exposure: RawExposure,
    /// What a trading day may take.
    pub day: RawDay,
    /// How often.
    pub rate: RawRate,
    /// What is done about other orders.
    pub guard: RawGuard,
    /// Questions of the broker that need no human.
    pub questions: RawQuestions,
    /// As `instruments.allow_symbols`.
    pub allowed_symbols: Option<Vec<String>>,
    /// As `instruments.deny_symbols`.
    pub denied_symbols: Option<Vec<String>>,
    /// As `instruments.classes`.
    pub asset_classes: Option<Vec<String>>,
    /// As `size.max_quantity`.
    pub max_quantity: Option<RawDecimal>,
    /// As `size.max_notional`.
    pub max_notional: Option<RawDecimal>,
    /// As `price.collar_percent`.
    pub price_collar_percent: Option<RawDecimal>,
    /// As `price.max_quote_age_seconds`.
    pub max_quote_age_seconds: Option<u64>,
    /// As `price.data`: false is `real_time`.
    pub accept_delayed_for_paper: Option<bool>,
    /// As `day.max_orders`.
    pub max_orders_per_day: Option<u32>,
    /// As `day.max_notional`.
    pub max_notional_per_day: Option<RawDecimal>,
    /// As `rate.orders_per_minute`.
    pub max_orders_per_minute: Option<u32>,
}

/// `instruments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawInstruments {
    /// Symbols that may be traded; every symbol that isn't denied when absent.
    pub allow_symbols: Option<Vec<String>>,
    /// Symbols that may not be traded.
    pub deny_symbols: Option<Vec<String>>,
    /// Asset classes that may be traded.
    pub classes: Option<Vec<String>>,
    /// Trading currencies; each when absent.
    pub currencies: Option<Vec<String>>,
    /// Where orders may be routed; anywhere when absent.
    pub exchanges: Option<Vec<String>>,
}

/// `orders`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawOrders {
    /// Order types: limit.
    pub types: Option<Vec<String>>,
    /// Times in force: day, gtc.
    pub time_in_force: Option<Vec<String>>,
    /// Whether an order may work outside regular hours.
    pub outside_rth: Option<bool>,
    /// Whether parts of a unit may be ordered.
    pub fractions: Option<bool>,
    /// When the market must be open: regular, extended, or any, with which an order may wait.
    pub market_hours: Option<String>,
}

/// `size`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSize {
    /// Largest quantity of one order: a number, or one by asset class.
    pub max_quantity: Option<RawQuantities>,
    /// Largest value of one order.
    pub max_notional: Option<RawDecimal>,
}

/// One quantity for each asset class, or one by class. A part of a unit is written in quotes, so
/// that it never goes through a float.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum RawQuantities {
    /// For each class.
    Each(RawDecimal),
    /// By class; one that isn't named has the built-in quantity.
    ByClass(BTreeMap<String, RawDecimal>),
}

impl<'de> Deserialize<'de> for RawQuantities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quantities)
    }
}

struct Quantities;

impl<'de> Visitor<'de> for Quantities {
    type Value = RawQuantities;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, a quoted number, or numbers by asset class")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawQuantities, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawQuantities, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawQuantities, E> {
        let text: StrDeserializer<'_, E> = text.into_deserializer();
        RawDecimal::deserialize(text).map(RawQuantities::Each)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawQuantities, A::Error> {
        let mut quantities = BTreeMap::new();
        while let Some((class, most)) = map.next_entry::<String, RawDecimal>()? {
            if quantities.insert(class.clone(), most).is_some() {
                return Err(de::Error::custom(format!("{class} is given twice")));
            }
        }
        Ok(RawQuantities::ByClass(quantities))
    }
}

/// `price`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawPrice {
    /// How far beyond the side of the market that it trades with, in percent.
    pub collar_percent: Option<RawDecimal>,
    /// How far beyond the middle of the market, in percent.
    pub mid_percent: Option<RawDecimal>,
    /// How far beyond the last trade, else the last close, in percent.
    pub last_percent: Option<RawDecimal>,
    /// Widest market, in percent of its middle.
    pub max_spread_percent: Option<RawDecimal>,
    /// How far on the passive side before a warning, in percent.
    pub passive_warning_percent: Option<RawDecimal>,
    /// Oldest quote that an order may rest on, in seconds. The list of orders that it is checked
    /// against may be as old, 10 seconds at most.
    pub max_quote_age_seconds: Option<u64>,
    /// real_time, or delayed, with a warning.
    pub data: Option<String>,
    /// How far the market may move between preview and sending, in percent.
    pub max_drift_percent: Option<RawDecimal>,
}

/// `exposure`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawExposure {
    /// Whether more may be sold than is held: deny or warn.
    pub shorts: Option<String>,
    /// Whether more of a currency may be spent than there is: deny or warn.
    pub margin_loan: Option<String>,
    /// Largest value of one position, with what works.
    pub max_position_notional: Option<RawDecimal>,
    /// Largest part of the account's value in one position, in percent.
    pub max_concentration_percent: Option<RawDecimal>,
    /// Largest value of all positions with the order.
    pub max_gross: Option<RawDecimal>,
    /// Least excess liquidity after the order.
    pub min_excess_liquidity: Option<RawDecimal>,
    /// Largest part of the equity that initial margin may take, in percent.
    pub max_margin_use_percent: Option<RawDecimal>,
    /// Without a preview of the broker's own: required denies, warn warns.
    pub what_if: Option<String>,
}

/// `day`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawDay {
    /// Orders a day.
    pub max_orders: Option<u32>,
    /// Value of a day's orders.
    pub max_notional: Option<RawDecimal>,
    /// Loss of a day after which orders may only reduce.
    pub max_loss: Option<RawDecimal>,
}

/// `rate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRate {
    /// Orders a minute.
    pub orders_per_minute: Option<u32>,
    /// Requests to place, cancel or answer a minute; cancels count and are never refused.
    pub messages_per_minute: Option<u32>,
    /// How long an order that repeats another one is refused, in seconds; 0 never.
    pub same_order_window_seconds: Option<u64>,
    /// How many equal orders may fill in a day.
    pub same_execution_limit: Option<u32>,
    /// Orders that may work in an account at once.
    pub max_open_orders: Option<u32>,
}

/// `guard`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawGuard {
    /// What is done about an order that could trade with one of the same account: deny or warn.
    pub self_match: Option<String>,
}

/// `questions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawQuestions {
    /// Those that are answered with yes.
    pub known: Vec<RawKnownQuestion>,
}

/// `questions.known[]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKnownQuestion {
    /// IBKR's message id, such as o163.
    pub id: String,
    /// The text with its slots: {side}, {quantity}, {symbol}, {price}, {venue}, {percent} and
    /// {amount}.
    pub text: String,
    /// Bounds of {percent} and {amount}.
    #[serde(default)]
    pub bounds: BTreeMap<String, RawBounds>,
}

/// Bounds of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBounds {
    /// Least value.
    pub min: Option<RawDecimal>,
    /// Largest value.
    pub max: Option<RawDecimal>,
}
