//! One issuer at work: its keys, when they are fetched again, and what is known to be no key.
//!
//! - The first use fetches. Keys older than `keys_max_age` are fetched again by the next caller;
//!   a failure keeps the old ones, for [`MAX_KEY_STALENESS`] at most.
//! - An unknown key or a bad signature may fetch once per `refetch_interval`; a key id that a
//!   fresh set lacked is remembered as unknown for a while and fetches nothing.
//! - After failures the wait doubles up to `backoff_max`.
//! - One fetch at a time: those who wait use its outcome. It runs in its own task, so a caller who
//!   goes away doesn't spoil it for the others.
//!
//! Invariant: `generation` changes exactly when the set of usable keys does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::{Client, Url};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::config::{ConfigError, HttpOptions, IssuerConfig};
use crate::fetch::{self, FetchError};
use crate::jwks::{self, Key};
use crate::metadata;

/// Age at which keys that can't be fetched again are used no longer.
pub const MAX_KEY_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a key id stays known as unknown.
const UNKNOWN_KID_LIFE: Duration = Duration::from_secs(30);
/// Most key ids that are known as unknown; beyond it all are forgotten.
const MAX_UNKNOWN_KIDS: usize = 1024;

/// What can be said about an issuer's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysState {
    /// Never fetched yet.
    NotFetched,
    /// Usable keys are there.
    Ready,
    /// Usable keys are there, but the last fetch failed.
    Failing,
    /// No usable key: never reached, empty, or too old.
    Unavailable,
}

/// How one issuer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerReadiness {
    /// The configured issuer.
    pub issuer: String,
    /// Whether there are keys.
    pub state: KeysState,
    /// Number of usable keys.
    pub keys: usize,
    /// Time since the keys were last fetched.
    pub age: Option<Duration>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<FetchError>,
}

/// Usable keys as fetched at one time.
#[derive(Debug)]
pub(crate) struct KeySet {
    pub(crate) generation: u64,
    pub(crate) keys: Vec<Key>,
    fetched_at: Instant,
}

/// Why a fetch is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// No keys, or keys that are old.
    Age,
    /// A token doesn't fit the keys that are there.
    Mismatch,
}

/// What asking for a fetch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// Keys were fetched, by this caller or while it waited.
    Fetched,
    /// A fetch failed, or waits after a failure.
    Failed,
    /// A fetch was made too recently.
    TooSoon,
}

#[derive(Debug, Default)]
struct Schedule {
    /// Finished fetches, good or bad.
    finished: u64,
    failures: u32,
    failure: Option<FetchError>,
    not_before: Option<Instant>,
    mismatch_not_before: Option<Instant>,
    jwks_url: Option<Url>,
    unknown_kids: HashMap<String, Instant>,
}

/// One configured issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) config: IssuerConfig,
    base: Url,
    candidates: Vec<Url>,
    fixed_jwks_url: Option<Url>,
    client: Client,
    options: Arc<HttpOptions>,
    keys: ArcSwapOption<KeySet>,
    schedule: Mutex<Schedule>,
    flight: Arc<tokio::sync::Mutex<()>>,
}

impl Issuer {
    pub(crate) fn new(
        config: IssuerConfig,
        client: Client,
        options: Arc<HttpOptions>,
    ) -> Result<Self, ConfigError> {
        let parse =
            |text: &String| Url::parse(text).map_err(|_| ConfigError::BadUrl { url: text.clone() });
        let base = parse(&config.issuer)?;
        let candidates = match &config.metadata_url {
            Some(url) => vec![parse(url)?],
            None => metadata::candidates(&base),
        };
        Ok(Self {
            fixed_jwks_url: config.jwks_url.as_ref().map(parse).transpose()?,
            config,
            base,
            candidates,
            client,
            options,
            keys: ArcSwapOption::empty(),
            schedule: Mutex::default(),
            flight: Arc::default(),
        })
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finished fetches so far; given back to [`Issuer::refresh`] to join one that came between.
    pub(crate) fn finished(&self) -> u64 {
        self.schedule().finished
    }

    /// The keys that may be used now, whatever their age within bounds.
    pub(crate) fn usable_keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full().filter(|set| set.fetched_at.elapsed() < MAX_KEY_STALENESS)
    }

