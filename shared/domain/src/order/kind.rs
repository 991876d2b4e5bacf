//! The closed sets of names that an order is made of: side, time in force, mode, order type.

use crate::Quantity;
use core::fmt;
use rust_decimal::Decimal;

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Adds to the position.
    Buy,
    /// Takes from the position.
    Sell,
}

impl Side {
    /// Both sides.
    pub const ALL: &'static [Self] = &[Self::Buy, Self::Sell];

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|side| side.as_str() == text)
    }

    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The quantity with the sign that it gives the position.
    #[must_use]
    pub fn signed(self, quantity: Quantity) -> Decimal {
        match self {
            Self::Buy => quantity.get(),
            Self::Sell => -quantity.get(),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long an order works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeInForce {
    /// Until the end of the trading day.
    Day,
    /// Until cancelled.
    GoodTillCancelled,
}

impl TimeInForce {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::GoodTillCancelled => "gtc",
        }
    }

    /// Parses our name or IBKR's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "day" => Some(Self::Day),
            "gtc" | "good_till_cancelled" => Some(Self::GoodTillCancelled),
            _ => None,
        }
    }
}

/// Where an order may go. Never chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The embedded simulator: no broker at all.
    Simulated,
    /// A paper account at the broker.
    Paper,
    /// Real money.
    Live,
}

impl Mode {
    /// Every mode.
    pub const ALL: &'static [Self] = &[Self::Simulated, Self::Paper, Self::Live];

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.as_str() == text)
    }

    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the price of an order is set, by name; with its prices it is a [`super::Pricing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderType {
    /// At the market's price, whatever it is.
    Market,
    /// At a price or better.
    Limit,
    /// A market order once the market reaches a price that is worse than now.
    Stop,
    /// A limit order once the market reaches a price that is worse than now.
    StopLimit,
    /// A stop that follows the market at a distance.
    Trailing,
    /// A stop limit that follows the market at a distance.
    TrailingLimit,
    /// A market order once the market reaches a price that is better than now.
    MarketIfTouched,
    /// A limit order once the market reaches a price that is better than now.
    LimitIfTouched,
    /// In the closing auction.
    AtClose,
    /// In the opening auction.
    AtOpen,
    /// At the middle between bid and ask, as it moves.
    MidPrice,
}

impl OrderType {
    /// Every order type.
    pub const ALL: &'static [Self] = &[
        Self::Market,
        Self::Limit,
        Self::Stop,
        Self::StopLimit,
        Self::Trailing,
        Self::TrailingLimit,
        Self::MarketIfTouched,
        Self::LimitIfTouched,
        Self::AtClose,
        Self::AtOpen,
        Self::MidPrice,
    ];

    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit => "limit",
            Self::Stop => "stop",
            Self::StopLimit => "stop_limit",
            Self::Trailing => "trailing",
            Self::TrailingLimit => "trailing_limit",
            Self::MarketIfTouched => "market_if_touched",
            Self::LimitIfTouched => "limit_if_touched",
            Self::AtClose => "at_close",
            Self::AtOpen => "at_open",
            Self::MidPrice => "mid_price",
        }
    }

    /// Parses our name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for OrderType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
