//! Refusals at the door: told to whoever keeps records, never waiting for them.
//!
//! A refusal of a verified caller is attributable and is handed on whole (without its token); the
//! rest are only counted, by reason and minute, since anybody on the network can cause them.
//!
//! Bounds: [`MAX_WAITING`] attributable ones and [`MAX_COUNTS`] counts; what is more is counted, or
//! added up with an earlier minute. Counts stay at the largest number.

use crate::relay::clock::{Clock, unix};
use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_token::Verified;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, mpsc};

/// Attributable refusals that may wait for their reader.
pub const MAX_WAITING: usize = 1024;
/// Counts that may wait for their reader; more than there are codes.
pub const MAX_COUNTS: usize = 256;

const WINDOW: Duration = Duration::from_secs(60);
const SECONDS: u64 = 60;

const _: () = assert!(MAX_COUNTS > ErrorCode::ALL.len());

/// Who is told of a refused request. Must neither block nor wait.
pub trait RefusalSink: Send + Sync + 'static {
    /// A request was refused; `subject` is there when its token was good.
    fn refused(&self, reason: ErrorCode, subject: Option<&Verified>, tool: Option<&str>);
}

/// A refusal that can be attributed to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributedRefusal {
    /// Why.
    pub reason: ErrorCode,
    /// The issuer of the caller's token.
    pub issuer: String,
    /// The caller at that issuer.
    pub subject: String,
    /// The client, if the token names one.
    pub client: Option<String>,
    /// The tool that was called, as sent, escaped and bounded.
    pub tool: Option<Untrusted>,
    /// When.
    pub at: SystemTime,
}

/// How often, by the minute's first second since 1970 and the reason. Where minutes were added up
/// it is the first of them.
pub type Counts = BTreeMap<(u64, ErrorCode), u64>;

/// What was counted.
#[derive(Debug)]
struct Counted {
    since: Instant,
    /// Every refusal of the current minute.
    window: BTreeMap<ErrorCode, u64>,
    /// Those that can't be attributed and that nobody took yet.
    rest: Counts,
}

/// Counts refusals and hands on the attributable ones.
#[derive(Debug)]
pub struct RefusalLog {
    counted: Mutex<Counted>,
    attributed: mpsc::Sender<AttributedRefusal>,
    arrived: Notify,
    clock: Clock,
}

