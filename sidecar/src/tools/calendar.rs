//! When markets trade: what the broker's list of hours says about now and about special days.
//!
//! Times are compared with our own clock. Nothing is said beyond the days that the broker lists.

use super::{Asked, Done};
use crate::brokers::error_body;
use ibkr_agent_domain::{
    Contract, Date, ErrorCode, Instrument, Timestamp, TradingHours, TradingSpan,
};
use ibkr_agent_protocol::catalogue::calendar::{
    HolidayKind, HolidayOutput, MarketCalendarInput, MarketHolidays, MarketHolidaysOutput,
    MarketSession, MarketSessionOutput, MarketState, SessionHours, Venue,
};
use ibkr_agent_protocol::catalogue::{ResolvedOutput, Wire, invalid};
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::BTreeMap;
use std::time::Duration;

/// Contracts whose hours stand for an exchange's; the first that resolves is taken.
const KNOWN: &[(&str, &[&str])] = &[
    ("NASDAQ", &["AAPL@NASDAQ:USD", "MSFT@NASDAQ:USD"]),
    ("NYSE", &["IBM@NYSE:USD", "KO@NYSE:USD"]),
    ("ARCA", &["SPY@ARCA:USD"]),
    ("SMART", &["SPY@ARCA:USD"]),
    ("IDEALPRO", &["EUR.USD"]),
    ("LSE", &["VOD@LSE:GBP", "BP@LSE:GBP"]),
    ("IBIS", &["SAP@IBIS:EUR"]),
    ("AEB", &["ASML@AEB:EUR"]),
    ("SBF", &["MC@SBF:EUR"]),
    ("EBS", &["NESN@EBS:CHF"]),
    ("TSE", &["RY@TSE:CAD"]),
    ("TSEJ", &["7203@TSEJ:JPY"]),
    ("SEHK", &["700@SEHK:HKD"]),
    ("ASX", &["BHP@ASX:AUD"]),
];

/// Exchanges of futures with a product whose nearest contract stands for them.
const KNOWN_FUTURES: &[(&str, &str)] =
    &[("CME", "ES"), ("NYMEX", "CL"), ("COMEX", "GC"), ("CBOT", "ZN"), ("EUREX", "DAX")];

/// Most days of a list that are looked at.
const MAX_DAYS: i64 = 400;

