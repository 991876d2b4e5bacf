//! Profit and loss, cash per currency, allocation and performance of one account.
//!
//! Amounts of different currencies are never added; a figure that isn't known is absent.

use super::common::{cell, number};
use super::text::names;
use super::{
    AccountInput, Backend, Cursor, Declaration, Hints, RiskClass, Table, TextForm, Tool, Toolset,
    Wire,
};
use crate::number::{InputInteger, OutputNumber};
use ibkr_agent_domain::{
    AccountId, AllocationSlice, Currency, LedgerLine, Mode, Performance as PerformanceRead,
    PerformancePeriod, PerformancePoint, ProfitAndLoss, Scope, Timestamp,
};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

names! {
    /// Where a figure comes from.
    FigureSource {
        /// Told earlier by the broker's stream, or kept from an earlier read; see as_of.
        Kept = "kept",
        /// Read from the broker for this call.
        Read = "read",
    }
}

/// `ibkr_pnl_daily`.
#[derive(Debug)]
pub struct PnlDaily;

impl Tool for PnlDaily {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_pnl_daily",
        title: "Profit and loss of the day",
        description: "Today's profit and loss of one account in its base currency, with what is \
            unrealised on open positions. The trading day is the broker's. A figure that the \
            broker didn't tell is absent, not zero. For all accounts at once use \
            ibkr_portfolio_overview; per currency use ibkr_account_ledger.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = AccountInput;
    type Output = PnlOutput;
}

/// `ibkr_pnl_realtime`.
#[derive(Debug)]
pub struct PnlRealtime;

impl Tool for PnlRealtime {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_pnl_realtime",
        title: "Profit and loss, newest",
        description: "The newest profit and loss that the gateway knows of one account: what the \
            broker's stream told last while the stream is open (source kept), otherwise a read of \
            now (source read). as_of and age_ms say how old it is. Poll it no more often than \
            every five seconds.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = AccountInput;
    type Output = PnlOutput;
}

/// Answer of [`PnlDaily`] and [`PnlRealtime`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PnlOutput {
    /// The account.
    pub account_id: Wire<AccountId>,
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// Simulated, paper or live.
    pub mode: Wire<Mode>,
    /// When it was read or last told.
    pub as_of: Wire<Timestamp>,
    /// Its age in milliseconds by our own clock.
    pub age_ms: u64,
    /// Whether it was read for this call or kept from before.
    pub source: Wire<FigureSource>,
    /// Base currency of every figure, if the broker told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Today's profit and loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<OutputNumber>,
    /// Unrealised profit and loss of open positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrealized: Option<OutputNumber>,
    /// Net liquidation value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_liquidation: Option<OutputNumber>,
    /// Excess liquidity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess_liquidity: Option<OutputNumber>,
    /// Market value of the positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_value: Option<OutputNumber>,
}

impl PnlOutput {
    /// The figures as seen at `now`, for a call that began at `asked`.
    #[must_use]
    pub fn new(
        pnl: &ProfitAndLoss,
        currency: Option<Currency>,
        backend: Backend,
        mode: Mode,
        (asked, now): (Timestamp, Timestamp),
    ) -> Self {
        let is_old = pnl.as_of < asked;
        Self {
            account_id: Wire(pnl.account.clone()),
            backend: Wire(backend),
            mode: Wire(mode),
            as_of: Wire(pnl.as_of),
            age_ms: u64::try_from(now.since(pnl.as_of).as_millis()).unwrap_or(u64::MAX),
            source: Wire(if is_old { FigureSource::Kept } else { FigureSource::Read }),
            currency: currency.map(|currency| currency.to_string()),
            daily: number(pnl.daily),
            unrealized: number(pnl.unrealized),
            net_liquidation: number(pnl.net_liquidation),
            excess_liquidity: number(pnl.excess_liquidity),
            market_value: number(pnl.market_value),
        }
    }
}

/// `ibkr_account_ledger`.
#[derive(Debug)]
pub struct AccountLedger;

impl Tool for AccountLedger {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_account_ledger",
        title: "Cash and value per currency",
        description: "Cash, settled cash, net liquidation value, realised and unrealised profit \
            and loss of one account, one row per currency. exchange_rate is units of base currency \
            per unit. The row BASE is the broker's total in base currency: never add it to the \
            others.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = AccountInput;
    type Output = AccountLedgerOutput;
}

/// Answer of [`AccountLedger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountLedgerOutput {
    /// The account.
    pub account_id: Wire<AccountId>,
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// Simulated, paper or live.
    pub mode: Wire<Mode>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// One row per currency; BASE is the total in base currency.
    pub table: Table,
}

/// The ledger as a table.
#[must_use]
pub fn ledger_table(ledger: &[LedgerLine]) -> Table {
    let rows = ledger.iter().map(|line| {
        vec![
            Some(line.currency.to_string()),
            cell(Some(line.cash)),
            cell(line.settled_cash),
            cell(line.net_liquidation),
            cell(line.realized_pnl),
            cell(line.unrealized_pnl),
            cell(line.exchange_rate),
        ]
    });
    Table::new(
        &[
            "currency",
            "cash",
            "settled_cash",
            "net_liquidation",
            "realized_pnl",
            "unrealized_pnl",
            "exchange_rate",
        ],
        &[],
        rows.collect(),
    )
}

/// `ibkr_account_allocation`.
#[derive(Debug)]
pub struct AccountAllocation;

