//! Short memories of a client: answers that the broker gives once in 15 minutes, and what makes
//! later requests unnecessary. Never a price, a position or an order.
//!
//! A kept answer tells when it was read. Bounded in number and age; the age is monotonic.

use crate::wire::routes::Routes;
use core::fmt;
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, Conid, Currency, Performance, PerformancePeriod, ScannerParameters, Transactions,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// How long the broker makes us wait between two such requests.
const LONG: Duration = Duration::from_secs(15 * 60);
/// How long a search counts as made. A lost session forgets it sooner: then the quotes stay empty
/// and the search is made again.
const SEARCHED: Duration = Duration::from_secs(5 * 60);
/// How long it is known what kind a contract is, and which exchanges take orders on it.
const KINDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Where an underlying's options are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionRoot {
    /// The contract that names them.
    pub(crate) conid: Conid,
    /// `OPT` or `FOP`.
    pub(crate) kind: &'static str,
    /// Where they trade, `SMART` where it is offered.
    pub(crate) exchange: String,
}

/// Whether a contract's quote needs a search first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It doesn't.
    Plain,
    /// A search for this symbol.
    Search(String),
}

/// What is remembered for how long.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) performance: Kept<(AccountId, PerformancePeriod), Performance>,
    pub(crate) transactions: Kept<(AccountId, Conid, Currency, u32), Transactions>,
    pub(crate) scanners: Kept<(), Arc<ScannerParameters>>,
    pub(crate) searched: Kept<String, ()>,
    pub(crate) option_roots: Kept<Conid, OptionRoot>,
    pub(crate) openings: Kept<Conid, Opening>,
    pub(crate) routes: Kept<Conid, Routes>,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            performance: Kept::new(64, LONG),
            transactions: Kept::new(64, LONG),
            scanners: Kept::new(1, LONG),
            searched: Kept::new(512, SEARCHED),
            option_roots: Kept::new(512, KINDS),
            openings: Kept::new(8_192, KINDS),
            routes: Kept::new(512, KINDS),
        }
    }
}

/// Values by key, each for a time.
pub(crate) struct Kept<K, V> {
    capacity: usize,
    life: Duration,
    rows: Mutex<BTreeMap<K, (Instant, V)>>,
}

impl<K, V> fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    const fn new(capacity: usize, life: Duration) -> Self {
        Self { capacity, life, rows: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn find(&self, key: &K) -> Option<V> {
        let rows = self.lock();
        let (at, value) = rows.get(key)?;
        (at.elapsed() < self.life).then(|| value.clone())
    }

    /// Keeps a value; the oldest makes room for it.
    pub(crate) fn keep(&self, key: K, value: V) {
        let now = Instant::now();
        let mut rows = self.lock();
        if rows.len() >= self.capacity && !rows.contains_key(&key) {
            rows.retain(|_, (at, _)| now.saturating_duration_since(*at) < self.life);
            let oldest = rows.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            if rows.len() >= self.capacity
                && let Some(oldest) = oldest
            {
                rows.remove(&oldest);
            }
        }
        rows.insert(key, (now, value));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, (Instant, V)>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_is_kept_for_its_time_and_no_longer() {
        let kept = Kept::new(2, LONG);
        kept.keep(1, "one");
        assert_eq!(kept.find(&1), Some("one"));
        tokio::time::advance(LONG - Duration::from_secs(1)).await;
        assert_eq!(kept.find(&1), Some("one"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(kept.find(&1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let kept = Kept::new(2, LONG);
        for key in 1..=3 {
            kept.keep(key, key);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!((kept.find(&1), kept.find(&2), kept.find(&3)), (None, Some(2), Some(3)));
        kept.keep(3, 30);
        assert_eq!((kept.find(&2), kept.find(&3)), (Some(2), Some(30)));
    }
}
