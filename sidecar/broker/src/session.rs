//! What we know of the broker session, and how a failed answer is understood.
//!
//! One small lock around plain facts, held for moments and never across an await. Nothing here is
//! session material: the gateway keeps that in its own jar.

use crate::BrokerError;
use crate::transport::Answer;
use crate::wire::{error_text, first, message};
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
    state: SessionState,
    since: Timestamp,
    last_tickle: Option<Timestamp>,
    known: Option<Arc<Known>>,
    orders_primed: bool,
    trades_primed: bool,
}

impl Facts {
    fn health(&self, clock_skew_ms: Option<i64>) -> SessionHealth {
        SessionHealth {
            state: self.state,
            since: self.since,
            why: why(self.state),
            ends_at: None,
            last_tickle: self.last_tickle,
            is_paper: self.known.as_ref().and_then(|known| known.is_paper),
            clock_skew_ms,
        }
    }
}

const fn why(state: SessionState) -> &'static str {
    match state {
        SessionState::Unreachable => "the Client Portal Gateway doesn't answer",
        SessionState::LoginRequired => "nobody is logged in at the gateway",
        SessionState::BrokerageDown => "logged in, but the brokerage session is down",
        SessionState::Competing => "another session of the same username is active",
        SessionState::Ready => "the session works",
    }
}

/// The session as last learnt.
#[derive(Debug)]
pub(crate) struct Session {
    facts: Mutex<Facts>,
    /// Held by whoever runs the start-up sequence.
    pub(crate) starting: tokio::sync::Mutex<()>,
    /// Told when a good session is lost, or may be.
    pub(crate) lost: tokio::sync::Notify,
    states: watch::Sender<SessionState>,
    events: broadcast::Sender<BrokerEvent>,
}

impl Session {
    pub(crate) fn new(now: Timestamp, events: broadcast::Sender<BrokerEvent>) -> Self {
        Self {
            facts: Mutex::new(Facts {
                state: SessionState::Unreachable,
                since: now,
                last_tickle: None,
                known: None,
                orders_primed: false,
                trades_primed: false,
            }),
            starting: tokio::sync::Mutex::default(),
            lost: tokio::sync::Notify::new(),
            states: watch::Sender::new(SessionState::Unreachable),
            events,
        }
    }

    pub(crate) fn health(&self, clock_skew_ms: Option<i64>) -> SessionHealth {
        self.lock().health(clock_skew_ms)
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, is_wanted: impl Fn(SessionState) -> bool) {
        let mut states = self.states.subscribe();
        // The sender lives as long as we do.
        drop(states.wait_for(|state| is_wanted(*state)).await);
    }

    pub(crate) fn state(&self) -> SessionState {
        self.lock().state
    }

    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.lock().known.clone()
    }

    pub(crate) fn note_tickle(&self, now: Timestamp) {
        self.lock().last_tickle = Some(now);
    }

    /// Notes a state. Whatever isn't ready forgets the accounts and subscriptions, since the next
    /// session may be another login's; an unreachable gateway forgets nothing.
    pub(crate) fn note_state(&self, state: SessionState, now: Timestamp, skew_ms: Option<i64>) {
        let mut facts = self.lock();
        let is_changed = facts.state != state;
        if is_changed {
            tracing::info!(
                session.from = facts.state.as_str(),
                session.to = state.as_str(),
                "broker session changed"
            );
            if facts.state == SessionState::Ready {
                self.lost.notify_one();
            }
            facts.state = state;
            facts.since = now;
        }
        match state {
            SessionState::Ready | SessionState::Unreachable => {}
            SessionState::LoginRequired | SessionState::BrokerageDown | SessionState::Competing => {
                facts.known = None;
                facts.orders_primed = false;
                facts.trades_primed = false;
            }
        }
        if is_changed {
            self.states.send_replace(state);
            // Nobody listening is fine.
            drop(self.events.send(BrokerEvent::Session(facts.health(skew_ms))));
        }
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
    pub(crate) const fn state(&self) -> Option<SessionState> {
        match self {
            Self::Error(BrokerError::SessionRequired) => Some(SessionState::LoginRequired),
            Self::Error(BrokerError::SessionExpired) => Some(SessionState::BrokerageDown),
            Self::Error(BrokerError::Unreachable { .. }) => Some(SessionState::Unreachable),
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
