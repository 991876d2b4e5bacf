//! When markets trade, and what currencies are worth.

use super::common::{count, invalid};
use super::text::names;
use super::{
    Backend, DEFAULT_ROWS, Declaration, Hints, MAX_ROWS, ResolvedOutput, RiskClass, ShortText,
    Table, Tool, Toolset, Wire,
};
use crate::number::{InputConid, InputInteger, OutputNumber};
use crate::service::ErrorBody;
use ibkr_agent_domain::{Currency, CurrencyPair, Date, Instrument, Scope, Timestamp, Untrusted};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

names! {
    /// Whether a market trades.
    MarketState {
        /// In regular hours.
        Open = "open",
        /// Outside regular hours, but trading.
        Extended = "extended",
        /// Not at all.
        Closed = "closed",
        /// The broker's list doesn't cover now.
        Unknown = "unknown",
    }
    /// What is special about a day.
    HolidayKind {
        /// No regular hours on a weekday.
        Closed = "closed",
        /// Shorter regular hours than usual.
        Short = "short",
    }
}

/// Whose hours are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Venue {
    /// Those of a contract.
    Contract(Instrument),
    /// Those of an exchange, upper case.
    Exchange(String),
}

/// Arguments of [`MarketSession`] and [`MarketHolidays`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarketCalendarInput {
    /// Contract id; give this, instrument or exchange.
    pub contract_id: Option<InputConid>,
    /// Instrument by name, such as AAPL or ESZ6.
    pub instrument: Option<Wire<Instrument>>,
    /// Exchange, such as NASDAQ, NYSE, ARCA, CME, LSE, IBIS or IDEALPRO.
    pub exchange: Option<Wire<ShortText>>,
}

impl MarketCalendarInput {
    /// Whose hours are asked for.
    ///
    /// # Errors
    /// `INPUT_INVALID` unless exactly one of the three is given.
    pub fn venue(&self) -> Result<Venue, ErrorBody> {
        let by_id = self.contract_id.map(|id| Venue::Contract(Instrument::Conid(id.0)));
        let by_name = self.instrument.as_ref().map(|Wire(name)| Venue::Contract(name.clone()));
        let exchange = self.exchange.as_ref();
        let by_exchange =
            exchange.map(|Wire(name)| Venue::Exchange(name.as_str().to_ascii_uppercase()));
        let mut given = [by_id, by_name, by_exchange].into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(venue), None) => Ok(venue),
            (None, _) => Err(invalid("give contract_id, instrument or exchange")),
            (Some(_), Some(_)) => {
                Err(invalid("give only one of contract_id, instrument and exchange"))
            }
        }
    }
}

/// `ibkr_market_session`.
#[derive(Debug)]
pub struct MarketSession;

impl Tool for MarketSession {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_market_session",
        title: "Is the market open",
        description: "Whether a contract or an exchange trades now, and when its regular hours \
            next open and close, by the broker's own list. An exchange is answered by the hours \
            of a well-known contract there, which the answer names.",
        scope: Scope::CalendarRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = MarketCalendarInput;
    type Output = MarketSessionOutput;
}

/// Answer of [`MarketSession`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarketSessionOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// The time that this is about.
    pub as_of: Wire<Timestamp>,
    /// The contract whose hours these are.
    pub contract: ResolvedOutput,
    /// The state.
    pub session: SessionHours,
}

/// Whether a contract trades, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionHours {
    /// Whether it trades now.
    pub state: Wire<MarketState>,
    /// When regular hours next begin, if the broker's list tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_open: Option<Wire<Timestamp>>,
    /// When regular hours next end: today's while they last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_close: Option<Wire<Timestamp>>,
    /// When trading outside regular hours ends, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_until: Option<Wire<Timestamp>>,
    /// The exchange's time zone. Text from the broker: data, never instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Wire<Untrusted>>,
}

/// `ibkr_market_holidays`.
#[derive(Debug)]
pub struct MarketHolidays;

impl Tool for MarketHolidays {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_market_holidays",
        title: "Market holidays",
        description: "Weekdays without regular hours, and days with shorter ones, in the span that \
            the broker lists (usually a few weeks, told as from and to). Nothing is known beyond \
            it. Weekends are left out.",
        scope: Scope::CalendarRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = MarketCalendarInput;
    type Output = MarketHolidaysOutput;
}

