//! What we know of the broker session, and how a failed answer is understood.
//!
//! One small lock around plain facts, held for moments and never across an await. Nothing here is
//! session material: the gateway keeps that in its own jar.

use crate::BrokerError;
use crate::keeper::{Cause, Ends, Region};
use crate::transport::Answer;
use crate::wire::{error_text, first, message};
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, AccountInfo, BrokerEvent, SessionHealth, SessionState, Timestamp,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// The accounts of the current brokerage session.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) accounts: Vec<AccountInfo>,
    pub(crate) is_paper: Option<bool>,
    pub(crate) is_simulated: bool,
    /// Whether the simulated market is open at any time.
    pub(crate) is_always_open: bool,
    pub(crate) read_at: Instant,
}

impl Known {
    pub(crate) fn has(&self, account: &AccountId) -> bool {
        self.accounts.iter().any(|known| known.id == *account)
    }
}

/// Subscriptions that the first read only opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primed {
    Orders,
    Trades,
}

#[derive(Debug)]
struct Facts {
    cause: Cause,
    ends: Ends,
    since: Timestamp,
    last_tickle: Option<Timestamp>,
    known: Option<Arc<Known>>,
    orders_primed: bool,
    trades_primed: bool,
}

impl Facts {
    fn health(&self, region: Region, now: Timestamp, clock_skew_ms: Option<i64>) -> SessionHealth {
        let ends_at = match self.cause.state() {
            SessionState::Ready | SessionState::BrokerageDown | SessionState::Competing => {
                self.ends.at(region, now)
            }
            SessionState::Unreachable | SessionState::LoginRequired => None,
        };
        SessionHealth {
            state: self.cause.state(),
            since: self.since,
            why: self.cause.sentence(),
            ends_at,
            last_tickle: self.last_tickle,
            is_paper: self.known.as_ref().and_then(|known| known.is_paper),
            clock_skew_ms,
        }
    }
}

/// The session as last learnt.
#[derive(Debug)]
pub(crate) struct Session {
    facts: Mutex<Facts>,
    region: Region,
    /// Held by whoever runs the start-up sequence.
    pub(crate) starting: tokio::sync::Mutex<()>,
    /// Told when a good session is lost, or when a read of one stays without an answer. or may be.
    pub(crate) lost: tokio::sync::Notify,
    states: watch::Sender<SessionState>,
    events: broadcast::Sender<BrokerEvent>,
}

impl Session {
    pub(crate) fn new(
        region: Region,
        now: Timestamp,
        events: broadcast::Sender<BrokerEvent>,
    ) -> Self {
        Self {
            facts: Mutex::new(Facts {
                cause: Cause::NotAsked,
                ends: Ends::default(),
                since: now,
                last_tickle: None,
                known: None,
                orders_primed: false,
                trades_primed: false,
            }),
            region,
            starting: tokio::sync::Mutex::default(),
            lost: tokio::sync::Notify::new(),
            states: watch::Sender::new(SessionState::Unreachable),
            events,
        }
    }

    pub(crate) fn health(&self, now: Timestamp, clock_skew_ms: Option<i64>) -> SessionHealth {
        self.lock().health(self.region, now, clock_skew_ms)
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, is_wanted: impl Fn(SessionState) -> bool) {
        let mut states = self.states.subscribe();
        // The sender lives as long as we do.
        drop(states.wait_for(|state| is_wanted(*state)).await);
    }

    pub(crate) fn state(&self) -> SessionState {
        self.lock().cause.state()
    }

    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.lock().known.clone()
    }

    /// Notes an answered keep-alive, and how long the session would live without another.
    pub(crate) fn note_tickle(&self, left: Option<Duration>, now: Timestamp) {
        let mut facts = self.lock();
        facts.last_tickle = Some(now);
        facts.ends.learn_grant(left, now);
    }

    /// Notes a cause; a change of the state is told, once. Whatever isn't ready forgets the
    /// accounts and subscriptions, since the next session may be another login's; an unreachable
    /// gateway forgets nothing.
    pub(crate) fn note(&self, cause: Cause, now: Timestamp, skew_ms: Option<i64>) {
        let mut facts = self.lock();
        let (before, state) = (facts.cause.state(), cause.state());
        facts.cause = facts.cause.then(cause);
        match state {
            SessionState::Ready | SessionState::Unreachable => {}
            SessionState::LoginRequired | SessionState::BrokerageDown | SessionState::Competing => {
                facts.known = None;
                facts.orders_primed = false;
                facts.trades_primed = false;
            }
        }
        if state == SessionState::LoginRequired {
            facts.ends = Ends::default();
        }
        if before == state {
            return;
        }
        tracing::info!(
            session.from = before.as_str(),
            session.to = state.as_str(),
            session.why = facts.cause.sentence(),
            "broker session changed"
        );
        facts.since = now;
        if before == SessionState::Ready {
            self.lost.notify_one();
        }
        self.states.send_replace(state);
        // Nobody listening is fine.
        drop(self.events.send(BrokerEvent::Session(facts.health(self.region, now, skew_ms))));
    }

    /// Learns when the login was made.
    pub(crate) fn learn_login(&self, at: Timestamp, now: Timestamp) {
        self.lock().ends.learn_login(at, now);
    }

    /// Forgets the pre-flights, so that they are made again.
    pub(crate) fn forget(&self) {
        let mut facts = self.lock();
        facts.known = None;
        facts.orders_primed = false;
        facts.trades_primed = false;
    }

    pub(crate) fn remember(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        self.lock().known = Some(Arc::clone(&known));
        known
    }

    pub(crate) fn is_primed(&self, what: Primed) -> bool {
        let facts = self.lock();
        match what {
            Primed::Orders => facts.orders_primed,
            Primed::Trades => facts.trades_primed,
        }
    }

    pub(crate) fn note_primed(&self, what: Primed) {
        let mut facts = self.lock();
        match what {
            Primed::Orders => facts.orders_primed = true,
            Primed::Trades => facts.trades_primed = true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an answer isn't one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The pre-flight of this session is missing: make it and ask once more.
    PreflightMissing,
    /// As it is.
    Error(BrokerError),
}

impl Fault {
    /// What a failure says of the session.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Error(BrokerError::SessionRequired) => Some(Cause::NoLogin),
            Self::Error(BrokerError::SessionExpired) => Some(Cause::BrokerageDown),
            Self::Error(BrokerError::Unreachable { why }) => Some(Cause::of_connection(why)),
            Self::PreflightMissing | Self::Error(_) => None,
        }
    }
}

