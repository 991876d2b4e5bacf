//! What changed, by resource: a counter for each name, and a way to wait for the next change.
//!
//! Fed by the engine (approvals, orders, the broker's lists when they differ) and by the broker's
//! streams; a resource that somebody waits for is watched at the broker while he does, and a little
//! longer. Bounded: the oldest names are forgotten, which a waiter is told as a change. A restart
//! forgets all; a cursor of before counts as "everything changed". Holds names, never contents.

use crate::brokers::Brokers;
use crate::engine::Change;
use ibkr_agent_broker::{Broker, WatchGuard};
use ibkr_agent_domain::{AccountId, BrokerEvent, BrokerName, Digest, Watch};
use ibkr_agent_protocol::catalogue::resources::Resource;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};

/// Names whose last change is remembered.
const REMEMBERED: usize = 4_096;
/// Things that are watched at the brokers at once; IBKR allows about 100 quotes.
const MAX_WATCHES: usize = 80;
/// How long something stays watched after the last wait for it.
const LINGER: Duration = Duration::from_secs(90);

/// A point in the order of changes: which run of the gateway, and how many changes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    run: i64,
    count: u64,
}

impl Cursor {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (run, count) = text.split_once('.')?;
        Some(Self { run: run.parse().ok()?, count: count.parse().ok()? })
    }
}

impl core::fmt::Display for Cursor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.run, self.count)
    }
}

#[derive(Debug, Default)]
struct Known {
    count: u64,
    /// When each name last changed, by count.
    last: BTreeMap<String, u64>,
    /// Everything up to this count is forgotten.
    forgotten: u64,
    watched: BTreeMap<(BrokerName, Watch), (WatchGuard, Instant)>,
    /// What the broker's lists of an account looked like.
    seen: BTreeMap<(AccountId, &'static str), Digest>,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Changes {
    run: i64,
    known: Mutex<Known>,
    count: watch::Sender<u64>,
}

/// Too much is watched already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            run: jiff::Timestamp::now().as_millisecond(),
            known: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something changed.
    pub(crate) fn bump(&self, resource: &Resource) {
        self.bump_name(resource.to_string());
    }

    fn bump_name(&self, name: String) {
        let count = {
            let mut known = self.lock();
            known.count = known.count.saturating_add(1);
            let count = known.count;
            known.last.insert(name, count);
            if known.last.len() > REMEMBERED {
                let oldest = known.last.iter().min_by_key(|(_, count)| **count);
                if let Some((name, count)) = oldest.map(|(name, count)| (name.clone(), *count)) {
                    known.last.remove(&name);
                    known.forgotten = known.forgotten.max(count);
                }
            }
            count
        };
        self.count.send_replace(count);
    }

    /// Notes a list as read now; it counts as changed when it isn't what it was.
    pub(crate) fn seen(&self, account: &AccountId, what: &'static str, now: Digest) -> bool {
        let before = self.lock().seen.insert((account.clone(), what), now);
        before.is_some_and(|before| before != now)
    }

