//! Restarts, losses and long silences under load: clear codes in time, recovery without help where
//! no login is needed, streams that resume, and each change of the session told once.

use crate::kept::Kept;
use crate::support::{AAPL, PAPER, World, account, conid};
use crate::upstream::{PATIENCE, jump};
use core::time::Duration;
use ibkr_agent_broker::{Broker, BrokerConfig};
use ibkr_agent_domain::{BrokerEvent, SessionState, Watch};
use ibkr_agent_simulator::{Endpoint, Misbehaviour, Posture, Session, Simulator, SimulatorConfig};
use std::time::Instant;

const LIMIT: Duration = Duration::from_millis(900);

async fn world() -> World {
    let simulated = SimulatorConfig { posture: Posture::Gateway, ..SimulatorConfig::default() };
    let change = |config: &mut BrokerConfig| config.request_timeout = LIMIT;
    World::start_with(simulated, change).await
}

/// Reads of several callers; each ends in time, and with this code where it fails.
async fn load(world: &World, code: &str) -> usize {
    let (id, quote) = (account(PAPER), [conid(AAPL)]);
    let reads = (0..8).map(|_| async {
        let start = Instant::now();
        let results = tokio::join!(
            world.broker.summary(&id),
            world.broker.positions(&id),
            world.broker.orders(&id),
            world.broker.quotes(&quote),
        );
        // A read makes up to four requests, each of which ends in time.
        assert!(start.elapsed() < 5 * LIMIT, "{:?}", start.elapsed());
        let errors = [results.0.err(), results.1.err(), results.2.err(), results.3.err()];
        errors
            .into_iter()
            .flatten()
            .inspect(|error| assert_eq!(error.code().as_str(), code))
            .count()
    });
    futures_util::future::join_all(reads).await.into_iter().sum()
}

#[tokio::test]
async fn a_restarted_gateway_is_found_again_and_the_stream_resumes() {
    let mut world = world().await;
    let mut kept = Kept::up(&world.broker);
    let _watch = kept.broker.watch(Watch::Quote(conid(AAPL)));
    kept.subscribed(4).await;
    let address = world.simulator.base_url();
    let address = address.trim_start_matches("http://").split('/').next().unwrap();
    let again = SimulatorConfig {
        posture: Posture::Gateway,
        bind: address.parse().unwrap(),
        ..SimulatorConfig::default()
    };
    // The first is stopped before the second takes its port.
    let first = core::mem::replace(
        &mut world.simulator,
        Simulator::start(SimulatorConfig::default()).await.unwrap(),
    );
    drop(first);
    let failures = load(&world, "BROKER_BACKEND_UNAVAILABLE").await;
    assert!(failures >= 24, "{failures}");
    kept.until(SessionState::Unreachable).await;
    let second = started(again).await;
    jump(Duration::from_secs(16)).await;
    kept.until(SessionState::Ready).await;
    jump(Duration::from_secs(61)).await;
    kept.event(|event| (event == BrokerEvent::Resumed).then_some(())).await;
    kept.subscribed(4).await;
    assert_eq!(second.control().sockets(), 1);
    assert_eq!(load(&world, "").await, 0);
}

/// Starts a simulator on a port that may not be free yet.
async fn started(config: SimulatorConfig) -> Simulator {
    let trying = async {
        loop {
            match Simulator::start(config.clone()).await {
                Ok(simulator) => return simulator,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap()
}

#[tokio::test]
async fn a_lost_brokerage_session_comes_back_by_itself_and_each_change_is_told_once() {
    let world = world().await;
    let mut kept = Kept::up(&world.broker);
    let _watch = kept.broker.watch(Watch::Quote(conid(AAPL)));
    kept.subscribed(4).await;
    assert_eq!(kept.told_states(), [SessionState::Ready]);
    world.control.happen(Misbehaviour::SessionLoss);
    assert_eq!(kept.state().await, SessionState::BrokerageDown);
    assert_eq!(kept.state().await, SessionState::Ready);
    kept.subscribed(4).await;
    kept.quote().await;
    assert_eq!(kept.told_states(), [SessionState::Ready; 0]);
    assert_eq!(load(&world, "").await, 0);
}

#[tokio::test]
async fn a_lost_login_waits_for_a_human_and_goes_on_after_one() {
    let world = world().await;
    let mut kept = Kept::up(&world.broker);
    kept.subscribed(3).await;
    kept.told_states();
    world.control.happen(Misbehaviour::LoginLoss);
    let failures = load(&world, "BROKER_SESSION_REQUIRED").await;
    assert_eq!(failures, 32);
    assert_eq!(kept.state().await, SessionState::LoginRequired);
    let asked = world.requests().len();
    assert_eq!(load(&world, "BROKER_SESSION_REQUIRED").await, 32);
    assert!(world.requests().len() < asked + 40, "the login isn't hammered");
    world.control.set_session(Session::Ready);
    jump(Duration::from_secs(16)).await;
    assert_eq!(kept.state().await, SessionState::Ready);
    kept.subscribed(3).await;
    assert_eq!(load(&world, "").await, 0);
    assert_eq!(kept.told_states(), [SessionState::Ready; 0]);
}

#[tokio::test]
async fn three_minutes_without_an_upstream_end_in_codes_in_time_and_in_recovery() {
    let world = world().await;
    let mut kept = Kept::up(&world.broker);
    let _watch = kept.broker.watch(Watch::Quote(conid(AAPL)));
    kept.subscribed(4).await;
    kept.told_states();
    world.control.misbehave(Endpoint::Any, Misbehaviour::UpstreamDown);
    assert!(load(&world, "BROKER_BACKEND_UNAVAILABLE").await >= 24);
    for _ in 0..3 {
        jump(Duration::from_secs(60)).await;
        assert!(load(&world, "BROKER_BACKEND_UNAVAILABLE").await >= 24);
    }
    assert_eq!(kept.state().await, SessionState::Unreachable);
    world.control.behave(Endpoint::Any);
    jump(Duration::from_secs(16)).await;
    assert_eq!(kept.state().await, SessionState::Ready);
    jump(Duration::from_secs(61)).await;
    kept.subscribed(4).await;
    kept.quote().await;
    assert_eq!(load(&world, "").await, 0);
    assert_eq!(kept.told_states(), [SessionState::Ready; 0]);
}
