//! IBKR's request limits, kept on our side: one limiter per broker login.
//!
//! The limits are a table ([`windows`]), the waiting is fair ([`schedule`]). All requests share a
//! window of 10 per second, of which reads may use 8, so that cancels, placing, orders, trades and
//! the keep-alive always find room. A request waits for its turn where that comes before its
//! deadline, else it is told at once how long to wait. Callers take turns: one that asks for much
//! delays another's request by one turn at most.
//!
//! What a request is made for is its [`Errand`]: reads that a decision waits for go before what
//! somebody merely asked, and that goes before looks around.
//!
//! Narrow windows hold over restarts ([`memory`]).
//!
//! After a 429 the address is in IBKR's penalty box: nothing but cancels and keep-alives is sent
//! until it ends.

mod memory;
mod schedule;
mod windows;

use crate::config::Pacing;
use crate::{BrokerError, Clock};
use core::time::Duration;
use memory::Memory;
use schedule::Schedule;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

pub(crate) use schedule::Ticket;
pub(crate) use windows::Lane;

/// How long IBKR's penalty box lasts.
const PENALTY: Duration = Duration::from_secs(15 * 60);

/// How pressing a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// Nobody waits for it: a look around.
    Survey,
    /// Somebody asked.
    #[default]
    Asked,
    /// A decision about an order waits for it.
    Decision,
}

/// What requests are made for: whose turn they take, how pressing they are, and until when their
/// answer is of use. A task's own; work that it spawns has none unless it is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Errand {
    caller: u64,
    urgency: Urgency,
    until: Option<Instant>,
}

tokio::task_local! {
    static ERRAND: Errand;
}

impl Errand {
    /// Somebody's. Keys are the program's own; requests outside of any errand share the turn of 0.
    #[must_use]
    pub fn of(caller: u64) -> Self {
        Self { caller, ..Self::default() }
    }

    /// The one that runs here.
    #[must_use]
    pub fn current() -> Self {
        ERRAND.try_with(|errand| *errand).unwrap_or_default()
    }

    /// The same, as pressing as this.
    #[must_use]
    pub fn urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }

    /// The same with time left: requests wait for their turns as long as that leaves time for an
    /// answer, instead of one request's time-out. An earlier end stays.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        let until = Instant::now() + time;
        Self { until: Some(self.until.map_or(until, |earlier| earlier.min(until))), ..self }
    }

    /// Runs a future on this errand.
    pub async fn run<F: Future>(self, future: F) -> F::Output {
        ERRAND.scope(self, future).await
    }

    /// The place of a request that takes at most `patience` altogether where the errand sets no
    /// end, a fifth of which is left for its answer.
    pub(crate) fn place(self, patience: Duration) -> Place {
        let now = Instant::now();
        let end = self.until.unwrap_or(now + patience);
        // A turn that leaves no time for the answer would end as a time-out, not as a wait.
        let turn_by = end.checked_sub(patience / 5).map_or(now, |by| by.max(now));
        Place { caller: self.caller, urgency: self.urgency, turn_by }
    }

    pub(crate) const fn until(self) -> Option<Instant> {
        self.until
    }
}

/// Runs a future on behalf of a caller, so that its requests take turns with other callers'.
pub async fn with_caller<F: Future>(caller: u64, future: F) -> F::Output {
    Errand::of(caller).run(future).await
}

/// How a request stands in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) caller: u64,
    pub(crate) urgency: Urgency,
    pub(crate) turn_by: Instant,
}

impl Place {
    /// The place of a request that both share.
    pub(crate) fn shared(self, other: Self) -> Self {
        let more = if other.urgency > self.urgency { other } else { self };
        Self { turn_by: self.turn_by.max(other.turn_by), ..more }
    }
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Limiter {
    pacing: Pacing,
    schedule: Mutex<Schedule>,
    /// Told when a waiting request went up, so that all look anew when the next turn is.
    pressed: Notify,
    memory: Option<Memory>,
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
        Self { pacing, schedule: Mutex::default(), pressed: Notify::new(), memory: None }
    }

