//! A sidecar on a simulator, and the ways in which its tools are asked.

use ibkr_agent_domain::{Digest, Door, ErrorCode, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, demo_key_path};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::catalogue;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{Control, Precautions, Simulator, SimulatorConfig};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first paper account of the simulator.
pub(crate) const DU: &str = "DU1234567";
/// The second one.
pub(crate) const OTHER: &str = "DU7654321";

pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) control: Control,
    pub(crate) sidecar: Sidecar,
    pub(crate) state: PathBuf,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut SidecarConfig)) -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let control = simulator.control();
        control.set_precautions(Precautions::Off);
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
        change(&mut config);
        let sidecar = Sidecar::start(config).await.unwrap();
        Self { simulator, control, sidecar, state, folder }
    }

    /// Stops the sidecar and starts another on the same folder and broker.
    pub(crate) async fn restarted(self) -> Self {
        let Self { simulator, control, sidecar, state, folder } = self;
        sidecar.shutdown().await;
        let config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
        let started = tokio::time::timeout(Duration::from_secs(10), async {
            // The store's writer lets go of its file a moment after the last handle is gone.
            loop {
                match Sidecar::start(config.clone()).await {
                    Err(error) if error.code() == ErrorCode::StoreLocked => {
                        tokio::task::yield_now().await;
                    }
                    started => return started.unwrap(),
                }
            }
        });
        let sidecar = started.await.unwrap();
        Self { simulator, control, sidecar, state, folder }
    }

    pub(crate) async fn ask(&self, tool: &str, arguments: Value) -> Result<Value, ErrorBody> {
        self.ask_as("test", tool, arguments).await
    }

    pub(crate) async fn ask_as(
        &self,
        client: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Value, ErrorBody> {
        ask_as(&self.sidecar, client, tool, arguments).await
    }

    pub(crate) async fn get(&self, tool: &str, arguments: Value) -> Value {
        match self.ask(tool, arguments).await {
            Ok(answer) => answer,
            Err(error) => panic!("{tool}: {error:?}"),
        }
    }

    pub(crate) async fn refused(&self, tool: &str, arguments: Value) -> ErrorBody {
        match self.ask(tool, arguments).await {
            Ok(answer) => panic!("{tool} answered {answer:#}"),
            Err(error) => error,
        }
    }

    /// Asks for an approval of an AAPL buy order; nobody has decided yet.
    pub(crate) async fn asked(&self, limit: &str) -> (String, String) {
        let order = json!({"account_id": DU, "symbol": "AAPL", "side": "buy", "quantity": 1,
            "order_type": "limit", "limit_price": limit, "currency": "USD"});
        let preview = self.get("ibkr_order_preview", order).await;
        assert_eq!(preview["would_pass"], true, "{preview:#}");
        let ask = json!({"account_id": DU, "preview_id": preview["preview_id"],
            "on_approval": "hold"});
        let asked = self.get("ibkr_approvals_create", ask).await;
        let text = |key: &str| asked[key].as_str().unwrap().to_owned();
        (text("approval_id"), text("order_digest"))
    }

    pub(crate) async fn approve(&self, id: &str, digest: &str) {
        let desk = self.sidecar.desk();
        let shown = desk.perform(Verb::Approval { id: id.to_owned() }, None).await.unwrap();
        assert_eq!(shown["order_digest"], digest);
        let covered = Digest::of(shown["approval_bytes"].as_str().unwrap().as_bytes());
        let signer = load_key(&demo_key_path(&self.state), desk.domain(), None).unwrap();
        let verb = signer.approve(id, &covered).unwrap();
        operate(&self.sidecar, &self.state, verb).await;
    }

    pub(crate) async fn operate(&self, verb: Verb) {
        operate(&self.sidecar, &self.state, verb).await;
    }

    /// Previews, approves and submits an AAPL buy order.
    pub(crate) async fn submitted(&self, limit: &str) -> Value {
        let (id, digest) = self.asked(limit).await;
        self.approve(&id, &digest).await;
        let submit = json!({"account_id": DU, "approval_id": id});
        self.get("ibkr_paper_order_submit", submit).await
    }

    /// A limit a little over the ask of AAPL: a buy order at it fills at once, wherever the
    /// simulated price goes meanwhile.
    pub(crate) async fn ask_price(&self) -> String {
        let quote = self.get("ibkr_market_snapshot", json!({"contract_id": 265_598})).await;
        let ask: Decimal = quote["quotes"][0]["ask"].as_str().unwrap().parse().unwrap();
        (ask * Decimal::new(101, 2)).round_dp(2).to_string()
    }

    pub(crate) async fn stop(self) {
        self.sidecar.shutdown().await;
        self.simulator.shutdown().await;
        drop(self.folder);
    }
}

pub(crate) async fn ask_sidecar(
    sidecar: &Sidecar,
    tool: &str,
    arguments: Value,
) -> Result<Value, ErrorBody> {
    ask_as(sidecar, "test", tool, arguments).await
}

/// Asks; an answer must fit the tool's published schema.
async fn ask_as(
    sidecar: &Sidecar,
    client: &str,
    tool: &str,
    arguments: Value,
) -> Result<Value, ErrorBody> {
    let caller = LocalCaller { client: Untrusted::new(client) };
    let agent = Agent::Local { caller, door: Door::Sdk };
    let mut call = ToolCall::new(tool, serde_json::value::to_raw_value(&arguments).unwrap());
    call.timeout = Duration::from_secs(10);
    let agents = sidecar.agents();
    let token = CancellationToken::new();
    let reply = ToolService::call(agents.as_ref(), agent, call, Progress::ignored(), token).await;
    let answer: Value = serde_json::from_str(reply.result?.get()).unwrap();
    let schema = catalogue::find(tool).unwrap().output_schema();
    let validator = jsonschema::draft202012::new(&Value::Object(schema.as_ref().clone())).unwrap();
    if let Err(error) = validator.validate(&answer) {
        panic!("{tool}: {error} in {answer:#}");
    }
    Ok(answer)
}

async fn operate(sidecar: &Sidecar, state: &Path, verb: Verb) {
    let desk = sidecar.desk();
    let signer = load_key(&demo_key_path(state), desk.domain(), None).unwrap();
    let challenge = Challenge("00".repeat(32));
    let proof = signer.prove(&desk.sidecar(), &challenge, &verb).unwrap();
    let key = desk.keyring().verify(&desk.sidecar(), &challenge, &verb, &proof).unwrap();
    desk.perform(verb, Some(key)).await.unwrap();
}

/// The cells of a column.
pub(crate) fn column<'a>(table: &'a Value, name: &str) -> Vec<Option<&'a str>> {
    let columns = table["columns"].as_array().unwrap();
    let at = columns.iter().position(|column| column == name).unwrap();
    table["rows"].as_array().unwrap().iter().map(|row| row[at].as_str()).collect()
}

/// The rows of a table.
pub(crate) fn rows(table: &Value) -> usize {
    table["rows"].as_array().map_or(0, Vec::len)
}
