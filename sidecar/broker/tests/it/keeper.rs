//! What the keeper makes of everything that a gateway does, and how it recovers.

use crate::kept::Kept;
use crate::support::{PAPER, World, account, client, config, name};
use core::time::Duration;
use ibkr_agent_broker::{Broker, BrokerConfig, HaltLatch, Region, SystemClock, TlsPolicy, connect};
use ibkr_agent_domain::{BrokerEvent, Mode, SessionState, Timestamp};
use ibkr_agent_simulator::{Endpoint, Misbehaviour, Session, Simulator, SimulatorConfig, TlsMode};
use std::sync::Arc;
use std::time::Instant;

async fn impatient() -> World {
    let change = |config: &mut BrokerConfig| config.request_timeout = Duration::from_millis(800);
    World::start_with(SimulatorConfig::default(), change).await
}

/// A keep-alive that fails so, what the session is then, and a part of why.
const KEEP_ALIVES: [(Misbehaviour, SessionState, &str); 13] = [
    (Misbehaviour::Hang, SessionState::Unreachable, "doesn't answer"),
    (Misbehaviour::UpstreamDown, SessionState::Unreachable, "doesn't answer"),
    (Misbehaviour::Reset, SessionState::Unreachable, "isn't running"),
    (Misbehaviour::DroppedAnswer, SessionState::Unreachable, "isn't running"),
    (Misbehaviour::CutShort, SessionState::Unreachable, "isn't running"),
    (Misbehaviour::Html403, SessionState::Unreachable, "refuses this address"),
    (Misbehaviour::IpDenied, SessionState::Unreachable, "refuses this address"),
    (Misbehaviour::Empty401, SessionState::LoginRequired, "has ended"),
    (Misbehaviour::Json401, SessionState::LoginRequired, "has ended"),
    (Misbehaviour::LoginRedirect, SessionState::LoginRequired, "has ended"),
    (Misbehaviour::Html500, SessionState::LoginRequired, "restarting"),
    (Misbehaviour::Unavailable, SessionState::LoginRequired, "restarting"),
    (Misbehaviour::TruncatedJson, SessionState::LoginRequired, "restarting"),
];

#[tokio::test]
async fn each_way_to_fail_a_keep_alive_is_told_and_over_with_the_next_look() {
    let world = impatient().await;
    for (what, state, why) in KEEP_ALIVES {
        assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready, "{what:?}");
        world.control.misbehave(Endpoint::Tickle, what);
        let start = Instant::now();
        drop(world.broker.renew().await);
        assert!(start.elapsed() < Duration::from_secs(2), "{what:?}");
        let health = world.broker.health();
        assert_eq!(health.state, state, "{what:?}");
        assert!(health.why.contains(why), "{what:?}: {}", health.why);
        world.control.behave(Endpoint::Tickle);
    }
    assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready);
}

#[tokio::test]
async fn harmless_oddities_of_a_keep_alive_change_nothing() {
    let world = impatient().await;
    for what in [
        Misbehaviour::WrongContentType,
        Misbehaviour::DuplicateAnswer,
        Misbehaviour::LateAnswer(Duration::from_millis(100)),
    ] {
        world.control.misbehave(Endpoint::Tickle, what);
        for _ in 0..2 {
            let health = world.broker.renew().await.unwrap();
            assert_eq!(health.state, SessionState::Ready, "{what:?}");
        }
        world.control.behave(Endpoint::Tickle);
    }
}

#[tokio::test]
async fn a_brokerage_session_that_cannot_be_brought_up_stays_down_until_it_can() {
    let world = impatient().await;
    world.control.happen(Misbehaviour::BrokerageDown);
    let health = world.broker.renew().await.unwrap();
    assert_eq!(health.state, SessionState::BrokerageDown);
    world.control.set_session(Session::NoBridge);
    for what in [Misbehaviour::Unavailable, Misbehaviour::Html500, Misbehaviour::IpDenied] {
        world.control.misbehave(Endpoint::Session, what);
        let state = world.broker.renew().await.unwrap_or_else(|_| world.broker.health()).state;
        assert_ne!(state, SessionState::Ready, "{what:?}");
        world.control.behave(Endpoint::Session);
    }
    assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready);
}