impl RefusalLog {
    /// A log and the reader of its attributable refusals; unread ones past [`MAX_WAITING`] are
    /// only counted.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<AttributedRefusal>) {
        let (attributed, reader) = mpsc::channel(MAX_WAITING);
        let counted =
            Counted { since: Instant::now(), window: BTreeMap::new(), rest: Counts::new() };
        let (counted, arrived, clock) = (Mutex::new(counted), Notify::new(), Clock::system());
        (Self { counted, attributed, arrived, clock }, reader)
    }

    /// The counts of the current minute.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ErrorCode, u64> {
        self.lock().window.clone()
    }

    /// Waits until something was counted that can't be attributed: a reason in a minute for which
    /// nothing waits yet.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The reasons for which counts wait.
    #[must_use]
    pub fn reasons(&self) -> BTreeSet<ErrorCode> {
        self.lock().rest.keys().map(|(_, reason)| *reason).collect()
    }

    /// Takes the counts of what can't be attributed.
    #[must_use]
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.lock().rest)
    }

    /// Counts refusals that can't be attributed, or whose sidecar can't be told.
    pub fn count(&self, reason: ErrorCode, at: SystemTime, count: u64) {
        let second = unix(at);
        let minute = second.saturating_sub(second.checked_rem(SECONDS).unwrap_or_default());
        let is_new = add(&mut self.lock().rest, (minute, reason), count);
        if is_new {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_in_window(&self, reason: ErrorCode, now: Instant) {
        let mut counted = self.lock();
        if now.saturating_duration_since(counted.since) >= WINDOW {
            let past = std::mem::take(&mut counted.window);
            counted.since = now;
            for (code, count) in past {
                tracing::info!(reason = code.as_str(), count, "refused in the last minute");
            }
        }
        let count = counted.window.entry(reason).or_default();
        *count = count.saturating_add(1);
    }
}

/// Adds to a count and says whether it is a new one. A full table first adds up its minutes.
fn add(counts: &mut Counts, key: (u64, ErrorCode), count: u64) -> bool {
    if counts.len() >= MAX_COUNTS && !counts.contains_key(&key) {
        let mut first = BTreeMap::new();
        for ((minute, reason), count) in std::mem::take(counts) {
            let minute = *first.entry(reason).or_insert(minute);
            let sum = counts.entry((minute, reason)).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    let is_new = !counts.contains_key(&key);
    let sum = counts.entry(key).or_default();
    *sum = sum.saturating_add(count);
    is_new
}

impl RefusalSink for RefusalLog {
    fn refused(&self, reason: ErrorCode, subject: Option<&Verified>, tool: Option<&str>) {
        self.count_in_window(reason, Instant::now());
        let at = self.clock.now();
        let Some(verified) = subject else { return self.count(reason, at, 1) };
        let refusal = AttributedRefusal {
            reason,
            issuer: verified.issuer().to_owned(),
            subject: verified.subject().to_owned(),
            client: verified.client().map(str::to_owned),
            tool: tool.map(Untrusted::new),
            at,
        };
        // Full or unread: it is counted with the rest.
        if self.attributed.try_send(refusal).is_err() {
            self.count(reason, at, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn refusals_are_counted_by_reason_and_minute() {
        let (log, _reader) = RefusalLog::new();
        for _ in 0..3 {
            log.refused(ErrorCode::AuthTokenInvalid, None, None);
        }
        log.refused(ErrorCode::AuthTokenMissing, None, Some("ibkr_health"));
        let counts = log.counts();
        assert_eq!(counts[&ErrorCode::AuthTokenInvalid], 3);
        assert_eq!(counts[&ErrorCode::AuthTokenMissing], 1);
        log.count_in_window(ErrorCode::AuthTokenInvalid, Instant::now() + WINDOW);
        assert_eq!(
            log.counts().into_iter().collect::<Vec<_>>(),
            [(ErrorCode::AuthTokenInvalid, 1)]
        );
    }

    #[test]
    fn what_cannot_be_attributed_waits_by_minute_until_it_is_taken() {
        let (log, _reader) = RefusalLog::new();
        for (second, count) in [(119, 1), (120, 2), (179, u64::MAX)] {
            log.count(ErrorCode::AuthTokenExpired, at(second), count);
        }
        let reason = ErrorCode::AuthTokenExpired;
        assert_eq!(log.reasons(), BTreeSet::from([reason]));
        let taken = log.take_counts();
        assert_eq!(taken, Counts::from([((60, reason), 1), ((120, reason), u64::MAX)]));
        assert!(log.take_counts().is_empty());
    }

    #[test]
    fn a_table_that_nobody_takes_adds_up_its_minutes() {
        let (log, _reader) = RefusalLog::new();
        let (often, once) = (ErrorCode::AuthTokenInvalid, ErrorCode::AuthInvalidAudience);
        log.count(once, at(60), 1);
        for minute in 1..10_000 {
            log.count(often, at(minute * 60), 1);
            assert!(log.lock().rest.len() <= MAX_COUNTS);
        }
        let taken = log.take_counts();
        assert_eq!(taken[&(60, once)], 1);
        assert!(taken.contains_key(&(60, often)), "the first minute names the sum");
        let all = taken.iter().filter(|((_, reason), _)| *reason == often);
        assert_eq!(all.map(|(_, count)| count).sum::<u64>(), 9_999);
    }

    #[tokio::test]
    async fn only_the_first_of_a_reason_in_a_minute_wakes_the_reader() {
        let (log, _reader) = RefusalLog::new();
        let mut wakes = 0;
        for _ in 0..5 {
            log.count(ErrorCode::AuthTokenMissing, at(60), 1);
            let woken = tokio::time::timeout(Duration::ZERO, log.arrived()).await;
            wakes += i32::from(woken.is_ok());
        }
        assert_eq!(wakes, 1);
    }
}
