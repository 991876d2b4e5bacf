//! How many refusals are recorded one by one when nothing else bounds them.
//!
//! A call with a bad token, without the scope or over its budget costs its sender nothing, and a
//! hostile remote or network can send any number. Each would be a leaf of the log: unbounded, they
//! fill the disk, and a log that can't be written stops trading. So a minute has room for
//! [`MAX_RECORDED`]; the rest are answered, counted, and told of in one record with the next one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals that are recorded one by one in a minute.
const MAX_RECORDED: u32 = 600;

const WINDOW: Duration = Duration::from_secs(60);

/// What becomes of a refusal's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// It is written, after one that says how many were left out before, if any were.
    Written {
        /// How many were left out.
        left_out: u64,
    },
    /// It is left out and counted.
    LeftOut,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    recorded: u32,
    left_out: u64,
}

/// Counts refusals by the minute.
#[derive(Debug, Default)]
pub(crate) struct RefusalMeter(Mutex<Window>);

impl RefusalMeter {
    /// Counts one refusal.
    pub(crate) fn take(&self, now: Instant) -> Recording {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            window.began = Some(now);
            window.recorded = 0;
        }
        if window.recorded < MAX_RECORDED {
            window.recorded = window.recorded.saturating_add(1);
            return Recording::Written { left_out: std::mem::take(&mut window.left_out) };
        }
        if window.left_out == 0 {
            tracing::warn!(most = MAX_RECORDED, "refusals.too_many_to_record");
        }
        window.left_out = window.left_out.saturating_add(1);
        Recording::LeftOut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many_and_the_next_tells_of_the_rest() {
        let meter = RefusalMeter::default();
        let start = Instant::now();
        for _ in 0..MAX_RECORDED {
            assert_eq!(meter.take(start), Recording::Written { left_out: 0 });
        }
        let almost = start + WINDOW.saturating_sub(Duration::from_millis(1));
        for _ in 0..5 {
            assert_eq!(meter.take(almost), Recording::LeftOut);
        }
        assert_eq!(meter.take(start + WINDOW), Recording::Written { left_out: 5 });
        assert_eq!(meter.take(start + WINDOW), Recording::Written { left_out: 0 });
    }
}
