//! Profit and loss, allocation, performance, transactions, combinations.

use crate::{AccountId, Conid, Currency, Date, Position, Timestamp, Untrusted};
use rust_decimal::Decimal;

/// An account's profit and loss in its base currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfitAndLoss {
    /// The account.
    pub account: AccountId,
    /// Today's.
    pub daily: Option<Decimal>,
    /// Of open positions.
    pub unrealized: Option<Decimal>,
    /// Net liquidation value.
    pub net_liquidation: Option<Decimal>,
    /// Excess liquidity.
    pub excess_liquidity: Option<Decimal>,
    /// Market value of positions.
    pub market_value: Option<Decimal>,
    /// When we read it, or when the stream last told it.
    pub as_of: Timestamp,
}

/// The part of an account that is in one class, sector or group, in base currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationSlice {
    /// The broker's name of it, such as `STK` or `Technology`.
    pub name: Untrusted,
    /// Value of what is held long.
    pub long: Option<Decimal>,
    /// Value of what is held short, as the broker signs it.
    pub short: Option<Decimal>,
}

/// How an account is spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation {
    /// By asset class.
    pub by_class: Vec<AllocationSlice>,
    /// By sector.
    pub by_sector: Vec<AllocationSlice>,
    /// By industry group.
    pub by_group: Vec<AllocationSlice>,
}

/// A span over which performance is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PerformancePeriod {
    /// One day.
    Day,
    /// Seven days.
    Week,
    /// Since the month began.
    MonthToDate,
    /// One month.
    Month,
    /// Since the year began.
    YearToDate,
    /// One year.
    Year,
}

impl PerformancePeriod {
    /// Every period.
    pub const ALL: &'static [Self] =
        &[Self::Day, Self::Week, Self::MonthToDate, Self::Month, Self::YearToDate, Self::Year];

    /// IBKR's name.
    #[must_use]
    pub const fn broker_name(self) -> &'static str {
        match self {
            Self::Day => "1D",
            Self::Week => "7D",
            Self::MonthToDate => "MTD",
            Self::Month => "1M",
            Self::YearToDate => "YTD",
            Self::Year => "1Y",
        }
    }

    /// Parses IBKR's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|period| period.broker_name().eq_ignore_ascii_case(text))
    }
}

/// One day of an account's performance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerformancePoint {
    /// The day.
    pub date: Date,
    /// Net asset value in base currency.
    pub net_asset_value: Option<Decimal>,
    /// Time-weighted return since the period began, as a fraction (0.01 is one percent).
    pub cumulative_return: Option<Decimal>,
}

/// How an account did over a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performance {
    /// The account.
    pub account: AccountId,
    /// The period.
    pub period: PerformancePeriod,
    /// Base currency, if told.
    pub currency: Option<Currency>,
    /// Net asset value before the first day.
    pub start_value: Option<Decimal>,
    /// One row a day, oldest first.
    pub points: Vec<PerformancePoint>,
    /// When we read it; up to 15 minutes ago, since the broker takes no more than one request in
    /// that time.
    pub as_of: Timestamp,
}

/// One booked transaction of a held contract: a trade, a dividend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The day.
    pub date: Option<Date>,
    /// The broker's word for it, such as `Buy` or `Dividend Payment`.
    pub kind: Untrusted,
    /// What it says of it.
    pub description: Untrusted,
    /// The contract.
    pub conid: Option<Conid>,
    /// Signed quantity.
    pub quantity: Option<Decimal>,
    /// Price per unit.
    pub price: Option<Decimal>,
    /// Amount of money, signed from the account's side.
    pub amount: Option<Decimal>,
    /// The currency of price and amount.
    pub currency: Option<Currency>,
}

/// The booked transactions of one contract, newest first as the broker lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    /// The account.
    pub account: AccountId,
    /// The contract that was asked for.
    pub conid: Conid,
    /// How many days back.
    pub days: u32,
    /// The rows.
    pub rows: Vec<Transaction>,
    /// When we read it; up to 15 minutes ago, since the broker takes no more than one request in
    /// that time.
    pub as_of: Timestamp,
}

/// A position that the broker holds together as a combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComboPosition {
    /// The broker's name of it.
    pub name: Untrusted,
    /// What it says of it.
    pub description: Untrusted,
    /// Contract and signed ratio of each leg.
    pub legs: Vec<(Conid, Decimal)>,
    /// The positions that make it up.
    pub positions: Vec<Position>,
}
