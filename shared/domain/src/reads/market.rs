//! Bars, option quotes, fundamentals, depth, scanners.

use crate::{AssetClass, Conid, Quote, Timestamp, Untrusted};
use rust_decimal::Decimal;

/// What a history is asked for. The texts are IBKR's (`1d`, `5min`); the client checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarsRequest {
    /// How far back, such as `1d`, `2w`, `6m`, `1y`.
    pub period: String,
    /// The width of a bar, such as `5min`, `1h`, `1d`.
    pub bar: String,
    /// Whether to include trading outside regular hours.
    pub outside_rth: bool,
    /// The end of the window; now if left out.
    pub end: Option<Timestamp>,
    /// What the bars are made of.
    pub source: BarSource,
}

/// What bars are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BarSource {
    /// Trades.
    #[default]
    Trades,
    /// The middle between bid and ask; no volume.
    Midpoint,
    /// Bid and ask; no volume.
    BidAsk,
}

impl BarSource {
    /// IBKR's name.
    #[must_use]
    pub const fn broker_name(self) -> &'static str {
        match self {
            Self::Trades => "Trades",
            Self::Midpoint => "Midpoint",
            Self::BidAsk => "Bid_Ask",
        }
    }
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// When it begins.
    pub time: Timestamp,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Units traded, scaled by the broker's volume factor.
    pub volume: Option<Decimal>,
}

/// A price history, oldest bar first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bars {
    /// The contract.
    pub conid: Conid,
    /// Symbol, if told.
    pub symbol: Option<Untrusted>,
    /// The width of a bar as the broker served it, in seconds; it may differ from what was asked.
    pub bar_seconds: Option<u64>,
    /// How far the data lags, in milliseconds.
    pub delay_ms: Option<i64>,
    /// The bars.
    pub bars: Vec<Bar>,
    /// When we read it.
    pub as_of: Timestamp,
}

/// An option's quote with its greeks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionQuote {
    /// The quote.
    pub quote: Quote,
    /// Change of the option's price per unit of the underlying.
    pub delta: Option<Decimal>,
    /// Change of delta per unit of the underlying.
    pub gamma: Option<Decimal>,
    /// Change of the price per day.
    pub theta: Option<Decimal>,
    /// Change of the price per percentage point of volatility.
    pub vega: Option<Decimal>,
    /// Implied volatility in percent a year.
    pub implied_volatility: Option<Decimal>,
    /// Open interest, in contracts.
    pub open_interest: Option<Decimal>,
    /// The broker's mark price.
    pub mark: Option<Decimal>,
}

/// What snapshot codes tell of a company; everything else isn't served by this interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fundamentals {
    /// The contract.
    pub conid: Conid,
    /// Market capitalisation, as the broker writes it (`3.41T`).
    pub market_cap: Option<Untrusted>,
    /// Price to earnings.
    pub price_earnings: Option<Decimal>,
    /// Earnings per share.
    pub earnings_per_share: Option<Decimal>,
    /// Dividend amount.
    pub dividend_amount: Option<Decimal>,
    /// Dividend yield in percent.
    pub dividend_yield_percent: Option<Decimal>,
    /// Ex-dividend date, as the broker writes it.
    pub ex_date: Option<Untrusted>,
    /// Next earnings, as the broker writes it.
    pub next_earnings: Option<Untrusted>,
    /// Next event of any kind, and its date, as the broker writes them.
    pub next_event: Option<Untrusted>,
    /// Highest price of 52 weeks.
    pub high_52_weeks: Option<Decimal>,
    /// Lowest price of 52 weeks.
    pub low_52_weeks: Option<Decimal>,
    /// Beta.
    pub beta: Option<Decimal>,
    /// Industry, as the broker names it.
    pub industry: Option<Untrusted>,
    /// Category, as the broker names it.
    pub category: Option<Untrusted>,
    /// When we read it.
    pub as_of: Timestamp,
}

/// One price level of an order book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthLevel {
    /// Price.
    pub price: Decimal,
    /// Size bid at it.
    pub bid_size: Option<Decimal>,
    /// Size asked at it.
    pub ask_size: Option<Decimal>,
    /// Whether the last trade was here.
    pub is_last: bool,
}

/// An order book, best prices in the middle, highest price first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// The contract.
    pub conid: Conid,
    /// The levels.
    pub levels: Vec<DepthLevel>,
    /// When the last frame came.
    pub as_of: Timestamp,
}

/// One scanner that the broker offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerKind {
    /// Its code, such as `TOP_PERC_GAIN`.
    pub code: String,
    /// For people.
    pub name: Untrusted,
    /// Instrument types that it takes, such as `STK`.
    pub instruments: Vec<String>,
}

/// What scanners can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScannerParameters {
    /// The scanners.
    pub kinds: Vec<ScannerKind>,
    /// Instrument types with their names.
    pub instruments: Vec<(String, Untrusted)>,
    /// Location codes with their names, the tree flattened.
    pub locations: Vec<(String, Untrusted)>,
    /// Filter codes with their names.
    pub filters: Vec<(String, Untrusted)>,
    /// When we read it; up to 15 minutes ago, since the broker takes no more than one request in
    /// that time.
    pub as_of: Option<Timestamp>,
}

/// A scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest {
    /// Scanner code.
    pub code: String,
    /// Instrument type, such as `STK`.
    pub instrument: String,
    /// Location, such as `STK.US.MAJOR`.
    pub location: String,
    /// Filter codes with their numbers.
    pub filters: Vec<(String, Decimal)>,
}

/// One hit of a scan, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanHit {
    /// The contract.
    pub conid: Conid,
    /// Symbol.
    pub symbol: Untrusted,
    /// Company.
    pub name: Untrusted,
    /// Asset class, if we know it.
    pub class: Option<AssetClass>,
    /// Primary listing.
    pub listing_exchange: Untrusted,
    /// The value that it was ranked by, as the broker writes it.
    pub value: Option<Untrusted>,
}