    /// One that keeps narrow windows over restarts in a file.
    pub(crate) fn remembering(pacing: Pacing, path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        match pacing {
            Pacing::Off => Self::new(pacing),
            Pacing::On => {
                let (memory, ages) = Memory::open(path, clock);
                let schedule = Mutex::new(Schedule::after(ages, Instant::now()));
                Self { pacing, schedule, pressed: Notify::new(), memory: Some(memory) }
            }
        }
    }

    fn remember(&self, lane: Lane) {
        if let Some(memory) = &self.memory {
            memory.note(lane);
        }
    }

    /// Waits for a turn that comes before the deadline, on the errand that runs here.
    pub(crate) async fn acquire(
        &self,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Turn<'_>, BrokerError> {
        let Errand { caller, urgency, .. } = Errand::current();
        self.enter(lane, Place { caller, urgency, turn_by: deadline })?.turn().await
    }

    /// Joins the queue, unless the turn would come too late.
    pub(crate) fn enter(&self, lane: Lane, place: Place) -> Result<Entered<'_>, BrokerError> {
        let now = Instant::now();
        let mut schedule = self.lock();
        let limited = |retry_after| BrokerError::RateLimited { retry_after };
        if let Some(left) = schedule.penalty_left(lane, now) {
            return Err(limited(left));
        }
        if self.pacing == Pacing::Off {
            schedule.start(lane);
            return Ok(Entered::Free(Turn { limiter: self, lane }));
        }
        let (grant, granted) = oneshot::channel();
        let ticket = schedule.enter(lane, place, grant, now).map_err(limited)?;
        schedule.dispatch(now);
        Ok(Entered::Queued(Waiting { limiter: self, lane, ticket, granted }))
    }

    /// A more pressing or more patient errand shares a request that may still be waiting.
    pub(crate) fn press(&self, ticket: Ticket, place: Place) {
        self.lock().press(ticket, place, Instant::now());
        self.pressed.notify_waiters();
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

/// A turn, or the wait for one.
pub(crate) enum Entered<'a> {
    Free(Turn<'a>),
    Queued(Waiting<'a>),
}

impl<'a> Entered<'a> {
    pub(crate) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Free(_) => None,
            Self::Queued(waiting) => Some(waiting.ticket),
        }
    }

    /// Waits for the turn.
    pub(crate) async fn turn(self) -> Result<Turn<'a>, BrokerError> {
        match self {
            Self::Free(turn) => Ok(turn),
            Self::Queued(waiting) => waiting.turn().await,
        }
    }
}

/// A place in the queue; given back when the wait is dropped.
pub(crate) struct Waiting<'a> {
    limiter: &'a Limiter,
    lane: Lane,
    ticket: Ticket,
    granted: oneshot::Receiver<()>,
}

impl<'a> Waiting<'a> {
    async fn turn(mut self) -> Result<Turn<'a>, BrokerError> {
        let (limiter, lane) = (self.limiter, self.lane);
        loop {
            let pressed = limiter.pressed.notified();
            let next = {
                let schedule = limiter.lock();
                let turn_by = schedule.turn_by(self.ticket);
                turn_by.map_or_else(Instant::now, |by| schedule.next_at().min(by))
            };
            tokio::select! {
                biased;
                granted = &mut self.granted => {
                    // A sender that is gone without a word refused because of the penalty box.
                    return match granted {
                        Ok(()) => {
                            limiter.remember(lane);
                            Ok(Turn { limiter, lane })
                        }
                        Err(_) => Err(limiter.refusal(lane)),
                    };
                }
                () = pressed => {}
                () = sleep_until(next) => {
                    let now = Instant::now();
                    let mut schedule = limiter.lock();
                    schedule.dispatch(now);
                    if schedule.turn_by(self.ticket).is_some_and(|turn_by| now >= turn_by) {
                        let retry_after = schedule.next_at().saturating_duration_since(now);
                        let retry_after = retry_after.max(Duration::from_millis(1));
                        return Err(BrokerError::RateLimited { retry_after });
                    }
                }
            }
        }
    }
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
