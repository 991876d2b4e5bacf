//! A competing session is taken by an operator's signed choice only: recorded first, asked once.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ibkr_agent_domain::OperatorKeyId;
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, demo_key_path};
use ibkr_agent_gateway::audit::TailQuery;
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_protocol::service::ErrorBody;
use ibkr_agent_simulator::{Session, Simulator, SimulatorConfig};
use std::path::{Path, PathBuf};

struct World {
    simulator: Simulator,
    sidecar: Sidecar,
    state: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    async fn competing() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
        let sidecar = Sidecar::start(config).await.unwrap();
        simulator.control().set_session(Session::Competing);
        Self { simulator, sidecar, state, _folder: folder }
    }

    fn key(&self, verb: &Verb, path: &Path) -> OperatorKeyId {
        let desk = self.sidecar.desk();
        let signer = load_key(path, desk.domain(), None).unwrap();
        let challenge = Challenge("00".repeat(32));
        let proof = signer.prove(&desk.sidecar(), &challenge, verb).unwrap();
        desk.keyring().verify(&desk.sidecar(), &challenge, verb, &proof).unwrap()
    }

    async fn take_over(&self, broker: &str) -> Result<serde_json::Value, ErrorBody> {
        let verb = Verb::TakeOver { broker: broker.to_owned() };
        assert!(verb.needs_signature());
        let key = self.key(&verb, &demo_key_path(&self.state));
        self.sidecar.desk().perform(verb, Some(key)).await
    }

    /// How often a session was asked for.
    fn asked(&self) -> usize {
        let requests = self.simulator.control().requests();
        requests.iter().filter(|request| request.path.ends_with("/ssodh/init")).count()
    }

    fn takeovers(&self) -> Vec<String> {
        let query = TailQuery { actor: None, before: None, limit: 200 };
        let entries = self.sidecar.ledger().snapshot().unwrap().tail(&query).unwrap().entries;
        let told = |detail: &String| detail == "session_takeover";
        let mut kinds: Vec<String> = entries
            .into_iter()
            .filter(|entry| entry.details.iter().any(told))
            .map(|entry| entry.kind)
            .collect();
        kinds.reverse();
        kinds
    }

    async fn end(self) {
        self.sidecar.shutdown().await;
        self.simulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_take_over_is_recorded_asked_for_once_and_ends_ready() {
    let world = World::competing().await;
    let before = world.asked();
    // It says so only when the session is ready.
    let done = world.take_over("simulator").await.unwrap();
    assert_eq!(done["done"], true);
    assert_eq!(world.asked(), before + 1);
    assert_eq!(world.takeovers(), ["intent", "outcome"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_configured_is_refused_and_nothing_is_asked_for() {
    let world = World::competing().await;
    let before = world.asked();
    let refused = world.take_over("elsewhere").await.unwrap_err();
    assert_eq!(refused.code, "INPUT_INVALID");
    assert_eq!(world.asked(), before);
    world.end().await;
}
