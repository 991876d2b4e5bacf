//! What every request looks like, and what is never accepted as an answer.

use crate::scripted::{Act, Scripted, say};
use crate::support::{PAPER, World, account, client, config, dec};
use core::time::Duration;
use ibkr_agent_broker::{
    Broker, BrokerError, ClientPortal, ConnectError, HaltLatch, PlaceOutcome, SystemClock,
    TlsPolicy, connect,
};
use ibkr_agent_domain::{Mode, SessionState};
use ibkr_agent_simulator::{Precautions, SimulatorConfig, TlsMode};
use std::sync::Arc;

fn pin(hex: &str) -> TlsPolicy {
    TlsPolicy::PinSha256(*ibkr_agent_domain::Digest::parse(hex).unwrap().as_bytes())
}

fn with_tls() -> SimulatorConfig {
    SimulatorConfig { tls: TlsMode::SelfSigned, ..SimulatorConfig::default() }
}

#[tokio::test]
async fn every_request_names_us_and_every_post_and_delete_has_its_length() {
    let world = World::ready().await;
    world.control.set_precautions(Precautions::Off);
    let PlaceOutcome::Placed { order_id, .. } = world.place("ia-1", dec!(100)).await else {
        panic!("not placed")
    };
    let permit = crate::support::cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    drop(world.broker.cancel(permit).await);
    drop(world.broker.summary(&account(PAPER)).await);
    let seen = world.control.requests();
    assert!(seen.iter().any(|request| request.method == "DELETE"));
    for request in seen {
        let agent = request.user_agent.clone().unwrap_or_default();
        assert!(agent.starts_with("ibkr-agent-gateway/"), "{request:?}");
        if request.method != "GET" {
            assert!(request.content_length.is_some(), "{request:?}");
        }
    }
}

#[tokio::test]
async fn effects_and_reads_send_no_cookie_even_after_one_was_set() {
    let server = Scripted::answering(|path| {
        let cookie = "Set-Cookie: api=secret; Path=/\r\n";
        crate::scripted::session_answer(path, cookie, "x")
            .unwrap_or_else(|| say("200 OK", cookie, "{}"))
    })
    .await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    broker.renew().await.unwrap();
    drop(broker.summary(&account(PAPER)).await);
    assert!(server.seen().len() > 5);
    for request in server.seen() {
        let request = request.to_ascii_lowercase();
        assert!(!request.contains("\r\ncookie:"), "{request}");
        assert!(request.contains("\r\naccept: */*"), "{request}");
    }
}

async fn summary_after(act: Act) -> (Scripted, ClientPortal, BrokerError) {
    let server = Scripted::start([act]).await;
    let mut configuration = config(&server.url, Mode::Paper);
    configuration.request_timeout = Duration::from_millis(800);
    let (broker, _) = client(configuration);
    broker.renew().await.unwrap();
    let error = broker.summary(&account(PAPER)).await.unwrap_err();
    (server, broker, error)
}

