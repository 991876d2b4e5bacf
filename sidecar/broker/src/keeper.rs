//! Keeps a broker session alive: looks at it every minute, sooner where it is bad, brings the
//! brokerage session up where that needs no login, and reminds of its end. What a look means is
//! [`cause`]'s, when it ends [`end`]'s, what a human must do [`advice`]'s.
//!
//! It never takes the session from another platform.

mod advice;
mod cause;
mod end;

use crate::BrokerError;
use crate::client::ClientPortal;
use core::hash::{BuildHasher as _, Hasher as _};
use core::time::Duration;
use ibkr_agent_domain::{BrokerEvent, SessionState, Timestamp};
use std::hash::RandomState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use advice::{Viewer, instructions};
pub(crate) use cause::Cause;
pub use end::Region;
pub(crate) use end::{Ends, Reminder};

/// How often a good session is kept alive.
const TICKLE_EVERY: Duration = Duration::from_secs(60);
/// How soon a bad one is looked at again.
const RETRY_EVERY: Duration = Duration::from_secs(15);
/// How soon a session is looked at that was just lost.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// How often the login's age is asked for.
const VALIDATE_EVERY: Duration = Duration::from_secs(10 * 60);

/// Keeps the session alive until shutdown: a tickle every minute; brings the brokerage session up
/// where that needs no login, and never takes it from another platform.
///
/// Holds the stream up too.
pub async fn keep_alive(broker: ClientPortal, shutdown: CancellationToken) {
    tokio::join!(keep_session(&broker, &shutdown), crate::stream::supervise(&broker, &shutdown));
}

async fn keep_session(broker: &ClientPortal, shutdown: &CancellationToken) {
    let mut pause = Duration::ZERO;
    let mut reminder = Reminder::default();
    let mut validate_at = Instant::now();
    loop {
        let turn = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = broker.session().lost.notified() => tokio::time::sleep(LOST_PAUSE).await,
            }
            let state = look(broker).await;
            if state != SessionState::Ready {
                validate_at = Instant::now();
            } else if validate_at <= Instant::now() {
                validate_at = Instant::now() + VALIDATE_EVERY;
                broker.learn_login().await;
            }
            remind(broker, &mut reminder);
            state
        };
        let state = tokio::select! {
            () = shutdown.cancelled() => return,
            state = turn => state,
        };
        pause = match state {
            SessionState::Ready => until_reminder(broker).min(TICKLE_EVERY),
            SessionState::Unreachable
            | SessionState::LoginRequired
            | SessionState::BrokerageDown
            | SessionState::Competing => RETRY_EVERY,
        };
    }
}

async fn look(broker: &ClientPortal) -> SessionState {
    match broker.start(broker.session().known().is_none()).await {
        Ok(health) => health.state,
        Err(error) => {
            tracing::debug!(code = error.code().as_str(), "keep-alive failed");
            broker.session().state()
        }
    }
}

fn now(broker: &ClientPortal) -> Timestamp {
    broker.transport().clock().now()
}

fn remind(broker: &ClientPortal, reminder: &mut Reminder) {
    let health = broker.session_health();
    let Some(ends_at) = health.ends_at.filter(|_| health.state == SessionState::Ready) else {
        return;
    };
    if reminder.is_due(ends_at, broker.remind_before(), now(broker)) {
        tracing::info!(session.ends_at = %ends_at, "the broker session ends soon");
        broker.streams().tell(BrokerEvent::Reminder { ends_at });
    }
}

/// How long until the reminder; a second at least.
fn until_reminder(broker: &ClientPortal) -> Duration {
    let Some(ends_at) = broker.session_health().ends_at else {
        return TICKLE_EVERY;
    };
    let left = ends_at.since(now(broker));
    match left.checked_sub(broker.remind_before()) {
        Some(wait) if !wait.is_zero() => wait.max(Duration::from_secs(1)),
        Some(_) | None => TICKLE_EVERY,
    }
}

/// What a failed keep-alive says of the session, where it says anything.
pub(crate) fn judge(error: &BrokerError) -> Option<Cause> {
    match error {
        BrokerError::Unreachable { why } => Some(Cause::of_connection(why)),
        BrokerError::Interrupted => Some(Cause::NoConnection),
        // It hangs when it can't reach IBKR.
        BrokerError::TimedOut => Some(Cause::NoAnswer),
        BrokerError::AccessDenied { .. } => Some(Cause::Denied),
        BrokerError::SessionRequired => Some(Cause::NoLogin),
        BrokerError::SessionExpired => Some(Cause::BrokerageDown),
        BrokerError::WrongLogin { .. } => Some(Cause::WrongLogin),
        // IBKR restarts, or a page instead of an answer: there is no session to work with.
        BrokerError::Upstream { .. }
        | BrokerError::Rejected { .. }
        | BrokerError::InvalidResponse { .. } => Some(Cause::BrokerFails),
        BrokerError::RateLimited { .. }
        | BrokerError::UnknownAccount
        | BrokerError::UnknownContract
        | BrokerError::ExchangeNotAllowed { .. }
        | BrokerError::UnknownOrder
        | BrokerError::NoHistory
        | BrokerError::Unsupported { .. }
        | BrokerError::InvalidRequest { .. } => None,
    }
}

/// Half of a pause and a random part of the other half, so that clients don't come in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let share = u32::try_from(RandomState::new().build_hasher().finish() % 256).unwrap_or(255);
    let half = pause / 2;
    half.saturating_add(half.saturating_mul(share) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_keep_alive_says_what_is_wrong() {
        let unreachable = BrokerError::Unreachable { why: "no connection" };
        let certificate = BrokerError::Unreachable { why: crate::transport::BAD_CERTIFICATE };
        let restart = BrokerError::Upstream { status: 503, message: None };
        for (error, cause, state) in [
            (unreachable, Cause::NoConnection, SessionState::Unreachable),
            (certificate, Cause::Certificate, SessionState::Unreachable),
            (BrokerError::TimedOut, Cause::NoAnswer, SessionState::Unreachable),
            (BrokerError::Interrupted, Cause::NoConnection, SessionState::Unreachable),
            (BrokerError::AccessDenied { status: 404 }, Cause::Denied, SessionState::Unreachable),
            (BrokerError::SessionRequired, Cause::NoLogin, SessionState::LoginRequired),
            (BrokerError::SessionExpired, Cause::BrokerageDown, SessionState::BrokerageDown),
            (restart, Cause::BrokerFails, SessionState::LoginRequired),
        ] {
            assert_eq!(judge(&error), Some(cause), "{error}");
            assert_eq!(cause.state(), state, "{error}");
        }
        let limited = BrokerError::RateLimited { retry_after: Duration::from_secs(900) };
        assert_eq!(judge(&limited), None);
    }

    #[test]
    fn a_jittered_pause_is_between_half_and_whole() {
        let pause = Duration::from_secs(8);
        for _ in 0..1_000 {
            let wait = jittered(pause);
            assert!(wait >= pause / 2 && wait <= pause, "{wait:?}");
        }
    }
}
