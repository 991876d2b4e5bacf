//! What is traded, told so that a human recognises it: a contract id alone isn't what one approves.
//!
//! Each class carries what tells its contracts apart. Only a stock can be made from what a preview
//! resolves; the other classes are made by parts, and nothing does so yet.

use super::{InvalidOrder, Side};
use crate::{AssetClass, Conid, Contract, Currency, Date, OptionRight, Price};
use rust_decimal::Decimal;

/// Most legs of a combination; our own bound.
const MAX_COMBO_LEGS: usize = 8;

/// Highest ratio of one leg; our own bound.
const MAX_RATIO: u32 = 1_000;

/// Longest text that canonical bytes carry.
const MAX_TEXT: usize = 64;

/// What tells a contract of a class apart from its siblings, beside its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ContractIdentity {
    /// Symbol and id say it all.
    Stock,
    /// An option on a stock or index.
    Option {
        /// Call or put.
        right: OptionRight,
        /// The strike, in the contract's currency.
        strike: Price,
        /// The last trading day.
        expiry: Date,
        /// The exchange's name of the series, such as `SPXW`.
        trading_class: String,
    },
    /// A future.
    Future {
        /// The last trading day.
        expiry: Date,
    },
    /// A currency pair; its quote currency is the contract's currency.
    Pair {
        /// What is bought or sold.
        base: Currency,
    },
    /// A combination of contracts that trade together.
    Combo {
        /// The class of its legs.
        class: AssetClass,
        /// Its legs.
        legs: ComboLegs,
    },
}

impl ContractIdentity {
    /// The class that it identifies.
    #[must_use]
    pub const fn class(&self) -> AssetClass {
        match self {
            Self::Stock => AssetClass::Stock,
            Self::Option { .. } => AssetClass::Option,
            Self::Future { .. } => AssetClass::Future,
            Self::Pair { .. } => AssetClass::Forex,
            Self::Combo { class, .. } => *class,
        }
    }

    /// Whether such a contract can trade at zero or below.
    pub(super) const fn may_trade_below_zero(&self) -> bool {
        match self {
            Self::Future { .. } | Self::Combo { .. } => true,
            Self::Stock | Self::Option { .. } | Self::Pair { .. } => false,
        }
    }

    /// What a human reads between the symbol and the contract id.
    pub(super) fn words(&self) -> String {
        let class = self.class();
        match self {
            Self::Stock => class.to_string(),
            Self::Option { right, strike, expiry, trading_class } => {
                format!("{class} {expiry} {} {strike} {trading_class}", right.as_str())
            }
            Self::Future { expiry } => format!("{class} {expiry}"),
            Self::Pair { base } => format!("{class} of {base}"),
            Self::Combo { class: _, legs } => {
                format!("{class} combination of {}", legs.text().replace(',', ", "))
            }
        }
    }
}

/// One leg of a combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComboLeg {
    /// The leg's contract.
    pub conid: Conid,
    /// What buying the combination does with it.
    pub side: Side,
    /// How many of it per combination.
    pub ratio: u32,
}

/// Two to eight legs of different contracts, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComboLegs(Vec<ComboLeg>);

impl ComboLegs {
    /// The legs of a combination, in any order.
    ///
    /// # Errors
    /// [`InvalidOrder::Legs`] for too few or many, a contract that stands twice, or a ratio of zero
    /// or beyond 1,000.
    pub fn new(mut legs: Vec<ComboLeg>) -> Result<Self, InvalidOrder> {
        legs.sort_unstable();
        let distinct = legs.windows(2).all(|pair| match pair {
            [one, other] => one.conid != other.conid,
            _ => true,
        });
        let ratios = legs.iter().all(|leg| (1..=MAX_RATIO).contains(&leg.ratio));
        let count = (2..=MAX_COMBO_LEGS).contains(&legs.len());
        if distinct && ratios && count { Ok(Self(legs)) } else { Err(InvalidOrder::Legs) }
    }

    /// The legs.
    #[must_use]
    pub fn as_slice(&self) -> &[ComboLeg] {
        &self.0
    }

    /// `buy 1 265598,sell 2 272093`.
    pub(super) fn text(&self) -> String {
        let leg = |leg: &ComboLeg| format!("{} {} {}", leg.side, leg.ratio, leg.conid);
        self.0.iter().map(leg).collect::<Vec<_>>().join(",")
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let leg = |text: &str| {
            let mut words = text.split(' ');
            let side = Side::parse(words.next()?)?;
            let ratio = words.next()?.parse().ok()?;
            let conid = Conid::new(words.next()?.parse().ok()?).ok()?;
            words.next().is_none().then_some(ComboLeg { conid, side, ratio })
        };
        Self::new(text.split(',').map(leg).collect::<Option<_>>()?).ok()
    }
}

/// The contract of an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderContract {
    conid: Conid,
    symbol: String,
    exchange: String,
    currency: Currency,
    multiplier: Decimal,
    identity: ContractIdentity,
}

impl OrderContract {
    /// A contract of parts; `contract` gives id, symbol, exchange, currency and multiplier.
    ///
    /// # Errors
    /// [`InvalidOrder`] when its texts or multiplier can't be used, or the identity is of another
    /// class.
    pub fn new(contract: &Contract, identity: ContractIdentity) -> Result<Self, InvalidOrder> {
        if contract.class != identity.class() {
            return Err(InvalidOrder::Class(contract.class));
        }
        if contract.multiplier <= Decimal::ZERO {
            return Err(InvalidOrder::Multiplier);
        }
        if let ContractIdentity::Option { trading_class, .. } = &identity {
            clean(trading_class, "trading class")?;
        }
        Ok(Self {
            conid: contract.conid,
            symbol: clean(contract.symbol.as_str(), "symbol")?,
            exchange: clean(&contract.exchange, "exchange")?,
            currency: contract.currency,
            multiplier: contract.multiplier.normalize(),
            identity,
        })
    }

    /// The contract that a preview resolved.
    ///
    /// # Errors
    /// [`InvalidOrder::Class`] for anything but a stock; else as [`Self::new`].
    pub fn resolved(contract: &Contract) -> Result<Self, InvalidOrder> {
        match contract.class {
            AssetClass::Stock => Self::new(contract, ContractIdentity::Stock),
            AssetClass::Option
            | AssetClass::Future
            | AssetClass::FutureOption
            | AssetClass::Forex
            | AssetClass::Index
            | AssetClass::Bond
            | AssetClass::Fund
            | AssetClass::Cfd
            | AssetClass::Warrant
            | AssetClass::Crypto => Err(InvalidOrder::Class(contract.class)),
        }
    }

    /// IBKR's contract id; of a combination, that of its spread.
    #[must_use]
    pub const fn conid(&self) -> Conid {
        self.conid
    }

    /// Its symbol.
    #[must_use]
    pub fn symbol(&self) -> &str {
        &self.symbol
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

    /// What tells it apart.
    #[must_use]
    pub const fn identity(&self) -> &ContractIdentity {
        &self.identity
    }
}

fn clean(text: &str, what: &'static str) -> Result<String, InvalidOrder> {
    let graphic = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let ok = !text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(graphic);
    if ok { Ok(text.to_owned()) } else { Err(InvalidOrder::Text(what)) }
}
