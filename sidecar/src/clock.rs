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
}

impl Clock {
    /// The operating system's clock.
    ///
    /// # Errors
    /// A [`jiff::Error`] when the time zone database lacks New York, which is built in.
    pub fn system() -> Result<Self, jiff::Error> {
        let zone = jiff::tz::TimeZone::get(EXCHANGE_ZONE)?;
        Ok(Self { began: Instant::now(), zone })
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = jiff::Timestamp::now();
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
        let today = jiff::Timestamp::now().to_zoned(self.zone.clone());
        let tomorrow = today.tomorrow().ok()?.start_of_day().ok()?;
        Some(Timestamp::from_millis(tomorrow.timestamp().as_millisecond()))
    }
}