impl Tool for AccountAllocation {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_account_allocation",
        title: "Allocation of an account",
        description: "How one account is spread over asset classes, sectors and industry groups, \
            long and short, as the broker counts it in base currency. The names are the broker's. \
            For single positions use ibkr_positions_list.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = AccountInput;
    type Output = AccountAllocationOutput;
}

/// Answer of [`AccountAllocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountAllocationOutput {
    /// The account.
    pub account_id: Wire<AccountId>,
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// Simulated, paper or live.
    pub mode: Wire<Mode>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// Base currency of every value, if the broker told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// By asset class.
    pub by_class: Table,
    /// By sector.
    pub by_sector: Table,
    /// By industry group.
    pub by_group: Table,
    /// Whether slices were left out: each table holds the 50 largest.
    pub truncated: bool,
}

/// Slices of one allocation table.
pub const MAX_SLICES: usize = 50;

/// Slices as a table, the largest first, at most [`MAX_SLICES`].
#[must_use]
pub fn slices_table(slices: &[AllocationSlice]) -> Table {
    let size = |slice: &AllocationSlice| {
        let part = |value: Option<Decimal>| value.unwrap_or_default().abs();
        part(slice.long).max(part(slice.short))
    };
    let mut sorted: Vec<&AllocationSlice> = slices.iter().collect();
    sorted.sort_by_key(|slice| core::cmp::Reverse(size(slice)));
    let rows = sorted
        .iter()
        .take(MAX_SLICES)
        .map(|slice| vec![Some(slice.name.to_string()), cell(slice.long), cell(slice.short)]);
    Table::new(&["name", "long", "short"], &["name"], rows.collect())
}

/// `ibkr_account_performance`.
#[derive(Debug)]
pub struct AccountPerformance;

impl Tool for AccountPerformance {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_account_performance",
        title: "Performance of an account",
        description: "Net asset value and time-weighted return of one account over a period, with \
            one row per day, newest first. The broker takes one such request in 15 minutes for the \
            whole login: within them the same question gets the kept answer (see as_of), another \
            one gets BROKER_RATE_LIMITED with the time to wait. Go back with next_cursor.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = AccountPerformanceInput;
    type Output = AccountPerformanceOutput;
}

/// Arguments of [`AccountPerformance`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPerformanceInput {
    /// Account id; may be left out when exactly one account is visible.
    pub account_id: Option<Wire<AccountId>>,
    /// One day, seven days, month to date, one month (if left out), year to date or one year.
    pub period: Option<Wire<PerformancePeriod>>,
    /// The next_cursor of an earlier answer.
    pub cursor: Option<Wire<Cursor>>,
    /// Most days to give, 1 to 200; 31 if left out.
    pub limit: Option<InputInteger>,
}

/// Days that [`AccountPerformance`] gives when the caller doesn't say.
pub const DEFAULT_DAYS: usize = 31;

impl TextForm for PerformancePeriod {
    const NAMES: &'static [&'static str] = &["1D", "7D", "MTD", "1M", "YTD", "1Y"];

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| super::text::one_of(Self::NAMES))
    }

    fn to_text(&self) -> String {
        self.broker_name().to_owned()
    }
}

/// Answer of [`AccountPerformance`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountPerformanceOutput {
    /// The account.
    pub account_id: Wire<AccountId>,
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// Simulated, paper or live.
    pub mode: Wire<Mode>,
    /// When the broker was asked; up to 15 minutes ago.
    pub as_of: Wire<Timestamp>,
    /// The period.
    pub period: Wire<PerformancePeriod>,
    /// Base currency of every value, if the broker told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Net asset value before the first day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_value: Option<OutputNumber>,
    /// Net asset value on the last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_value: Option<OutputNumber>,
    /// Time-weighted return over the period, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_percent: Option<OutputNumber>,
    /// Days in the period that the broker told of.
    pub days: usize,
    /// One row per day, newest first; returns since the period began, in percent.
    pub table: Table,
    /// Where to go on, if there are earlier days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl AccountPerformanceOutput {
    /// The figures over the whole period with the shown days, newest first.
    #[must_use]
    pub fn new(
        read: &PerformanceRead,
        shown: &[PerformancePoint],
        next_cursor: Option<String>,
        backend: Backend,
        mode: Mode,
    ) -> Self {
        let last = read.points.last();
        let total = last.and_then(|point| point.cumulative_return);
        Self {
            account_id: Wire(read.account.clone()),
            backend: Wire(backend),
            mode: Wire(mode),
            as_of: Wire(read.as_of),
            period: Wire(read.period),
            currency: read.currency.map(|currency| currency.to_string()),
            start_value: number(read.start_value),
            end_value: number(last.and_then(|point| point.net_asset_value)),
            return_percent: number(total.and_then(percent)),
            days: read.points.len(),
            table: points_table(shown),
            next_cursor,
        }
    }
}

fn percent(fraction: Decimal) -> Option<Decimal> {
    fraction.checked_mul(Decimal::ONE_HUNDRED).map(|percent| percent.round_dp(6))
}

fn points_table(points: &[PerformancePoint]) -> Table {
    let rows = points.iter().map(|point| {
        vec![
            Some(point.date.to_string()),
            cell(point.net_asset_value),
            cell(point.cumulative_return.and_then(percent)),
        ]
    });
    Table::new(&["date", "net_asset_value", "return_percent"], &[], rows.collect())
}
