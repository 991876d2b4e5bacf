//! Tool calls over the socket: what arrives, what comes back, what is refused, what a cut does.

use crate::support::{Probe, READ, WRITE, ask, call, caller};
use futures_util::{SinkExt as _, StreamExt as _};
use ibkr_agent_gateway::local::{
    AttachError, AttachedService, agent_socket, open_agent_door, serve_agents,
};
use ibkr_agent_protocol::service::{
    Progress, ProgressUpdate, ToolEvent, ToolReply, ToolService as _,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

struct House {
    state: tempfile::TempDir,
    probe: Arc<Probe>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl House {
    async fn open() -> Self {
        let state = tempfile::tempdir().unwrap();
        let probe = Probe::new("owner");
        let shutdown = CancellationToken::new();
        let door = open_agent_door(state.path()).await.unwrap();
        let serving = tokio::spawn(serve_agents(door, Arc::clone(&probe), shutdown.clone()));
        Self { state, probe, shutdown, serving }
    }

    async fn attach(&self) -> AttachedService {
        AttachedService::connect(&agent_socket(self.state.path())).await.unwrap()
    }

    async fn raw(&self) -> Raw {
        let stream = UnixStream::connect(agent_socket(self.state.path())).await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        let hello = raw.next().await.unwrap().unwrap();
        let hello: Value = serde_json::from_slice(&hello).unwrap();
        assert_eq!(hello["hello"]["version"], 1);
        raw
    }
}

type Raw = Framed<UnixStream, LengthDelimitedCodec>;

async fn say(raw: &mut Raw, request: &Value) -> Value {
    raw.send(bytes::Bytes::from(request.to_string())).await.unwrap();
    serde_json::from_slice(&raw.next().await.unwrap().unwrap()).unwrap()
}

/// Starts a call that waits, and returns once it has begun.
async fn waiting(
    service: &AttachedService,
    tool: &str,
    cancelled: CancellationToken,
) -> JoinHandle<ToolReply> {
    let (sender, mut updates) = mpsc::channel(4);
    let service = service.clone();
    let call = call(tool, r#"{"wait": true}"#);
    let running = tokio::spawn(async move {
        service.call(caller("test"), call, Progress::to(sender), cancelled).await
    });
    let began = updates.recv().await.unwrap();
    assert_eq!(began, ProgressUpdate { progress: 1, message: "began".to_owned() });
    running
}

fn code(reply: ToolReply) -> String {
    reply.result.unwrap_err().code
}

#[tokio::test]
async fn a_call_arrives_as_it_was_made_and_its_answer_comes_back_whole() {
    let house = House::open().await;
    let attached = house.attach().await;
    let arguments = r#"{ "price" : 100.10, "n":1e2,  "name":"A\u0042" }"#;
    let mut asked = call(READ, arguments);
    asked.timeout = Duration::from_millis(1234);
    let id = asked.call_id.clone();
    let reply = attached
        .call(caller("a\u{1b}b"), asked, Progress::ignored(), CancellationToken::new())
        .await;
    assert_eq!(reply.call_id, id);
    assert_eq!(reply.audit_event_id.as_deref(), Some("event-7"));
    let body = reply.result.unwrap();
    assert_eq!(reply.output_hash, ibkr_agent_domain::Digest::of(body.get().as_bytes()));
    let said: Value = serde_json::from_str(body.get()).unwrap();
    assert_eq!(said["arguments"], arguments, "byte for byte");
    assert_eq!(said["client"], "a\\u{1b}b");
    assert_eq!(said["timeout_ms"], 1234);
    let tools: Vec<_> = attached.tools(&caller("x")).iter().map(|tool| tool.name).collect();
    assert_eq!(tools, [READ, WRITE]);
}

#[tokio::test]
async fn calls_overtake_each_other_and_cancelling_asks() {
    let house = House::open().await;
    let attached = house.attach().await;
    let cancel = CancellationToken::new();
    let slow = waiting(&attached, READ, cancel.clone()).await;
    assert_eq!(ask(&attached, READ, "{}").await.unwrap()["by"], "owner");
    cancel.cancel();
    assert_eq!(code(slow.await.unwrap()), "CALL_CANCELLED");
}

#[tokio::test]
async fn calls_beyond_the_limit_of_a_connection_are_refused_as_busy() {
    let house = House::open().await;
    let mut raw = house.raw().await;
    let frame = |n: usize| {
        json!({ "call": { "id": format!("c{n}"), "tool": READ, "arguments": { "wait": true },
            "timeout_ms": 60_000, "client": "x" } })
    };
    for n in 0..64 {
        let began = say(&mut raw, &frame(n)).await;
        assert_eq!(began["progress"]["id"], format!("c{n}"));
    }
    let again = say(&mut raw, &frame(7)).await;
    assert_eq!(again["reply"]["failure"]["code"], "INPUT_INVALID");
    let busy = say(&mut raw, &frame(64)).await;
    assert_eq!(busy["reply"]["failure"]["code"], "SIDECAR_BUSY");
    let ended = say(&mut raw, &json!({ "cancel": { "id": "c7" } })).await;
    assert_eq!(ended["reply"]["call_id"], "c7");
    let began = say(&mut raw, &frame(64)).await;
    assert_eq!(began["progress"]["id"], "c64");
}

#[tokio::test]
async fn events_reach_those_attached() {
    let house = House::open().await;
    let attached = house.attach().await;
    let mut events = attached.events(&caller("x"));
    // An answer shows that the owner listens to its own events for this connection.
    ask(&attached, READ, "{}").await.unwrap();
    let event = ToolEvent { resource: "ibkr://approvals/1".to_owned() };
    house.probe.events.send(event.clone()).unwrap();
    assert_eq!(events.next().await.unwrap(), event);
}

#[tokio::test]
async fn no_operator_verb_and_no_other_frame_gets_in() {
    let house = House::open().await;
    let halt = json!({ "verb": "halt", "reason": "x" });
    let called = json!({ "id": "c1", "tool": READ, "arguments": {}, "timeout_ms": 1,
        "client": "x", "verb": halt });
    for request in [
        json!({ "verb": halt }),
        json!({ "verb": halt, "proof": null }),
        json!({ "call": called }),
        json!({ "call": { "id": "c1" }, "verb": halt }),
        json!({ "operator": halt }),
        json!("call"),
        json!(7),
    ] {
        let mut raw = house.raw().await;
        let answer = say(&mut raw, &request).await;
        assert_eq!(answer["refused"]["code"], "INPUT_INVALID", "{request}");
        assert!(raw.next().await.is_none(), "{request}");
    }
}

#[tokio::test]
async fn garbage_and_frames_beyond_the_limit_end_their_connection_only() {
    let house = House::open().await;
    let attached = house.attach().await;
    for sent in [
        b"\x00\x00\x00\x04\xff\xfe\xfd\xfc".as_slice(),
        &(128 * 1024_u32 + 1).to_be_bytes(),
        &u32::MAX.to_be_bytes(),
    ] {
        let mut stream = UnixStream::connect(agent_socket(house.state.path())).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert!(String::from_utf8_lossy(&heard).contains("refused"), "{sent:?}");
    }
    ask(&attached, READ, "{}").await.unwrap();
}

#[tokio::test]
async fn arguments_and_answers_that_are_too_long_are_errors_of_their_call_only() {
    let house = House::open().await;
    let attached = house.attach().await;
    let long = json!({ "x": "y".repeat(128 * 1024) }).to_string();
    assert_eq!(ask(&attached, READ, &long).await.unwrap_err(), "INPUT_INVALID");
    let big = r#"{"length": 1100000}"#;
    assert_eq!(ask(&attached, READ, big).await.unwrap_err(), "OUTPUT_UNSAFE");
    assert_eq!(ask(&attached, WRITE, big).await.unwrap_err(), "CALL_OUTCOME_UNKNOWN");
    let said = ask(&attached, READ, r#"{"length": 900000}"#).await.unwrap();
    assert_eq!(said["padding"].as_str().unwrap().len(), 900_000);
}

#[tokio::test]
async fn a_service_that_panics_is_an_answer() {
    let house = House::open().await;
    let attached = house.attach().await;
    let told = r#"{"panic": true}"#;
    assert_eq!(ask(&attached, READ, told).await.unwrap_err(), "INTERNAL_ERROR");
    assert_eq!(ask(&attached, WRITE, told).await.unwrap_err(), "CALL_OUTCOME_UNKNOWN");
}

#[tokio::test]
async fn a_cut_ends_writes_as_unknown_and_reads_as_unavailable() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let owner = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        let hello = json!({ "hello": { "version": 1, "tools": [READ, WRITE] } });
        raw.send(bytes::Bytes::from(hello.to_string())).await.unwrap();
        for _ in 0..3 {
            raw.next().await.unwrap().unwrap();
        }
    });
    let attached = AttachedService::connect(&path).await.unwrap();
    let (read, write, unknown) = tokio::join!(
        ask(&attached, READ, "{}"),
        ask(&attached, WRITE, "{}"),
        ask(&attached, "ibkr_of_a_newer_version", "{}"),
    );
    assert_eq!(read.unwrap_err(), "SIDECAR_UNAVAILABLE");
    assert_eq!(write.unwrap_err(), "CALL_OUTCOME_UNKNOWN");
    assert_eq!(unknown.unwrap_err(), "CALL_OUTCOME_UNKNOWN");
    owner.await.unwrap();
    attached.cut().cancelled().await;
    // Nothing leaves any more, so a write is known not to have happened.
    assert_eq!(ask(&attached, WRITE, "{}").await.unwrap_err(), "SIDECAR_UNAVAILABLE");
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_reads_and_not_its_writes() {
    let house = House::open().await;
    let attached = house.attach().await;
    let write = waiting(&attached, WRITE, CancellationToken::new()).await;
    let read = waiting(&attached, READ, CancellationToken::new()).await;
    drop(attached);
    write.abort();
    read.abort();
    house.probe.cancelled.notified().await;
    house.probe.go_on.notify_one();
    house.probe.finished.notified().await;
}

#[tokio::test]
async fn shutting_down_answers_the_write_in_hand_and_takes_the_socket_away() {
    let house = House::open().await;
    let attached = house.attach().await;
    let write = waiting(&attached, WRITE, CancellationToken::new()).await;
    let read = waiting(&attached, READ, CancellationToken::new()).await;
    house.shutdown.cancel();
    assert_eq!(code(read.await.unwrap()), "CALL_CANCELLED");
    house.probe.go_on.notify_one();
    assert!(write.await.unwrap().result.is_ok());
    house.serving.await.unwrap();
    let after = AttachedService::connect(&agent_socket(house.state.path())).await;
    assert!(matches!(after, Err(AttachError::Absent)));
}

#[tokio::test]
async fn an_owner_of_another_version_is_named() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let owner = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        let hello = json!({ "hello": { "version": 9, "tools": [] } });
        raw.send(bytes::Bytes::from(hello.to_string())).await.unwrap();
    });
    let refused = AttachedService::connect(&path).await.unwrap_err();
    assert!(matches!(refused, AttachError::Version(9)));
    owner.await.unwrap();
}

