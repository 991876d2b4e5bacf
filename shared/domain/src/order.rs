//! Orders: their terms, the canonical bytes that a human's approval covers, and our reference.
//!
//! Canonical form, version 1: one `key=value` line per field in a fixed order, ending in a line
//! feed; decimals normalised; absent fields are absent lines. The bytes are what is hashed, shown
//! and signed, so any change of the format is a new version with its own golden file.

mod kind;
mod pricing;

pub use kind::{Mode, OrderType, Side, TimeInForce};
pub use pricing::{GivenPrices, InvalidPricing, Offset, Percent, PriceField, Pricing};

use crate::{
    AccountId, AssetClass, BrokerName, ClientOrderId, Conid, Currency, Digest, InvalidId, Money,
    Quantity, SidecarId,
};
use core::fmt::Write as _;
use rust_decimal::Decimal;

/// What the caller wants done, instrument resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderTerms {
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: Quantity,
    /// At what price.
    pub pricing: Pricing,
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
    /// A price of zero or below, for a contract that never trades there.
    #[error("{0} must be above zero")]
    NotPositive(PriceField),
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
        if !may_trade_below_zero(contract.class) {
            let mut prices = terms.pricing.prices().each().into_iter();
            let wrong = prices.find(|(_, price)| price.is_some_and(|p| p <= Decimal::ZERO));
            if let Some((field, _)) = wrong {
                return Err(InvalidOrder::NotPositive(field));
            }
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
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "broker={}\nmode={}\naccount={}\nconid={}\nsymbol={}\nasset_class={}\nexchange={}\n\
             currency={}\nmultiplier={}\nside={}\nquantity={}\norder_type={}\n",
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
            self.terms.pricing.order_type(),
        );
        for (field, price) in self.terms.pricing.prices().each() {
            if let Some(price) = price {
                let _ = writeln!(text, "{field}={}", price.normalize());
            }
        }
        let _ = write!(
            text,
            "time_in_force={}\noutside_rth={}\n",
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

    /// Limit price × quantity × multiplier; `None` without a limit, and when that is too large to
    /// tell. What a gate counts is its own: an order may trade at better prices than its limit.
    #[must_use]
    pub fn limit_value(&self) -> Option<Money> {
        let limit = self.terms.pricing.limit()?.get();
        let value = limit.checked_mul(self.terms.quantity.get())?.checked_mul(self.multiplier)?;
        Some(Money::new(value.normalize(), self.currency))
    }

    /// One line for people: `BUY 1 AAPL (265598) LIMIT 100 USD DAY, account DU1234567, paper`.
    #[must_use]
    pub fn summary(&self) -> String {
        let hours = if self.terms.outside_rth { ", outside regular hours" } else { "" };
        format!(
            "{} {} {} ({} {} on {}) {} {} {}{hours}, account {}, {} via {}",
            self.terms.side.as_str().to_ascii_uppercase(),
            self.terms.quantity,
            self.symbol,
            self.class,
            self.conid,
            self.exchange,
            self.terms.pricing.words(),
            self.currency,
            self.terms.time_in_force.as_str().to_ascii_uppercase(),
            self.account,
            self.mode,
            self.broker,
        )
    }
}

/// Whether a contract of a class can trade at zero or below.
const fn may_trade_below_zero(class: AssetClass) -> bool {
    match class {
        AssetClass::Future => true,
        AssetClass::Stock
        | AssetClass::Option
        | AssetClass::FutureOption
        | AssetClass::Forex
        | AssetClass::Index
        | AssetClass::Bond
        | AssetClass::Fund
        | AssetClass::Cfd
        | AssetClass::Warrant
        | AssetClass::Crypto => false,
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
