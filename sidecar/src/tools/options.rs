//! Option chains: the strikes around the money of one expiry, quoted, in a bounded number of
//! requests.
//!
//! ```text
//! underlying → months → price → strikes of a month → options at the chosen strikes → quotes
//! ```
//! A chain of N strikes costs at most 2 N + 7 requests. A strike that can't be read is named in the
//! answer; when none can, the first error is the answer.

use super::market::quote_hours;
use super::{Asked, Done};
use crate::brokers::error_body;
use futures_util::StreamExt as _;
use ibkr_agent_broker::Broker;
use ibkr_agent_domain::{
    Contract, Date, ErrorCode, Instrument, OptionContract, OptionQuote, OptionRight, OptionSeries,
    Quote, Strikes,
};
use ibkr_agent_protocol::catalogue::market::{QuoteOutput, subscription_hint};
use ibkr_agent_protocol::catalogue::options::{
    AskedExpiry, GreeksOutput, OptionGreeks, OptionGreeksOutput, OptionsChain, OptionsChainInput,
    OptionsChainOutput, chain_table,
};
use ibkr_agent_protocol::catalogue::{ResolvedOutput, Wire};
use ibkr_agent_protocol::number::OutputNumber;
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Requests of one chain that run at once.
const CONCURRENT: usize = 8;

/// Months whose expiries are listed when none is named.
const LISTED_MONTHS: usize = 3;

/// Months that are tried for the nearest expiry: the first may have run out.
const NEAREST_MONTHS: usize = 2;

/// Things not found that are named.
const MAX_MISSING: usize = 10;

/// One underlying and what is asked of its options.
struct Chain<'a> {
    broker: &'a Arc<dyn Broker>,
    series: &'a OptionSeries,
    expiry: &'a AskedExpiry,
    today: Option<Date>,
    rights: Vec<OptionRight>,
}

/// The options of one expiry.
struct Found {
    expiry: Date,
    options: Vec<OptionContract>,
    strikes_listed: usize,
    missing: Vec<String>,
}