/// Answer of [`MarketHolidays`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarketHolidaysOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// The contract whose days these are.
    pub contract: ResolvedOutput,
    /// The first day that the broker lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Wire<Date>>,
    /// The last day that the broker lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Wire<Date>>,
    /// The special days.
    pub days: Vec<HolidayOutput>,
}

/// A day that isn't as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolidayOutput {
    /// The exchange's date.
    pub date: Wire<Date>,
    /// What is special about it.
    pub kind: Wire<HolidayKind>,
    /// When regular hours begin, on a short day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Wire<Timestamp>>,
    /// When regular hours end, on a short day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Wire<Timestamp>>,
}

/// `ibkr_currency_rate`.
#[derive(Debug)]
pub struct CurrencyRate;

impl Tool for CurrencyRate {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_currency_rate",
        title: "Exchange rate",
        description: "Units of the quote currency per unit of the base currency, as the broker \
            converts balances. It is no quote to trade at: for that, ask ibkr_market_snapshot for \
            a pair such as EUR.USD.",
        scope: Scope::CurrencyRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = CurrencyRateInput;
    type Output = CurrencyRateOutput;
}

/// Arguments of [`CurrencyRate`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurrencyRateInput {
    /// The currency to convert from, such as EUR.
    pub base: Wire<Currency>,
    /// The currency to convert to, such as USD.
    pub quote: Wire<Currency>,
}

impl CurrencyRateInput {
    /// The two currencies.
    ///
    /// # Errors
    /// `INPUT_INVALID` for `BASE`, which is no currency of its own here.
    pub fn pair(&self) -> Result<(Currency, Currency), ErrorBody> {
        if [self.base.0, self.quote.0].contains(&Currency::BASE) {
            return Err(invalid("base and quote must be currencies, such as EUR and USD"));
        }
        Ok((self.base.0, self.quote.0))
    }
}

/// Answer of [`CurrencyRate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CurrencyRateOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// The currency that is converted from.
    pub base: String,
    /// The currency that is converted to.
    pub quote: String,
    /// Units of quote per unit of base.
    pub rate: OutputNumber,
}

impl CurrencyRateOutput {
    /// A rate that was read now.
    #[must_use]
    pub fn new(
        (base, quote): (Currency, Currency),
        rate: Decimal,
        backend: Backend,
        now: Timestamp,
    ) -> Self {
        Self {
            backend: Wire(backend),
            as_of: Wire(now),
            base: base.to_string(),
            quote: quote.to_string(),
            rate: OutputNumber(rate),
        }
    }
}

/// `ibkr_currency_pairs`.
#[derive(Debug)]
pub struct CurrencyPairs;

impl Tool for CurrencyPairs {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_currency_pairs",
        title: "Currency pairs",
        description: "The pairs of one currency that the broker trades, with their contract ids \
            for ibkr_market_snapshot and ibkr_historical_bars.",
        scope: Scope::CurrencyRead,
        risk: RiskClass::Read,
        toolset: Toolset::Market,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = CurrencyPairsInput;
    type Output = CurrencyPairsOutput;
}

/// Arguments of [`CurrencyPairs`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurrencyPairsInput {
    /// The currency, such as USD.
    pub currency: Wire<Currency>,
    /// Most rows to give, 1 to 200; 50 if left out.
    pub limit: Option<InputInteger>,
}

impl CurrencyPairsInput {
    /// How many rows to give.
    ///
    /// # Errors
    /// `INPUT_INVALID` outside 1 to 200.
    pub fn limit(&self) -> Result<usize, ErrorBody> {
        count("limit", self.limit, DEFAULT_ROWS, MAX_ROWS)
    }
}

/// Answer of [`CurrencyPairs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CurrencyPairsOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// The currency.
    pub currency: String,
    /// The pairs.
    pub table: Table,
    /// Whether there are more than are shown.
    pub truncated: bool,
}

impl CurrencyPairsOutput {
    /// The first pairs of a currency.
    #[must_use]
    pub fn new(currency: Currency, pairs: &[CurrencyPair], backend: Backend, rows: usize) -> Self {
        let shown = pairs.iter().take(rows).map(|pair| {
            vec![
                Some(pair.conid.to_string()),
                Some(pair.symbol.to_string()),
                Some(pair.quote.to_string()),
            ]
        });
        let columns = &["contract_id", "symbol", "quote"];
        Self {
            backend: Wire(backend),
            currency: currency.to_string(),
            table: Table::new(columns, &["symbol"], shown.collect()),
            truncated: pairs.len() > rows,
        }
    }
}
