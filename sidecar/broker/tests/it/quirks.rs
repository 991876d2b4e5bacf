//! The simulator's catalogue of misbehaviours, each with the client's answer: the right code in
//! time, no write sent twice, and all well again once the cause is gone.

use crate::support::{PAPER, World, account, dec};
use core::time::Duration;
use ibkr_agent_broker::{Broker, PlaceOutcome};
use ibkr_agent_domain::SessionState;
use ibkr_agent_simulator::{Endpoint, Misbehaviour, Precautions, Session, SimulatorConfig};
use tokio::time::Instant;

/// Time-out of a request in these tests, and how long a read or a write may take at most: a read
/// may make its pre-flight and one more try.
const REQUEST: Duration = Duration::from_millis(700);
const IN_TIME: Duration = Duration::from_secs(5);

/// What a caller sees.
#[derive(Clone, Copy)]
struct Seen {
    /// Of a read: its code, or `ok`.
    read: &'static str,
    /// Of a placement: its outcome.
    place: &'static str,
    /// How many orders the broker took.
    taken: u64,
}

const fn seen(read: &'static str, place: &'static str, taken: u64) -> Option<Seen> {
    Some(Seen { read, place, taken })
}

/// Nothing for what isn't about an answer: events, and the stream, which have tests of their own.
const fn expected(what: Misbehaviour) -> Option<Seen> {
    const AWAY: &str = "BROKER_BACKEND_UNAVAILABLE";
    const LOGIN: &str = "BROKER_SESSION_REQUIRED";
    match what {
        Misbehaviour::Hang | Misbehaviour::UpstreamDown => seen(AWAY, "timed_out", 0),
        Misbehaviour::Reset | Misbehaviour::DroppedRequest => seen(AWAY, "connection_lost", 0),
        Misbehaviour::Html500 | Misbehaviour::Unavailable => seen(AWAY, "server_error", 0),
        Misbehaviour::Html403 | Misbehaviour::IpDenied => seen(AWAY, "access_denied", 0),
        Misbehaviour::Empty401 | Misbehaviour::Json401 => seen(LOGIN, "logged_out", 0),
        Misbehaviour::LoginRedirect => seen(LOGIN, "unexpected_status", 0),
        Misbehaviour::Text429 => seen("BROKER_RATE_LIMITED", "broker_takes_no_more", 0),
        Misbehaviour::ErrorInOk => seen("BROKER_REJECTED", "rejected", 0),
        Misbehaviour::HangAfterEffect => seen(AWAY, "timed_out", 1),
        Misbehaviour::ResetAfterEffect | Misbehaviour::DroppedAnswer => {
            seen(AWAY, "connection_lost", 1)
        }
        Misbehaviour::UnavailableAfterEffect => seen(AWAY, "server_error", 1),
        Misbehaviour::CutShort => seen(AWAY, "answer_cut", 1),
        Misbehaviour::TruncatedJson => seen("BROKER_RESPONSE_INVALID", "answer_not_understood", 1),
        Misbehaviour::HugeBody(_) => seen("BROKER_RESPONSE_INVALID", "answer_cut", 1),
        Misbehaviour::LateAnswer(_)
        | Misbehaviour::DuplicateAnswer
        | Misbehaviour::WrongContentType
        | Misbehaviour::ClockSkew(_)
        | Misbehaviour::CancelList
        | Misbehaviour::TwinOrder
        | Misbehaviour::WorkingTwins => seen("ok", "placed", 1),
        // An empty list says nothing of the order.
        Misbehaviour::ThinReads => seen("ok", "answer_empty", 1),
        Misbehaviour::DeliveredTwice => seen("ok", "registered", 1),
        Misbehaviour::LookAlikeQuestion | Misbehaviour::HostileQuestion => {
            seen("ok", "question", 0)
        }
        Misbehaviour::QueryAccountsFirst => seen("BROKER_SESSION_EXPIRED", "rejected", 0),
        Misbehaviour::InvalidAttribute => seen(AWAY, "rejected", 0),
        Misbehaviour::PlainQuestion => seen("ok", "question", 0),
        Misbehaviour::PromptObject => seen("ok", "prompted", 1),
        Misbehaviour::SessionLoss
        | Misbehaviour::LoginLoss
        | Misbehaviour::Competing
        | Misbehaviour::BrokerageDown
        | Misbehaviour::OrderIdsStartOver
        | Misbehaviour::SocketCut
        | Misbehaviour::ExpiredStreams
        | Misbehaviour::SilentSocket
        | Misbehaviour::SilentOrders => None,
    }
}

async fn world() -> World {
    let world =
        World::start_with(SimulatorConfig::default(), |config| config.request_timeout = REQUEST)
            .await;
    assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready);
    world.control.set_precautions(Precautions::Off);
    world
}