#[tokio::test]
async fn a_limited_keep_alive_says_nothing_of_the_session() {
    let world = World::ready().await;
    world.control.misbehave(Endpoint::Tickle, Misbehaviour::Text429);
    let refused = world.broker.renew().await.unwrap_err();
    assert_eq!(refused.code().as_str(), "BROKER_RATE_LIMITED");
    assert_eq!(world.broker.health().state, SessionState::Ready);
    // Every read is kept back now; nothing is sent.
    let before = world.requests().len();
    let limited = world.broker.summary(&account(PAPER)).await.unwrap_err();
    assert!(limited.retry_after().unwrap() > Duration::from_secs(800));
    assert_eq!(world.requests().len(), before);
}

#[tokio::test]
async fn a_competing_session_is_never_fought_and_taken_up_when_it_ends() {
    let world = impatient().await;
    let mut kept = Kept::up(&world.broker);
    assert_eq!(kept.state().await, SessionState::Ready);
    world.control.happen(Misbehaviour::Competing);
    for _ in 0..5 {
        drop(world.broker.renew().await);
    }
    assert_eq!(world.broker.health().state, SessionState::Competing);
    let asked = |line: &String| line.contains("ssodh/init") || line.contains("logout");
    assert!(!world.requests().iter().any(asked));
    world.control.set_session(Session::Ready);
    world.broker.renew().await.unwrap();
    assert_eq!(world.broker.health().state, SessionState::Ready);
}

#[tokio::test]
async fn many_failing_reads_tell_one_change() {
    let world = impatient().await;
    world.broker.renew().await.unwrap();
    let mut events = world.broker.events();
    world.control.set_session(Session::LoggedOut);
    let id = account(PAPER);
    let reads = (0..20).map(|_| world.broker.summary(&id));
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.unwrap_err().code().as_str(), "BROKER_SESSION_REQUIRED");
    }
    drop(world.broker.renew().await);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event);
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(&told[0], BrokerEvent::Session(health)
        if health.state == SessionState::LoginRequired && health.why.contains("has ended")));
}

#[tokio::test]
async fn the_end_of_a_session_is_known_and_reminded_of_once() {
    let change = |config: &mut BrokerConfig| {
        config.region = Region::HongKong;
        config.remind_before = Duration::from_secs(25 * 60 * 60);
    };
    let world = World::start_with(SimulatorConfig::default(), change).await;
    let mut kept = Kept::up(&world.broker);
    let reminded = kept.event(|event| {
        if let BrokerEvent::Reminder { ends_at } = event { Some(ends_at) } else { None }
    });
    let reminded = reminded.await;
    let health = world.broker.health();
    assert_eq!(health.ends_at, Some(reminded));
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    assert!(reminded <= Region::HongKong.next_reset(now).unwrap());
    let validations =
        || world.requests().iter().filter(|line| *line == "GET /sso/validate").count();
    assert_eq!(validations(), 1);
    // Another look, soon after.
    world.control.happen(Misbehaviour::SessionLoss);
    drop(world.broker.accounts().await);
    assert_eq!(kept.state().await, SessionState::BrokerageDown);
    assert_eq!(kept.state().await, SessionState::Ready);
    let is_reminder = |event: &BrokerEvent| matches!(event, BrokerEvent::Reminder { .. });
    while let Ok(event) = kept.events.try_recv() {
        assert!(!is_reminder(&event), "{event:?}");
    }
}

#[tokio::test]
async fn an_unexpected_certificate_is_named_as_the_cause() {
    let simulated = SimulatorConfig { tls: TlsMode::SelfSigned, ..SimulatorConfig::default() };
    let simulator = Simulator::start(simulated).await.unwrap();
    let mut wrong = config(&simulator.base_url(), Mode::Simulated);
    wrong.tls = TlsPolicy::PinSha256([7; 32]);
    let (broker, _) = client(wrong.clone());
    assert!(broker.renew().await.is_err());
    assert!(broker.health().why.contains("certificate"), "{:?}", broker.health());
    let pin = ibkr_agent_domain::Digest::parse(&simulator.certificate_sha256().unwrap()).unwrap();
    wrong.tls = TlsPolicy::PinSha256(*pin.as_bytes());
    let broker = connect(wrong, HaltLatch::default(), Arc::new(SystemClock)).unwrap();
    assert_eq!(broker.renew().await.unwrap().state, SessionState::Ready);
    assert_eq!(broker.name(), &name());
}