impl Asked<'_> {
    pub(super) async fn options_chain(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OptionsChain>()?;
        let (expiry, strikes) = (input.expiry()?, input.strikes()?);
        let broker = self.core.brokers.market()?;
        let underlying = self.contract_of(&input.underlying()?).await?;
        let series = broker.option_series(&underlying).await.map_err(|e| error_body(&e))?;
        if series.months.is_empty() {
            let message = format!("{} has no options here", underlying.symbol);
            return Err(ErrorBody::new(ErrorCode::InputInvalidContract, message));
        }
        let chain = Chain {
            broker,
            series: &series,
            expiry: &expiry,
            today: self.today(),
            rights: input.rights(),
        };
        let spot = spot(broker, &underlying).await;
        if input.wants_expiries() {
            return self.expiries(&input, &chain, spot.as_ref()).await;
        }
        self.progress.report(1, "choosing strikes");
        let found = chain.find(spot_price(spot.as_ref()), strikes).await?;
        self.progress.report(2, "reading quotes");
        self.quoted(&chain, found, spot.as_ref()).await
    }

    pub(super) async fn option_greeks(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OptionGreeks>()?;
        let (conid, contract) = self.identified(&input.instrument()?).await?;
        let broker = self.core.brokers.market()?;
        let quotes = broker.option_quotes(&[conid]).await.map_err(|error| error_body(&error))?;
        let Some(quoted) = quotes.into_iter().find(|quoted| quoted.quote.conid == conid) else {
            let message = "the broker gave no quote of this option";
            return Err(ErrorBody::new(ErrorCode::MarketDataUnavailable, message));
        };
        let now = self.now();
        let output = OptionGreeksOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(now),
            hours: quote_hours(broker.as_ref()),
            contract,
            quote: QuoteOutput::new(&quoted.quote, now),
            greeks: GreeksOutput::from(&quoted),
            hint: subscription_hint([quoted.quote.status]),
        };
        Done::read(&output, None)
    }

    /// The exchange's date.
    fn today(&self) -> Option<Date> {
        Date::parse(&self.core.engine.clock().now().trading_day.to_string()).ok()
    }

    fn frame(&self, chain: &Chain<'_>, spot: Option<&Quote>) -> OptionsChainOutput {
        OptionsChainOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(self.now()),
            hours: quote_hours(chain.broker.as_ref()),
            underlying: ResolvedOutput::from(&chain.series.underlying),
            underlying_price: spot_price(spot).map(OutputNumber),
            expiry: None,
            multiplier: None,
            trading_class: None,
            data_status: None,
            table: None,
            strikes_listed: None,
            months: Vec::new(),
            expiries: Vec::new(),
            missing: Vec::new(),
            hint: None,
        }
    }

    async fn expiries(
        &self,
        input: &OptionsChainInput,
        chain: &Chain<'_>,
        spot: Option<&Quote>,
    ) -> Result<Done, ErrorBody> {
        let named = input.expiry.is_some();
        let months = chain.months()?;
        let wanted = if named { months } else { chain.series.months.as_slice() };
        let mut days = BTreeSet::new();
        for month in wanted.iter().take(LISTED_MONTHS) {
            let strikes = chain.strikes_of(month).await?;
            for strike in nearest(&strikes, spot_price(spot), 1) {
                let right = chain.rights.first().copied().unwrap_or(OptionRight::Call);
                let found = chain.options_at(month, strike, right).await?;
                days.extend(found.into_iter().map(|option| option.expiry));
            }
        }
        let frame = self.frame(chain, spot);
        let output = OptionsChainOutput {
            months: chain.series.months.clone(),
            expiries: days.into_iter().map(Wire).collect(),
            ..frame
        };
        Done::read(&output, None)
    }

    async fn quoted(
        &self,
        chain: &Chain<'_>,
        found: Found,
        spot: Option<&Quote>,
    ) -> Result<Done, ErrorBody> {
        let conids: Vec<_> = found.options.iter().map(|option| option.conid).collect();
        let quotes = chain.broker.option_quotes(&conids).await.map_err(|e| error_body(&e))?;
        let mut by_conid: BTreeMap<_, OptionQuote> =
            quotes.into_iter().map(|quoted| (quoted.quote.conid, quoted)).collect();
        let mut missing = found.missing;
        let mut rows = Vec::with_capacity(found.options.len());
        for option in found.options {
            match by_conid.remove(&option.conid) {
                Some(quoted) => rows.push((option, quoted)),
                None => {
                    missing.push(format!("a quote of {} {}", option.strike, option.right.letter()))
                }
            }
        }
        missing.truncate(MAX_MISSING);
        let hint = subscription_hint(rows.iter().map(|(_, quoted)| quoted.quote.status));
        let first = rows.first().map(|(option, _)| option);
        let frame = self.frame(chain, spot);
        let (table, data_status) = chain_table(&rows);
        let output = OptionsChainOutput {
            expiry: Some(Wire(found.expiry)),
            multiplier: first.map(|option| OutputNumber(option.multiplier)),
            trading_class: first.map(|option| Wire(option.trading_class.clone())),
            data_status: data_status.map(Wire),
            table: Some(table),
            strikes_listed: u64::try_from(found.strikes_listed).ok(),
            missing,
            hint,
            ..frame
        };
        Done::read(&output, None)
    }

    /// A contract by id or name, with everything that is known of it.
    pub(super) async fn contract_of(&self, instrument: &Instrument) -> Result<Contract, ErrorBody> {
        match instrument {
            Instrument::Conid(conid) => {
                let broker = self.core.brokers.market()?;
                broker.contract(*conid).await.map_err(|error| error_body(&error))
            }
            Instrument::Symbol { .. } | Instrument::Option { .. } => self.resolve(instrument).await,
        }
    }
}

