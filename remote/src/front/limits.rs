//! How often a principal may call, and how often a peer may fail to authenticate.
//!
//! A principal is an issuer's subject: another client id or a new session doesn't buy more. Nothing
//! a client sends chooses the key. Only failures of a peer are limited by its address, so an
//! attacker behind a shared proxy can't lock out those who hold a good token.
//!
//! Memory is bounded: keys that are back at their full quota are dropped once there are
//! [`SWEEP_AT`] of them, and a map that is still full refuses new keys.

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Keys at which those at rest are dropped.
const SWEEP_AT: usize = 10_000;

/// Keys at which a new one is refused.
const MAX_KEYS: usize = 100_000;

/// So many requests in a window, refilled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit(Quota);

impl RateLimit {
    /// One request a second.
    pub const ONE_A_SECOND: Self = Self(Quota::per_second(NonZeroU32::MIN));

    /// `requests` per `window`; `None` if either is nothing.
    #[must_use]
    pub fn new(requests: u32, window: Duration) -> Option<Self> {
        let burst = NonZeroU32::new(requests)?;
        let quota = Quota::with_period(window.checked_div(requests)?)?;
        Some(Self(quota.allow_burst(burst)))
    }
}

/// Counts by key.
#[derive(Debug)]
pub(super) struct Limiter<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    capacity: (usize, usize),
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self::with_capacity(limit, SWEEP_AT, MAX_KEYS)
    }

    fn with_capacity(limit: RateLimit, sweep_at: usize, most: usize) -> Self {
        let limiter = RateLimiter::keyed(limit.0);
        Self { limiter, clock: DefaultClock::default(), capacity: (sweep_at, most) }
    }

    /// Counts one; over the limit it says how long to wait.
    pub(super) fn admit(&self, key: &K) -> Result<(), Duration> {
        let (sweep_at, most) = self.capacity;
        if self.limiter.len() >= sweep_at {
            self.limiter.retain_recent();
            if self.limiter.len() >= most {
                return Err(Duration::from_secs(1));
            }
        }
        self.limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// What a peer is counted by: its address, or for IPv6 its /64, which is one subscriber.
pub(super) fn peer_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || {
                let prefix = u128::from(v6) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(prefix))
            },
            IpAddr::V4,
        ),
    }
}

/// Whole seconds for `Retry-After`, at least one.
pub(super) fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_limit_holds_on_both_sides_and_by_key() {
        let limiter = Limiter::new(RateLimit::new(3, HOUR).unwrap());
        for _ in 0..3 {
            assert!(limiter.admit(&"a").is_ok());
        }
        let wait = limiter.admit(&"a").unwrap_err();
        assert!(wait > Duration::from_secs(1100) && wait <= HOUR / 3, "{wait:?}");
        assert!(limiter.admit(&"b").is_ok());
        assert_eq!(RateLimit::new(0, HOUR), None);
        assert_eq!(RateLimit::new(1, Duration::ZERO), None);
    }

    #[test]
    fn a_full_map_refuses_new_keys() {
        let limiter = Limiter::with_capacity(RateLimit::new(1, HOUR).unwrap(), 4, 8);
        let admitted = (0..20).filter(|key| limiter.admit(key).is_ok()).count();
        assert_eq!(admitted, 8);
    }

    #[test]
    fn one_ipv6_subscriber_is_one_peer() {
        let key = |text: &str| peer_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }

    #[test]
    fn retry_after_is_rounded_up() {
        assert_eq!(retry_after_seconds(Duration::from_millis(1)), 1);
        assert_eq!(retry_after_seconds(Duration::from_millis(1500)), 2);
        assert_eq!(retry_after_seconds(Duration::from_secs(2)), 2);
    }
}
