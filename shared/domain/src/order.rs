//! Orders: what they are made of, the canonical bytes that a human's approval covers, and our
//! reference.
//!
//! Canonical form, version 2: a header line, then one `key=value` line per field in the order of
//! [`Field`], each ending in a line feed; decimals normalised; absent fields are absent lines. Two
//! different orders never share bytes, and the bytes read back as the same order. Version 1, which
//! could carry stock limit orders only, is still read: orders that were placed under it live on
//! with the bytes and the digest that their approval covered. Any change of the format is a new
//! version with its own golden file.

mod canonical;
mod contract;
mod fields;
mod kind;
mod plan;
mod pricing;

pub use canonical::Form;
pub use contract::{ComboLeg, ComboLegs, ContractIdentity, OrderContract};
pub use fields::Field;
pub use kind::{Mode, OrderType, Side, TimeInForce};
pub use plan::{InvalidPlan, Leg, MAX_LEGS, OrderPlan, Shape};
pub use pricing::{GivenPrices, InvalidPricing, Offset, Percent, PriceField, Pricing};

use crate::{
    AccountId, AssetClass, BrokerName, ClientOrderId, Conid, Contract, Currency, Digest, InvalidId,
    Money, Quantity, SidecarId,
};
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
    /// A contract of a class that an order can't be made for.
    #[error("{0} orders are not supported yet")]
    Class(AssetClass),
    /// The legs of a combination aren't.
    #[error("a combination has 2 to 8 legs of different contracts, with ratios from 1 to 1,000")]
    Legs,
    /// A form of the canonical bytes that can't carry the order.
    #[error("version 1 carries stock limit orders only")]
    Form,
    /// Bytes that no order writes.
    #[error("these aren't the canonical bytes of an order")]
    NotCanonical,
}

/// The order exactly as it is shown, approved and sent. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalOrder {
    form: Form,
    broker: BrokerName,
    mode: Mode,
    account: AccountId,
    contract: Box<OrderContract>,
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
    /// Writes down an order for a resolved contract: a stock, so far.
    ///
    /// # Errors
    /// [`InvalidOrder`] when the contract is of another class, its texts or multiplier can't be
    /// used, or it can't have such a price.
    pub fn new(
        target: OrderTarget,
        contract: &Contract,
        terms: OrderTerms,
    ) -> Result<Self, InvalidOrder> {
        Self::of(target, OrderContract::resolved(contract)?, terms)
    }

    /// Writes down an order for a contract of any class.
    ///
    /// # Errors
    /// [`InvalidOrder::NotPositive`] for a price at which the contract never trades.
    pub fn of(
        target: OrderTarget,
        contract: OrderContract,
        terms: OrderTerms,
    ) -> Result<Self, InvalidOrder> {
        if !contract.identity().may_trade_below_zero() {
            let mut prices = terms.pricing.prices().each().into_iter();
            let wrong = prices.find(|(_, price)| price.is_some_and(|p| p <= Decimal::ZERO));
            if let Some((field, _)) = wrong {
                return Err(InvalidOrder::NotPositive(field));
            }
        }
        let OrderTarget { broker, mode, account } = target;
        Ok(Self { form: Form::V2, broker, mode, account, contract: Box::new(contract), terms })
    }

    /// The same order in the form of version 1, as an older store holds it.
    ///
    /// # Errors
    /// [`InvalidOrder::Form`] for an order that version 1 can't carry.
    pub fn in_form_1(self) -> Result<Self, InvalidOrder> {
        match (self.contract.identity(), &self.terms.pricing) {
            (ContractIdentity::Stock, Pricing::Limit { .. }) => Ok(Self { form: Form::V1, ..self }),
            (_, _) => Err(InvalidOrder::Form),
        }
    }

    /// The form of its canonical bytes.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
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

    /// The contract, with what tells it apart.
    #[must_use]
    pub const fn contract(&self) -> &OrderContract {
        &self.contract
    }

    /// IBKR's contract id.
    #[must_use]
    pub const fn conid(&self) -> Conid {
        self.contract.conid()
    }

    /// The contract's symbol.
    #[must_use]
    pub fn symbol(&self) -> &str {
        self.contract.symbol()
    }

    /// The contract's asset class.
    #[must_use]
    pub const fn class(&self) -> AssetClass {
        self.contract.identity().class()
    }

    /// Where it is routed.
    #[must_use]
    pub fn exchange(&self) -> &str {
        self.contract.exchange()
    }

    /// The currency that prices are in.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.contract.currency()
    }

    /// Units of the underlying per contract.
    #[must_use]
    pub const fn multiplier(&self) -> Decimal {
        self.contract.multiplier()
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
        let value = limit.checked_mul(self.terms.quantity.get())?.checked_mul(self.multiplier())?;
        Some(Money::new(value.normalize(), self.currency()))
    }

    /// One line for people, with every field that can differ between two orders:
    /// `BUY 1 AAPL (stock 265598 on SMART) LIMIT 100 USD DAY, account DU1234567, paper via paper`.
    #[must_use]
    pub fn summary(&self) -> String {
        let hours = if self.terms.outside_rth { ", outside regular hours" } else { "" };
        let times = if self.multiplier() == Decimal::ONE {
            String::new()
        } else {
            format!(", {} units each", self.multiplier())
        };
        format!(
            "{} {} {} ({} {} on {}{times}) {} {} {}{hours}, account {}, {} via {}",
            self.terms.side.as_str().to_ascii_uppercase(),
            self.terms.quantity,
            self.symbol(),
            self.contract.identity().words(),
            self.conid(),
            self.exchange(),
            self.terms.pricing.words(),
            self.currency(),
            self.terms.time_in_force.as_str().to_ascii_uppercase(),
            self.account,
            self.mode,
            self.broker,
        )
    }
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
