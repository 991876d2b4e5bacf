//! Session material in the gateway's answers appears in nothing that this crate gives out.

use crate::kept::Kept;
use crate::support::{AAPL, PAPER, World, account, conid, dec};
use core::fmt::Debug;
use ibkr_agent_broker::{Broker, ResolveFilters};
use ibkr_agent_domain::Instrument;
use ibkr_agent_simulator::{Precautions, Session, SimulatorConfig};
use std::io;
use std::sync::{Arc, Mutex};

const CANARY: &str = "CANARY7f3a9e";

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that was given out, as text.
#[derive(Default)]
struct Heard(String);

impl Heard {
    fn note(&mut self, value: impl Debug) {
        self.0.push_str(&format!("{value:?}\n{value:#?}\n"));
    }
}

#[tokio::test]
async fn no_session_material_in_values_errors_debug_texts_or_logs() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    // Of the whole process: what other tests log must be free of it too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let config = SimulatorConfig { canary: Some(CANARY.to_owned()), ..SimulatorConfig::default() };
    let world = World::start(config).await;
    world.control.set_precautions(Precautions::Off);
    let broker = &world.broker;
    let id = account(PAPER);
    let apple = Instrument::parse("AAPL").unwrap();
    let mut heard = Heard::default();
    heard.note(broker.renew().await);
    heard.note(broker.accounts().await);
    heard.note(broker.account_metadata(&id).await);
    heard.note(broker.summary(&id).await);
    heard.note(broker.ledger(&id).await);
    heard.note(broker.positions(&id).await);
    heard.note(broker.search("AAPL", None).await);
    heard.note(broker.resolve(&apple, &ResolveFilters::default()).await);
    heard.note(broker.quotes(&[conid(AAPL)]).await);
    heard.note(world.place("ia-canary", dec!(100)).await);
    heard.note(broker.orders(&id).await);
    heard.note(broker.executions(&id).await);
    heard.note(broker);
    heard.note(broker.health());
    let mut kept = Kept::up(broker);
    kept.subscribed(3).await;
    heard.note(broker.depth(&id, conid(AAPL)).await);
    heard.note(broker.stream_health());
    while let Ok(event) = kept.events.try_recv() {
        heard.note(event);
    }
    drop(kept);
    for session in [Session::NoBridge, Session::Competing, Session::LoggedOut] {
        world.control.set_session(session);
        heard.note(broker.positions(&id).await);
        heard.note(broker.renew().await);
        heard.note(broker.quotes(&[conid(AAPL)]).await.map_err(|error| error.to_string()));
    }
    world.control.set_session(Session::Ready);
    let seen = raw_accounts(&world.simulator.base_url()).await;
    assert!(seen.contains(CANARY), "the simulator must plant it for this test to mean anything");
    assert!(heard.0.contains("net_liquidation"), "reads must have worked");
    assert!(!heard.0.contains(CANARY));
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ours = logged.lines().filter(|line| !line.contains("ibkr_agent_simulator"));
    let ours: Vec<&str> = ours.collect();
    assert!(ours.iter().any(|line| line.contains("broker session changed")));
    assert!(ours.iter().all(|line| !line.contains(CANARY)), "{ours:?}");
}

/// What the wire really holds.
async fn raw_accounts(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let host = url.trim_start_matches("http://").trim_end_matches("/v1/api");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /v1/api/iserver/accounts HTTP/1.1\r\nHost: {host}\r\nUser-Agent: test\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