    /// The generation of the keys that may be used now.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.usable_keys().map(|set| set.generation)
    }

    /// The keys that may be used now, fetched first if there are none or they are old.
    ///
    /// While old ones are being fetched again, one caller waits and the others use them on.
    pub(crate) async fn current_keys(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let seen = self.finished();
        let flight = match self.usable_keys() {
            Some(set) if set.fetched_at.elapsed() < self.options.keys_max_age => return Some(set),
            Some(set) => match Arc::clone(&self.flight).try_lock_owned() {
                Ok(flight) => flight,
                Err(_) => return Some(set),
            },
            None => Arc::clone(&self.flight).lock_owned().await,
        };
        self.refresh_holding(flight, Reason::Age, seen).await;
        self.usable_keys()
    }

    /// Whether a fresh set lately lacked this key id.
    pub(crate) fn is_known_unknown(&self, kid: &str) -> bool {
        self.schedule().unknown_kids.get(kid).is_some_and(|until| Instant::now() < *until)
    }

    /// Remembers that the set just fetched lacks this key id.
    pub(crate) fn remember_unknown(&self, kid: &str) {
        let mut schedule = self.schedule();
        if schedule.unknown_kids.len() >= MAX_UNKNOWN_KIDS {
            schedule.unknown_kids.clear();
        }
        schedule.unknown_kids.insert(kid.to_owned(), Instant::now() + UNKNOWN_KID_LIFE);
    }

    /// Fetches the keys because a token doesn't fit them, or joins a fetch that finished after
    /// `seen`, or refuses to.
    pub(crate) async fn refresh(self: &Arc<Self>, seen: u64) -> Refreshed {
        let flight = Arc::clone(&self.flight).lock_owned().await;
        self.refresh_holding(flight, Reason::Mismatch, seen).await
    }

    async fn refresh_holding(
        self: &Arc<Self>,
        flight: OwnedMutexGuard<()>,
        reason: Reason,
        seen: u64,
    ) -> Refreshed {
        if let Some(answer) = self.claim_fetch(reason, seen) {
            return answer;
        }
        let issuer = Arc::clone(self);
        let task = tokio::spawn(async move {
            let outcome = issuer.fetch(reason).await;
            let answer = issuer.finish(outcome);
            drop(flight);
            answer
        });
        task.await.unwrap_or(Refreshed::Failed)
    }

    /// `None` if the caller is to fetch now; its claim counts against the interval.
    fn claim_fetch(&self, reason: Reason, seen: u64) -> Option<Refreshed> {
        let now = Instant::now();
        let mut schedule = self.schedule();
        let failed = schedule.failure.is_some();
        if schedule.finished != seen {
            return Some(if failed { Refreshed::Failed } else { Refreshed::Fetched });
        }
        if schedule.not_before.is_some_and(|time| now < time) {
            return Some(Refreshed::Failed);
        }
        if reason == Reason::Mismatch {
            if schedule.mismatch_not_before.is_some_and(|time| now < time) {
                return Some(Refreshed::TooSoon);
            }
            schedule.mismatch_not_before = now.checked_add(self.options.refetch_interval);
        }
        None
    }

    async fn fetch(&self, reason: Reason) -> Result<Vec<Key>, FetchError> {
        let all = async {
            let url = self.key_set_url(reason).await?;
            let body = fetch::document(&self.client, &url).await?;
            jwks::parse_set(&body).ok_or_else(|| FetchError::Unreadable { url: url.to_string() })
        };
        tokio::time::timeout(self.options.refresh_timeout, all).await.unwrap_or_else(|_| {
            Err(FetchError::RefreshTimedOut { issuer: self.config.issuer.clone() })
        })
    }

    /// The key set's address: configured, else discovered anew unless a token is waiting.
    async fn key_set_url(&self, reason: Reason) -> Result<Url, FetchError> {
        if let Some(url) = &self.fixed_jwks_url {
            return Ok(url.clone());
        }
        let known = self.schedule().jwks_url.clone();
        match (reason, known) {
            (Reason::Mismatch, Some(url)) => Ok(url),
            (Reason::Mismatch, None) | (Reason::Age, _) => {
                let client = &self.client;
                let found =
                    metadata::discover(client, &self.config, &self.base, &self.candidates).await?;
                self.schedule().jwks_url = Some(found.clone());
                Ok(found)
            }
        }
    }

    fn finish(&self, outcome: Result<Vec<Key>, FetchError>) -> Refreshed {
        match outcome {
            Ok(keys) => {
                self.install(keys);
                Refreshed::Fetched
            }
            Err(failure) => {
                self.back_off(failure);
                Refreshed::Failed
            }
        }
    }

    fn install(&self, keys: Vec<Key>) {
        let before = self.keys.load_full();
        let unchanged = before.as_ref().is_some_and(|set| set.keys == keys);
        let generation = before.map_or(0, |set| set.generation) + u64::from(!unchanged);
        if !unchanged {
            let (issuer, count) = (self.config.issuer.as_str(), keys.len());
            tracing::info!(token.issuer = issuer, token.keys = count, "issuer keys changed");
        }
        let set = KeySet { generation, keys, fetched_at: Instant::now() };
        self.keys.store(Some(Arc::new(set)));
        let mut schedule = self.schedule();
        schedule.failures = 0;
        schedule.failure = None;
        schedule.not_before = None;
        schedule.finished += 1;
    }

    fn back_off(&self, failure: FetchError) {
        let mut schedule = self.schedule();
        // Doubling stops mattering at the maximum, long before the shift's own limit.
        let doubled = 1_u32 << schedule.failures.min(16);
        let wait = self.options.backoff_initial.saturating_mul(doubled);
        let wait = wait.min(self.options.backoff_max);
        tracing::warn!(
            token.issuer = self.config.issuer.as_str(),
            token.failure = %failure,
            "issuer keys could not be fetched"
        );
        schedule.failures = schedule.failures.saturating_add(1);
        schedule.not_before = Instant::now().checked_add(wait);
        schedule.failure = Some(failure);
        // The address may be what is wrong: ask for it again next time.
        schedule.jwks_url = None;
        schedule.finished += 1;
    }

    /// How this issuer stands, without fetching anything.
    pub(crate) fn readiness(&self) -> IssuerReadiness {
        let set = self.usable_keys();
        let keys = set.as_ref().map_or(0, |set| set.keys.len());
        let schedule = self.schedule();
        let state = match (keys, &schedule.failure) {
            (0, _) if schedule.finished == 0 => KeysState::NotFetched,
            (0, _) => KeysState::Unavailable,
            (_, Some(_)) => KeysState::Failing,
            (_, None) => KeysState::Ready,
        };
        IssuerReadiness {
            issuer: self.config.issuer.clone(),
            state,
            keys,
            age: set.map(|set| set.fetched_at.elapsed()),
            failure: schedule.failure.clone(),
        }
    }
}
