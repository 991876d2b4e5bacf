//! Who may send when: windows that slide, queues that are served in turn. Time comes in as an
//! argument.
//!
//! Per tier the callers form a ring; each grant goes to the next caller that has a request whose
//! windows are free, so a long queue of one caller costs another one turn. A waiting request goes
//! up when somebody with a more pressing errand shares it, and when it has waited for [`AGED`]: no
//! stream of decisions or questions can blind the looks around.
//!
//! Bounds: [`MAX_PER_CALLER`] and [`MAX_PER_TIER`] waiting requests; a window remembers as many
//! requests as it allows.

use super::Place;
use super::windows::{GLOBAL, Lane, Tier, Window};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most waiting requests of one caller.
const MAX_PER_CALLER: usize = 256;
/// Most waiting requests of a tier.
const MAX_PER_TIER: usize = 1_024;
/// How long a look around waits behind everybody else before it takes its turn among decisions.
const AGED: Duration = Duration::from_secs(20);
/// A process that asked a narrow path so lately may have asked anything since.
const RECENT: Duration = Duration::from_secs(10);
/// How far ahead "no need to look" is.
const FAR: Duration = Duration::from_secs(3_600);

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    lane: Lane,
    since: Instant,
    turn_by: Instant,
    grant: oneshot::Sender<()>,
}

/// Waiting requests of one tier.
#[derive(Debug, Default)]
struct Ring {
    callers: BTreeMap<u64, VecDeque<Waiting>>,
    served: u64,
}

/// The state.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    all: VecDeque<Instant>,
    lanes: BTreeMap<Lane, VecDeque<Instant>>,
    busy: BTreeMap<Lane, usize>,
    rings: [Ring; Tier::ALL.len()],
    tickets: u64,
    next_at: Option<Instant>,
    penalty_until: Option<Instant>,
}

impl Schedule {
    /// Starts as a process that ended left it: paths that were asked, and how long ago. If that was
    /// moments ago, the window of all requests counts as used by reads too.
    pub(crate) fn after(ages: BTreeMap<Lane, Duration>, now: Instant) -> Self {
        let mut schedule = Self::default();
        if ages.values().any(|age| *age < RECENT) {
            schedule.all = core::iter::repeat_n(now, Tier::Read.share()).collect();
        }
        for (lane, age) in ages {
            if let Some(sent) = now.checked_sub(age) {
                schedule.lanes.entry(lane).or_default().push_back(sent);
            }
        }
        schedule
    }

    /// Joins the queue, unless the turn would come too late: then how long to wait.
    pub(crate) fn enter(
        &mut self,
        lane: Lane,
        place: Place,
        grant: oneshot::Sender<()>,
        now: Instant,
    ) -> Result<Ticket, Duration> {
        let Place { caller, urgency, turn_by } = place;
        let tier = lane.tier(urgency);
        let turn = self.estimate(lane, tier, caller, now);
        let ring = self.ring(tier);
        let waiting: usize = ring.callers.values().map(VecDeque::len).sum();
        let own = ring.callers.get(&caller).map_or(0, VecDeque::len);
        if turn > turn_by || own >= MAX_PER_CALLER || waiting >= MAX_PER_TIER {
            return Err(turn.saturating_duration_since(now).max(GLOBAL.per));
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        let waiting = Waiting { ticket, lane, since: now, turn_by, grant };
        self.ring_mut(tier).callers.entry(caller).or_default().push_back(waiting);
        self.next_at = None;
        Ok(ticket)
    }

    /// A more pressing or more patient errand shares a waiting request.
    pub(crate) fn press(&mut self, ticket: Ticket, place: Place, now: Instant) {
        let mut found = None;
        for tier in Tier::ALL {
            for (caller, queue) in &mut self.ring_mut(tier).callers {
                if let Some(at) = queue.iter().position(|waiting| waiting.ticket == ticket) {
                    found = queue.remove(at).map(|waiting| (tier, *caller, waiting));
                }
            }
        }
        let Some((tier, caller, mut waiting)) = found else {
            return;
        };
        waiting.turn_by = waiting.turn_by.max(place.turn_by);
        let pressed = waiting.lane.tier(place.urgency);
        if pressed < tier {
            self.ring_mut(pressed).callers.entry(place.caller).or_default().push_back(waiting);
        } else {
            let queue = self.ring_mut(tier).callers.entry(caller).or_default();
            let at = queue.partition_point(|other| other.ticket.0 < waiting.ticket.0);
            queue.insert(at, waiting);
        }
        self.drop_empty();
        self.next_at = None;
        self.dispatch(now);
    }

    /// Looks around that waited too long take turns with decisions.
    fn age(&mut self, now: Instant) {
        let mut aged = Vec::new();
        for (caller, queue) in &mut self.ring_mut(Tier::Survey).callers {
            let is_old = |waiting: &mut Waiting| now.duration_since(waiting.since) >= AGED;
            while let Some(old) = queue.pop_front_if(is_old) {
                aged.push((*caller, old));
            }
        }
        if aged.is_empty() {
            return;
        }
        for (caller, old) in aged {
            self.ring_mut(Tier::Decision).callers.entry(caller).or_default().push_back(old);
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        for ring in &mut self.rings {
            ring.callers.retain(|_, queue| !queue.is_empty());
        }
    }

    /// Counts a request that is sent without waiting.
    pub(crate) fn start(&mut self, lane: Lane) {
        if lane.at_once() < usize::MAX {
            let busy = self.busy.entry(lane).or_default();
            *busy = busy.saturating_add(1);
        }
    }

    /// A request was answered.
    pub(crate) fn finish(&mut self, lane: Lane, now: Instant) {
        if let Some(busy) = self.busy.get_mut(&lane) {
            *busy = busy.saturating_sub(1);
            self.next_at = None;
            self.dispatch(now);
        }
    }

    /// Gives a place back, if it is still in the queue.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        for ring in &mut self.rings {
            for queue in ring.callers.values_mut() {
                queue.retain(|waiting| waiting.ticket != ticket);
            }
        }
        self.drop_empty();
    }

