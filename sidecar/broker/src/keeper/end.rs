//! When a session ends at the latest: pure, time comes in as an argument.
//!
//! IBKR resets every session at midnight of its region, and a login lives for 24 hours. The gateway
//! tells how long it would live without a keep-alive; that counts only where it is shorter than two
//! of ours, since then the keep-alive doesn't help.

use core::time::Duration;
use ibkr_agent_domain::Timestamp;
use jiff::tz::TimeZone;

/// How long a login lives.
const LOGIN: Duration = Duration::from_secs(24 * 60 * 60);
/// What the gateway grants is news only when it is shorter.
const SHORT: Duration = Duration::from_secs(120);
/// Ends that differ by less are the same one.
const SAME: Duration = Duration::from_secs(60 * 60);

/// Where IBKR keeps the account's servers, which decides when the day ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Region {
    /// America: midnight in New York.
    #[default]
    NewYork,
    /// Europe: midnight in Zug.
    Zug,
    /// Asia: midnight in Hong Kong.
    HongKong,
}

impl Region {
    const fn zone(self) -> &'static str {
        match self {
            Self::NewYork => "America/New_York",
            Self::Zug => "Europe/Zurich",
            Self::HongKong => "Asia/Hong_Kong",
        }
    }

    /// The next midnight, if the time-zone data has it.
    #[must_use]
    pub fn next_reset(self, now: Timestamp) -> Option<Timestamp> {
        let zone = TimeZone::get(self.zone()).ok()?;
        let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned(zone);
        let midnight = now.tomorrow().ok()?.start_of_day().ok()?;
        Some(Timestamp::from_millis(midnight.timestamp().as_millisecond()))
    }
}

/// What is known of the login's age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// When a human logged in.
    pub(crate) login_at: Option<Timestamp>,
    /// When the gateway would end it, as last told.
    pub(crate) granted_until: Option<Timestamp>,
}

impl Ends {
    /// Learns when the login was made, unless that can't be.
    pub(crate) fn learn_login(&mut self, at: Timestamp, now: Timestamp) {
        let is_past = at <= now.plus(Duration::from_secs(300));
        if is_past && now.since(at) < LOGIN {
            self.login_at = Some(at);
        }
    }

    /// Learns how long the session would live without a keep-alive.
    pub(crate) fn learn_grant(&mut self, left: Option<Duration>, now: Timestamp) {
        self.granted_until = left.filter(|left| *left < SHORT).map(|left| now.plus(left));
    }

    /// When the session ends at the latest.
    pub(crate) fn at(&self, region: Region, now: Timestamp) -> Option<Timestamp> {
        let login_ends = self.login_at.map(|at| at.plus(LOGIN)).filter(|end| *end > now);
        let ends = [region.next_reset(now), login_ends, self.granted_until];
        ends.into_iter().flatten().min()
    }
}

/// Says once per end that it is near.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    told: Option<Timestamp>,
}

impl Reminder {
    pub(crate) fn is_due(&mut self, ends_at: Timestamp, before: Duration, now: Timestamp) -> bool {
        let is_near = now <= ends_at && ends_at.since(now) <= before;
        let is_told =
            self.told.is_some_and(|told| told.since(ends_at).max(ends_at.since(told)) < SAME);
        if is_near && !is_told {
            self.told = Some(ends_at);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn the_day_ends_at_midnight_of_the_region_also_when_clocks_change() {
        for (region, now, end) in [
            (Region::NewYork, "2026-07-15T03:59:59Z", "2026-07-15T04:00:00Z"),
            (Region::NewYork, "2026-07-15T04:00:00Z", "2026-07-16T04:00:00Z"),
            (Region::NewYork, "2026-11-01T12:00:00Z", "2026-11-02T05:00:00Z"),
            (Region::NewYork, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
            (Region::Zug, "2026-11-22T22:59:59Z", "2026-11-22T23:00:00Z"),
            (Region::Zug, "2026-07-15T12:00:00Z", "2026-07-15T22:00:00Z"),
            (Region::HongKong, "2026-11-22T15:59:59Z", "2026-11-22T16:00:00Z"),
        ] {
            assert_eq!(region.next_reset(at(now)), Some(at(end)), "{region:?} {now}");
        }
    }

    #[test]
    fn the_nearest_end_counts() {
        let now = at("2026-11-22T12:00:00Z");
        let mut ends = Ends::default();
        assert_eq!(ends.at(Region::NewYork, now), Some(at("2026-11-23T05:00:00Z")));
        ends.learn_login(at("2026-11-21T13:00:00Z"), now);
        assert_eq!(ends.at(Region::NewYork, now), Some(at("2026-11-22T13:00:00Z")));
        ends.learn_grant(Some(Duration::from_secs(600)), now);
        assert_eq!(ends.at(Region::NewYork, now), Some(at("2026-11-22T13:00:00Z")));
        ends.learn_grant(Some(Duration::from_secs(90)), now);
        assert_eq!(ends.at(Region::NewYork, now), Some(at("2026-11-22T12:01:30Z")));
    }

    #[test]
    fn a_login_time_that_cannot_be_is_not_believed() {
        let now = at("2026-11-22T12:00:00Z");
        let mut ends = Ends::default();
        ends.learn_login(at("2026-11-20T12:00:00Z"), now);
        ends.learn_login(at("2026-11-23T12:00:00Z"), now);
        ends.learn_login(Timestamp::from_millis(0), now);
        assert_eq!(ends, Ends::default());
    }

    #[test]
    fn an_end_is_reminded_of_once() {
        let before = Duration::from_secs(15 * 60);
        let end = at("2026-11-23T05:00:00Z");
        let mut reminder = Reminder::default();
        assert!(!reminder.is_due(end, before, at("2026-11-23T04:44:59Z")));
        assert!(reminder.is_due(end, before, at("2026-11-23T04:45:00Z")));
        assert!(!reminder.is_due(end, before, at("2026-11-23T04:46:00Z")));
        let next = at("2026-11-24T05:00:00Z");
        assert!(!reminder.is_due(next, before, at("2026-11-23T05:00:01Z")));
        assert!(reminder.is_due(next, before, at("2026-11-24T04:50:00Z")));
    }
}