    /// The cursor of now.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { run: self.run, count: self.lock().count }
    }

    /// Which of these changed since.
    pub(crate) fn since(&self, cursor: Cursor, resources: &[Resource]) -> Vec<Resource> {
        let known = self.lock();
        if cursor.run != self.run || cursor.count < known.forgotten {
            return resources.to_vec();
        }
        let changed = |resource: &&Resource| {
            known.last.get(&resource.to_string()).is_some_and(|count| *count > cursor.count)
        };
        resources.iter().filter(changed).cloned().collect()
    }

    /// Tells of every further change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Watches something at its broker, from now until a little after the last call.
    pub(crate) fn follow(&self, broker: &Arc<dyn Broker>, what: Watch) -> Result<(), TooMany> {
        let now = Instant::now();
        let mut known = self.lock();
        known.watched.retain(|_, (_, last)| now.saturating_duration_since(*last) < LINGER);
        let key = (broker.name().clone(), what);
        if let Some((_, last)) = known.watched.get_mut(&key) {
            *last = now;
            return Ok(());
        }
        if known.watched.len() >= MAX_WATCHES {
            return Err(TooMany);
        }
        let guard = broker.watch(key.1.clone());
        known.watched.insert(key, (guard, now));
        Ok(())
    }

    /// Ends the watches that nobody waited for lately.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        self.lock().watched.retain(|_, (_, last)| now.saturating_duration_since(*last) < LINGER);
    }

    /// The accounts that somebody follows.
    pub(crate) fn followed_accounts(&self) -> Vec<AccountId> {
        let known = self.lock();
        let accounts = known.watched.keys().filter_map(|(_, what)| match what {
            Watch::Account(account) => Some(account.clone()),
            Watch::Quote(_) => None,
        });
        accounts.collect()
    }

    /// Something was missed: whatever is watched counts as changed.
    fn bump_watched(&self, broker: &BrokerName) {
        let watched: Vec<Watch> = {
            let known = self.lock();
            let of_broker = known.watched.keys().filter(|(name, _)| name == broker);
            of_broker.map(|(_, what)| what.clone()).collect()
        };
        for what in watched {
            match what {
                Watch::Quote(conid) => self.bump(&Resource::Quote(conid)),
                Watch::Account(account) => {
                    self.bump(&Resource::Positions(account.clone()));
                    self.bump(&Resource::Orders(account.clone()));
                    self.bump(&Resource::ProfitAndLoss(account));
                }
            }
        }
    }

    /// Takes in what a broker tells; gives the account whose lists should be read now.
    fn learn(&self, broker: &BrokerName, event: &BrokerEvent) -> Option<AccountId> {
        match event {
            BrokerEvent::Quote(quote) => {
                self.bump(&Resource::Quote(quote.conid));
                None
            }
            BrokerEvent::Order(order) => {
                self.bump(&Resource::Orders(order.account.clone()));
                Some(order.account.clone())
            }
            BrokerEvent::Execution(fill) => {
                self.bump(&Resource::Orders(fill.account.clone()));
                self.bump(&Resource::Positions(fill.account.clone()));
                Some(fill.account.clone())
            }
            BrokerEvent::ProfitAndLoss(told) => {
                self.bump(&Resource::ProfitAndLoss(told.account.clone()));
                None
            }
            BrokerEvent::Resumed => {
                self.bump_watched(broker);
                None
            }
            BrokerEvent::Session(_)
            | BrokerEvent::Reminder { .. }
            | BrokerEvent::Notification { .. } => None,
        }
    }
}

/// Feeds the counters from one broker's streams until they end; `seek` is asked to read an
/// account's lists when the broker says that they changed.
pub(crate) async fn follow_broker(
    changes: Arc<Changes>,
    broker: Arc<dyn Broker>,
    seek: impl Fn(AccountId),
) {
    let mut events = broker.events();
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Some(account) = changes.learn(broker.name(), &event) {
                    seek(account);
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => changes.bump_watched(broker.name()),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Feeds the counters from the engine until it stops.
pub(crate) async fn follow_engine(
    changes: Arc<Changes>,
    mut engine: broadcast::Receiver<Change>,
    brokers: Arc<Brokers>,
) {
    let mut prune = tokio::time::interval(LINGER);
    loop {
        tokio::select! {
            told = engine.recv() => match told {
                Ok(change) => {
                    changes.bump_name(change.resource);
                    changes.bump(&Resource::Orders(change.account));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    for broker in brokers.all() {
                        changes.bump_watched(broker.name());
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = prune.tick() => changes.prune(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(account: &str) -> Resource {
        Resource::Orders(AccountId::parse(account).unwrap())
    }

    #[test]
    fn a_change_is_seen_by_whoever_asks_since_before_it() {
        let changes = Changes::new();
        let before = changes.cursor();
        let both = [orders("DU1"), orders("DU2")];
        assert!(changes.since(before, &both).is_empty());
        changes.bump(&orders("DU2"));
        assert_eq!(changes.since(before, &both), [orders("DU2")]);
        assert!(changes.since(changes.cursor(), &both).is_empty());
    }

    #[test]
    fn a_cursor_of_another_run_or_of_long_ago_counts_everything_as_changed() {
        let changes = Changes::new();
        let mine = [orders("DU1")];
        let other = Cursor { run: 1, ..changes.cursor() };
        assert_eq!(changes.since(other, &mine), mine);
        let old = changes.cursor();
        for number in 0..=REMEMBERED {
            changes.bump(&orders(&format!("DU9{number}")));
        }
        assert_eq!(changes.since(old, &mine), mine);
        assert!(changes.since(changes.cursor(), &mine).is_empty());
    }

    #[test]
    fn cursors_parse_back_and_nonsense_does_not() {
        let cursor = Changes::new().cursor();
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for text in ["", ".", "1", "1.x", "1.-1"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_counts_as_changed_only_when_it_differs() {
        let changes = Changes::new();
        let account = AccountId::parse("DU1").unwrap();
        assert!(!changes.seen(&account, "orders", Digest::of(b"a")), "the first look");
        assert!(!changes.seen(&account, "orders", Digest::of(b"a")));
        assert!(changes.seen(&account, "orders", Digest::of(b"b")));
    }
}