#[tokio::test]
async fn failures_of_a_read_have_their_codes() {
    let elsewhere = "Location: http://127.0.0.1:1/sso/Login\r\n";
    for (act, code) in [
        (say("401 Unauthorized", "", ""), "BROKER_SESSION_REQUIRED"),
        (say("302 Found", elsewhere, ""), "BROKER_SESSION_REQUIRED"),
        (say("403 Forbidden", "", "<html>Access Denied</html>"), "BROKER_BACKEND_UNAVAILABLE"),
        (say("404 Not Found", "", "Access Denied"), "BROKER_BACKEND_UNAVAILABLE"),
        (say("503 Service Unavailable", "", ""), "BROKER_BACKEND_UNAVAILABLE"),
        (Act::Hang, "BROKER_BACKEND_UNAVAILABLE"),
        (Act::Close, "BROKER_BACKEND_UNAVAILABLE"),
        (say("429 Too Many Requests", "Retry-After: 30\r\n", "<html>"), "BROKER_RATE_LIMITED"),
        (say("200 OK", "", "<html>"), "BROKER_RESPONSE_INVALID"),
        (say("200 OK", "", r#"{"error":"no"}"#), "BROKER_REJECTED"),
    ] {
        let (server, _, error) = summary_after(act).await;
        assert_eq!(error.code().as_str(), code, "{error:?}");
        assert_eq!(server.count("GET /v1/api/portfolio/DU1234567/summary"), 1);
    }
}

#[tokio::test]
async fn an_oversized_answer_is_cut_off() {
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    let (_server, _, error) = summary_after(say("200 OK", "", &body)).await;
    assert_eq!(error, BrokerError::InvalidResponse { what: "answer is too large" });
}

#[tokio::test]
async fn an_errors_text_is_escaped_and_cut() {
    let body = format!(r#"{{"error":"\u001b[31m{}"}}"#, "y".repeat(5_000));
    let (_server, _, error) = summary_after(say("400 Bad Request", "", &body)).await;
    let shown = error.to_string();
    assert!(shown.contains("\\u{1b}[31m") && shown.len() < 500, "{shown}");
}

#[tokio::test]
async fn a_retry_after_is_obeyed_without_more_requests() {
    let limited = say("429 Too Many Requests", "Retry-After: 30\r\n", "");
    let (server, broker, error) = summary_after(limited).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    let again = broker.ledger(&account(PAPER)).await.unwrap_err();
    assert_eq!(again.code().as_str(), "BROKER_RATE_LIMITED");
    assert_eq!(server.count("GET /v1/api/portfolio/DU1234567/ledger"), 0);
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_for_reads_and_effects() {
    let simulator = ibkr_agent_simulator::Simulator::start(with_tls()).await.unwrap();
    simulator.control().set_precautions(Precautions::Off);
    let mut configuration = config(&simulator.base_url(), Mode::Simulated);
    configuration.tls = pin(&simulator.certificate_sha256().unwrap());
    let (broker, latch) = client(configuration);
    assert_eq!(broker.renew().await.unwrap().state, SessionState::Ready);
    latch.resume();
    let order = crate::support::order(PAPER, Mode::Simulated, dec!(100));
    let ledger = crate::support::ledger();
    let permit = crate::support::place_permit(&ledger, order, "ia-tls").await;
    let outcome = broker.place(permit).await;
    assert!(matches!(outcome, PlaceOutcome::Placed { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_impostors_certificate_is_refused_before_anything_is_sent() {
    let genuine = ibkr_agent_simulator::Simulator::start(with_tls()).await.unwrap();
    let impostor = ibkr_agent_simulator::Simulator::start(with_tls()).await.unwrap();
    let mut configuration = config(&impostor.base_url(), Mode::Simulated);
    configuration.tls = pin(&genuine.certificate_sha256().unwrap());
    let (broker, _) = client(configuration);
    let error = broker.renew().await.unwrap_err();
    assert_eq!(error.code().as_str(), "BROKER_BACKEND_UNAVAILABLE");
    assert_eq!(impostor.control().requests(), []);
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_by_default_and_accepted_on_loopback_when_told() {
    let simulator = ibkr_agent_simulator::Simulator::start(with_tls()).await.unwrap();
    let mut configuration = config(&simulator.base_url(), Mode::Simulated);
    let (strict, _) = client(configuration.clone());
    assert!(strict.renew().await.is_err());
    assert_eq!(simulator.control().requests(), []);
    configuration.tls = TlsPolicy::AcceptInvalidOnLoopback;
    let (lenient, _) = client(configuration);
    assert_eq!(lenient.renew().await.unwrap().state, SessionState::Ready);
}

#[tokio::test]
async fn localhost_is_loopback_for_reads_and_effects() {
    let world = World::start_with(SimulatorConfig::default(), |config| {
        config.base_url = config.base_url.replace("127.0.0.1", "localhost");
    })
    .await;
    world.control.set_precautions(Precautions::Off);
    assert_eq!(world.broker.renew().await.unwrap().state, SessionState::Ready);
    let outcome = world.place("ia-local", dec!(100)).await;
    assert!(matches!(outcome, PlaceOutcome::Placed { .. }), "{outcome:?}");
}

#[test]
fn an_unchecked_certificate_beyond_loopback_is_a_configuration_error() {
    let mut configuration = config("https://192.0.2.1:5000", Mode::Paper);
    configuration.tls = TlsPolicy::AcceptInvalidOnLoopback;
    let refused = connect(configuration, HaltLatch::default(), Arc::new(SystemClock));
    let error: ConnectError = refused.unwrap_err();
    assert_eq!(error.code().as_str(), "CONFIG_TLS_BYPASS_NON_LOCALHOST");
}

#[test]
fn a_missing_ca_file_is_a_configuration_error() {
    let mut configuration = config("https://localhost:5000", Mode::Paper);
    configuration.tls = TlsPolicy::CaFile("/nonexistent/ca.pem".into());
    let refused = connect(configuration, HaltLatch::default(), Arc::new(SystemClock));
    assert_eq!(refused.unwrap_err().code().as_str(), "CONFIG_INVALID");
}