    /// Until when a waiting request wants its turn.
    pub(crate) fn turn_by(&self, ticket: Ticket) -> Option<Instant> {
        let mut waiting = self.rings.iter().flat_map(|ring| ring.callers.values().flatten());
        waiting.find(|waiting| waiting.ticket == ticket).map(|waiting| waiting.turn_by)
    }

    /// How many requests wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.rings.iter().flat_map(|ring| ring.callers.values()).map(VecDeque::len).sum()
    }

    /// When somebody may be granted at the earliest.
    pub(crate) fn next_at(&self) -> Instant {
        self.next_at.unwrap_or_else(|| Instant::now() + FAR)
    }

    /// Grants whatever may be sent now.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        if self.next_at.is_some_and(|next| now < next) {
            return;
        }
        self.age(now);
        for tier in Tier::ALL {
            while self.global_free(tier, now) <= now {
                let Some(waiting) = self.pick(tier, now) else {
                    break;
                };
                if waiting.grant.send(()).is_ok() {
                    self.count(waiting.lane, now);
                }
            }
        }
        self.next_at = Some(self.earliest(now));
    }

    /// Nothing but what ignores it is sent until then, and whoever waits is sent away.
    pub(crate) fn penalise(&mut self, until: Instant) {
        self.penalty_until = self.penalty_until.max(Some(until));
        for ring in &mut self.rings {
            for queue in ring.callers.values_mut() {
                queue.retain(|waiting| waiting.lane.ignores_penalty());
            }
        }
        self.drop_empty();
        self.next_at = None;
    }

    pub(crate) fn penalty_left(&self, lane: Lane, now: Instant) -> Option<Duration> {
        if lane.ignores_penalty() {
            return None;
        }
        let left = self.penalty_until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    fn ring(&self, tier: Tier) -> &Ring {
        let [cancel, effect, decision, evidence, read, survey] = &self.rings;
        match tier {
            Tier::Cancel => cancel,
            Tier::Effect => effect,
            Tier::Decision => decision,
            Tier::Evidence => evidence,
            Tier::Read => read,
            Tier::Survey => survey,
        }
    }

    fn ring_mut(&mut self, tier: Tier) -> &mut Ring {
        let [cancel, effect, decision, evidence, read, survey] = &mut self.rings;
        match tier {
            Tier::Cancel => cancel,
            Tier::Effect => effect,
            Tier::Decision => decision,
            Tier::Evidence => evidence,
            Tier::Read => read,
            Tier::Survey => survey,
        }
    }

    /// The next caller's first request whose windows are free.
    fn pick(&mut self, tier: Tier, now: Instant) -> Option<Waiting> {
        let ring = self.ring(tier);
        let after = ring
            .callers
            .range((core::ops::Bound::Excluded(ring.served), core::ops::Bound::Unbounded));
        let before = ring.callers.range(..=ring.served);
        let found = after.chain(before).find_map(|(caller, queue)| {
            let is_free = |waiting: &Waiting| self.lane_free(waiting.lane, now) <= now;
            Some((*caller, queue.iter().position(is_free)?))
        });
        let (caller, place) = found?;
        let ring = self.ring_mut(tier);
        ring.served = caller;
        let queue = ring.callers.get_mut(&caller)?;
        let waiting = queue.remove(place);
        if queue.is_empty() {
            ring.callers.remove(&caller);
        }
        waiting
    }

    fn count(&mut self, lane: Lane, now: Instant) {
        note(&mut self.all, GLOBAL.most, now);
        let most = lane.windows().iter().map(|window| window.most).max();
        if let Some(most) = most {
            note(self.lanes.entry(lane).or_default(), most, now);
        }
        self.start(lane);
    }

    /// When the window of all requests has room for a tier.
    fn global_free(&self, tier: Tier, now: Instant) -> Instant {
        free_at(&self.all, Window { most: tier.share(), per: GLOBAL.per }, now)
    }

    /// When a lane's own limits have room. One that is full of requests in flight is free when one
    /// of them is answered, which is told to us.
    fn lane_free(&self, lane: Lane, now: Instant) -> Instant {
        if self.busy.get(&lane).is_some_and(|busy| *busy >= lane.at_once()) {
            return now + FAR;
        }
        let Some(sent) = self.lanes.get(&lane) else {
            return now;
        };
        let frees = lane.windows().iter().map(|window| free_at(sent, *window, now));
        frees.max().unwrap_or(now)
    }

    /// When anybody who waits may be granted.
    fn earliest(&self, now: Instant) -> Instant {
        let mut earliest = now + FAR;
        for tier in Tier::ALL {
            let global = self.global_free(tier, now);
            for waiting in self.ring(tier).callers.values().flatten() {
                earliest = earliest.min(global.max(self.lane_free(waiting.lane, now)));
            }
        }
        earliest
    }

    /// When a new request of a caller would have its turn, if nobody joined after it.
    fn estimate(&self, lane: Lane, tier: Tier, caller: u64, now: Instant) -> Instant {
        let ahead = |is_counted: &dyn Fn(&Waiting) -> bool| -> usize {
            let count = |queue: &VecDeque<Waiting>| {
                queue.iter().filter(|waiting| is_counted(waiting)).count()
            };
            let higher = Tier::ALL.into_iter().take_while(|other| *other < tier);
            let higher = higher.flat_map(|other| self.ring(other).callers.values()).map(count);
            let callers = &self.ring(tier).callers;
            let own = callers.get(&caller).map_or(0, count);
            let others = callers.iter().filter(|(other, _)| **other != caller);
            let others = others.map(|(_, queue)| count(queue).min(own.saturating_add(1)));
            higher.chain(others).sum::<usize>().saturating_add(own)
        };
        let share = Window { most: tier.share(), per: GLOBAL.per };
        let mut turn = after(&self.all, share, ahead(&|_| true), now);
        let same = ahead(&|waiting| waiting.lane == lane);
        let none = VecDeque::new();
        let sent = self.lanes.get(&lane).unwrap_or(&none);
        for window in lane.windows() {
            turn = turn.max(after(sent, *window, same, now));
        }
        turn
    }
}

fn note(sent: &mut VecDeque<Instant>, most: usize, now: Instant) {
    sent.push_back(now);
    while sent.len() > most {
        sent.pop_front();
    }
}

/// When a window has room for one more.
fn free_at(sent: &VecDeque<Instant>, window: Window, now: Instant) -> Instant {
    let blocking = sent.len().checked_sub(window.most).and_then(|index| sent.get(index));
    blocking.map_or(now, |blocking| (*blocking + window.per).max(now))
}

/// When it has after `ahead` others were sent as soon as they could.
fn after(sent: &VecDeque<Instant>, window: Window, ahead: usize, now: Instant) -> Instant {
    let kept = sent.len().saturating_sub(window.most);
    let mut sent: VecDeque<Instant> = sent.iter().skip(kept).copied().collect();
    for _ in 0..ahead {
        let next = free_at(&sent, window, now);
        note(&mut sent, window.most, next);
    }
    free_at(&sent, window, now)
}
