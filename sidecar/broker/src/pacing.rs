//! IBKR's request limits, kept on our side: one limiter per broker login.
//!
//! All requests share a sliding window of 10 per second, of which reads may use 8, so that cancels,
//! orders, trades and the keep-alive always find room. Some paths have windows of their own. A
//! request waits for its turn if that comes before its deadline, else it is told how long to wait.
//! After a 429 the address is in IBKR's penalty box: nothing but cancels and keep-alives is sent
//! until it ends.
//!
//! The windows are a little longer than IBKR's, since they measure arrival and we measure sending.

use crate::BrokerError;
use crate::config::Pacing;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Requests per [`GLOBAL_WINDOW`].
const GLOBAL: usize = 10;
/// How many of them reads may use.
const GLOBAL_READS: usize = 8;
const GLOBAL_WINDOW: Duration = Duration::from_millis(1_100);
/// Window of the paths that take one request per five seconds.
const SLOW_WINDOW: Duration = Duration::from_millis(5_200);
/// Window of the paths that take one request per second.
const SECOND_WINDOW: Duration = Duration::from_millis(1_100);
/// Window of the paths that take one request per 15 minutes.
const LONG_WINDOW: Duration = Duration::from_secs(15 * 60 + 5);
/// How long IBKR's penalty box lasts.
const PENALTY: Duration = Duration::from_secs(15 * 60);
/// Most requests that wait at once.
const MAX_WAITING: usize = 256;

/// Which limits a request is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Any read without a limit of its own.
    Read,
    /// `/portfolio/accounts`.
    Accounts,
    /// `/iserver/account/orders`.
    Orders,
    /// `/iserver/account/trades`.
    Trades,
    /// `/iserver/account/pnl/partitioned`.
    ProfitAndLoss,
    /// `/iserver/marketdata/snapshot`.
    Snapshot,
    /// `/iserver/marketdata/history`.
    History,
    /// `/iserver/scanner/params`.
    ScannerParameters,
    /// `/iserver/scanner/run`.
    ScannerRun,
    /// `/pa/performance`.
    Performance,
    /// `/pa/transactions`.
    Transactions,
    /// `/fyi/notifications`.
    Notifications,
    /// `/tickle` and authentication.
    KeepAlive,
    /// Placing and replying.
    Place,
    /// Cancelling.
    Cancel,
}

impl Lane {
    const fn global_share(self) -> usize {
        match self {
            Self::Read
            | Self::Accounts
            | Self::ProfitAndLoss
            | Self::Snapshot
            | Self::History
            | Self::ScannerParameters
            | Self::ScannerRun
            | Self::Performance
            | Self::Transactions
            | Self::Notifications => GLOBAL_READS,
            Self::Orders | Self::Trades | Self::KeepAlive | Self::Place | Self::Cancel => GLOBAL,
        }
    }

    /// The lane's own window, of one request.
    const fn window(self) -> Option<Duration> {
        match self {
            Self::Accounts | Self::Orders | Self::Trades | Self::ProfitAndLoss => Some(SLOW_WINDOW),
            Self::ScannerRun | Self::Notifications => Some(SECOND_WINDOW),
            Self::ScannerParameters | Self::Performance | Self::Transactions => Some(LONG_WINDOW),
            Self::Read
            | Self::Snapshot
            | Self::History
            | Self::KeepAlive
            | Self::Place
            | Self::Cancel => None,
        }
    }

    const fn ignores_penalty(self) -> bool {
        matches!(self, Self::KeepAlive | Self::Cancel)
    }

    /// Whether callers of the same path share a request that hasn't been sent yet.
    pub(crate) const fn is_shared(self) -> bool {
        self.window().is_some()
    }
}

