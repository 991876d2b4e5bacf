//! The one door through which time enters the sidecar.

use crate::engine::Now;
use ibkr_agent_domain::{Currency, Timestamp};
use std::time::Instant;

/// The exchange whose date counts for the day's limits.
const EXCHANGE_ZONE: &str = "America/New_York";

/// Monotonic and wall time, and the exchange's date.
#[derive(Debug, Clone)]
pub struct Clock {
    began: Instant,
    zone: jiff::tz::TimeZone,
    standing: Option<Timestamp>,
}

impl Clock {
    /// The operating system's clock.
    ///
    /// # Errors
    /// A [`jiff::Error`] when the time zone database lacks New York, which is built in.
    pub fn system() -> Result<Self, jiff::Error> {
        let zone = jiff::tz::TimeZone::get(EXCHANGE_ZONE)?;
        Ok(Self { began: Instant::now(), zone, standing: None })
    }

    /// A wall clock that stands still, so that a run against the simulator can be repeated to the
    /// letter. Deadlines still run.
    ///
    /// # Errors
    /// As [`Clock::system`].
    pub fn standing_at(time: Timestamp) -> Result<Self, jiff::Error> {
        Ok(Self { standing: Some(time), ..Self::system()? })
    }

    fn wall(&self) -> jiff::Timestamp {
        let standing = self.standing.map(Timestamp::as_millis);
        let standing = standing.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        standing.unwrap_or_else(jiff::Timestamp::now)
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = self.wall();
        let date = wall.to_zoned(self.zone.clone()).date();
        let day =
            i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day());
        Now {
            monotonic: self.began.elapsed(),
            wall: Timestamp::from_millis(wall.as_millisecond()),
            trading_day: day,
        }
    }

    /// When the trading session that goes on now, or comes next, ends for a contract: until then
    /// an order counts against the day's limits. Midnight at its exchange; futures' day ends at
    /// 17:00 in Chicago. Where orders are routed freely, the currency tells the exchange.
    #[must_use]
    pub fn session_end(&self, exchange: &str, currency: Currency) -> Option<Timestamp> {
        let (zone, hour) = session(exchange, currency);
        let zone = jiff::tz::TimeZone::get(zone).unwrap_or_else(|_| self.zone.clone());
        let now = self.wall().to_zoned(zone.clone());
        let end_of = |date: jiff::civil::Date| {
            let end = date.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok();
            end.filter(|end| *end > now)
        };
        let (today, tomorrow) = (now.date(), now.date().tomorrow().ok()?);
        let end = end_of(today).or_else(|| end_of(tomorrow))?;
        Some(Timestamp::from_millis(end.timestamp().as_millisecond()))
    }

    /// When the next trading day's counters start: midnight at the exchange.
    #[must_use]
    pub fn next_trading_day(&self) -> Option<Timestamp> {
        let today = self.wall().to_zoned(self.zone.clone());
        let tomorrow = today.tomorrow().ok()?.start_of_day().ok()?;
        Some(Timestamp::from_millis(tomorrow.timestamp().as_millisecond()))
    }
}

/// The zone in which a contract's day is counted, and the hour at which it ends.
fn session(exchange: &str, currency: Currency) -> (&'static str, i8) {
    const FUTURES: [&str; 8] = ["CME", "CBOT", "NYMEX", "COMEX", "GLOBEX", "ECBOT", "CFE", "SMFE"];
    if FUTURES.contains(&exchange) {
        return ("America/Chicago", 17);
    }
    let zone = match currency.as_str() {
        "EUR" => "Europe/Berlin",
        "GBP" => "Europe/London",
        "CHF" => "Europe/Zurich",
        "SEK" => "Europe/Stockholm",
        "NOK" => "Europe/Oslo",
        "DKK" => "Europe/Copenhagen",
        "JPY" => "Asia/Tokyo",
        "HKD" => "Asia/Hong_Kong",
        "SGD" => "Asia/Singapore",
        "AUD" => "Australia/Sydney",
        "INR" => "Asia/Kolkata",
        "KRW" => "Asia/Seoul",
        _ => EXCHANGE_ZONE,
    };
    (zone, 0)
}

impl ibkr_agent_broker::Clock for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_where_its_contract_trades_and_not_at_midnight_in_new_york() {
        let yen = Currency::parse("JPY").unwrap();
        for (time, exchange, currency, end) in [
            // Midnight in New York is the middle of a futures session.
            ("2026-11-20T04:59:59Z", "CME", Currency::USD, "2026-11-20T23:00:00Z"),
            ("2026-11-20T22:59:59Z", "CME", Currency::USD, "2026-11-20T23:00:00Z"),
            ("2026-11-20T23:00:00Z", "CME", Currency::USD, "2026-11-21T23:00:00Z"),
            ("2026-11-20T04:59:59Z", "SMART", Currency::USD, "2026-11-20T05:00:00Z"),
            ("2026-11-20T05:00:00Z", "SMART", Currency::USD, "2026-11-21T05:00:00Z"),
            ("2026-11-20T05:00:00Z", "SMART", yen, "2026-11-20T15:00:00Z"),
        ] {
            let clock = Clock::standing_at(Timestamp::parse(time).unwrap()).unwrap();
            let expected = Timestamp::parse(end).unwrap();
            assert_eq!(clock.session_end(exchange, currency), Some(expected), "{time} {exchange}");
        }
    }

    #[test]
    fn a_standing_clock_tells_one_time_and_its_trading_day() {
        // Just before and after midnight in New York.
        for (time, day) in
            [("2026-11-20T04:59:59Z", 20_261_119), ("2026-11-20T05:00:00Z", 20_261_120)]
        {
            let time = Timestamp::parse(time).unwrap();
            let clock = Clock::standing_at(time).unwrap();
            assert_eq!((clock.now().wall, clock.now().trading_day), (time, day));
            assert_eq!(ibkr_agent_broker::Clock::now(&clock), time);
            assert!(clock.next_trading_day().unwrap() > time);
        }
    }
}