/// Tells an answer from a failure, as the reference's list of failures has it.
pub(crate) fn check(answer: &Answer) -> Result<(), Fault> {
    let text = error_text(&answer.body);
    let fault = match answer.status {
        200..=299 => match text {
            Some(text) => by_text(&text).unwrap_or_else(|| rejected(&text)),
            None => return Ok(()),
        },
        300..=399 | 401 => Fault::Error(BrokerError::SessionRequired),
        429 => Fault::Error(BrokerError::RateLimited {
            retry_after: answer.retry_after.unwrap_or_default(),
        }),
        500..=599 => match text.as_deref().and_then(by_text) {
            Some(fault) => fault,
            None => Fault::Error(BrokerError::Upstream {
                status: answer.status,
                message: text.as_deref().map(message),
            }),
        },
        status => match text {
            Some(text) => by_text(&text).unwrap_or_else(|| rejected(&text)),
            None if first(&answer.body).is_none() => {
                Fault::Error(BrokerError::Upstream { status, message: None })
            }
            None => Fault::Error(BrokerError::AccessDenied { status }),
        },
    };
    Err(fault)
}

fn rejected(text: &str) -> Fault {
    Fault::Error(BrokerError::Rejected { message: message(text) })
}

/// Failures that are known by their words only.
fn by_text(text: &str) -> Option<Fault> {
    let lower = text.to_ascii_lowercase();
    let says = |words: &str| lower.contains(words);
    if says("query /accounts first") {
        Some(Fault::PreflightMissing)
    } else if says("no bridge") || says("init session first") {
        Some(Fault::Error(BrokerError::SessionExpired))
    } else if says("no session") || says("not authenticated") {
        Some(Fault::Error(BrokerError::SessionRequired))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(status: u16, body: &str) -> Option<&'static str> {
        let answer = Answer {
            status,
            body: body.to_owned().into(),
            sent_at: Timestamp::from_millis(0),
            retry_after: None,
        };
        match check(&answer) {
            Ok(()) => None,
            Err(Fault::PreflightMissing) => Some("preflight"),
            Err(Fault::Error(error)) => Some(error.code().as_str()),
        }
    }

    #[test]
    fn failures_are_told_apart() {
        for (status, body, expected) in [
            (401, "", "BROKER_SESSION_REQUIRED"),
            (401, "<html>Access Denied</html>", "BROKER_SESSION_REQUIRED"),
            (302, "", "BROKER_SESSION_REQUIRED"),
            (200, r#"{"error":"no session"}"#, "BROKER_SESSION_REQUIRED"),
            (
                400,
                r#"{"error":"Bad Request: no bridge","statusCode":400}"#,
                "BROKER_SESSION_EXPIRED",
            ),
            (400, r#"{"error":"Init session first","statusCode":400}"#, "BROKER_SESSION_EXPIRED"),
            (500, r#"{"error":"Please query /accounts first"}"#, "preflight"),
            (400, r#"{"error":"Please query /accounts first"}"#, "preflight"),
            (403, "<html>Access Denied</html>", "BROKER_BACKEND_UNAVAILABLE"),
            (404, "Access Denied", "BROKER_BACKEND_UNAVAILABLE"),
            (429, "Too Many Requests", "BROKER_RATE_LIMITED"),
            (503, "", "BROKER_BACKEND_UNAVAILABLE"),
            (200, r#"{"error":"No trading permissions."}"#, "BROKER_REJECTED"),
            (400, r#"{"error":"Unknown order type"}"#, "BROKER_REJECTED"),
        ] {
            assert_eq!(code(status, body), Some(expected), "{status} {body}");
        }
        assert_eq!(code(200, r#"{"error":null}"#), None);
        assert_eq!(code(200, "[]"), None);
    }
}
