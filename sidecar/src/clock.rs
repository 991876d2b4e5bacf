//! The one door through which time enters the sidecar.

use crate::engine::Now;
use ibkr_agent_domain::Timestamp;
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

    /// When the next trading day's counters start: midnight at the exchange.
    #[must_use]
    pub fn next_trading_day(&self) -> Option<Timestamp> {
        let today = self.wall().to_zoned(self.zone.clone());
        let tomorrow = today.tomorrow().ok()?.start_of_day().ok()?;
        Some(Timestamp::from_millis(tomorrow.timestamp().as_millisecond()))
    }
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