impl Asked<'_> {
    pub(super) async fn market_session(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<MarketSession>()?;
        let (contract, hours) = self.hours_of(&input).await?;
        let now = self.now();
        let output = MarketSessionOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(now),
            contract,
            session: session_at(&hours, now),
        };
        Done::read(&output, None)
    }

    pub(super) async fn market_holidays(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<MarketHolidays>()?;
        let (contract, hours) = self.hours_of(&input).await?;
        let output = MarketHolidaysOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(self.now()),
            contract,
            from: hours.days.iter().map(|day| day.date).min().map(Wire),
            to: hours.days.iter().map(|day| day.date).max().map(Wire),
            days: special_days(&hours),
        };
        Done::read(&output, None)
    }

    async fn hours_of(
        &self,
        input: &MarketCalendarInput,
    ) -> Result<(ResolvedOutput, TradingHours), ErrorBody> {
        let (conid, contract) = match input.venue()? {
            Venue::Contract(instrument) => self.identified(&instrument).await?,
            Venue::Exchange(exchange) => {
                let contract = self.standing_for(&exchange).await?;
                (contract.conid, ResolvedOutput::from(&contract))
            }
        };
        let broker = self.core.brokers.market()?;
        let hours = broker.trading_hours(conid).await.map_err(|error| error_body(&error))?;
        Ok((contract, hours))
    }

    /// A well-known contract of an exchange.
    async fn standing_for(&self, exchange: &str) -> Result<Contract, ErrorBody> {
        if let Some((_, product)) = KNOWN_FUTURES.iter().find(|(name, _)| *name == exchange) {
            let broker = self.core.brokers.market()?;
            let futures = broker.futures(product).await.map_err(|error| error_body(&error))?;
            let nearest = futures.first().ok_or_else(|| nothing_stands_for(exchange))?;
            return broker.contract(nearest.conid).await.map_err(|error| error_body(&error));
        }
        let known = KNOWN.iter().find(|(name, _)| *name == exchange);
        let Some((_, candidates)) = known else {
            let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            let futures: Vec<&str> = KNOWN_FUTURES.iter().map(|(name, _)| *name).collect();
            return Err(invalid(format!(
                "exchange must be one of {}, {}; for another one give a contract that trades there",
                names.join(", "),
                futures.join(", ")
            )));
        };
        for candidate in *candidates {
            let Ok(instrument) = Instrument::parse(candidate) else {
                continue;
            };
            match self.resolve(&instrument).await {
                Ok(contract) => return Ok(contract),
                Err(error) if is_unresolved(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(nothing_stands_for(exchange))
    }
}

/// Whether a name simply stands for nothing, or for several.
pub(super) fn is_unresolved(error: &ErrorBody) -> bool {
    matches!(
        error.error_code(),
        Some(ErrorCode::InputInvalidContract | ErrorCode::InputAmbiguousContract)
    )
}

fn nothing_stands_for(exchange: &str) -> ErrorBody {
    let message = format!("no well-known contract of {exchange} was found: name one there");
    ErrorBody::new(ErrorCode::InputInvalidContract, message)
}

/// What a list of hours says about a time.
pub(super) fn session_at(hours: &TradingHours, now: Timestamp) -> SessionHours {
    let mut regular: Vec<TradingSpan> = hours.days.iter().flat_map(|d| d.regular.clone()).collect();
    let mut all: Vec<TradingSpan> = hours.days.iter().flat_map(|d| d.extended.clone()).collect();
    all.extend(&regular);
    regular.sort_by_key(|span| span.opens);
    let holds = |span: &&TradingSpan| span.opens <= now && now < span.closes;
    let open = regular.iter().find(holds);
    let outside = all.iter().filter(holds).map(|span| span.closes).max();
    let is_covered = all.iter().any(|span| span.closes > now);
    let state = match (open, outside, is_covered) {
        (Some(_), _, _) => MarketState::Open,
        (None, Some(_), _) => MarketState::Extended,
        (None, None, true) => MarketState::Closed,
        (None, None, false) => MarketState::Unknown,
    };
    let next_open = regular.iter().find(|span| span.opens > now).map(|span| span.opens);
    let next_close = regular.iter().find(|span| span.closes > now).map(|span| span.closes);
    SessionHours {
        state: Wire(state),
        next_open: next_open.map(Wire),
        next_close: next_close.map(Wire),
        extended_until: outside.filter(|_| state == MarketState::Extended).map(Wire),
        time_zone: hours.time_zone.clone().map(Wire),
    }
}

/// Days since a Monday, so that the remainder by seven is the weekday.
fn since_monday(date: Date) -> Option<i64> {
    Date::parse("1970-01-05").ok().map(|monday| date.days_since(monday))
}

fn day_after_monday(days: i64) -> Option<Date> {
    let millis = days.checked_add(4)?.checked_mul(86_400_000)?;
    Date::of(Timestamp::from_millis(millis))
}

/// The days on which a market that usually trades on that weekday doesn't, or trades shorter.
pub(super) fn special_days(hours: &TradingHours) -> Vec<HolidayOutput> {
    let mut listed: BTreeMap<i64, &[TradingSpan]> = BTreeMap::new();
    for day in &hours.days {
        if let Some(index) = since_monday(day.date) {
            listed.insert(index, day.regular.as_slice());
        }
    }
    let (Some(first), Some(last)) =
        (listed.keys().next().copied(), listed.keys().next_back().copied())
    else {
        return Vec::new();
    };
    let usual = usual_lengths(&listed);
    (first..=last.min(first.saturating_add(MAX_DAYS)))
        .filter_map(|index| {
            let spans = listed.get(&index).copied().unwrap_or_default();
            let usual = usual.get(&index.rem_euclid(7)).copied();
            special(day_after_monday(index)?, spans, usual, index.rem_euclid(7) < 5)
        })
        .collect()
}

fn special(
    date: Date,
    spans: &[TradingSpan],
    usual: Option<Duration>,
    is_weekday: bool,
) -> Option<HolidayOutput> {
    let length = total(spans);
    if length.is_zero() {
        // A day of the week that never trades is no holiday, unless it is the only one listed.
        let trades = usual.map_or(is_weekday, |usual| !usual.is_zero());
        let kind = Wire(HolidayKind::Closed);
        return trades.then_some(HolidayOutput {
            date: Wire(date),
            kind,
            opens: None,
            closes: None,
        });
    }
    (length < usual?).then(|| HolidayOutput {
        date: Wire(date),
        kind: Wire(HolidayKind::Short),
        opens: spans.iter().map(|span| span.opens).min().map(Wire),
        closes: spans.iter().map(|span| span.closes).max().map(Wire),
    })
}

fn total(spans: &[TradingSpan]) -> Duration {
    spans.iter().map(|span| span.closes.since(span.opens)).sum()
}

/// The most frequent length of the regular hours per weekday, the longer one if in doubt. A weekday
/// that is listed only once, or only as closed, is judged by all of Monday to Friday.
fn usual_lengths(listed: &BTreeMap<i64, &[TradingSpan]>) -> BTreeMap<i64, Duration> {
    let mut week: BTreeMap<Duration, usize> = BTreeMap::new();
    let mut days: BTreeMap<i64, (usize, BTreeMap<Duration, usize>)> = BTreeMap::new();
    for (index, spans) in listed {
        let (weekday, length) = (index.rem_euclid(7), total(spans));
        let (seen, lengths) = days.entry(weekday).or_default();
        *seen = seen.saturating_add(1);
        if !length.is_zero() {
            *lengths.entry(length).or_default() += 1;
            if weekday < 5 {
                *week.entry(length).or_default() += 1;
            }
        }
    }
    let most = |lengths: &BTreeMap<Duration, usize>| {
        lengths.iter().max_by_key(|(length, count)| (**count, **length)).map(|(length, _)| *length)
    };
    let of_week = most(&week);
    let usual = |(weekday, (seen, lengths)): (i64, (usize, BTreeMap<Duration, usize>))| {
        let own = most(&lengths);
        let length = match own {
            Some(own) if seen > 1 || weekday >= 5 => own,
            Some(_) => of_week?,
            // Closed each time: twice means that this weekday doesn't trade.
            None if weekday < 5 && seen == 1 => of_week?,
            None => Duration::ZERO,
        };
        Some((weekday, length))
    };
    days.into_iter().filter_map(usual).collect()
}

#[cfg(test)]
mod tests;
