//! A risk policy: limits that the account's owner set. Deny is the default of every part.
//!
//! What a policy holds stands in one table ([`Policy::entries`]): its hash, what every surface
//! prints of it, and what is tighter or looser than another follow from that.

mod built_in;
mod entries;
mod set;

pub use entries::{Change, Difference, Entry, Limit};
pub use set::PolicySet;

use crate::{KnownQuestion, Question};
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, AssetClass, CanonicalOrder, Currency, Digest, Mode, Money, OrderType, TimeInForce,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

/// What is done about something that a policy can forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// It is refused.
    Deny,
    /// It passes with a warning.
    Warn,
}

impl Guard {
    /// Both, the tighter one first.
    pub const ALL: &'static [Self] = &[Self::Deny, Self::Warn];

    /// Our name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
        }
    }
}

/// When the market must be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarketHours {
    /// Now, in regular hours.
    Regular,
    /// Now, in regular or extended hours.
    Extended,
    /// Never: an order may wait for the opening, with a warning.
    Any,
}

impl MarketHours {
    /// Each, the tightest one first.
    pub const ALL: &'static [Self] = &[Self::Regular, Self::Extended, Self::Any];

    /// Our name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Extended => "extended",
            Self::Any => "any",
        }
    }
}

/// The parts of a policy, before they are checked. Amounts without a currency are in the one of
/// `max_notional`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLimits {
    /// The policy's name.
    pub id: String,
    /// Modes that may trade.
    pub modes: BTreeSet<Mode>,
    /// Accounts that may trade.
    pub accounts: BTreeSet<AccountId>,
    /// Symbols that may trade; `None` means every symbol that isn't denied.
    pub allowed_symbols: Option<BTreeSet<String>>,
    /// Symbols that may not trade.
    pub denied_symbols: BTreeSet<String>,
    /// Asset classes that may trade.
    pub asset_classes: BTreeSet<AssetClass>,
    /// Trading currencies; `None` means each.
    pub currencies: Option<BTreeSet<Currency>>,
    /// Where orders may be routed; `None` means anywhere.
    pub exchanges: Option<BTreeSet<String>>,
    /// Order types.
    pub order_types: BTreeSet<OrderType>,
    /// Times in force.
    pub times_in_force: BTreeSet<TimeInForce>,
    /// Whether an order may work outside regular hours.
    pub outside_hours: bool,
    /// Whether parts of a unit may be ordered.
    pub fractions: bool,
    /// When the market must be open.
    pub market_hours: MarketHours,
    /// Largest quantity of one order.
    pub max_quantity: Decimal,
    /// Instead of it for some asset classes.
    pub max_quantity_of: BTreeMap<AssetClass, Decimal>,
    /// Largest value of one order.
    pub max_notional: Money,
    /// How far a price may lie beyond the side of the market that it trades against, in percent.
    pub collar_percent: Decimal,
    /// How far beyond the middle of the market, in percent.
    pub mid_percent: Decimal,
    /// How far beyond the last trade, else the last close, in percent.
    pub last_percent: Decimal,
    /// Widest market, in percent of its middle.
    pub max_spread_percent: Decimal,
    /// How far on the passive side before a warning, in percent.
    pub passive_warning_percent: Decimal,
    /// How far an order at the market is counted to trade beyond the price it was sent at, in
    /// percent.
    pub slippage_percent: Decimal,
    /// Oldest quote that is accepted, by our clock.
    pub max_quote_age: Duration,
    /// How far the market may move between approval and submission, in percent.
    pub max_drift_percent: Decimal,
    /// Modes in which delayed or frozen data is accepted, with a warning.
    pub delayed_data_modes: BTreeSet<Mode>,
    /// Whether more may be sold than is held.
    pub shorts: Guard,
    /// Whether more of a currency may be spent than there is.
    pub margin_loan: Guard,
    /// Largest value of one position with what works.
    pub max_position_notional: Decimal,
    /// Largest part of the account's value in one position, in percent.
    pub max_concentration_percent: Decimal,
    /// Largest value of all positions, short ones counted as they are large, with the order.
    pub max_gross: Decimal,
    /// Least excess liquidity after the order.
    pub min_excess_liquidity: Decimal,
    /// Largest part of the equity that initial margin may take after the order, in percent.
    pub max_margin_use_percent: Decimal,
    /// What is done without a preview of the broker's own.
    pub what_if: Guard,
    /// Orders per trading day.
    pub max_orders_per_day: u32,
    /// Value per trading day.
    pub max_notional_per_day: Money,
    /// Loss of a day after which orders may only reduce.
    pub max_loss_per_day: Decimal,
    /// Orders per minute.
    pub max_orders_per_minute: u32,
    /// Requests to place, cancel or answer per minute.
    pub max_messages_per_minute: u32,
    /// How long an order that repeats another one is refused.
    pub same_order_window: Duration,
    /// How many equal orders may fill in a trading day.
    pub same_execution_limit: u32,
    /// Orders that may work in an account at once, whoever placed them.
    pub max_open_orders: u32,
    /// What is done about an order that could trade with one of the same account.
    pub self_match: Guard,
    /// Broker questions that need no human.
    pub known_questions: BTreeSet<KnownQuestion>,
}

