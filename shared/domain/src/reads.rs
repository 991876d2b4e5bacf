//! What the broker tells, parsed: the read models that every door shows.
//!
//! Broker texts are [`Untrusted`]. A missing number is `None`, never zero.

use crate::{AccountId, AssetClass, Conid, Currency, Money, Timestamp, Untrusted};
use rust_decimal::Decimal;

mod contract;
mod event;
mod hours;
mod inbox;
mod market;
mod order;
mod portfolio;
mod what_if;

pub use contract::{
    ContractDetails, ContractRules, CurrencyPair, FutureContract, OptionContract, OptionSeries,
    PriceStep, Strikes, TradingDay, TradingHours, TradingSpan,
};
pub use event::{BrokerEvent, Watch};
pub use hours::TradingNow;
pub use inbox::{Alert, Notification, Watchlist, WatchlistItem};
pub use market::{
    Bar, BarSource, Bars, BarsRequest, Depth, DepthLevel, Fundamentals, OptionQuote, ScanHit,
    ScanRequest, ScannerKind, ScannerParameters,
};
pub use order::{
    BrokerOrder, BrokerOrderStatus, BrokerOrderType, BrokerTimeInForce, Execution, Listed,
    Trailing, TrailingUnit, UnreadRow,
};
pub use portfolio::{
    Allocation, AllocationSlice, ComboPosition, Performance, PerformancePeriod, PerformancePoint,
    ProfitAndLoss, Transaction, Transactions,
};
pub use what_if::{Estimate, WhatIf, WhatIfChange};

/// The state of the broker session as we know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// The Client Portal Gateway doesn't answer.
    Unreachable,
    /// A human must log in with a browser.
    LoginRequired,
    /// Logged in, but the brokerage session is down.
    BrokerageDown,
    /// Another session of the same username is active.
    Competing,
    /// Reads and orders work.
    Ready,
}

impl SessionState {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::LoginRequired => "login_required",
            Self::BrokerageDown => "brokerage_down",
            Self::Competing => "competing",
            Self::Ready => "ready",
        }
    }
}

/// The session, with when we learnt it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHealth {
    /// The state.
    pub state: SessionState,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// Why, as a sentence for people.
    pub why: &'static str,
    /// When it will end at the latest: the daily reset, or the login's own expiry if sooner.
    pub ends_at: Option<Timestamp>,
    /// When the broker last answered a keep-alive.
    pub last_tickle: Option<Timestamp>,
    /// Whether the login is a paper login, once known.
    pub is_paper: Option<bool>,
    /// How far the broker's clock is from ours, in milliseconds (broker − ours).
    pub clock_skew_ms: Option<i64>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its id.
    pub id: AccountId,
    /// The owner's alias at the broker, if any.
    pub alias: Option<Untrusted>,
    /// Title, as the broker shows it.
    pub title: Untrusted,
    /// Base currency.
    pub currency: Option<Currency>,
    /// `INDIVIDUAL`, `DEMO`, …
    pub kind: Untrusted,
    /// Trading permissions class, such as `STKNOPT`.
    pub trading_type: Untrusted,
    /// Whether it is a paper account as the broker reports the login; `None` when it didn't say.
    pub is_paper: Option<bool>,
    /// Whether orders can be placed on it.
    pub can_trade: bool,
}

/// An account's key figures in its base currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// The account.
    pub account: AccountId,
    /// Net liquidation value.
    pub net_liquidation: Option<Money>,
    /// Total cash value.
    pub total_cash: Option<Money>,
    /// Buying power.
    pub buying_power: Option<Money>,
    /// Available funds.
    pub available_funds: Option<Money>,
    /// Excess liquidity.
    pub excess_liquidity: Option<Money>,
    /// Gross position value.
    pub gross_position_value: Option<Money>,
    /// Initial margin requirement.
    pub initial_margin: Option<Money>,
    /// Maintenance margin requirement.
    pub maintenance_margin: Option<Money>,
    /// When we read it.
    pub as_of: Timestamp,
}

/// Cash and value in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLine {
    /// The currency; `BASE` is the total in base currency.
    pub currency: Currency,
    /// Cash balance.
    pub cash: Decimal,
    /// Settled cash.
    pub settled_cash: Option<Decimal>,
    /// Net liquidation value.
    pub net_liquidation: Option<Decimal>,
    /// Unrealised profit and loss.
    pub unrealized_pnl: Option<Decimal>,
    /// Realised profit and loss.
    pub realized_pnl: Option<Decimal>,
    /// Units of base currency per unit.
    pub exchange_rate: Option<Decimal>,
}

/// One position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The account.
    pub account: AccountId,
    /// The contract.
    pub conid: Conid,
    /// Symbol or description.
    pub symbol: Untrusted,
    /// Asset class, if we know it.
    pub class: Option<AssetClass>,
    /// Signed quantity; negative is short.
    pub quantity: Decimal,
    /// Market price per unit.
    pub market_price: Option<Decimal>,
    /// Market value.
    pub market_value: Option<Decimal>,
    /// Average cost per unit.
    pub average_cost: Option<Decimal>,
    /// Unrealised profit and loss.
    pub unrealized_pnl: Option<Decimal>,
    /// The currency of all the above.
    pub currency: Currency,
}

/// A tradable contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// IBKR's id.
    pub conid: Conid,
    /// Symbol.
    pub symbol: Untrusted,
    /// Company or product name.
    pub name: Untrusted,
    /// Asset class.
    pub class: AssetClass,
    /// Where an order goes, `SMART` where the broker routes. Empty until that was asked for: no
    /// order can be made of the contract before.
    pub exchange: String,
    /// Primary listing.
    pub listing_exchange: Untrusted,
    /// Trading currency.
    pub currency: Currency,
    /// Units of the underlying per contract; 1 for stocks.
    pub multiplier: Decimal,
    /// Smallest price step, if known.
    pub price_increment: Option<Decimal>,
}

/// How timely market data is (IBKR field 6509).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataStatus {
    /// Real time.
    RealTime,
    /// Delayed by 15 to 20 minutes.
    Delayed,
    /// The last values at the close.
    Frozen,
    /// Delayed values at the close.
    FrozenDelayed,
    /// The account has no subscription for it.
    NotSubscribed,
    /// The broker didn't say, or not in full.
    Unknown,
}

impl DataStatus {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RealTime => "real_time",
            Self::Delayed => "delayed",
            Self::Frozen => "frozen",
            Self::FrozenDelayed => "frozen_delayed",
            Self::NotSubscribed => "not_subscribed",
            Self::Unknown => "unknown",
        }
    }
}

/// A quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The contract.
    pub conid: Conid,
    /// Symbol, if the broker sent it.
    pub symbol: Option<Untrusted>,
    /// Bid price.
    pub bid: Option<Decimal>,
    /// Bid size.
    pub bid_size: Option<Decimal>,
    /// Ask price.
    pub ask: Option<Decimal>,
    /// Ask size.
    pub ask_size: Option<Decimal>,
    /// Last trade's price.
    pub last: Option<Decimal>,
    /// Previous close.
    pub close: Option<Decimal>,
    /// Change against the previous close, in percent.
    pub change_percent: Option<Decimal>,
    /// Volume of the day.
    pub volume: Option<Decimal>,
    /// Whether trading is halted; `None` when the broker didn't tell.
    pub halted: Option<bool>,
    /// How timely it is.
    pub status: DataStatus,
    /// When the broker's source last changed it (`_updated`).
    pub updated: Option<Timestamp>,
    /// When we read it.
    pub as_of: Timestamp,
}
