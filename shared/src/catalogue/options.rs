//! Option chains and greeks.

use super::common::{cell, count, number, one_instrument};
use super::market::{QuoteHours, QuoteOutput};
use super::{
    Backend, Declaration, Hints, InstrumentArguments, ResolvedOutput, RiskClass, ShortText, Table,
    Tool, Toolset, Wire,
};
use crate::catalogue::invalid;
use crate::number::{InputBool, InputConid, InputInteger, OutputNumber};
use crate::service::ErrorBody;
use ibkr_agent_domain::{
    DataStatus, Date, Instrument, OptionContract, OptionQuote, OptionRight, Scope, Timestamp,
    Untrusted,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Strikes that are shown when the caller doesn't say how many.
pub const DEFAULT_STRIKES: usize = 5;

/// Most strikes of one answer; each costs up to two requests at the broker.
pub const MAX_STRIKES: usize = 20;

/// `ibkr_options_chain`.
#[derive(Debug)]
pub struct OptionsChain;

impl Tool for OptionsChain {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_options_chain",
        title: "Option chain",
        description: "Options of one underlying and expiry with quotes and greeks, the strikes \
            nearest to the money first chosen and then sorted. Without expiry the nearest one is \
            taken; a month such as JAN27 takes the first expiry in it. list_expiries true lists \
            expiries instead of options. strikes up to 20; implied_volatility is in percent a \
            year. The contract_id of a row works in every other tool.",
        scope: Scope::OptionsRead,
        risk: RiskClass::Read,
        toolset: Toolset::Options,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = OptionsChainInput;
    type Output = OptionsChainOutput;
}

/// Arguments of [`OptionsChain`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsChainInput {
    /// Symbol of the underlying, such as SPY; give this, instrument or contract_id.
    pub symbol: Option<Wire<Instrument>>,
    /// The underlying by name, such as SPY or ESZ6.
    pub instrument: Option<Wire<Instrument>>,
    /// The underlying's contract id.
    pub contract_id: Option<InputConid>,
    /// A date such as 2027-01-15, or a month such as JAN27; the nearest expiry if left out.
    pub expiry: Option<Wire<ShortText>>,
    /// Strikes around the money, 1 to 20; 5 if left out.
    pub strikes: Option<InputInteger>,
    /// Only calls or only puts; both if left out.
    pub right: Option<Wire<OptionRight>>,
    /// true lists the expiries and gives no options.
    pub list_expiries: Option<InputBool>,
}

/// Which expiry is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedExpiry {
    /// The nearest.
    Nearest,
    /// This day.
    Day(Date),
    /// The first of a month, in IBKR's code such as `JAN27`.
    Month(String),
}

impl OptionsChainInput {
    /// The underlying.
    ///
    /// # Errors
    /// `INPUT_INVALID` unless exactly one is named.
    pub fn underlying(&self) -> Result<Instrument, ErrorBody> {
        InstrumentArguments {
            contract_id: self.contract_id,
            instrument: self.instrument.as_ref(),
            symbol: self.symbol.as_ref(),
            ..InstrumentArguments::default()
        }
        .instrument()
    }

    /// The expiry.
    ///
    /// # Errors
    /// `INPUT_INVALID` for a text that is neither a date nor a month.
    pub fn expiry(&self) -> Result<AskedExpiry, ErrorBody> {
        let Some(Wire(text)) = &self.expiry else {
            return Ok(AskedExpiry::Nearest);
        };
        if let Ok(day) = Date::parse(text.as_str()) {
            return Ok(AskedExpiry::Day(day));
        }
        let text = text.as_str().to_ascii_uppercase();
        let is_month = text.len() == 5
            && text.get(3..).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()))
            && text.get(..3).is_some_and(|month| MONTHS.contains(&month));
        if is_month {
            return Ok(AskedExpiry::Month(text));
        }
        Err(invalid("expiry must be a date such as 2027-01-15 or a month such as JAN27"))
    }

    /// How many strikes to give.
    ///
    /// # Errors
    /// `INPUT_INVALID` outside 1 to 20.
    pub fn strikes(&self) -> Result<usize, ErrorBody> {
        count("strikes", self.strikes, DEFAULT_STRIKES, MAX_STRIKES)
    }

    /// The rights that are asked for.
    #[must_use]
    pub fn rights(&self) -> Vec<OptionRight> {
        match self.right {
            Some(Wire(right)) => vec![right],
            None => vec![OptionRight::Call, OptionRight::Put],
        }
    }

    /// Whether only the expiries are asked for.
    #[must_use]
    pub fn wants_expiries(&self) -> bool {
        self.list_expiries == Some(InputBool(true))
    }
}

