//! One order, the whole way, over a real simulator and a real store: preview, a human's yes,
//! submission, fill, halt, a cancel that still passes, and the log that tells it all.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use ibkr_agent_audit::TailQuery;
use ibkr_agent_domain::{Digest, Door, ErrorCode, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, demo_key_path};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{Endpoint, Misbehaviour, Precautions, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn ask(sidecar: &Sidecar, tool: &str, arguments: Value) -> Result<Value, ErrorBody> {
    let caller = LocalCaller { client: Untrusted::new("test") };
    let agent = Agent::Local { caller, door: Door::Sdk };
    let arguments = serde_json::value::to_raw_value(&arguments).unwrap();
    let call = ToolCall::new(tool, arguments);
    let agents = sidecar.agents();
    let reply = ToolService::call(
        agents.as_ref(),
        agent,
        call,
        Progress::ignored(),
        CancellationToken::new(),
    )
    .await;
    reply.result.map(|body| serde_json::from_str(body.get()).unwrap())
}

async fn operate(sidecar: &Sidecar, state: &Path, verb: Verb) -> Result<Value, ErrorBody> {
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

async fn approved(sidecar: &Sidecar, state: &Path, limit: &str) -> String {
    let preview = ask(
        sidecar,
        "ibkr_order_preview",
        json!({"account_id": "DU1234567", "symbol": "AAPL", "side": "buy", "quantity": 1,
               "order_type": "limit", "limit_price": limit}),
    )
    .await
    .unwrap();
    assert_eq!(preview["would_pass"], true, "{preview:#}");
    let asked = ask(
        sidecar,
        "ibkr_approvals_create",
        json!({"account_id": "DU1234567", "preview_id": preview["preview_id"],
               "on_approval": "hold"}),
    )
    .await
    .unwrap();
    assert_eq!(asked["status"], "pending");
    let id = asked["approval_id"].as_str().unwrap().to_owned();
    let verb = yes_to(sidecar, state, &id).await;
    let given = operate(sidecar, state, verb).await.unwrap();
    assert_eq!(given["status"], "approved");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_goes_the_whole_way() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    simulator.control().set_precautions(Precautions::Off);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
    // The same order is placed again and again here.
    config.limits.same_order_window = Duration::ZERO;
    let sidecar = Sidecar::start(config).await.unwrap();

    let health = ask(&sidecar, "ibkr_health", json!({})).await.unwrap();
    assert_eq!(health["status"], "ok", "{health:#}");
    let quote = ask(&sidecar, "ibkr_market_snapshot", json!({"instrument": "AAPL"})).await.unwrap();
    let ask_price = quote["quotes"][0]["ask"].as_str().unwrap().to_owned();

    let approval = approved(&sidecar, &state, &ask_price).await;
    let submit = json!({"account_id": "DU1234567", "approval_id": approval,
                        "idempotency_key": "one"});
    let placed = ask(&sidecar, "ibkr_paper_order_submit", submit.clone()).await.unwrap();
    assert!(["working", "filled"].contains(&placed["status"].as_str().unwrap()), "{placed:#}");
    let again = ask(&sidecar, "ibkr_paper_order_submit", submit).await.unwrap();
    assert_eq!(again["client_order_id"], placed["client_order_id"]);
    let spent = ask(
        &sidecar,
        "ibkr_paper_order_submit",
        json!({"account_id": "DU1234567", "approval_id": approval, "idempotency_key": "two"}),
    )
    .await
    .unwrap_err();
    assert_eq!(spent.code, "APPROVAL_CONSUMED");

    let resting = approved(&sidecar, &state, "100").await;
    let placed = ask(
        &sidecar,
        "ibkr_paper_order_submit",
        json!({"account_id": "DU1234567", "approval_id": resting}),
    )
    .await
    .unwrap();
    assert_eq!(placed["status"], "working", "{placed:#}");
    let after_halt = approved(&sidecar, &state, "100").await;
    operate(&sidecar, &state, Verb::Halt { reason: "test".to_owned() }).await.unwrap();
    let refused = ask(
        &sidecar,
        "ibkr_paper_order_submit",
        json!({"account_id": "DU1234567", "approval_id": after_halt}),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code, "KILL_SWITCH_CLOSED");
    let cancelled = ask(
        &sidecar,
        "ibkr_paper_order_cancel",
        json!({"account_id": "DU1234567", "broker_order_id": placed["broker_order_id"]}),
    )
    .await
    .unwrap();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
    let outcome = json!({"client_order_id": placed["client_order_id"]});
    let outcome = ask(&sidecar, "ibkr_order_outcome", outcome).await.unwrap();
    let ours = outcome["message"].as_str().unwrap();
    assert!(ours.contains("as the broker's orders and trades show"), "{outcome:#}");
    assert!(outcome["broker_message"].is_null(), "our own words aren't the broker's");

    let verified = operate(&sidecar, &state, Verb::AuditVerify {}).await.unwrap();
    assert_eq!(verified["verified"], true);
    assert_eq!(simulator.control().place_calls(), 2);
    sidecar.shutdown().await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_cost_their_sender_nothing_cannot_fill_the_log() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = SidecarConfig::simulator(folder.path().join("state"), &simulator.base_url());
    // The same order is placed again and again here.
    config.limits.same_order_window = Duration::ZERO;
    let sidecar = Sidecar::start(config).await.unwrap();
    let before = sidecar.ledger().head().size;
    let mut refusals = tokio::task::JoinSet::new();
    for _ in 0..1500 {
        let agents = sidecar.agents();
        refusals.spawn(async move {
            let arguments = serde_json::value::to_raw_value(&json!({})).unwrap();
            let call = ToolCall::new("ibkr_health", arguments);
            let code = ErrorCode::AuthTokenInvalid;
            agents.refuse(&Untrusted::new("flood"), Door::Relay, code, &call).await
        });
    }
    let mut recorded = 0_u64;
    while let Some(reply) = refusals.join_next().await {
        let reply = reply.unwrap();
        assert!(reply.receipt.is_some(), "recorded or not, it is signed");
        recorded += u64::from(reply.audit_event_id.is_some());
        assert_eq!(reply.result.unwrap_err().code, "AUTH_TOKEN_INVALID");
    }
    let grown = sidecar.ledger().head().size - before;
    assert!((600..=1300).contains(&recorded), "{recorded}");
    assert!(grown < 1400, "{grown} records of 1500 refusals");
    sidecar.shutdown().await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_leaves_for_smart_unless_its_caller_names_another_exchange() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    simulator.control().set_precautions(Precautions::Off);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
    // The same order is placed again and again here.
    config.limits.same_order_window = Duration::ZERO;
    let sidecar = Sidecar::start(config).await.unwrap();
    let preview = async |named: Value| {
        let mut order = json!({"account_id": "DU1234567", "side": "buy", "quantity": 1,
            "limit_price": "100"});
        order.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        ask(&sidecar, "ibkr_order_preview", order).await
    };
    for (named, wanted) in [
        (json!({"symbol": "AAPL"}), "SMART"),
        (json!({"symbol": "AAPL", "exchange": "SMART"}), "SMART"),
        (json!({"symbol": "AAPL", "exchange": "nyse"}), "NYSE"),
        (json!({"instrument": "AAPL@NASDAQ:USD"}), "NASDAQ"),
        (json!({"contract_id": 265_598}), "SMART"),
        (json!({"contract_id": 265_598, "exchange": "ARCA"}), "ARCA"),
    ] {
        let shown = preview(named.clone()).await.unwrap();
        assert_eq!(shown["order"]["exchange"], wanted, "{named}");
        let asked = json!({"account_id": "DU1234567", "preview_id": shown["preview_id"],
                           "on_approval": "hold"});
        let asked = ask(&sidecar, "ibkr_approvals_create", asked).await.unwrap();
        let id = asked["approval_id"].as_str().unwrap().to_owned();
        let signed = asked["order_summary"].as_str().unwrap();
        assert!(signed.contains(&format!(" on {wanted}) ")), "{named}: {signed}");
        let yes = yes_to(&sidecar, &state, &id).await;
        operate(&sidecar, &state, yes).await.unwrap();
        let submit = json!({"account_id": "DU1234567", "approval_id": id});
        ask(&sidecar, "ibkr_paper_order_submit", submit).await.unwrap();
        let orders = simulator.control().orders();
        assert_eq!(orders.last().unwrap().exchange, wanted, "{named}");
    }
    for named in [
        json!({"symbol": "AAPL", "exchange": "MEXI"}),
        json!({"contract_id": 265_598, "exchange": "MEXI"}),
        json!({"instrument": "AAPL@MEXI"}),
    ] {
        let refused = preview(named.clone()).await.unwrap_err();
        assert_eq!(refused.code, "INPUT_INVALID_CONTRACT", "{named}");
        let list = "MEXI, only to SMART, AMEX, NYSE, CBOE, ARCA, NASDAQ, IEX";
        assert!(refused.message.contains(list), "{named}: {}", refused.message);
    }
    // What narrows an id down must fit it, too.
    let other = preview(json!({"contract_id": 265_598, "currency": "EUR"})).await.unwrap_err();
    assert_eq!(other.code, "INPUT_INVALID_CONTRACT");
    sidecar.shutdown().await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_and_what_is_unknown_say_why_in_answer_outcome_desk_and_record() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    simulator.control().set_precautions(Precautions::Off);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut config = SidecarConfig::simulator(state.clone(), &simulator.base_url());
    // The same order is placed again and again here.
    config.limits.same_order_window = Duration::ZERO;
    let sidecar = Sidecar::start(config).await.unwrap();
    for (what, code, status, reason, cause, means) in [
        (
            Misbehaviour::Html403,
            "ORDER_NOT_SENT",
            "not_sent",
            "access_denied",
            "BROKER_BACKEND_UNAVAILABLE",
            "the broker's gateway denied access",
        ),
        (
            Misbehaviour::Html500,
            "ORDER_OUTCOME_UNKNOWN",
            "unknown",
            "server_error",
            "ORDER_OUTCOME_UNKNOWN",
            "the broker answered with an error of its own",
        ),
    ] {
        let approval = approved(&sidecar, &state, "100").await;
        simulator.control().misbehave(Endpoint::Place, what);
        let submission = json!({"account_id": "DU1234567", "approval_id": approval});
        let refused = ask(&sidecar, "ibkr_paper_order_submit", submission).await.unwrap_err();
        simulator.control().behave_everywhere();
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.message.starts_with(means), "{refused:?}");
        assert!(refused.details.contains(&format!("reason={reason}")), "{refused:?}");
        assert!(refused.details.contains(&format!("cause={cause}")), "{refused:?}");

        let query = json!({"approval_id": approval});
        let outcome = ask(&sidecar, "ibkr_order_outcome", query).await.unwrap();
        assert_eq!((&outcome["status"], &outcome["reason"]), (&status.into(), &reason.into()));
        assert!(outcome["message"].as_str().unwrap().contains(means), "{outcome:#}");
        assert!(outcome["broker_message"].is_null(), "our own words aren't the broker's");

        let orders = operate(&sidecar, &state, Verb::Orders {}).await.unwrap();
        let orders = orders["orders"].as_array().unwrap();
        let order = orders.iter().find(|order| order["approval_id"] == approval.as_str()).unwrap();
        assert_eq!((&order["status"], &order["reason"]), (&status.into(), &reason.into()));

        let tail = TailQuery { limit: 20, ..TailQuery::default() };
        let entries = sidecar.ledger().snapshot().unwrap().tail(&tail).unwrap().entries;
        let told = entries.iter().any(|entry| entry.details.contains(&reason.to_owned()));
        assert!(told, "{entries:#?}");
    }
    sidecar.shutdown().await;
    simulator.shutdown().await;
}
