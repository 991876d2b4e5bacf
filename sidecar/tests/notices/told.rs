//! What is told, when, and how often.

use crate::inbox::{Hook, receiver};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibkr_agent_domain::{Digest, Door, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, demo_key_path};
use ibkr_agent_gateway::notices::{WebhookSecret, WebhookSettings};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{Endpoint, Hold, Precautions, Session, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct World {
    simulator: Simulator,
    sidecar: Sidecar,
    hook: Hook,
    state: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(change: impl FnOnce(&mut SidecarConfig)) -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        simulator.control().set_precautions(Precautions::Off);
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let hook = Hook::new(folder.path());
        let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
        config.notices.command = Some(hook.command.clone());
        config.notices.lost_after = Duration::from_millis(600);
        config.survey_interval = Duration::from_millis(200);
        change(&mut config);
        let sidecar = Sidecar::start(config).await.unwrap();
        Self { simulator, sidecar, hook, state, _folder: folder }
    }

    async fn ask(&self, tool: &str, arguments: Value) -> Result<Value, ErrorBody> {
        let caller = LocalCaller { client: Untrusted::new("test") };
        let agent = Agent::Local { caller, door: Door::Sdk };
        let arguments = serde_json::value::to_raw_value(&arguments).unwrap();
        let call = ToolCall::new(tool, arguments);
        let agents = self.sidecar.agents();
        let (progress, cancelled) = (Progress::ignored(), CancellationToken::new());
        let reply = ToolService::call(agents.as_ref(), agent, call, progress, cancelled).await;
        reply.result.map(|body| serde_json::from_str(body.get()).unwrap())
    }

    async fn operate(&self, verb: Verb) -> Value {
        let desk = self.sidecar.desk();
        let signer = load_key(&demo_key_path(&self.state), desk.domain(), None).unwrap();
        let challenge = Challenge("00".repeat(32));
        let proof = signer.prove(&desk.sidecar(), &challenge, &verb).unwrap();
        let key = desk.keyring().verify(&desk.sidecar(), &challenge, &verb, &proof).unwrap();
        desk.perform(verb, Some(key)).await.unwrap()
    }

    async fn approve(&self, id: &str) {
        let shown = self.operate(Verb::Approval { id: id.to_owned() }).await;
        let covered = Digest::of(shown["approval_bytes"].as_str().unwrap().as_bytes());
        let domain = self.sidecar.desk().domain();
        let signer = load_key(&demo_key_path(&self.state), domain, None).unwrap();
        self.operate(signer.approve(id, &covered).unwrap()).await;
    }

    async fn asked(&self) -> Value {
        let order = json!({"account_id": "DU1234567", "symbol": "AAPL", "side": "buy",
                           "quantity": 1, "order_type": "limit", "limit_price": "100"});
        let preview = self.ask("ibkr_order_preview", order).await.unwrap();
        let preview = json!({"account_id": "DU1234567", "preview_id": preview["preview_id"],
                             "on_approval": "hold"});
        self.ask("ibkr_approvals_create", preview).await.unwrap()
    }

    /// An order that doesn't come from this gateway.
    async fn place_elsewhere(&self) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build();
        let client = client.unwrap();
        let url = format!("{}/iserver/account/DU1234567/orders", self.simulator.base_url());
        let order = json!({"orders": [{"conid": 265598, "orderType": "LMT", "price": 100,
            "side": "BUY", "quantity": 1, "tif": "DAY"}]});
        let sent = client.post(url).header("user-agent", "phone").json(&order).send().await;
        assert!(sent.unwrap().text().await.unwrap().contains("order_id"));
    }

    async fn end(self) {
        self.sidecar.shutdown().await;
        self.simulator.shutdown().await;
    }
}