impl Chain<'_> {
    /// The months that may hold the asked expiry.
    fn months(&self) -> Result<&[String], ErrorBody> {
        let all = self.series.months.as_slice();
        let code = match self.expiry {
            AskedExpiry::Nearest => {
                return Ok(all.get(..NEAREST_MONTHS.min(all.len())).unwrap_or_default());
            }
            AskedExpiry::Day(day) => day.month_code(),
            AskedExpiry::Month(code) => code.clone(),
        };
        let at = all.iter().position(|month| *month == code);
        at.and_then(|at| all.get(at..=at)).ok_or_else(|| {
            let message = format!("there are no options in {code}");
            let mut error = ErrorBody::new(ErrorCode::InputInvalidContract, message);
            error.details.clone_from(&self.series.months);
            error
        })
    }

    async fn strikes_of(&self, month: &str) -> Result<Vec<Decimal>, ErrorBody> {
        let read = self.broker.strikes(&self.series.underlying, month).await;
        let Strikes { calls, puts } = read.map_err(|error| error_body(&error))?;
        let mut strikes: BTreeSet<Decimal> = BTreeSet::new();
        for right in &self.rights {
            strikes.extend(match right {
                OptionRight::Call => &calls,
                OptionRight::Put => &puts,
            });
        }
        Ok(strikes.into_iter().collect())
    }

    async fn options_at(
        &self,
        month: &str,
        strike: Decimal,
        right: OptionRight,
    ) -> Result<Vec<OptionContract>, ErrorBody> {
        let read = self.broker.options(&self.series.underlying, month, strike, right).await;
        read.map_err(|error| error_body(&error))
    }

    /// As [`Chain::options_at`], with what was asked.
    async fn named_options(
        &self,
        month: &str,
        strike: Decimal,
        right: OptionRight,
    ) -> (Decimal, OptionRight, Result<Vec<OptionContract>, ErrorBody>) {
        (strike, right, self.options_at(month, strike, right).await)
    }

    /// The options of the asked expiry at the strikes nearest to the money.
    async fn find(&self, spot: Option<Decimal>, count: usize) -> Result<Found, ErrorBody> {
        let mut seen = BTreeSet::new();
        for month in self.months()? {
            let strikes = self.strikes_of(month).await?;
            let chosen = nearest(&strikes, spot, count);
            let (options, failed) = self.gather(month, &chosen).await?;
            seen.extend(options.iter().map(|option| option.expiry));
            let Some(expiry) = self.choose(&options) else {
                continue;
            };
            let of_day = options.into_iter().filter(|option| option.expiry == expiry).collect();
            let (options, other_classes) = one_class(of_day);
            let mut missing = failed;
            missing.extend(self.gaps(&chosen, &options));
            missing.extend(other_classes.map(|names| format!("other trading classes: {names}")));
            return Ok(Found { expiry, options, strikes_listed: strikes.len(), missing });
        }
        let message = match self.expiry {
            AskedExpiry::Day(day) => format!("no options expire on {day} near the money"),
            AskedExpiry::Nearest | AskedExpiry::Month(_) => "no options were found".to_owned(),
        };
        let mut error = ErrorBody::new(ErrorCode::InputInvalidContract, message);
        error.details = seen.iter().take(20).map(|day: &Date| format!("expires {day}")).collect();
        Err(error)
    }

    /// Every option of a month at some strikes, and what failed unless everything did.
    async fn gather(
        &self,
        month: &str,
        strikes: &[Decimal],
    ) -> Result<(Vec<OptionContract>, Vec<String>), ErrorBody> {
        let mut reads = Vec::new();
        for strike in strikes {
            for right in &self.rights {
                reads.push(self.named_options(month, *strike, *right));
            }
        }
        let ended: Vec<_> = futures_util::stream::iter(reads).buffered(CONCURRENT).collect().await;
        let (mut options, mut failed, mut first) = (Vec::new(), Vec::new(), None);
        for (strike, right, read) in ended {
            match read {
                Ok(found) => options.extend(found),
                Err(error) => {
                    failed.push(format!("{strike} {}: {}", right.letter(), error.code));
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if options.is_empty() => Err(error),
            Some(_) | None => Ok((options, failed)),
        }
    }

    /// The asked expiry among those found; the nearest one that hasn't passed.
    fn choose(&self, options: &[OptionContract]) -> Option<Date> {
        let mut days = options.iter().map(|option| option.expiry);
        match self.expiry {
            AskedExpiry::Day(day) => days.find(|found| found == day),
            AskedExpiry::Nearest => {
                days.filter(|day| self.today.is_none_or(|today| *day >= today)).min()
            }
            AskedExpiry::Month(_) => {
                let all: BTreeSet<Date> = days.collect();
                let open = all.iter().find(|day| self.today.is_none_or(|today| **day >= today));
                open.or_else(|| all.last()).copied()
            }
        }
    }

    /// Chosen strikes that have no option of this expiry.
    fn gaps(&self, strikes: &[Decimal], options: &[OptionContract]) -> Vec<String> {
        let has = |strike: Decimal, right: OptionRight| {
            options.iter().any(|option| option.strike == strike && option.right == right)
        };
        let pairs = strikes.iter().flat_map(|s| self.rights.iter().map(|right| (*s, *right)));
        pairs
            .filter(|(strike, right)| !has(*strike, *right))
            .map(|(strike, right)| format!("{strike} {}", right.letter()))
            .collect()
    }
}

/// The strikes nearest to a price, ascending; the middle ones when the price isn't known.
fn nearest(strikes: &[Decimal], spot: Option<Decimal>, count: usize) -> Vec<Decimal> {
    let middle = strikes.get(strikes.len() / 2).copied();
    let Some(price) = spot.or(middle) else {
        return Vec::new();
    };
    let mut by_distance: Vec<Decimal> = strikes.to_vec();
    by_distance.sort_by_key(|strike| (strike.saturating_sub(price).abs(), *strike));
    by_distance.truncate(count);
    by_distance.sort_unstable();
    by_distance
}

/// The options of the trading class that has the most of them, and the names of the others.
fn one_class(options: Vec<OptionContract>) -> (Vec<OptionContract>, Option<String>) {
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    for option in &options {
        *sizes.entry(option.trading_class.to_string()).or_default() += 1;
    }
    let largest = sizes.iter().max_by_key(|(_, size)| **size).map(|(name, _)| name.clone());
    let others: Vec<String> =
        sizes.into_keys().filter(|name| Some(name) != largest.as_ref()).collect();
    let kept = options
        .into_iter()
        .filter(|option| Some(option.trading_class.as_str()) == largest.as_deref())
        .collect();
    (kept, (!others.is_empty()).then(|| others.join(", ")))
}

/// The underlying's quote; a chain is useful without it.
async fn spot(broker: &Arc<dyn Broker>, underlying: &Contract) -> Option<Quote> {
    let quotes = broker.quotes(&[underlying.conid]).await.ok()?;
    quotes.into_iter().find(|quote| quote.conid == underlying.conid)
}

fn spot_price(quote: Option<&Quote>) -> Option<Decimal> {
    let quote = quote?;
    let middle = || {
        let sum = quote.bid?.checked_add(quote.ask?)?;
        sum.checked_div(Decimal::TWO)
    };
    quote.last.or_else(middle).or(quote.close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(numbers: &[i64]) -> Vec<Decimal> {
        numbers.iter().map(|number| Decimal::from(*number)).collect()
    }

    #[test]
    fn the_nearest_strikes_are_chosen_and_sorted() {
        let all = strikes(&[90, 95, 100, 105, 110]);
        let near = |price: i64, count| nearest(&all, Some(Decimal::from(price)), count);
        assert_eq!(near(101, 3), strikes(&[95, 100, 105]));
        assert_eq!(near(300, 2), strikes(&[105, 110]));
        // As near on both sides: the lower one.
        assert_eq!(near(1025, 1), strikes(&[110]));
        assert_eq!(nearest(&strikes(&[100, 110]), Some(Decimal::from(105)), 1), strikes(&[100]));
        assert_eq!(near(100, 50), all);
        assert_eq!(nearest(&all, None, 1), strikes(&[100]));
        assert!(nearest(&[], None, 3).is_empty());
    }
}
