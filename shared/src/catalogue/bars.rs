//! What a contract's price did and stands at: bars and the order book.

use super::common::{cell, count, number, one_instrument};
use super::text::names;
use super::{
    Backend, Declaration, Hints, ResolvedOutput, RiskClass, ShortText, Table, Tool, Toolset, Wire,
};
use crate::number::{InputBool, InputConid, InputInteger, OutputNumber};
use crate::service::ErrorBody;
use ibkr_agent_domain::{
    AccountId, Bar, BarSource as Source, Bars, Depth, DepthLevel, Instrument, Scope, Timestamp,
};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bars that are shown when the caller doesn't say how many.
pub const DEFAULT_BARS: usize = 30;

/// Most bars that the broker serves at once.
pub const MAX_BARS: usize = 1_000;

/// Price levels of each side that are shown when the caller doesn't say how many.
pub const DEFAULT_LEVELS: usize = 5;

/// Most price levels of each side.
pub const MAX_LEVELS: usize = 20;

names! {
    /// What bars are made of.
    BarSource {
        /// Trades.
        Trades = "trades",
        /// The middle between bid and ask.
        Midpoint = "midpoint",
        /// Bid and ask.
        BidAsk = "bid_ask",
    }
}

impl From<BarSource> for Source {
    fn from(source: BarSource) -> Self {
        match source {
            BarSource::Trades => Self::Trades,
            BarSource::Midpoint => Self::Midpoint,
            BarSource::BidAsk => Self::BidAsk,
        }
    }
}

/// `ibkr_historical_bars`.
#[derive(Debug)]
pub struct HistoricalBars;

impl Tool for HistoricalBars {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_historical_bars",
        title: "Price history",
        description: "Bars of one contract, oldest first, with a summary of the whole window. Both \
            notations are taken: duration \"1 D\" or \"1d\", bar_size \"5 mins\" or \"5min\". The \
            newest 30 bars are shown unless limit says more, up to 1,000; truncated tells of a \
            cut, the summary always covers all bars, and next_end as end goes further back.",
        scope: Scope::MarketdataRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = HistoricalBarsInput;
    type Output = HistoricalBarsOutput;
}

/// Arguments of [`HistoricalBars`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoricalBarsInput {
    /// Contract id; give this or instrument.
    pub contract_id: Option<InputConid>,
    /// Instrument by name, such as AAPL, EUR.USD, ESZ6 or SPY 2027-01-15 C 600.
    pub instrument: Option<Wire<Instrument>>,
    /// How far back, such as "1 D", "2 W", "6 M", "1 Y", or "1d", "2w", "6m", "1y".
    pub duration: Wire<ShortText>,
    /// Width of a bar, such as "5 mins", "1 hour", "1 day", or "5min", "1h", "1d".
    pub bar_size: Wire<ShortText>,
    /// Whether to include trading outside regular hours; false if left out.
    pub outside_rth: Option<InputBool>,
    /// The end of the window, RFC 3339; now if left out.
    pub end: Option<Wire<Timestamp>>,
    /// What the bars are made of; trades if left out.
    pub source: Option<Wire<BarSource>>,
    /// Most bars to show, 1 to 1000; 30 if left out.
    pub limit: Option<InputInteger>,
}

impl HistoricalBarsInput {
    /// The instrument that is asked for.
    ///
    /// # Errors
    /// `INPUT_INVALID` unless exactly one is named.
    pub fn instrument(&self) -> Result<Instrument, ErrorBody> {
        one_instrument(self.contract_id, self.instrument.as_ref())
    }

    /// How many bars to show.
    ///
    /// # Errors
    /// `INPUT_INVALID` outside 1 to 1,000.
    pub fn limit(&self) -> Result<usize, ErrorBody> {
        count("limit", self.limit, DEFAULT_BARS, MAX_BARS)
    }
}

/// Answer of [`HistoricalBars`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoricalBarsOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// The contract.
    pub contract: ResolvedOutput,
    /// Width of a bar in seconds as the broker served it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar_seconds: Option<u64>,
    /// How far the data lags, in milliseconds; absent when it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<i64>,
    /// All bars in one.
    pub summary: BarsSummary,
    /// The bars that are shown: time is when a bar begins.
    pub table: Table,
    /// Whether older bars of the window are left out.
    pub truncated: bool,
    /// Give this as end to get the bars before these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_end: Option<Wire<Timestamp>>,
}

/// A whole window as one bar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BarsSummary {
    /// Bars in the window.
    pub bars: u64,
    /// When the first bar begins.
    pub first: Wire<Timestamp>,
    /// When the last bar begins.
    pub last: Wire<Timestamp>,
    /// First price.
    pub open: OutputNumber,
    /// Highest price.
    pub high: OutputNumber,
    /// Lowest price.
    pub low: OutputNumber,
    /// Last price.
    pub close: OutputNumber,
    /// Units traded; absent when a bar's are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<OutputNumber>,
}

impl BarsSummary {
    /// The summary of a window; `None` without a bar.
    #[must_use]
    pub fn of(bars: &[Bar]) -> Option<Self> {
        let (first, last) = (bars.first()?, bars.last()?);
        let high = bars.iter().map(|bar| bar.high).max()?;
        let low = bars.iter().map(|bar| bar.low).min()?;
        let mut volumes = bars.iter().map(|bar| bar.volume);
        let volume = volumes.try_fold(Decimal::ZERO, |sum, volume| sum.checked_add(volume?));
        Some(Self {
            bars: u64::try_from(bars.len()).unwrap_or(u64::MAX),
            first: Wire(first.time),
            last: Wire(last.time),
            open: OutputNumber(first.open),
            high: OutputNumber(high),
            low: OutputNumber(low),
            close: OutputNumber(last.close),
            volume: number(volume),
        })
    }
}