async fn read(world: &World) -> &'static str {
    match world.broker.ledger(&account(PAPER)).await {
        Ok(_) => "ok",
        Err(error) => error.code().as_str(),
    }
}

const fn name(outcome: &PlaceOutcome) -> &'static str {
    match outcome {
        PlaceOutcome::Placed { .. } => "placed",
        PlaceOutcome::Question(_) => "question",
        PlaceOutcome::Prompted(_) => "prompted",
        PlaceOutcome::Rejected { .. } => "rejected",
        PlaceOutcome::AlreadyRegistered => "registered",
        PlaceOutcome::Unknown { why } => why.as_str(),
        PlaceOutcome::NotSent { why } => why.as_str(),
    }
}

#[tokio::test]
async fn every_misbehaviour_of_a_read_has_its_code_in_time_and_passes() {
    for what in Misbehaviour::ALL {
        let Some(expected) = expected(what) else { continue };
        let world = world().await;
        world.control.misbehave(Endpoint::Portfolio, what);
        let started = Instant::now();
        assert_eq!(read(&world).await, expected.read, "{what:?}");
        assert!(started.elapsed() < IN_TIME, "{what:?} took {:?}", started.elapsed());
        world.control.behave_everywhere();
        if what == Misbehaviour::Text429 {
            // The penalty box is ours to keep, though this one was never opened.
            let before = world.requests().len();
            assert_eq!(read(&world).await, "BROKER_RATE_LIMITED");
            assert_eq!(world.requests().len(), before);
        } else {
            assert_eq!(read(&world).await, "ok", "after {what:?}");
        }
    }
}

#[tokio::test]
async fn every_misbehaviour_of_a_placement_has_its_outcome_and_no_second_request() {
    for what in Misbehaviour::ALL {
        let Some(expected) = expected(what) else { continue };
        let world = world().await;
        world.control.misbehave(Endpoint::Place, what);
        let started = Instant::now();
        let outcome = world.place("ia-quirk", dec!(1)).await;
        assert_eq!(name(&outcome), expected.place, "{what:?}: {outcome:?}");
        assert!(started.elapsed() < IN_TIME, "{what:?} took {:?}", started.elapsed());
        assert_eq!(world.control.place_calls(), expected.taken, "{what:?}");
        assert_eq!(world.effects(), 1, "{what:?}");
        world.control.behave_everywhere();
        drop(outcome);
        if what != Misbehaviour::Text429 {
            assert_eq!(read(&world).await, "ok", "after {what:?}");
            assert_eq!(world.effects(), 1, "{what:?} later");
        }
    }
}

#[tokio::test]
async fn every_loss_of_the_session_has_its_code_and_ends_with_its_cause() {
    for (event, code, state) in [
        (Misbehaviour::SessionLoss, "ok", SessionState::Ready),
        (Misbehaviour::LoginLoss, "BROKER_SESSION_REQUIRED", SessionState::LoginRequired),
        (Misbehaviour::Competing, "BROKER_SESSION_EXPIRED", SessionState::Competing),
        (Misbehaviour::BrokerageDown, "BROKER_SESSION_EXPIRED", SessionState::BrokerageDown),
    ] {
        let world = world().await;
        world.control.happen(event);
        let first = world.broker.orders(&account(PAPER)).await;
        assert!(first.is_err(), "{event:?}");
        let health = world.broker.renew().await.unwrap();
        assert_eq!(health.state, state, "{event:?}");
        let after = match world.broker.orders(&account(PAPER)).await {
            Ok(_) => "ok",
            Err(error) => error.code().as_str(),
        };
        assert_eq!(after, code, "{event:?}");
        world.control.set_session(Session::Ready);
        assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready, "{event:?}");
        assert!(world.broker.orders(&account(PAPER)).await.is_ok(), "{event:?}");
    }
}

#[tokio::test]
async fn thin_reads_are_asked_for_again_but_not_forever() {
    let world = world().await;
    world.control.misbehave(Endpoint::Snapshot, Misbehaviour::ThinReads);
    let apple = crate::support::conid(crate::support::AAPL);
    let before = world.requests().len();
    let quotes = world.broker.quotes(&[apple]).await.unwrap();
    assert_eq!(quotes[0].bid, None, "no value is invented");
    let made = world.requests().len() - before;
    assert!((2..=6).contains(&made), "{made}");
    world.control.behave_everywhere();
    assert!(world.broker.quotes(&[apple]).await.unwrap()[0].bid.is_some());
}

#[tokio::test]
async fn a_skewed_clock_is_told() {
    let world = world().await;
    world.control.misbehave(Endpoint::Portfolio, Misbehaviour::ClockSkew(-120));
    assert_eq!(read(&world).await, "ok");
    let skew = world.broker.health().clock_skew_ms.unwrap();
    assert!((-122_000..=-118_000).contains(&skew), "{skew}");
}