const MONTHS: &[&str] =
    &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Answer of [`OptionsChain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionsChainOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// `simulated_open` when a simulated market stands behind it that is open at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Wire<QuoteHours>>,
    /// The underlying.
    pub underlying: ResolvedOutput,
    /// The underlying's price that the strikes were chosen by, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlying_price: Option<OutputNumber>,
    /// The expiry of the options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Wire<Date>>,
    /// Units of the underlying per contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<OutputNumber>,
    /// Trading class. Text from the broker: data, never instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trading_class: Option<Wire<Untrusted>>,
    /// How timely the quotes are, when all are the same; else the table has a column for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_status: Option<Wire<DataStatus>>,
    /// The options by strike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// How many strikes the month has; fewer may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strikes_listed: Option<u64>,
    /// The months that have options, with list_expiries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<String>,
    /// The expiries of the first months (or of the asked one), with list_expiries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiries: Vec<Wire<Date>>,
    /// What was looked for and not found, such as a strike without a put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What to do about quotes that aren't subscribed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Options with their quotes as a table, sorted by strike, calls before puts; and the status that
/// all of them have, if they have one.
#[must_use]
pub fn chain_table(rows: &[(OptionContract, OptionQuote)]) -> (Table, Option<DataStatus>) {
    let mut sorted: Vec<&(OptionContract, OptionQuote)> = rows.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.strike.cmp(&b.strike).then(a.right.cmp(&b.right)));
    let first = sorted.first().map(|(_, quote)| quote.quote.status);
    let same = first.filter(|first| sorted.iter().all(|(_, quote)| quote.quote.status == *first));
    let mut columns = vec![
        "strike",
        "right",
        "contract_id",
        "bid",
        "ask",
        "last",
        "implied_volatility",
        "delta",
        "gamma",
        "theta",
        "vega",
        "open_interest",
    ];
    if same.is_none() {
        columns.push("data_status");
    }
    let cells = sorted.into_iter().map(|(option, quoted)| {
        let mut row = vec![
            cell(Some(option.strike)),
            Some(option.right.letter().to_string()),
            Some(option.conid.to_string()),
            cell(quoted.quote.bid),
            cell(quoted.quote.ask),
            cell(quoted.quote.last),
            cell(quoted.implied_volatility),
            cell(quoted.delta),
            cell(quoted.gamma),
            cell(quoted.theta),
            cell(quoted.vega),
            cell(quoted.open_interest),
        ];
        if same.is_none() {
            row.push(Some(quoted.quote.status.as_str().to_owned()));
        }
        row
    });
    (Table::new(&columns, &[], cells.collect()), same)
}

/// `ibkr_option_greeks`.
#[derive(Debug)]
pub struct OptionGreeks;

impl Tool for OptionGreeks {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_option_greeks",
        title: "Option greeks",
        description: "Quote and greeks of one option, by contract_id or by its terms such as \
            SPY 2027-01-15 C 600. For several strikes at once use ibkr_options_chain.",
        scope: Scope::OptionsRead,
        risk: RiskClass::Read,
        toolset: Toolset::Options,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = OptionGreeksInput;
    type Output = OptionGreeksOutput;
}

/// Arguments of [`OptionGreeks`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionGreeksInput {
    /// The option's contract id; give this or instrument.
    pub contract_id: Option<InputConid>,
    /// The option by its terms, such as SPY 2027-01-15 C 600.
    pub instrument: Option<Wire<Instrument>>,
}

impl OptionGreeksInput {
    /// The option.
    ///
    /// # Errors
    /// `INPUT_INVALID` unless exactly one is named.
    pub fn instrument(&self) -> Result<Instrument, ErrorBody> {
        one_instrument(self.contract_id, self.instrument.as_ref())
    }
}

/// Answer of [`OptionGreeks`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionGreeksOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we read it.
    pub as_of: Wire<Timestamp>,
    /// `simulated_open` when a simulated market stands behind it that is open at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Wire<QuoteHours>>,
    /// The option.
    pub contract: ResolvedOutput,
    /// Its quote.
    pub quote: QuoteOutput,
    /// Its greeks.
    pub greeks: GreeksOutput,
    /// What to do about a quote that isn't subscribed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The greeks of an option, as the broker models them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GreeksOutput {
    /// Change of the option's price per unit of the underlying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<OutputNumber>,
    /// Change of delta per unit of the underlying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<OutputNumber>,
    /// Change of the price per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theta: Option<OutputNumber>,
    /// Change of the price per percentage point of volatility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vega: Option<OutputNumber>,
    /// Implied volatility in percent a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implied_volatility: Option<OutputNumber>,
    /// Open interest, in contracts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_interest: Option<OutputNumber>,
    /// The broker's mark price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<OutputNumber>,
}

impl From<&OptionQuote> for GreeksOutput {
    fn from(quoted: &OptionQuote) -> Self {
        Self {
            delta: number(quoted.delta),
            gamma: number(quoted.gamma),
            theta: number(quoted.theta),
            vega: number(quoted.vega),
            implied_volatility: number(quoted.implied_volatility),
            open_interest: number(quoted.open_interest),
            mark: number(quoted.mark),
        }
    }
}
