//! Decisions under the broker's limits, in real time on real sockets: the simulator refuses what
//! comes too soon and keeps the address in its penalty box for 15 minutes, as IBKR does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and tell what they measured"
)]

use ibkr_agent_broker::{Clock as _, Pacing, SystemClock};
use ibkr_agent_domain::{Digest, Door, ErrorCode, Timestamp, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, StartError, demo_key_path};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{Precautions, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const BUSY: &str = "DU1234567";
const QUIET: &str = "DU7654321";
/// Kills and restarts; `PACING_RESTARTS` sets another number.
const RESTARTS: usize = 3;

async fn ask(sidecar: &Sidecar, tool: &str, arguments: Value) -> Result<Value, ErrorBody> {
    let caller = LocalCaller { client: Untrusted::new("test") };
    let agent = Agent::Local { caller, door: Door::Sdk };
    let arguments = serde_json::value::to_raw_value(&arguments).unwrap();
    let call = ToolCall::new(tool, arguments);
    let cancelled = CancellationToken::new();
    let agents = sidecar.agents();
    let reply =
        ToolService::call(agents.as_ref(), agent, call, Progress::ignored(), cancelled).await;
    reply.result.map(|body| serde_json::from_str(body.get()).unwrap())
}

async fn preview(sidecar: &Sidecar, account: &str) -> Result<Value, ErrorBody> {
    let order = json!({"account_id": account, "symbol": "AAPL", "side": "buy", "quantity": 1,
                       "order_type": "limit", "limit_price": "100"});
    ask(sidecar, "ibkr_order_preview", order).await
}

/// The operator's yes to an approval as the desk shows it.
async fn yes_to(sidecar: &Sidecar, state: &Path, id: &str) -> Verb {
    let desk = sidecar.desk();
    let shown = desk.perform(Verb::Approval { id: id.to_owned() }, None).await.unwrap();
    let covered = Digest::of(shown["approval_bytes"].as_str().unwrap().as_bytes());
    load_key(&demo_key_path(state), desk.domain(), None).unwrap().approve(id, &covered).unwrap()
}

/// A human's yes to a preview; gives the approval's id.
async fn approve(sidecar: &Sidecar, state: &Path, preview: &Value) -> String {
    let asked = json!({"account_id": preview["order"]["account_id"],
                       "preview_id": preview["preview_id"], "on_approval": "hold"});
    let asked = ask(sidecar, "ibkr_approvals_create", asked).await.unwrap();
    let text = |name: &str| asked[name].as_str().unwrap().to_owned();
    let verb = yes_to(sidecar, state, &text("approval_id")).await;
    let desk = sidecar.desk();
    let signer = load_key(&demo_key_path(state), desk.domain(), None).unwrap();
    let challenge = Challenge("00".repeat(32));
    let proof = signer.prove(&desk.sidecar(), &challenge, &verb).unwrap();
    let key = desk.keyring().verify(&desk.sidecar(), &challenge, &verb, &proof).unwrap();
    desk.perform(verb, Some(key)).await.unwrap();
    text("approval_id")
}

async fn submit(sidecar: &Sidecar, account: &str, approval: &str) -> Result<Value, ErrorBody> {
    let order = json!({"account_id": account, "approval_id": approval});
    ask(sidecar, "ibkr_paper_order_submit", order).await
}

/// A simulator that refuses as IBKR does, and a folder.
async fn world() -> (Simulator, tempfile::TempDir) {
    let config =
        SimulatorConfig { pacing: ibkr_agent_simulator::Pacing::On, ..SimulatorConfig::default() };
    let simulator = Simulator::start(config).await.unwrap();
    simulator.control().set_precautions(Precautions::Off);
    (simulator, tempfile::tempdir().unwrap())
}

/// Starts a sidecar that keeps the limits, when its predecessor has let go of the store.
async fn start(state: &Path, url: &str) -> Sidecar {
    let begun = Instant::now();
    loop {
        let mut config = SidecarConfig::simulator(state.to_owned(), url);
        // The same order is placed again and again here.
        config.limits.same_order_window = Duration::ZERO;
        config.brokers[0].pacing = Pacing::On;
        match Sidecar::start(config).await {
            Ok(sidecar) => return sidecar,
            Err(error) if error.code() == ErrorCode::StoreLocked => still(&error, begun),
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

fn still(error: &StartError, begun: Instant) {
    assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
}

/// Runs something and tells how long it took.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    eprintln!("{what}: {:.2} s", begun.elapsed().as_secs_f64());
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_working_order_two_previews_and_a_submit_are_answered_within_15_seconds() {
    let (simulator, folder) = world().await;
    let state = folder.path().join("state");
    let sidecar = start(&state, &simulator.base_url()).await;
    let first = timed("first preview after the start", preview(&sidecar, BUSY)).await.unwrap();
    let approval = approve(&sidecar, &state, &first).await;
    let working = timed("its submit", submit(&sidecar, BUSY, &approval)).await.unwrap();
    assert_eq!(working["status"], "working", "{working:#}");

    let begun = Instant::now();
    timed("preview on another account", preview(&sidecar, QUIET)).await.unwrap();
    let second = timed("preview on the same account", preview(&sidecar, BUSY)).await.unwrap();
    let approval = approve(&sidecar, &state, &second).await;
    let sent_at = SystemClock.now();
    let placed = timed("submit", submit(&sidecar, BUSY, &approval)).await.unwrap();
    assert_eq!(placed["status"], "working", "{placed:#}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());

    // The broker is looked at after the order was sent, or the answer says that it wasn't.
    let order = json!({"client_order_id": placed["client_order_id"]});
    let outcome = timed("outcome", ask(&sidecar, "ibkr_order_outcome", order)).await.unwrap();
    let checked_at = Timestamp::parse(outcome["checked_at"].as_str().unwrap()).unwrap();
    assert!(checked_at >= sent_at, "{outcome:#}");
    assert!(!outcome["message"].as_str().unwrap().contains("not looked up"), "{outcome:#}");

    let brief = json!({"instrument": "AAPL"});
    timed("brief", ask(&sidecar, "ibkr_instrument_brief", brief.clone())).await.unwrap();
    let again = timed("brief again", ask(&sidecar, "ibkr_instrument_brief", brief)).await.unwrap();
    assert!(again["unavailable"].is_null(), "{again:#}");
    let report = simulator.control().pacing_report();
    assert_eq!((report.violations(), report.refused), (0, 0), "{report:?}");
    sidecar.shutdown().await;
    simulator.shutdown().await;
}

/// One life of a sidecar, ended as a kill ends it: whatever it is doing.
fn live(state: &Path, url: &str, is_cut: bool) -> Vec<Result<Value, ErrorBody>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answers = runtime.block_on(async {
        let life = async {
            let sidecar = start(state, url).await;
            let both = timed("both previews", async {
                tokio::join!(preview(&sidecar, BUSY), preview(&sidecar, QUIET))
            });
            let (busy, quiet) = both.await;
            vec![busy, quiet]
        };
        let most = Duration::from_secs(if is_cut { 3 } else { 60 });
        tokio::time::timeout(most, life).await.unwrap_or_default()
    });
    runtime.shutdown_background();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_preview_is_refused_for_rate_however_often_the_sidecar_is_killed() {
    let (simulator, folder) = world().await;
    let (state, url) = (folder.path().join("state"), simulator.base_url());
    {
        let sidecar = start(&state, &url).await;
        let shown = preview(&sidecar, BUSY).await.unwrap();
        let approval = approve(&sidecar, &state, &shown).await;
        submit(&sidecar, BUSY, &approval).await.unwrap();
        sidecar.shutdown().await;
    }
    let asked = std::env::var("PACING_RESTARTS").ok().and_then(|text| text.parse().ok());
    let mut answered = 0;
    for round in 0..asked.unwrap_or(RESTARTS) {
        let (state, url) = (state.clone(), url.clone());
        // Every third life ends in the middle of its start or its previews.
        let life = tokio::task::spawn_blocking(move || live(&state, &url, round % 3 == 1));
        for answer in life.await.unwrap() {
            let report = simulator.control().pacing_report();
            assert!(answer.is_ok(), "round {round}: {answer:?} {report:?}");
            answered += 1;
        }
    }
    eprintln!("{answered} previews answered");
    assert!(answered > 0);
    let report = simulator.control().pacing_report();
    assert_eq!((report.violations(), report.refused), (0, 0), "{report:?}");
    simulator.shutdown().await;
}