impl HistoricalBarsOutput {
    /// The newest bars of a window, at most `rows`; `None` without a bar.
    #[must_use]
    pub fn new(
        bars: &Bars,
        contract: ResolvedOutput,
        backend: Backend,
        rows: usize,
    ) -> Option<Self> {
        let summary = BarsSummary::of(&bars.bars)?;
        let cut = bars.bars.len().saturating_sub(rows);
        let shown = bars.bars.get(cut..).unwrap_or_default();
        let next_end = shown.first().filter(|_| cut > 0).map(|bar| Wire(bar.time));
        Some(Self {
            backend: Wire(backend),
            as_of: Wire(bars.as_of),
            contract: ResolvedOutput {
                symbol: contract.symbol.or_else(|| bars.symbol.clone().map(Wire)),
                ..contract
            },
            bar_seconds: bars.bar_seconds,
            delay_ms: bars.delay_ms.filter(|delay| *delay > 0),
            summary,
            table: bars_table(shown),
            truncated: cut > 0,
            next_end,
        })
    }
}

/// A time without its milliseconds, which no bar has.
fn second(time: Timestamp) -> String {
    let text = time.to_string();
    match text.strip_suffix(".000Z") {
        Some(whole) => format!("{whole}Z"),
        None => text,
    }
}

fn bars_table(bars: &[Bar]) -> Table {
    let rows = bars.iter().map(|bar| {
        vec![
            Some(second(bar.time)),
            cell(Some(bar.open)),
            cell(Some(bar.high)),
            cell(Some(bar.low)),
            cell(Some(bar.close)),
            cell(bar.volume),
        ]
    });
    Table::new(&["time", "open", "high", "low", "close", "volume"], &[], rows.collect())
}

/// `ibkr_market_depth`.
#[derive(Debug)]
pub struct MarketDepth;

impl Tool for MarketDepth {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_market_depth",
        title: "Order book",
        description: "The order book of one contract: price levels with the sizes bid and asked, \
            highest price first. Needs a depth subscription at the broker. For the best bid and \
            ask alone, ibkr_market_snapshot is cheaper.",
        scope: Scope::MarketdataDepthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = MarketDepthInput;
    type Output = MarketDepthOutput;
}

/// Arguments of [`MarketDepth`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarketDepthInput {
    /// Contract id; give this or instrument.
    pub contract_id: Option<InputConid>,
    /// Instrument by name, such as AAPL.
    pub instrument: Option<Wire<Instrument>>,
    /// Account whose subscriptions count; may be left out when exactly one account is visible.
    pub account_id: Option<Wire<AccountId>>,
    /// Price levels of each side, 1 to 20; 5 if left out.
    pub levels: Option<InputInteger>,
}

impl MarketDepthInput {
    /// The instrument that is asked for.
    ///
    /// # Errors
    /// `INPUT_INVALID` unless exactly one is named.
    pub fn instrument(&self) -> Result<Instrument, ErrorBody> {
        one_instrument(self.contract_id, self.instrument.as_ref())
    }

    /// How many levels of each side to show.
    ///
    /// # Errors
    /// `INPUT_INVALID` outside 1 to 20.
    pub fn levels(&self) -> Result<usize, ErrorBody> {
        count("levels", self.levels, DEFAULT_LEVELS, MAX_LEVELS)
    }
}

/// Answer of [`MarketDepth`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarketDepthOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When the broker's last update of it came.
    pub as_of: Wire<Timestamp>,
    /// The contract.
    pub contract: ResolvedOutput,
    /// The levels, highest price first.
    pub table: Table,
    /// Whether the broker told more levels than are shown.
    pub truncated: bool,
}

impl MarketDepthOutput {
    /// The best levels of a book, at most `levels` of each side.
    #[must_use]
    pub fn new(depth: &Depth, contract: ResolvedOutput, backend: Backend, levels: usize) -> Self {
        // A level without a size tells nothing: it marks where the last trade was.
        let has_size = |level: &&DepthLevel| level.bid_size.is_some() || level.ask_size.is_some();
        let mut sorted: Vec<&DepthLevel> = depth.levels.iter().filter(has_size).collect();
        sorted.sort_by_key(|level| core::cmp::Reverse(level.price));
        let is_ask = |level: &&&DepthLevel| level.ask_size.is_some();
        let asks = sorted.iter().filter(is_ask).count();
        let mut left_out = asks.saturating_sub(levels);
        let mut bids = 0_usize;
        let shown: Vec<&DepthLevel> = sorted
            .iter()
            .filter(|level| {
                if level.ask_size.is_some() {
                    // The best asks are the lowest, which come last.
                    let skipped = left_out > 0;
                    left_out = left_out.saturating_sub(1);
                    return !skipped;
                }
                bids = bids.saturating_add(1);
                bids <= levels
            })
            .copied()
            .collect();
        let rows = shown
            .iter()
            .map(|level| vec![cell(level.bid_size), cell(Some(level.price)), cell(level.ask_size)]);
        Self {
            backend: Wire(backend),
            as_of: Wire(depth.as_of),
            contract,
            table: Table::new(&["bid_size", "price", "ask_size"], &[], rows.collect()),
            truncated: shown.len() < sorted.len(),
        }
    }
}
