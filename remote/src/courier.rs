//! Brings refusals from the front layer to the sidecars that they concern.
//!
//! Refused callers go to the sidecar that serves them, gathered for a second. Counts of the rest go
//! to every connected sidecar: a second after a reason is first seen, then once a minute. Where no
//! sidecar can be told, counts wait and add up; refused callers wait for [`MAX_AGE`] and are then
//! counted with the rest.
//!
//! Invariants: nothing is told twice to a sidecar; what is kept is bounded by the log's limits; no
//! token and no argument gets here. What a broken link or a stop takes along is lost.

use crate::front::{AttributedRefusal, Counts, MAX_WAITING, RefusalLog};
use crate::relay::clock::unix;
use crate::relay::{Routes, SidecarRoute};
use core::future::pending;
use ibkr_agent_domain::{ErrorCode, SidecarId};
use ibkr_agent_protocol::relay::frame::{
    MAX_LABEL_BYTES, MAX_REFUSAL_COUNTS, MAX_REFUSED_CALLERS, MAX_TOOL_NAME_BYTES, RefusalCount,
    Refusals, RefusedCaller,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long the first of several refusals waits for the others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a reason that was told keeps its further counts.
const PERIOD: Duration = Duration::from_secs(60);
/// How long refused callers wait for a sidecar that isn't connected.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The way to the sidecars, as far as it is needed here.
trait Links {
    fn serving(&self, issuer: &str, subject: &str) -> Option<SidecarId>;
    fn connected(&self) -> Vec<SidecarId>;
    fn tell(&self, sidecar: &SidecarId, refusals: Refusals) -> bool;
}

impl Links for Routes {
    fn serving(&self, issuer: &str, subject: &str) -> Option<SidecarId> {
        self.route_for(issuer, subject).ok()
    }

    fn connected(&self) -> Vec<SidecarId> {
        SidecarRoute::connected(self)
    }

    fn tell(&self, sidecar: &SidecarId, refusals: Refusals) -> bool {
        self.tell_refusals(sidecar, refusals)
    }
}

/// Runs until told to stop.
pub(crate) async fn run(
    log: Arc<RefusalLog>,
    mut attributed: mpsc::Receiver<AttributedRefusal>,
    routes: Routes,
    shutdown: CancellationToken,
) {
    let mut courier = Courier::new(Arc::clone(&log), routes);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(refusal) = attributed.recv() => courier.take(refusal, Instant::now()),
            () = log.arrived() => courier.look(Instant::now()),
            () = until(courier.next_deadline()) => courier.flush(Instant::now()),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// Refused callers of one sidecar.
#[derive(Debug)]
struct Waiting {
    refusals: Vec<AttributedRefusal>,
    since: Instant,
    due: Instant,
}

#[derive(Debug)]
struct Courier<L> {
    log: Arc<RefusalLog>,
    links: L,
    waiting: BTreeMap<SidecarId, Waiting>,
    /// When each reason's counts were last told.
    told: BTreeMap<ErrorCode, Instant>,
    counts_due: Option<Instant>,
}

impl<L: Links> Courier<L> {
    const fn new(log: Arc<RefusalLog>, links: L) -> Self {
        Self { log, links, waiting: BTreeMap::new(), told: BTreeMap::new(), counts_due: None }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).chain(self.counts_due).min()
    }

    /// Takes a refused caller, or counts it where no sidecar is to be told.
    fn take(&mut self, refusal: AttributedRefusal, now: Instant) {
        let held: usize = self.waiting.values().map(|waiting| waiting.refusals.len()).sum();
        let sidecar = self.links.serving(&refusal.issuer, &refusal.subject);
        let Some(sidecar) = sidecar.filter(|_| held < MAX_WAITING) else {
            return self.log.count(refusal.reason, refusal.at, 1);
        };
        let due = after(now, GATHER);
        let fresh = || Waiting { refusals: Vec::new(), since: now, due };
        let waiting = self.waiting.entry(sidecar).or_insert_with(fresh);
        if waiting.refusals.len() < MAX_REFUSED_CALLERS {
            waiting.refusals.push(refusal);
        } else {
            self.log.count(refusal.reason, refusal.at, 1);
        }
    }

    /// Looks for which reasons counts wait, and plans when to tell them.
    fn look(&mut self, now: Instant) {
        for reason in self.log.reasons() {
            let soon = after(now, GATHER);
            let due = self.told.get(&reason).map_or(soon, |told| after(*told, PERIOD).max(soon));
            self.counts_due = Some(self.counts_due.map_or(due, |planned| planned.min(due)));
        }
    }

    /// Tells what is due.
    fn flush(&mut self, now: Instant) {
        let connected = self.links.connected();
        let due = |waiting: &Waiting| waiting.due <= now;
        let sidecars: Vec<_> =
            self.waiting.iter().filter(|(_, w)| due(w)).map(|(id, _)| id.clone()).collect();
        for sidecar in sidecars {
            if let Some(waiting) = self.waiting.remove(&sidecar) {
                self.tell_callers(sidecar, waiting, &connected, now);
            }
        }
        if self.counts_due.is_some_and(|due| due <= now) {
            self.tell_counts(&connected, now);
        }
    }

    fn tell_callers(
        &mut self,
        sidecar: SidecarId,
        mut waiting: Waiting,
        connected: &[SidecarId],
        now: Instant,
    ) {
        // The pairing may have changed hands meanwhile.
        let (ours, others): (Vec<_>, Vec<_>) = waiting.refusals.into_iter().partition(|refusal| {
            self.links.serving(&refusal.issuer, &refusal.subject).as_ref() == Some(&sidecar)
        });
        for refusal in others {
            self.log.count(refusal.reason, refusal.at, 1);
        }
        let callers: Vec<_> = ours.iter().map(refused_caller).collect();
        let refusals = Refusals { callers, counts: Vec::new() };
        if ours.is_empty() || connected.contains(&sidecar) && self.links.tell(&sidecar, refusals) {
            return;
        }
        if now.saturating_duration_since(waiting.since) >= MAX_AGE {
            for refusal in ours {
                self.log.count(refusal.reason, refusal.at, 1);
            }
            return;
        }
        waiting.refusals = ours;
        waiting.due = after(now, GATHER);
        self.waiting.insert(sidecar, waiting);
    }

    fn tell_counts(&mut self, connected: &[SidecarId], now: Instant) {
        self.counts_due = Some(after(now, GATHER));
        if connected.is_empty() {
            return;
        }
        let counts = self.log.take_counts();
        let mut told = BTreeSet::new();
        let mut untold = false;
        for frame in frames(&counts) {
            let tell = |sidecar: &&SidecarId| {
                let counts = frame.iter().map(|(count, _)| count.clone()).collect();
                self.links.tell(sidecar, Refusals { callers: Vec::new(), counts })
            };
            if connected.iter().filter(tell).count() > 0 {
                told.extend(frame.iter().map(|(_, reason)| *reason));
            } else {
                self.put_back(&frame);
                untold = true;
            }
        }
        self.told.extend(told.into_iter().map(|reason| (reason, now)));
        if !untold {
            self.counts_due = None;
        }
    }

    fn put_back(&self, frame: &[(RefusalCount, ErrorCode)]) {
        for (count, reason) in frame {
            let minute = crate::relay::clock::from_unix(count.minute);
            self.log.count(*reason, minute, count.count);
        }
    }
}

/// Counts in as many frames as they need.
fn frames(counts: &Counts) -> Vec<Vec<(RefusalCount, ErrorCode)>> {
    let counts: Vec<_> = counts
        .iter()
        .map(|(&(minute, code), &count)| {
            (RefusalCount { reason: code.as_str().to_owned(), minute, count }, code)
        })
        .collect();
    counts.chunks(MAX_REFUSAL_COUNTS).map(<[_]>::to_vec).collect()
}

fn refused_caller(refusal: &AttributedRefusal) -> RefusedCaller {
    let AttributedRefusal { reason, issuer: _, subject, client, tool, at } = refusal;
    RefusedCaller {
        reason: reason.as_str().to_owned(),
        tool: tool.as_ref().map(|tool| cut(tool.as_str(), MAX_TOOL_NAME_BYTES)),
        subject: cut(subject, MAX_LABEL_BYTES),
        client: client.as_ref().map(|client| cut(client, MAX_LABEL_BYTES)),
        at: unix(*at),
    }
}

/// The first bytes of a text, up to the end of a character.
fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or(now)
}

#[cfg(test)]
mod tests;
