//! Orders: their terms, the canonical bytes that a human's approval covers, and our reference.
//!
//! Canonical form, version 1: one `key=value` line per field in a fixed order, ending in a line
//! feed; decimals normalised; absent fields are absent lines. The bytes are what is hashed, shown
//! and signed, so any change of the format is a new version with its own golden file.

use crate::{
    AccountId, AssetClass, BrokerName, ClientOrderId, Conid, Currency, Digest, InvalidId, Money,
    Price, Quantity, SidecarId,
};
use core::fmt;
use core::fmt::Write as _;
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

/// How the price is set. More kinds come with the order work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderKind {
    /// At this price or better.
    Limit(Price),
}

impl OrderKind {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit(_) => "limit",
        }
    }

    /// The worst price at which the order can fill.
    #[must_use]
    pub const fn worst_price(self) -> Price {
        match self {
            Self::Limit(price) => price,
        }
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

/// What the caller wants done, instrument resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderTerms {
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: Quantity,
    /// At what price.
    pub kind: OrderKind,
    /// For how long.
    pub time_in_force: TimeInForce,
    /// Whether it may fill outside regular trading hours.
    pub outside_rth: bool,
}

/// Why an order can't be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// The contract's symbol or exchange holds a character that canonical bytes can't carry.
    #[error("the contract's {0} can't be part of an order")]
    Text(&'static str),
    /// The contract's multiplier isn't above zero.
    #[error("the contract's multiplier must be above zero")]
    Multiplier,
}

/// The order exactly as it is shown, approved and sent. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalOrder {
    broker: BrokerName,
    mode: Mode,
    account: AccountId,
    conid: Conid,
    symbol: String,
    class: AssetClass,
    exchange: String,
    currency: Currency,
    multiplier: Decimal,
    terms: OrderTerms,
}

/// The parts of an order that the gateway, not the caller, decides.
#[derive(Debug, Clone)]
pub struct OrderTarget {
    /// The broker login it goes through.
    pub broker: BrokerName,
    /// Where that login trades.
    pub mode: Mode,
    /// The account.
    pub account: AccountId,
}

impl CanonicalOrder {
    /// Writes down an order for a resolved contract.
    ///
    /// # Errors
    /// [`InvalidOrder`] when the contract's texts or multiplier can't be used.
    pub fn new(
        target: OrderTarget,
        contract: &crate::Contract,
        terms: OrderTerms,
    ) -> Result<Self, InvalidOrder> {
        let clean = |text: &str, what| {
            let ok = !text.is_empty() && text.len() <= 64 && text.bytes().all(is_canonical_byte);
            if ok { Ok(text.to_owned()) } else { Err(InvalidOrder::Text(what)) }
        };
        if contract.multiplier <= Decimal::ZERO {
            return Err(InvalidOrder::Multiplier);
        }
        Ok(Self {
            broker: target.broker,
            mode: target.mode,
            account: target.account,
            conid: contract.conid,
            symbol: clean(contract.symbol.as_str(), "symbol")?,
            class: contract.class,
            exchange: clean(&contract.exchange, "exchange")?,
            currency: contract.currency,
            multiplier: contract.multiplier.normalize(),
            terms,
        })
    }

    /// The bytes that are hashed, shown and signed; see the module documentation.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut text = String::from("ibkr-agent-order/v1\n");
        let OrderKind::Limit(limit) = self.terms.kind;
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "broker={}\nmode={}\naccount={}\nconid={}\nsymbol={}\nasset_class={}\nexchange={}\n\
             currency={}\nmultiplier={}\nside={}\nquantity={}\norder_type=limit\nlimit_price={}\n\
             time_in_force={}\noutside_rth={}\n",
            self.broker,
            self.mode,
            self.account,
            self.conid,
            self.symbol,
            self.class,
            self.exchange,
            self.currency,
            self.multiplier,
            self.terms.side,
            self.terms.quantity.get().normalize(),
            limit.get().normalize(),
            self.terms.time_in_force.as_str(),
            self.terms.outside_rth,
        );
        text.into_bytes()
    }

    /// SHA-256 of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_bytes())
    }

    /// The broker login that the order goes through.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        &self.broker
    }

    /// Simulated, paper or live.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The account that trades.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// The contract.
    #[must_use]
    pub const fn conid(&self) -> Conid {
        self.conid
    }

    /// The contract's symbol.
    #[must_use]
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// The contract's asset class.
    #[must_use]
    pub const fn class(&self) -> AssetClass {
        self.class
    }

    /// Where it is routed.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The currency that prices are in.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// Units of the underlying per contract.
    #[must_use]
    pub const fn multiplier(&self) -> Decimal {
        self.multiplier
    }

    /// Side, quantity, price and duration.
    #[must_use]
    pub const fn terms(&self) -> &OrderTerms {
        &self.terms
    }

    /// The most that the order can cost or bring: worst price × quantity × multiplier.
    ///
    /// # Errors
    /// [`crate::InvalidValue::TooLarge`] when that can't be represented.
    pub fn notional(&self) -> Result<Money, crate::InvalidValue> {
        let price = self.terms.kind.worst_price();
        price.notional(self.terms.quantity, self.multiplier, self.currency)
    }

    /// One line for people: `BUY 1 AAPL (265598) LIMIT 100 USD DAY, account DU1234567, paper`.
    #[must_use]
    pub fn summary(&self) -> String {
        let OrderKind::Limit(limit) = self.terms.kind;
        let hours = if self.terms.outside_rth { ", outside regular hours" } else { "" };
        format!(
            "{} {} {} ({} {} on {}) LIMIT {} {} {}{hours}, account {}, {} via {}",
            self.terms.side.as_str().to_ascii_uppercase(),
            self.terms.quantity,
            self.symbol,
            self.class,
            self.conid,
            self.exchange,
            limit,
            self.currency,
            self.terms.time_in_force.as_str().to_ascii_uppercase(),
            self.account,
            self.mode,
            self.broker,
        )
    }
}

const fn is_canonical_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// Our order reference at IBKR: a digest of sidecar, account, claim and leg, so that the same claim
/// always names the same order and IBKR refuses its repetition.
///
/// # Errors
/// [`InvalidId`] never in practice: the text is 34 letters and digits.
pub fn client_order_id(
    sidecar: &SidecarId,
    account: &AccountId,
    claim: &str,
    leg: u8,
) -> Result<ClientOrderId, InvalidId> {
    let text = format!("ibkr-agent-coid/v1\n{sidecar}\n{account}\n{claim}\n{leg}\n");
    let digest = Digest::of(text.as_bytes()).to_string();
    ClientOrderId::parse(&format!("ia{}", digest.get(..32).unwrap_or_default()))
}
