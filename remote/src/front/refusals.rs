//! Refusals at the door: told to whoever keeps records, never waiting for them.
//!
//! A refusal of a verified caller is attributable and is handed on whole (without its token); the
//! rest are only counted, by reason and minute, since anybody on the network can cause them.

use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_token::Verified;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Attributable refusals that may wait for their reader.
pub const MAX_WAITING: usize = 1024;

const WINDOW: Duration = Duration::from_secs(60);

/// Who is told of a refused request. Must neither block nor wait.
pub trait RefusalSink: Send + Sync + 'static {
    /// A request was refused; `subject` is there when its token was good.
    fn refused(&self, reason: ErrorCode, subject: Option<&Verified>, tool: Option<&str>);
}

/// A refusal that can be attributed to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributedRefusal {
    /// Why.
    pub reason: ErrorCode,
    /// The issuer of the caller's token.
    pub issuer: String,
    /// The caller at that issuer.
    pub subject: String,
    /// The client, if the token names one.
    pub client: Option<String>,
    /// The tool that was called, as sent, escaped and bounded.
    pub tool: Option<Untrusted>,
}

/// How often each reason occurred in the current minute.
#[derive(Debug)]
struct Window {
    since: Instant,
    counts: BTreeMap<ErrorCode, u64>,
}

/// Counts refusals and hands on the attributable ones.
#[derive(Debug)]
pub struct RefusalLog {
    window: Mutex<Window>,
    attributed: mpsc::Sender<AttributedRefusal>,
}

impl RefusalLog {
    /// A log and the reader of its attributable refusals; unread ones past [`MAX_WAITING`] are
    /// only counted.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<AttributedRefusal>) {
        let (attributed, reader) = mpsc::channel(MAX_WAITING);
        let window = Mutex::new(Window { since: Instant::now(), counts: BTreeMap::new() });
        (Self { window, attributed }, reader)
    }

    /// The counts of the current minute.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ErrorCode, u64> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }

    fn count(&self, reason: ErrorCode, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.since) >= WINDOW {
            let past = std::mem::take(&mut window.counts);
            window.since = now;
            for (code, count) in past {
                tracing::info!(reason = code.as_str(), count, "refused in the last minute");
            }
        }
        let count = window.counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }
}

impl RefusalSink for RefusalLog {
    fn refused(&self, reason: ErrorCode, subject: Option<&Verified>, tool: Option<&str>) {
        self.count(reason, Instant::now());
        let Some(verified) = subject else { return };
        let refusal = AttributedRefusal {
            reason,
            issuer: verified.issuer().to_owned(),
            subject: verified.subject().to_owned(),
            client: verified.client().map(str::to_owned),
            tool: tool.map(Untrusted::new),
        };
        // Full or unread: the count above is what remains.
        drop(self.attributed.try_send(refusal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason_and_minute() {
        let (log, _reader) = RefusalLog::new();
        for _ in 0..3 {
            log.refused(ErrorCode::AuthTokenInvalid, None, None);
        }
        log.refused(ErrorCode::AuthTokenMissing, None, Some("ibkr_health"));
        let counts = log.counts();
        assert_eq!(counts[&ErrorCode::AuthTokenInvalid], 3);
        assert_eq!(counts[&ErrorCode::AuthTokenMissing], 1);
        log.count(ErrorCode::AuthTokenInvalid, Instant::now() + WINDOW);
        assert_eq!(
            log.counts().into_iter().collect::<Vec<_>>(),
            [(ErrorCode::AuthTokenInvalid, 1)]
        );
    }
}