#[derive(Debug, Default)]
struct Sent {
    all: VecDeque<Instant>,
    last: BTreeMap<Lane, Instant>,
    penalty_until: Option<Instant>,
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Limiter {
    pacing: Pacing,
    sent: Mutex<Sent>,
    waiting: AtomicUsize,
}

impl Limiter {
    pub(crate) fn new(pacing: Pacing) -> Self {
        Self { pacing, sent: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn that comes before the deadline.
    pub(crate) async fn acquire(&self, lane: Lane, deadline: Instant) -> Result<(), BrokerError> {
        if self.pacing == Pacing::Off && self.penalty_left(lane).is_none() {
            return Ok(());
        }
        let _waiting = Waiting::enter(&self.waiting)?;
        loop {
            if let Some(retry_after) = self.penalty_left(lane) {
                return Err(BrokerError::RateLimited { retry_after });
            }
            let now = Instant::now();
            let Err(wait) = self.take(lane, now) else {
                return Ok(());
            };
            let turn = now + wait;
            if turn > deadline {
                return Err(BrokerError::RateLimited { retry_after: wait });
            }
            tokio::time::sleep_until(turn).await;
        }
    }

    /// Notes a 429; `told` is its `Retry-After`. Returns how long to wait.
    pub(crate) fn penalise(&self, told: Option<Duration>) -> Duration {
        let wait = told.unwrap_or(PENALTY).clamp(Duration::from_secs(1), PENALTY);
        let until = Instant::now() + wait;
        let mut sent = self.lock();
        sent.penalty_until = sent.penalty_until.max(Some(until));
        wait
    }

    fn penalty_left(&self, lane: Lane) -> Option<Duration> {
        if lane.ignores_penalty() {
            return None;
        }
        let left = self.lock().penalty_until?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }

    /// Takes a turn now, or says how long until the next may be free.
    fn take(&self, lane: Lane, now: Instant) -> Result<(), Duration> {
        let mut sent = self.lock();
        while sent.all.front().is_some_and(|first| *first + GLOBAL_WINDOW <= now) {
            sent.all.pop_front();
        }
        let share = lane.global_share();
        if let Some(excess) = sent.all.len().checked_sub(share)
            && let Some(blocking) = sent.all.get(excess)
        {
            return Err((*blocking + GLOBAL_WINDOW).saturating_duration_since(now));
        }
        if let Some(window) = lane.window()
            && let Some(free) = sent.last.get(&lane).map(|last| *last + window)
            && free > now
        {
            return Err(free.saturating_duration_since(now));
        }
        sent.all.push_back(now);
        if lane.window().is_some() {
            sent.last.insert(lane, now);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the bounded places to wait in.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, BrokerError> {
        let place = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(BrokerError::RateLimited { retry_after: GLOBAL_WINDOW });
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn reads_leave_room_for_cancels_within_the_same_second() {
        let limiter = Limiter::new(Pacing::On);
        let start = Instant::now();
        for _ in 0..8 {
            limiter.acquire(Lane::Read, soon()).await.unwrap();
        }
        limiter.acquire(Lane::Cancel, soon()).await.unwrap();
        limiter.acquire(Lane::Place, soon()).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limiter.acquire(Lane::Read, soon()).await.unwrap();
        assert_eq!(start.elapsed(), GLOBAL_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_ten_in_any_window() {
        let limiter = Limiter::new(Pacing::On);
        let mut sent = Vec::new();
        for _ in 0..35 {
            limiter.acquire(Lane::Place, soon()).await.unwrap();
            sent.push(Instant::now());
        }
        for pair in sent.windows(11) {
            assert!(pair[10] - pair[0] >= GLOBAL_WINDOW);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_path_takes_one_request_in_five_seconds_or_says_how_long_to_wait() {
        let limiter = Limiter::new(Pacing::On);
        let start = Instant::now();
        limiter.acquire(Lane::Orders, soon()).await.unwrap();
        let refused = limiter.acquire(Lane::Orders, start + Duration::from_secs(1)).await;
        assert_eq!(refused.unwrap_err().retry_after(), Some(SLOW_WINDOW));
        limiter.acquire(Lane::Trades, soon()).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limiter.acquire(Lane::Orders, soon()).await.unwrap();
        assert_eq!(start.elapsed(), SLOW_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn the_penalty_box_stops_reads_and_orders_but_no_cancel() {
        for pacing in [Pacing::On, Pacing::Off] {
            let limiter = Limiter::new(pacing);
            assert_eq!(limiter.penalise(None), PENALTY);
            for lane in [Lane::Read, Lane::Orders, Lane::Place] {
                let refused = limiter.acquire(lane, soon()).await.unwrap_err();
                assert_eq!(refused.code().as_str(), "BROKER_RATE_LIMITED");
            }
            limiter.acquire(Lane::Cancel, soon()).await.unwrap();
            limiter.acquire(Lane::KeepAlive, soon()).await.unwrap();
            tokio::time::advance(PENALTY).await;
            limiter.acquire(Lane::Read, soon()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_kept_within_bounds() {
        let limiter = Limiter::new(Pacing::On);
        let week = Duration::from_secs(604_800);
        assert_eq!(limiter.penalise(Some(week)), PENALTY);
        assert_eq!(limiter.penalise(Some(Duration::ZERO)), Duration::from_secs(1));
    }
}
