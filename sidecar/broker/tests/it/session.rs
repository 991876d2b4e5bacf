//! Start-up, loss and recovery of the session.

use crate::scripted::{Act, Scripted, say, session_answer};
use crate::support::{PAPER, World, account, client, config};
use core::time::Duration;
use ibkr_agent_broker::{Broker, BrokerError, keep_alive};
use ibkr_agent_domain::{Currency, Mode, SessionState};
use ibkr_agent_simulator::{Login, Session, SimulatorConfig};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn renewing_runs_the_start_up_sequence_in_order() {
    let world = World::start(SimulatorConfig::default()).await;
    assert_eq!(world.broker.health().state, SessionState::Unreachable);
    let health = world.broker.renew().await.unwrap();
    assert_eq!(health.state, SessionState::Ready);
    assert_eq!(health.is_paper, Some(true));
    assert!(health.last_tickle.is_some());
    assert!(health.clock_skew_ms.unwrap().abs() < 5_000);
    assert_eq!(
        world.requests(),
        [
            "POST /tickle",
            "GET /iserver/accounts",
            "GET /portfolio/accounts",
            "GET /iserver/account/orders",
            "GET /iserver/account/trades",
        ]
    );
}

#[tokio::test]
async fn a_lost_brokerage_session_is_brought_up_without_competing() {
    let world = World::start(SimulatorConfig::default()).await;
    world.control.set_session(Session::NoBridge);
    let error = world.broker.accounts().await.unwrap_err();
    assert_eq!(error.code().as_str(), "BROKER_SESSION_EXPIRED");
    assert_eq!(world.broker.health().state, SessionState::BrokerageDown);
    let health = world.broker.renew().await.unwrap();
    assert_eq!(health.state, SessionState::Ready);
    assert!(world.requests().contains(&"POST /iserver/auth/ssodh/init".to_owned()));
    assert!(world.broker.positions(&account(PAPER)).await.is_ok());
}

#[tokio::test]
async fn another_platforms_session_is_left_alone() {
    let world = World::start(SimulatorConfig::default()).await;
    world.control.set_session(Session::Competing);
    let health = world.broker.renew().await.unwrap();
    assert_eq!(health.state, SessionState::Competing);
    assert!(!world.requests().contains(&"POST /iserver/auth/ssodh/init".to_owned()));
}

#[tokio::test]
async fn a_logged_out_gateway_asks_for_a_human() {
    let config = SimulatorConfig { login: Login::LoggedOut, ..SimulatorConfig::default() };
    let world = World::start(config).await;
    let health = world.broker.renew().await.unwrap();
    assert_eq!(health.state, SessionState::LoginRequired);
    let error = world.broker.accounts().await.unwrap_err();
    assert_eq!(error, BrokerError::SessionRequired);
}

#[tokio::test]
async fn a_new_brokerage_session_gets_its_pre_flight_and_the_read_is_repeated_once() {
    let world = World::ready().await;
    world.control.set_session(Session::NoBridge);
    world.control.set_session(Session::Ready);
    let before = world.requests().len();
    let quotes = world.broker.quotes(&[crate::support::conid(crate::support::AAPL)]).await.unwrap();
    assert!(quotes[0].bid.is_some());
    let after = &world.requests()[before..];
    assert_eq!(after[0], "GET /iserver/marketdata/snapshot");
    assert_eq!(after[1], "GET /iserver/accounts");
    assert_eq!(after.iter().filter(|line| *line == "GET /iserver/accounts").count(), 1);
}

#[tokio::test]
async fn an_absent_gateway_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (broker, _) = client(config(&url, Mode::Paper));
    let error = broker.renew().await.unwrap_err();
    assert_eq!(error.code().as_str(), "BROKER_BACKEND_UNAVAILABLE");
    assert_eq!(broker.health().state, SessionState::Unreachable);
}

#[tokio::test]
async fn a_login_of_another_kind_is_not_read_from() {
    let live = SimulatorConfig { login: Login::Live, ..SimulatorConfig::default() };
    let world = World::start_with(live, |config| {
        config.expect = Mode::Paper;
        config.pacing = ibkr_agent_broker::Pacing::On;
    })
    .await;
    let error = world.broker.renew().await.unwrap_err();
    assert!(matches!(error, BrokerError::WrongLogin { .. }), "{error:?}");
    assert_ne!(world.broker.health().state, SessionState::Ready);
    assert!(world.broker.summary(&account("U1234567")).await.is_err());
    assert!(!world.requests().iter().any(|line| line.contains("/summary")));
}

#[tokio::test]
async fn simulated_mode_refuses_a_gateway_that_is_not_the_simulator() {
    let server = Scripted::start([]).await;
    let (broker, _) = client(config(&server.url, Mode::Simulated));
    let error = broker.renew().await.unwrap_err();
    assert!(matches!(error, BrokerError::WrongLogin { .. }), "{error:?}");
    let (paper, _) = client(config(&server.url, Mode::Paper));
    assert_eq!(paper.renew().await.unwrap().state, SessionState::Ready);
}

#[tokio::test]
async fn keep_alive_brings_the_session_up_and_ends_at_shutdown() {
    let world = World::start(SimulatorConfig::default()).await;
    world.control.set_session(Session::NoBridge);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(keep_alive(world.broker.clone(), shutdown.clone()));
    let ready = async {
        while world.broker.health().state != SessionState::Ready {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn clock_skew_comes_from_the_date_header() {
    let server = Scripted::answering(|path| {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        session_answer(path, date, "x").unwrap_or_else(|| say("404 Not Found", "", ""))
    })
    .await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let health = broker.renew().await.unwrap();
    assert!(health.clock_skew_ms.unwrap() < -900_000_000_000, "{health:?}");
}

#[tokio::test]
async fn a_gateway_that_hangs_is_unreachable_and_waiting_callers_are_answered_in_time() {
    let server = Scripted::answering(|_| Act::Hang).await;
    let mut configuration = config(&server.url, Mode::Paper);
    configuration.request_timeout = Duration::from_millis(300);
    let (broker, _) = client(configuration);
    assert_eq!(broker.renew().await.unwrap_err(), BrokerError::TimedOut);
    assert_eq!(broker.health().state, SessionState::Unreachable);
    let reads = (0..20).map(|_| broker.accounts());
    let all = futures_util::future::join_all(reads);
    let results = tokio::time::timeout(Duration::from_secs(4), all).await.unwrap();
    for result in results {
        assert_eq!(result.unwrap_err().code().as_str(), "BROKER_BACKEND_UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_lost_session_is_brought_up_again_soon_after_a_read_noticed() {
    let world = World::start(SimulatorConfig::default()).await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(keep_alive(world.broker.clone(), shutdown.clone()));
    let is = |wanted| {
        let broker = world.broker.clone();
        async move {
            while (broker.health().state == SessionState::Ready) != wanted {
                tokio::task::yield_now().await;
            }
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, is(true)).await.unwrap();
    world.control.set_session(Session::NoBridge);
    assert!(world.broker.exchange_rate(Currency::BASE, Currency::USD).await.is_err());
    assert_eq!(world.broker.health().state, SessionState::BrokerageDown);
    tokio::time::timeout(limit, is(true)).await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
}