/// Why limits aren't a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A limit isn't above zero.
    #[error("the policy's {0} must be above zero")]
    NotPositive(&'static str),
    /// A limit is below zero.
    #[error("the policy's {0} can't be below zero")]
    Negative(&'static str),
    /// Live can't be enabled in this version.
    #[error("live trading can't be enabled by this version")]
    Live,
    /// Both money limits must be in one currency.
    #[error("max_notional and max_notional_per_day must be in the same currency")]
    Currency,
}

/// A checked policy with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    limits: PolicyLimits,
    hash: Digest,
}

impl Policy {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`InvalidPolicy`] names the limit that is wrong.
    pub fn new(limits: PolicyLimits) -> Result<Self, InvalidPolicy> {
        let by_class = limits.max_quantity_of.values().map(|most| (*most, "size.max_quantity"));
        let positive = [
            (limits.max_quantity, "size.max_quantity"),
            (limits.max_notional.amount, "size.max_notional"),
            (limits.collar_percent, "price.collar_percent"),
            (limits.mid_percent, "price.mid_percent"),
            (limits.last_percent, "price.last_percent"),
            (limits.max_spread_percent, "price.max_spread_percent"),
            (limits.passive_warning_percent, "price.passive_warning_percent"),
            (limits.max_drift_percent, "price.max_drift_percent"),
            (limits.max_notional_per_day.amount, "day.max_notional"),
            (limits.max_loss_per_day, "day.max_loss"),
            (limits.max_position_notional, "exposure.max_position_notional"),
            (limits.max_concentration_percent, "exposure.max_concentration_percent"),
            (limits.max_gross, "exposure.max_gross"),
            (limits.max_margin_use_percent, "exposure.max_margin_use_percent"),
        ];
        for (value, name) in positive.into_iter().chain(by_class) {
            if value <= Decimal::ZERO {
                return Err(InvalidPolicy::NotPositive(name));
            }
        }
        let not_negative = [
            (limits.slippage_percent, "price.slippage_percent"),
            (limits.min_excess_liquidity, "exposure.min_excess_liquidity"),
        ];
        for (value, name) in not_negative {
            if value < Decimal::ZERO {
                return Err(InvalidPolicy::Negative(name));
            }
        }
        if limits.max_quote_age.is_zero() {
            return Err(InvalidPolicy::NotPositive("price.max_quote_age_seconds"));
        }
        if limits.modes.contains(&Mode::Live) {
            return Err(InvalidPolicy::Live);
        }
        if limits.max_notional.currency != limits.max_notional_per_day.currency {
            return Err(InvalidPolicy::Currency);
        }
        let hash = entries::hash(&limits);
        Ok(Self { limits, hash })
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    /// The currency of its amounts.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.limits.max_notional.currency
    }

    /// How far an order at the market is counted to trade beyond the price it was sent at, in
    /// percent.
    #[must_use]
    pub const fn slippage_percent(&self) -> Decimal {
        self.limits.slippage_percent
    }

    /// Each limit under its key in the file, in the file's order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        entries::of(&self.limits)
    }

    /// What another policy says differently, seen from this one.
    #[must_use]
    pub fn changes_to(&self, other: &Self) -> Vec<Difference> {
        entries::differences(&self.limits, &other.limits)
    }

    /// Whether a question about an order may be answered with yes without a human.
    #[must_use]
    pub fn knows(&self, question: &Question, order: &CanonicalOrder) -> bool {
        self.limits.known_questions.iter().any(|known| known.is(question, order))
    }

    /// SHA-256 over every limit, so a record can say under which policy it was decided.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}
