//! Tokens that were found good a moment ago, by hash. Bounded in number and time.
//!
//! An entry counts only while its issuer's keys are the ones that it was checked with, so a key
//! that its issuer withdraws takes its tokens along. A clock that went back is a miss.
//!
//! Bound: two generations of [`GENERATION_ENTRIES`]; the older one is dropped when the younger is
//! full.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::verified::Verified;

/// Longest time that an answer is reused, in seconds.
const MAX_SECONDS: i64 = 60;
/// Entries in one of the two generations.
const GENERATION_ENTRIES: usize = 4096;

/// The keys that an answer rests on: the issuer's place in the configuration and the key set's
/// generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    pub(crate) issuer: usize,
    pub(crate) generation: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    verified: Verified,
    basis: Basis,
    from: i64,
    until: i64,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<[u8; 32], Entry>,
    old: HashMap<[u8; 32], Entry>,
}

/// The cache. Its lock is held for a map operation, never across an await.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<Generations>);

impl TokenCache {
    /// A token found good before `now`, with what the answer rests on.
    pub(crate) fn lookup(&self, hash: &[u8; 32], now: i64) -> Option<(Verified, Basis)> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = generations.young.get(hash).or_else(|| generations.old.get(hash))?;
        (entry.from..entry.until).contains(&now).then(|| (entry.verified.clone(), entry.basis))
    }

    /// Remembers a token until it expires, 60 s at most.
    pub(crate) fn remember(&self, verified: &Verified, basis: Basis, now: i64) {
        let until = verified.expires_at().min(now.saturating_add(MAX_SECONDS));
        if until <= now {
            return;
        }
        let entry = Entry { verified: verified.clone(), basis, from: now, until };
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION_ENTRIES {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(*verified.token_hash(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;

    const BASIS: Basis = Basis { issuer: 0, generation: 1 };

    fn verified(number: u64, expires_at: i64) -> Verified {
        let claims = format!(r#"{{"iss":"i","sub":"s","aud":"a","exp":{expires_at}}}"#);
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        Verified::new(Claims::parse(claims.as_bytes()).unwrap(), "a", hash)
    }

    #[test]
    fn an_answer_lasts_a_minute_or_until_expiry_and_not_before_it_was_given() {
        let cache = TokenCache::default();
        let (long, short) = (verified(1, 9_000), verified(2, 1_010));
        for one in [&long, &short, &verified(3, 1_000)] {
            cache.remember(one, BASIS, 1_000);
        }
        let known = |one: &Verified, now| cache.lookup(one.token_hash(), now).is_some();
        assert_eq!(cache.lookup(long.token_hash(), 1_059), Some((long.clone(), BASIS)));
        assert!(!known(&long, 1_060));
        assert!(!known(&long, 999), "the clock went back");
        assert!(known(&short, 1_009));
        assert!(!known(&short, 1_010));
        assert!(!known(&verified(3, 1_000), 1_000), "an expired token is never remembered");
    }

    #[test]
    fn the_cache_is_bounded_and_drops_the_oldest() {
        let cache = TokenCache::default();
        let last = u64::try_from(GENERATION_ENTRIES).unwrap() * 3;
        for number in 0..=last {
            cache.remember(&verified(number, 9_000), BASIS, 1_000);
        }
        let generations = cache.0.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_ENTRIES);
        drop(generations);
        assert!(cache.lookup(verified(0, 9_000).token_hash(), 1_000).is_none());
        assert!(cache.lookup(verified(last, 9_000).token_hash(), 1_000).is_some());
    }
}
