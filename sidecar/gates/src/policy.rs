//! A risk policy: limits that the account's owner set. Deny is the default of every part.

use core::fmt::Write as _;
use core::time::Duration;
use ibkr_agent_domain::{AccountId, AssetClass, Digest, Mode, Money};
use rust_decimal::Decimal;
use std::collections::BTreeSet;

/// A broker question that may be answered with yes without a human.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnownQuestion {
    /// IBKR's message id, such as `o163`.
    pub message_id: String,
    /// SHA-256 of the question's exact text.
    pub text: Digest,
}

/// The parts of a policy, before they are checked.
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
    /// Largest quantity of one order.
    pub max_quantity: Decimal,
    /// Largest value of one order.
    pub max_notional: Money,
    /// How far a price may lie on the aggressive side of the market, in percent.
    pub collar_percent: Decimal,
    /// How far on the passive side before a warning, in percent.
    pub passive_warning_percent: Decimal,
    /// Oldest quote that is accepted, by our clock.
    pub max_quote_age: Duration,
    /// How far the market may move between approval and submission, in percent.
    pub max_drift_percent: Decimal,
    /// Orders per minute.
    pub max_orders_per_minute: u32,
    /// Orders per trading day.
    pub max_orders_per_day: u32,
    /// Value per trading day.
    pub max_notional_per_day: Money,
    /// Modes in which delayed or frozen data is accepted, with a warning.
    pub delayed_data_modes: BTreeSet<Mode>,
    /// Broker questions that need no human.
    pub known_questions: BTreeSet<KnownQuestion>,
}

/// Why limits aren't a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A limit isn't above zero.
    #[error("the policy's {0} must be above zero")]
    NotPositive(&'static str),
    /// Live can't be enabled in this version.
    #[error("live trading can't be enabled by this version")]
    Live,
    /// Both money limits must be in one currency.
    #[error("max_notional and max_notional_per_day must be in the same currency")]
    Currency,
}

/// What [`Policy::slippage_percent`] gives.
const SLIPPAGE_PERCENT: Decimal = Decimal::from_parts(3, 0, 0, false, 0);

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
        let positive = [
            (limits.max_quantity, "max_quantity"),
            (limits.max_notional.amount, "max_notional"),
            (limits.collar_percent, "price_collar_percent"),
            (limits.passive_warning_percent, "passive_warning_percent"),
            (limits.max_drift_percent, "max_drift_percent"),
            (limits.max_notional_per_day.amount, "max_notional_per_day"),
        ];
        for (value, name) in positive {
            if value <= Decimal::ZERO {
                return Err(InvalidPolicy::NotPositive(name));
            }
        }
        if limits.max_quote_age.is_zero() {
            return Err(InvalidPolicy::NotPositive("max_quote_age"));
        }
        if limits.modes.contains(&Mode::Live) {
            return Err(InvalidPolicy::Live);
        }
        if limits.max_notional.currency != limits.max_notional_per_day.currency {
            return Err(InvalidPolicy::Currency);
        }
        let hash = Digest::of(canonical(&limits).as_bytes());
        Ok(Self { limits, hash })
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    /// How far a market order is counted to trade beyond the price it was sent at, in per cent. A
    /// built-in value until a policy can admit such orders.
    #[must_use]
    pub const fn slippage_percent(&self) -> Decimal {
        SLIPPAGE_PERCENT
    }

    /// SHA-256 over every limit, so a record can say under which policy it was decided.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}

/// Each item quoted, so that no two lists read alike.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{:?}", item.to_string())).collect::<Vec<_>>().join(",")
}

fn canonical(limits: &PolicyLimits) -> String {
    let mut text = String::from("ibkr-agent-policy/v1\n");
    let allowed = limits.allowed_symbols.as_ref().map_or_else(|| "*".to_owned(), list);
    let questions = limits.known_questions.iter().map(|q| format!("{}:{}", q.message_id, q.text));
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "id={:?}\nmodes={}\naccounts={}\nallowed={allowed}\ndenied={}\nclasses={}\nquantity={}\n\
         notional={}\ncollar={}\npassive={}\nquote_age_ms={}\ndrift={}\nper_minute={}\n\
         per_day={}\nnotional_per_day={}\ndelayed={}\nquestions={}\n",
        limits.id,
        list(&limits.modes),
        list(&limits.accounts),
        list(&limits.denied_symbols),
        list(&limits.asset_classes),
        limits.max_quantity.normalize(),
        limits.max_notional,
        limits.collar_percent.normalize(),
        limits.passive_warning_percent.normalize(),
        limits.max_quote_age.as_millis(),
        limits.max_drift_percent.normalize(),
        limits.max_orders_per_minute,
        limits.max_orders_per_day,
        limits.max_notional_per_day,
        list(&limits.delayed_data_modes),
        list(questions),
    );
    text
}
