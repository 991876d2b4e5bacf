//! A simulator, a state folder with a past, and starts over damaged copies of it.

use ibkr_agent_domain::{Digest, Door, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, StartError, demo_key_path};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{Precautions, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// It trades.
    Open,
    /// Halted, with the first word of the cause.
    Halted(String),
    /// It didn't start, with this code.
    Refused(String),
}

impl Start {
    pub(crate) fn halted(code: &str) -> Self {
        Self::Halted(code.to_owned())
    }

    pub(crate) fn refused(code: &str) -> Self {
        Self::Refused(code.to_owned())
    }
}

/// A simulator and folders.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        simulator.control().set_precautions(Precautions::Off);
        Self { simulator, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start(&self, name: &str) -> Result<Sidecar, StartError> {
        let mut config = SidecarConfig::simulator(self.state(name), &self.simulator.base_url());
        // The same order is placed again and again here.
        config.limits.same_order_window = Duration::ZERO;
        Sidecar::start(config).await
    }

    /// Starts, runs with a record or two, and ends in order.
    pub(crate) async fn run(&self, name: &str) {
        let sidecar = self.start(name).await.unwrap();
        ask(&sidecar, "ibkr_health", json!({})).await.unwrap();
        self.stop(name, sidecar).await;
    }

    /// Ends in order, and waits until the store is let go.
    pub(crate) async fn stop(&self, name: &str, sidecar: Sidecar) {
        sidecar.shutdown().await;
        let store = std::fs::File::open(self.state(name).join("store.redb")).unwrap();
        while store.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Starts once and says how; ends in order.
    pub(crate) async fn try_start(&self, name: &str) -> (Start, String) {
        let sidecar = match self.start(name).await {
            Ok(sidecar) => sidecar,
            Err(error) => return (Start::refused(error.code().as_str()), error.to_string()),
        };
        let halt = look(&sidecar, Verb::HaltStatus {}).await;
        let verified = look(&sidecar, Verb::AuditVerify {}).await;
        assert_eq!(halt["state_doubt"], verified["state_doubt"], "verified without a word");
        self.stop(name, sidecar).await;
        let cause = halt["state_doubt"].as_str().unwrap_or_default().to_owned();
        let start = match halt["halted"].as_bool() {
            Some(false) => Start::Open,
            _ => Start::halted(cause.split(':').next().unwrap()),
        };
        (start, cause)
    }

    /// A copy of a state folder's files.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let to = self.state(to);
        drop(std::fs::remove_dir_all(&to));
        std::fs::create_dir(&to).unwrap();
        for name in files(&self.state(from)) {
            std::fs::copy(self.state(from).join(&name), to.join(&name)).unwrap();
        }
    }

    pub(crate) async fn end(self) {
        self.simulator.shutdown().await;
    }
}

/// The files of a folder.
pub(crate) fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

pub(crate) async fn ask(
    sidecar: &Sidecar,
    tool: &str,
    arguments: Value,
) -> Result<Value, ErrorBody> {
    let caller = LocalCaller { client: Untrusted::new("test") };
    let agent = Agent::Local { caller, door: Door::Sdk };
    let call = ToolCall::new(tool, serde_json::value::to_raw_value(&arguments).unwrap());
    let (agents, cancelled) = (sidecar.agents(), CancellationToken::new());
    let reply =
        ToolService::call(agents.as_ref(), agent, call, Progress::ignored(), cancelled).await;
    reply.result.map(|body| serde_json::from_str(body.get()).unwrap())
}

pub(crate) async fn look(sidecar: &Sidecar, verb: Verb) -> Value {
    assert!(!verb.needs_signature());
    sidecar.desk().perform(verb, None).await.unwrap()
}

/// Signs with the demo key of a folder and has the verb performed.
pub(crate) async fn sign(sidecar: &Sidecar, state: &Path, verb: Verb) -> Result<Value, ErrorBody> {
    assert!(verb.needs_signature());
    let desk = sidecar.desk();
    let signer = load_key(&demo_key_path(state), desk.domain(), None).unwrap();
    let challenge = Challenge("00".repeat(32));
    let proof = signer.prove(&desk.sidecar(), &challenge, &verb).unwrap();
    let key = desk.keyring().verify(&desk.sidecar(), &challenge, &verb, &proof)?;
    desk.perform(verb, Some(key)).await
}

/// The operator's yes to an approval as the desk shows it.
async fn yes_to(sidecar: &Sidecar, state: &Path, id: &str) -> Verb {
    let desk = sidecar.desk();
    let shown = desk.perform(Verb::Approval { id: id.to_owned() }, None).await.unwrap();
    let covered = Digest::of(shown["approval_bytes"].as_str().unwrap().as_bytes());
    load_key(&demo_key_path(state), desk.domain(), None).unwrap().approve(id, &covered).unwrap()
}

/// Previews, asks and approves; gives the approval.
pub(crate) async fn approved(sidecar: &Sidecar, state: &Path) -> String {
    let order = json!({"account_id": "DU1234567", "symbol": "AAPL", "side": "buy", "quantity": 1,
                       "order_type": "limit", "limit_price": "100"});
    let preview = ask(sidecar, "ibkr_order_preview", order).await.unwrap();
    let asked = json!({"account_id": "DU1234567", "preview_id": preview["preview_id"],
                       "on_approval": "hold"});
    let asked = ask(sidecar, "ibkr_approvals_create", asked).await.unwrap();
    let text = |key: &str| asked[key].as_str().unwrap().to_owned();
    let verb = yes_to(sidecar, state, &text("approval_id")).await;
    sign(sidecar, state, verb).await.unwrap();
    text("approval_id")
}

pub(crate) async fn submit(sidecar: &Sidecar, approval: &str) -> Result<Value, ErrorBody> {
    let call = json!({"account_id": "DU1234567", "approval_id": approval});
    ask(sidecar, "ibkr_paper_order_submit", call).await
}

/// The pairing's file as pairing leaves it, with the moment of its certificate.
pub(crate) fn pairing(issued_at: u64) -> String {
    let pairing = json!({
        "version": 1, "sidecar_id": "sc-1", "url": "wss://relay.test", "ca_pem": "ca",
        "certificate_pem": "certificate", "key_pem": "key", "issued_at": issued_at,
        "expires_at": issued_at + 86_400,
    });
    pairing.to_string()
}
