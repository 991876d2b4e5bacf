//! The gateway's JSON as it is on the wire, and its way into our types.
//!
//! Tolerant of form: ids and numbers come as numbers or text, lists as an array or a single object,
//! absent as missing, null or empty. Strict in meaning: a part that we need and can't read is an
//! error that names the part, never a zero. Session fields aren't declared, so they are skipped
//! while parsing.

pub(crate) mod accounts;
pub(crate) mod cancels;
pub(crate) mod contracts;
pub(crate) mod history;
pub(crate) mod html;
pub(crate) mod inbox;
pub(crate) mod many;
pub(crate) mod market;
pub(crate) mod options;
pub(crate) mod orders;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod parsers;
pub(crate) mod performance;
pub(crate) mod portfolio;
#[cfg(test)]
mod recorded;
pub(crate) mod replies;
pub(crate) mod routes;
pub(crate) mod rules;
pub(crate) mod scalar;
pub(crate) mod scanner;
pub(crate) mod session;
#[cfg(test)]
mod shapes;
pub(crate) mod stream;
pub(crate) mod ticket;
pub(crate) mod trades;
pub(crate) mod what_if;

pub(crate) use many::Many;
pub(crate) use scalar::{Scalar, amount};

use crate::BrokerError;
use ibkr_agent_domain::{Timestamp, Untrusted};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Longest broker text that is shown in an error.
const MAX_MESSAGE: usize = 300;

/// `{"error": "…"}`, with the status that some answers repeat.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    error: Scalar,
}

/// Parses an answer.
pub(crate) fn parse<T: DeserializeOwned>(
    body: &[u8],
    what: &'static str,
) -> Result<T, BrokerError> {
    serde_json::from_slice(body).map_err(|_| BrokerError::InvalidResponse { what })
}

/// Parses an array, a single object as an array of one, or nothing as none.
pub(crate) fn parse_list<T: DeserializeOwned>(
    body: &[u8],
    what: &'static str,
) -> Result<Vec<T>, BrokerError> {
    match first(body) {
        None => Ok(Vec::new()),
        Some(b'{') => parse(body, what).map(|one| vec![one]),
        Some(_) => parse(body, what),
    }
}

/// The first byte that isn't white space.
pub(crate) fn first(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// The text of an `error` key, if the answer is an object with one.
pub(crate) fn error_text(body: &[u8]) -> Option<String> {
    if first(body) != Some(b'{') {
        return None;
    }
    let parsed: ErrorBody = serde_json::from_slice(body).ok()?;
    parsed.error.text()
}

/// `20231211-18:00:49`, UTC.
pub(crate) fn utc_time(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%d-%H:%M:%S", text).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

/// A broker's text for people.
pub(crate) fn message(text: &str) -> Untrusted {
    Untrusted::bounded(text.trim(), MAX_MESSAGE)
}

/// Names a part of an answer that can't be read.
pub(crate) const fn unreadable(what: &'static str) -> BrokerError {
    BrokerError::InvalidResponse { what }
}
