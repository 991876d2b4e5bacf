//! Legacy sessions (protocol revisions before 2026-07-28) and whose they are.
//!
//! A session id is a name, not a permission: it is bound to the issuer, subject and client that
//! opened it, and anybody else's use of it looks like an unknown one. rmcp holds the sessions
//! themselves; this table holds their owners, and says which ones must be closed to stay within
//! [`MAX_PER_PRINCIPAL`] and [`MAX_SESSIONS`]. Most clients never end theirs, so the longest unused
//! gives way instead of the new one being refused.

use ibkr_agent_token::Verified;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sessions of one principal.
pub const MAX_PER_PRINCIPAL: usize = 8;
/// Sessions of all principals.
pub const MAX_SESSIONS: usize = 1024;
/// How long an unused session's owner is remembered; longer than rmcp keeps the session.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Issuer, subject and client, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Principal([u8; 32]);

impl Principal {
    /// The owner of a session.
    pub(super) fn with_client(verified: &Verified) -> Self {
        let client = verified.client();
        let marker = if client.is_some() { "client" } else { "none" };
        Self::hash(&[verified.issuer(), verified.subject(), marker, client.unwrap_or_default()])
    }

    /// The user, whatever client they use.
    pub(super) fn user(verified: &Verified) -> Self {
        Self::hash(&[verified.issuer(), verified.subject()])
    }

    /// Each part with its length in front, so that no two lists give the same bytes.
    fn hash(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finalize().into())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    principal: Principal,
    used: Instant,
}

/// The owners of the open sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    owners: Mutex<HashMap<String, Owner>>,
    per_principal: usize,
    total: usize,
}

impl Sessions {
    pub(super) fn new(per_principal: usize, total: usize) -> Self {
        Self { owners: Mutex::default(), per_principal: per_principal.max(1), total: total.max(1) }
    }

    fn with<T>(&self, use_owners: impl FnOnce(&mut HashMap<String, Owner>) -> T) -> T {
        use_owners(&mut self.owners.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the session is this principal's; if so, it counts as used now.
    pub(super) fn owns(&self, id: &str, principal: Principal, now: Instant) -> bool {
        self.with(|owners| match owners.get_mut(id) {
            Some(owner) if owner.principal == principal => {
                owner.used = now;
                true
            }
            Some(_) | None => false,
        })
    }

    /// Records a new session and returns those that must be closed for it.
    pub(super) fn bind(&self, id: &str, principal: Principal, now: Instant) -> Vec<String> {
        self.with(|owners| {
            owners.retain(|_, owner| now.saturating_duration_since(owner.used) < FORGET_AFTER);
            owners.insert(id.to_owned(), Owner { principal, used: now });
            let mut closed = Vec::new();
            let same = |owner: &Owner| owner.principal == principal;
            evict(owners, self.per_principal, id, same, &mut closed);
            evict(owners, self.total, id, |_| true, &mut closed);
            closed
        })
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&self, id: &str) {
        self.with(|owners| owners.remove(id));
    }
}

/// Removes the longest unused of a group, but not `keep`, until at most `most` are left.
fn evict(
    owners: &mut HashMap<String, Owner>,
    most: usize,
    keep: &str,
    group: impl Fn(&Owner) -> bool,
    closed: &mut Vec<String>,
) {
    while owners.values().filter(|owner| group(owner)).count() > most {
        let others = owners.iter().filter(|(id, owner)| group(owner) && id.as_str() != keep);
        let Some(oldest) = others.min_by_key(|(_, owner)| owner.used).map(|(id, _)| id.clone())
        else {
            return;
        };
        owners.remove(&oldest);
        closed.push(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str) -> Principal {
        Principal::hash(&["https://id.example.com", name])
    }

    #[test]
    fn a_session_belongs_to_the_one_who_opened_it() {
        let (sessions, now) = (Sessions::new(2, 10), Instant::now());
        assert!(sessions.bind("s1", principal("alice"), now).is_empty());
        assert!(sessions.owns("s1", principal("alice"), now));
        assert!(!sessions.owns("s1", principal("bob"), now));
        assert!(!sessions.owns("s2", principal("alice"), now));
        sessions.forget("s1");
        assert!(!sessions.owns("s1", principal("alice"), now));
    }

    #[test]
    fn parts_of_a_principal_do_not_run_into_each_other() {
        assert_ne!(Principal::hash(&["ab", "c"]), Principal::hash(&["a", "bc"]));
        assert_ne!(Principal::hash(&["a"]), Principal::hash(&["a", ""]));
    }

    #[test]
    fn the_longest_unused_session_gives_way() {
        let (sessions, start) = (Sessions::new(2, 3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(sessions.bind("a1", principal("alice"), at(0)).is_empty());
        assert!(sessions.bind("a2", principal("alice"), at(1)).is_empty());
        assert!(sessions.owns("a1", principal("alice"), at(2)));
        assert_eq!(sessions.bind("a3", principal("alice"), at(3)), ["a2"]);
        assert!(sessions.bind("b1", principal("bob"), at(4)).is_empty());
        assert_eq!(sessions.bind("c1", principal("carol"), at(5)), ["a1"]);
        assert!(sessions.owns("b1", principal("bob"), at(6)));
    }

    #[test]
    fn owners_of_long_unused_sessions_are_forgotten() {
        let (sessions, start) = (Sessions::new(2, 3), Instant::now());
        sessions.bind("a1", principal("alice"), start);
        let almost = start + FORGET_AFTER - Duration::from_secs(1);
        sessions.bind("b1", principal("bob"), almost);
        assert!(sessions.owns("a1", principal("alice"), start));
        sessions.bind("b2", principal("bob"), start + FORGET_AFTER);
        assert!(!sessions.owns("a1", principal("alice"), start + FORGET_AFTER));
    }
}
