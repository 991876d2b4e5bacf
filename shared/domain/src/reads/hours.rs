//! Whether a contract trades at a moment, out of the hours that the broker lists.
//!
//! The list has moments, not times of day, so that summer time and time zones are the broker's
//! business. A day that isn't listed, or is listed without hours, is a closed one; but past the
//! list's end, and before a beginning that is far ahead, nothing is known.

use super::contract::{TradingDay, TradingHours, TradingSpan};
use crate::Timestamp;
use core::time::Duration;

/// Longer than any run of holidays: an opening that is farther ahead says nothing of now.
const LONGEST_CLOSED: Duration = Duration::from_secs(15 * 86_400);

/// Whether something trades at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradingNow {
    /// It trades.
    Open {
        /// Until when, as far as the broker's list goes; spans that touch count as one.
        closes: Timestamp,
    },
    /// It doesn't.
    Closed {
        /// When it does next.
        opens: Timestamp,
    },
    /// The broker's list doesn't tell.
    Unknown,
}

impl TradingHours {
    /// Whether it trades in regular hours at a moment.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> TradingNow {
        judge(self.spans(|day| &day.regular), now)
    }

    /// Whether it trades at a moment in any hours, as an order may that takes those outside the
    /// regular ones.
    #[must_use]
    pub fn at_any_hour(&self, now: Timestamp) -> TradingNow {
        let mut spans = self.spans(|day| &day.extended);
        spans.extend(self.spans(|day| &day.regular));
        judge(spans, now)
    }

    fn spans(&self, of: impl Fn(&TradingDay) -> &Vec<TradingSpan>) -> Vec<TradingSpan> {
        self.days.iter().flat_map(|day| of(day).iter().copied()).collect()
    }
}

fn judge(mut spans: Vec<TradingSpan>, now: Timestamp) -> TradingNow {
    spans.sort_by_key(|span| span.opens);
    let mut closes = None;
    for span in spans.iter().filter(|span| span.opens < span.closes && now < span.closes) {
        let begins_by = closes.unwrap_or(now);
        if span.opens <= begins_by {
            closes = Some(span.closes.max(begins_by));
            continue;
        }
        return match closes {
            Some(closes) => TradingNow::Open { closes },
            None if span.opens.since(now) <= LONGEST_CLOSED => {
                TradingNow::Closed { opens: span.opens }
            }
            None => TradingNow::Unknown,
        };
    }
    closes.map_or(TradingNow::Unknown, |closes| TradingNow::Open { closes })
}
