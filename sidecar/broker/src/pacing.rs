//! IBKR's request limits, kept on our side: one limiter per broker login.
//!
//! The limits are a table ([`windows`]), the waiting is fair ([`schedule`]). All requests share a
//! window of 10 per second, of which reads may use 8, so that cancels, placing, orders, trades and
//! the keep-alive always find room. A request waits for its turn where that comes before its
//! deadline, else it is told at once how long to wait. Callers take turns: one that asks for much
//! delays another's request by one turn at most.
//!
//! After a 429 the address is in IBKR's penalty box: nothing but cancels and keep-alives is sent
//! until it ends.

mod schedule;
mod windows;

use crate::BrokerError;
use crate::config::Pacing;
use core::time::Duration;
use schedule::{Schedule, Ticket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

pub(crate) use windows::Lane;

/// How long IBKR's penalty box lasts.
const PENALTY: Duration = Duration::from_secs(15 * 60);

tokio::task_local! {
    static CALLER: u64;
}

/// Runs a future on behalf of a caller, so that its requests take turns with other callers'. Keys
/// are the program's own; requests outside of any caller share one turn.
pub async fn with_caller<F: Future>(caller: u64, future: F) -> F::Output {
    CALLER.scope(caller, future).await
}

fn caller() -> u64 {
    CALLER.try_with(|caller| *caller).unwrap_or(0)
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Limiter {
    pacing: Pacing,
    schedule: Mutex<Schedule>,
}

/// Leave to send one request, to be held until it is answered.
#[derive(Debug)]
#[must_use = "a request is in flight as long as its turn is held"]
pub(crate) struct Turn<'a> {
    limiter: &'a Limiter,
    lane: Lane,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.limiter.lock().finish(self.lane, Instant::now());
    }
}

impl Limiter {
    pub(crate) fn new(pacing: Pacing) -> Self {
        Self { pacing, schedule: Mutex::default() }
    }

    /// Waits for a turn that comes before the deadline.
    pub(crate) async fn acquire(
        &self,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Turn<'_>, BrokerError> {
        let mut waiting = {
            let now = Instant::now();
            let mut schedule = self.lock();
            let limited = |retry_after| BrokerError::RateLimited { retry_after };
            if let Some(left) = schedule.penalty_left(lane, now) {
                return Err(limited(left));
            }
            if self.pacing == Pacing::Off {
                schedule.start(lane);
                return Ok(Turn { limiter: self, lane });
            }
            let (grant, granted) = oneshot::channel();
            let ticket = schedule.enter(lane, caller(), deadline, grant, now).map_err(limited)?;
            schedule.dispatch(now);
            Waiting { limiter: self, lane, ticket, granted }
        };
        loop {
            let next = self.lock().next_at().min(deadline);
            tokio::select! {
                biased;
                granted = &mut waiting.granted => {
                    // A sender that is gone without a word refused because of the penalty box.
                    return match granted {
                        Ok(()) => Ok(Turn { limiter: self, lane }),
                        Err(_) => Err(self.refusal(lane)),
                    };
                }
                () = sleep_until(next) => {
                    let now = Instant::now();
                    let mut schedule = self.lock();
                    schedule.dispatch(now);
                    if now >= deadline && schedule.is_waiting(waiting.ticket) {
                        let retry_after = schedule.next_at().saturating_duration_since(now);
                        let retry_after = retry_after.max(Duration::from_millis(1));
                        return Err(BrokerError::RateLimited { retry_after });
                    }
                }
            }
        }
    }

    fn refusal(&self, lane: Lane) -> BrokerError {
        let left = self.lock().penalty_left(lane, Instant::now());
        BrokerError::RateLimited { retry_after: left.unwrap_or(Duration::from_secs(1)) }
    }

    /// Notes a 429; `told` is its `Retry-After`. Returns how long to wait.
    pub(crate) fn penalise(&self, told: Option<Duration>) -> Duration {
        let wait = told.unwrap_or(PENALTY).clamp(Duration::from_secs(1), PENALTY);
        self.lock().penalise(Instant::now() + wait);
        wait
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; given back when the wait is dropped.
struct Waiting<'a> {
    limiter: &'a Limiter,
    lane: Lane,
    ticket: Ticket,
    granted: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut schedule = self.limiter.lock();
        // Closed under the lock, so that no grant comes in between. One that came and was taken
        // is the turn's to give back.
        self.granted.close();
        match self.granted.try_recv() {
            Ok(()) => schedule.finish(self.lane, Instant::now()),
            Err(_) => schedule.leave(self.ticket),
        }
    }
}

#[cfg(test)]
mod tests;
