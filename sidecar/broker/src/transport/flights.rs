//! Reads that several callers share: who asks for what somebody asks for already waits for the same
//! answer. A request that still waits for its turn goes up with the most pressing of its callers.
//!
//! Bound: one flight a key that somebody waits for; the last one to give up leaves nothing behind.

use super::Answer;
use crate::BrokerError;
use crate::pacing::{Entered, Limiter, Place, Ticket};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// An answer, and when it was asked for.
pub(super) type Outcome = Result<(Answer, Instant), BrokerError>;

/// Which requests of others serve.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sharing {
    /// One that hasn't been sent.
    Unsent,
    /// That, or one that was sent after this moment.
    SentAfter(Instant),
    /// Any that isn't answered.
    Sent,
}

/// One request and whoever waits for it.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: OnceCell<Outcome>,
    queued: Mutex<Queued>,
}

#[derive(Debug, Default)]
struct Queued {
    /// The place of all who joined.
    place: Option<Place>,
    ticket: Option<Ticket>,
    sent: Option<Instant>,
}

impl Flight {
    /// The outcome; whoever comes first, or is next when that one gives up, leads.
    pub(super) async fn answer<F>(&self, lead: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Outcome>,
    {
        self.outcome.get_or_init(lead).await.clone()
    }

    /// Enters the queue for all who joined, and lets later ones press it.
    pub(super) fn enter<'a>(
        &self,
        own: Place,
        enter: impl FnOnce(Place) -> Result<Entered<'a>, BrokerError>,
    ) -> Result<Entered<'a>, BrokerError> {
        let mut queued = self.lock();
        let place = queued.place.map_or(own, |place| place.shared(own));
        let entered = enter(place)?;
        queued.ticket = entered.ticket();
        Ok(entered)
    }

    pub(super) fn note_sent(&self) -> Instant {
        let now = Instant::now();
        self.lock().sent = Some(now);
        now
    }

    pub(super) fn sent(&self) -> Option<Instant> {
        self.lock().sent
    }

    fn serves(&self, sharing: Sharing) -> bool {
        match (sharing, self.lock().sent) {
            (_, None) | (Sharing::Sent, Some(_)) => true,
            (Sharing::Unsent, Some(_)) => false,
            (Sharing::SentAfter(moment), Some(sent)) => sent > moment,
        }
    }

    fn join(&self, place: Place, limiter: &Limiter) {
        let mut queued = self.lock();
        queued.place = Some(queued.place.map_or(place, |other| other.shared(place)));
        if let (Some(ticket), None) = (queued.ticket, queued.sent) {
            limiter.press(ticket, place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights by key.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

impl Flights {
    /// Joins a flight that serves, or opens one in its stead.
    pub(super) fn board(
        &self,
        key: String,
        sharing: Sharing,
        place: Place,
        limiter: &Limiter,
    ) -> Boarded<'_> {
        let mut flights = self.lock();
        let open = flights.get(&key).filter(|open| open.serves(sharing)).cloned();
        let flight = open.unwrap_or_else(|| {
            let fresh = Arc::<Flight>::default();
            flights.insert(key.clone(), Arc::clone(&fresh));
            fresh
        });
        flight.join(place, limiter);
        Boarded { flights: self, key, flight }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a request that callers share.
pub(super) struct Boarded<'a> {
    flights: &'a Flights,
    key: String,
    flight: Arc<Flight>,
}

impl Boarded<'_> {
    pub(super) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Lets nobody else join.
    pub(super) fn close(&self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|open| Arc::ptr_eq(open, &self.flight)) {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Boarded<'_> {
    fn drop(&mut self) {
        // The map's own is the second.
        let mut flights = self.flights.lock();
        let is_ours = flights.get(&self.key).is_some_and(|open| Arc::ptr_eq(open, &self.flight));
        if is_ours && Arc::strong_count(&self.flight) <= 2 {
            flights.remove(&self.key);
        }
    }
}