#[tokio::test]
async fn a_leaving_owner_declines_calls_that_come_late_so_that_they_are_not_in_doubt() {
    let house = House::open().await;
    let mut raw = house.raw().await;
    let frame = |id: &str| {
        json!({ "call": { "id": id, "tool": WRITE, "arguments": { "wait": true },
            "timeout_ms": 60_000, "client": "x" } })
    };
    let began = say(&mut raw, &frame("early")).await;
    assert_eq!(began["progress"]["id"], "early");
    house.shutdown.cancel();
    let leaving: Value = serde_json::from_slice(&raw.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(leaving, "leaving");
    let declined = say(&mut raw, &frame("late")).await;
    assert_eq!(declined["declined"]["id"], "late");
    house.probe.go_on.notify_one();
    let ended: Value = serde_json::from_slice(&raw.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(ended["reply"]["call_id"], "early");
    drop(raw);
    house.serving.await.unwrap();
}

#[tokio::test]
async fn a_declined_write_is_handed_back_as_not_run() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let owner = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        let hello = json!({ "hello": { "version": 1, "tools": [WRITE] } });
        raw.send(bytes::Bytes::from(hello.to_string())).await.unwrap();
        let asked: Value = serde_json::from_slice(&raw.next().await.unwrap().unwrap()).unwrap();
        for said in [json!("leaving"), json!({ "declined": { "id": asked["call"]["id"] } })] {
            raw.send(bytes::Bytes::from(said.to_string())).await.unwrap();
        }
        assert!(raw.next().await.is_none(), "the client closes once nothing is in flight");
    });
    let attached = AttachedService::connect(&path).await.unwrap();
    assert_eq!(ask(&attached, WRITE, "{}").await.unwrap_err(), "SIDECAR_UNAVAILABLE");
    assert!(attached.cut().is_cancelled());
    owner.await.unwrap();
}