/// Starts on a state folder whose last owner is just letting go of it.
async fn start_again(config: SidecarConfig) -> Sidecar {
    let began = Instant::now();
    loop {
        match Sidecar::start(config.clone()).await {
            Ok(sidecar) => return sidecar,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_unknown_outcomes_and_halts_are_told_in_time_and_once() {
    let world = World::start(|_| {}).await;
    let asked = world.asked().await;
    let told = world.hook.wait_for("approval_asked").await;
    assert_eq!(told["details"]["approval_id"], asked["approval_id"]);
    assert_eq!(told["details"]["order_digest"], asked["order_digest"]);
    assert_eq!(told["schema"], "ibkr-agent/notice/v1");

    let id = asked["approval_id"].as_str().unwrap().to_owned();
    world.approve(&id).await;
    // No answer comes, and no order shows up: the gateway ceases to know.
    world.simulator.control().hold_answers(Endpoint::Place, Hold::DropBefore);
    let submit = json!({"account_id": "DU1234567", "approval_id": id});
    let unknown = world.ask("ibkr_paper_order_submit", submit).await.unwrap_err();
    assert_eq!(unknown.code, "ORDER_OUTCOME_UNKNOWN");
    let since = Instant::now();
    world.hook.wait_for("outcome_unknown").await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());

    world.operate(Verb::Halt { reason: "test".to_owned() }).await;
    world.hook.wait_for("halted").await;
    for kind in ["approval_asked", "outcome_unknown", "halted"] {
        assert_eq!(world.hook.count(kind), 1, "{kind}: {:?}", world.hook.told());
    }
    let all = serde_json::to_string(&world.hook.told()).unwrap();
    assert!(!all.contains("://") && !all.contains("DU1234567"), "{all}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_from_elsewhere_is_told_once_even_over_a_restart() {
    let world = World::start(|_| {}).await;
    world.place_elsewhere().await;
    let told = world.hook.wait_for("foreign_order").await;
    assert_eq!(told["details"]["count"], "1", "{told}");
    assert_eq!(told["details"]["broker_order_ids"].as_str().unwrap().split(' ').count(), 1);

    let World { simulator, sidecar, hook, state, _folder } = world;
    sidecar.shutdown().await;
    let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
    config.notices.command = Some(hook.command.clone());
    config.survey_interval = Duration::from_millis(200);
    let sidecar = start_again(config).await;
    let world = World { simulator, sidecar, hook, state, _folder };
    world.place_elsewhere().await;
    let second = Instant::now();
    while world.hook.count("foreign_order") < 2 {
        assert!(second.elapsed() < Duration::from_secs(20), "{:?}", world.hook.told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = world.hook.told().pop().unwrap();
    assert_eq!(last["details"]["count"], "1", "the first isn't told again: {last}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_and_its_return_are_told_once() {
    let world = World::start(|_| {}).await;
    world.simulator.control().set_session(Session::LoggedOut);
    // Any read learns of it; the keeper would within a minute.
    world.ask("ibkr_session_renew", json!({})).await.unwrap();
    let told = world.hook.wait_for("login_required").await;
    assert_eq!(told["details"]["state"], "login_required");
    world.simulator.control().set_session(Session::Ready);
    world.ask("ibkr_session_renew", json!({})).await.unwrap();
    world.hook.wait_for("session_ready").await;
    assert_eq!(world.hook.count("login_required"), 1);
    assert_eq!(world.hook.count("session_ready"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_tried_again_with_the_same_id() {
    let (url, mut posted) = receiver(1).await;
    let secret = WebhookSecret::parse(SECRET).unwrap();
    let webhook = WebhookSettings { url, secret };
    let world = World::start(|config| config.notices.webhook = Some(webhook)).await;
    world.operate(Verb::Halt { reason: "test".to_owned() }).await;
    let first = posted.recv().await.unwrap();
    let again = posted.recv().await.unwrap();
    assert_eq!((&first.id, &first.body), (&again.id, &again.body));
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("{}.{}.{}", again.id, again.timestamp, again.body);
    let expected = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    assert_eq!(again.signature, format!("v1,{expected}"));
    let body: Value = serde_json::from_str(&again.body).unwrap();
    assert_eq!((body["kind"].as_str(), body["id"].as_str()), (Some("halted"), Some(&*again.id)));
    world.end().await;
}
