//! The quote is young enough by our own clock.

use crate::case::{Case, MAX_CLOCK_SKEW_MS};
use crate::{Check, Gate};
use core::time::Duration;
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let limit = case.limits().max_quote_age;
    let text = format!("{} s by our own clock", limit.as_secs());
    let stale = |passed, observed: String| {
        let check = Check::new(Gate::QuoteAge, passed, ErrorCode::MarketDataStale, observed, &text);
        Check { rule: Some("price.max_quote_age_seconds"), ..check }
    };
    let Some(updated) = case.quote().and_then(|quote| quote.updated) else {
        return stale(false, "unknown".to_owned());
    };
    // A quote from the future is a broken clock somewhere, not a fresh quote.
    let ahead = updated.since(case.now);
    let age = case.now.since(updated);
    let passed = age <= limit && ahead <= limit.min(Duration::from_millis(MAX_CLOCK_SKEW_MS));
    if ahead.is_zero() {
        stale(passed, format!("{} ms old", age.as_millis()))
    } else {
        stale(passed, format!("{} ms ahead of our clock", ahead.as_millis()))
    }
}
