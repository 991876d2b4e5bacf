//! `operator.sock` from both ends, with a real client and with raw bytes.

use futures_util::{SinkExt as _, StreamExt as _};
use ibkr_agent_domain::{ErrorCode, OperatorKeyId, SidecarId, Timestamp, Untrusted};
use ibkr_agent_gateway::operator::{
    Challenge, EnrolledKey, Keyring, NewKey, OperatorClient, OperatorConnectError, OperatorDomain,
    OperatorDoor, OperatorSigner, Verb, create_key, load_key, open_operator_door, serve_operators,
};
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

/// A door that remembers what it was told.
struct Desk {
    keyring: Keyring,
    performed: Mutex<Vec<(Verb, Option<OperatorKeyId>)>>,
    refused: Mutex<Vec<(Verb, String)>>,
    began: Notify,
    go_on: Notify,
    ended: Notify,
}

impl OperatorDoor for Desk {
    fn sidecar(&self) -> SidecarId {
        SidecarId::parse("home").unwrap()
    }

    fn domain(&self) -> OperatorDomain {
        OperatorDomain::Simulator
    }

    fn keyring(&self) -> Keyring {
        self.keyring.clone()
    }

    async fn perform(&self, verb: Verb, key: Option<OperatorKeyId>) -> Result<Value, ErrorBody> {
        if matches!(verb, Verb::AuditVerify {}) {
            self.began.notify_one();
            self.go_on.notified().await;
            self.ended.notify_one();
        }
        if matches!(verb, Verb::AuditTail { .. }) {
            return Ok(json!("x".repeat(300 * 1024)));
        }
        if matches!(verb, Verb::Limits {}) {
            panic!("a defect");
        }
        let name = verb.name();
        self.performed.lock().unwrap().push((verb, key));
        if name == "orders cancel" {
            return Err(ErrorBody::new(ErrorCode::OrderNotFound, "no such order"));
        }
        Ok(json!({ "did": name }))
    }

    async fn refused(&self, verb: Verb, error: ErrorBody) {
        self.refused.lock().unwrap().push((verb, error.code));
    }
}

struct House {
    state: tempfile::TempDir,
    desk: Arc<Desk>,
    signer: OperatorSigner,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl House {
    async fn open() -> Self {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("key.json");
        create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
        let signer = load_key(&path, OperatorDomain::Simulator, None).unwrap();
        let mut keyring = Keyring::new(OperatorDomain::Simulator);
        let key = EnrolledKey {
            public_key: signer.public_key(),
            label: Untrusted::new("desk"),
            enrolled_at: Timestamp::from_millis(0),
        };
        keyring.enrol(key).unwrap();
        let desk = Arc::new(Desk {
            keyring,
            performed: Mutex::default(),
            refused: Mutex::default(),
            began: Notify::new(),
            go_on: Notify::new(),
            ended: Notify::new(),
        });
        let shutdown = CancellationToken::new();
        let door = open_operator_door(state.path()).await.unwrap();
        let serving = tokio::spawn(serve_operators(door, Arc::clone(&desk), shutdown.clone()));
        Self { state, desk, signer, shutdown, serving }
    }

    async fn client(&self) -> OperatorClient {
        OperatorClient::connect(self.state.path()).await.unwrap()
    }

    async fn raw(&self) -> (Framed<UnixStream, LengthDelimitedCodec>, Value) {
        let path = self.state.path().join("operator/operator.sock");
        let stream = UnixStream::connect(path).await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        let hello = raw.next().await.unwrap().unwrap();
        (raw, serde_json::from_slice(&hello).unwrap())
    }
}

async fn say(raw: &mut Framed<UnixStream, LengthDelimitedCodec>, request: &Value) -> Value {
    raw.send(bytes::Bytes::from(request.to_string())).await.unwrap();
    serde_json::from_slice(&raw.next().await.unwrap().unwrap()).unwrap()
}

fn resume() -> Verb {
    Verb::Resume { reason: "checked".to_owned() }
}

fn halt() -> Verb {
    Verb::Halt { reason: "now".to_owned() }
}

#[tokio::test]
async fn a_signed_verb_is_performed_under_its_key_and_others_without() {
    let house = House::open().await;
    let mut client = house.client().await;
    assert_eq!(client.sidecar().as_str(), "home");
    let did = client.call(halt(), None).await.unwrap();
    assert_eq!(did, json!({ "did": "kill-switch close" }));
    for _ in 0..3 {
        client.call(resume(), Some(&house.signer)).await.unwrap();
    }
    let performed = house.desk.performed.lock().unwrap().clone();
    let signed = (resume(), Some(house.signer.id()));
    assert_eq!(performed, [(halt(), None), signed.clone(), signed.clone(), signed]);
}

#[tokio::test]
async fn a_verb_that_needs_a_signature_is_refused_and_recorded_without_one() {
    let house = House::open().await;
    let mut client = house.client().await;
    let refused = client.call(resume(), None).await.unwrap_err();
    assert_eq!(refused.code, "SIGNATURE_REQUIRED");
    let recorded = house.desk.refused.lock().unwrap().clone();
    assert_eq!(recorded, [(resume(), "SIGNATURE_REQUIRED".to_owned())]);
    assert!(house.desk.performed.lock().unwrap().is_empty());
    // The connection goes on.
    client.call(resume(), Some(&house.signer)).await.unwrap();
}

#[tokio::test]
async fn a_signature_can_not_be_used_twice_or_on_another_connection() {
    let house = House::open().await;
    let (mut first, hello) = house.raw().await;
    let (mut second, _) = house.raw().await;
    let challenge = Challenge(hello["challenge"].as_str().unwrap().to_owned());
    let sidecar = SidecarId::parse("home").unwrap();
    let proof = house.signer.prove(&sidecar, &challenge, &resume()).unwrap();
    let request = json!({ "verb": resume(), "proof": proof });
    let elsewhere = say(&mut second, &request).await;
    assert_eq!(elsewhere["outcome"]["error"]["code"], "SIGNATURE_INVALID");
    let fresh = say(&mut first, &request).await;
    assert_eq!(fresh["outcome"]["ok"]["did"], "kill-switch open");
    let again = say(&mut first, &request).await;
    assert_eq!(again["outcome"]["error"]["code"], "SIGNATURE_INVALID");
    assert_eq!(house.desk.performed.lock().unwrap().len(), 1);
    assert_eq!(house.desk.refused.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_bad_signature_is_refused_even_where_none_is_needed() {
    let house = House::open().await;
    let (mut raw, _) = house.raw().await;
    let proof = json!({ "key": house.signer.id().as_str(), "signature": "00".repeat(64) });
    let answer = say(&mut raw, &json!({ "verb": halt(), "proof": proof })).await;
    assert_eq!(answer["outcome"]["error"]["code"], "SIGNATURE_INVALID");
    assert!(house.desk.performed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn errors_and_panics_come_back_as_errors_and_the_connection_goes_on() {
    let house = House::open().await;
    let mut client = house.client().await;
    let cancel = Verb::Cancel { account: "DU1".to_owned(), order: "7".to_owned() };
    assert_eq!(client.call(cancel, None).await.unwrap_err().code, "ORDER_NOT_FOUND");
    assert_eq!(client.call(Verb::Limits {}, None).await.unwrap_err().code, "INTERNAL_ERROR");
    let tail = Verb::AuditTail { limit: 10, before: None };
    let long = client.call(tail, None).await.unwrap_err();
    assert_eq!(long.code, "INPUT_INVALID");
    client.call(Verb::Status {}, None).await.unwrap();
}

#[tokio::test]
async fn frames_that_are_no_verb_are_refused_and_end_the_connection() {
    let house = House::open().await;
    let call = json!({ "call": { "id": "c1", "tool": "ibkr_health", "arguments": {},
        "timeout_ms": 1000, "client": "x" } });
    let extra = json!({ "verb": { "verb": "status" }, "tool": "ibkr_health" });
    let unknown = json!({ "verb": { "verb": "approve_everything" } });
    for request in [call, extra, unknown, json!("garbage")] {
        let (mut raw, _) = house.raw().await;
        let answer = say(&mut raw, &request).await;
        assert_eq!(answer["outcome"]["error"]["code"], "INPUT_INVALID", "{request}");
        assert!(raw.next().await.is_none(), "{request}");
    }
    assert!(house.desk.performed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
    let house = House::open().await;
    let path = house.state.path().join("operator/operator.sock");
    for (length, code) in [(256 * 1024 + 1, "INPUT_INVALID"), (u32::MAX, "INPUT_INVALID")] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert!(String::from_utf8_lossy(&heard).contains(code));
    }
    house.client().await.call(Verb::Status {}, None).await.unwrap();
}

#[tokio::test]
async fn a_verb_runs_to_its_end_though_its_operator_leaves() {
    let house = House::open().await;
    let (mut raw, _) = house.raw().await;
    let request = json!({ "verb": Verb::AuditVerify {} });
    raw.send(bytes::Bytes::from(request.to_string())).await.unwrap();
    house.desk.began.notified().await;
    drop(raw);
    house.desk.go_on.notify_one();
    house.desk.ended.notified().await;
}

#[tokio::test]
async fn shutting_down_answers_the_verb_in_hand_and_takes_the_socket_away() {
    let house = House::open().await;
    let mut client = house.client().await;
    let desk = Arc::clone(&house.desk);
    let waiting = tokio::spawn(async move { client.call(Verb::AuditVerify {}, None).await });
    desk.began.notified().await;
    house.shutdown.cancel();
    desk.go_on.notify_one();
    waiting.await.unwrap().unwrap();
    house.serving.await.unwrap();
    let after = OperatorClient::connect(house.state.path()).await.unwrap_err();
    assert!(matches!(after, OperatorConnectError::NotRunning));
}

#[tokio::test]
async fn the_client_does_not_sign_with_a_key_of_another_domain() {
    let state = tempfile::tempdir().unwrap();
    let greeting = json!({ "version": 2, "sidecar": "home", "domain": "broker",
        "challenge": "c1" });
    let _impostor = impostor(state.path(), greeting);
    let path = state.path().join("key.json");
    create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
    let signer = load_key(&path, OperatorDomain::Simulator, None).unwrap();
    let mut client = OperatorClient::connect(state.path()).await.unwrap();
    let refused = client.call(resume(), Some(&signer)).await.unwrap_err();
    assert_eq!(refused.code, "SIGNATURE_INVALID");
}

#[tokio::test]
async fn without_an_answer_a_change_is_unknown_and_a_look_is_not() {
    for (verb, code) in [(halt(), "CALL_OUTCOME_UNKNOWN"), (Verb::Status {}, "SIDECAR_UNAVAILABLE")]
    {
        let state = tempfile::tempdir().unwrap();
        let greeting = json!({ "version": 2, "sidecar": "home", "domain": "simulator",
            "challenge": "c1" });
        let _impostor = impostor(state.path(), greeting);
        let mut client = OperatorClient::connect(state.path()).await.unwrap();
        assert_eq!(client.call(verb, None).await.unwrap_err().code, code);
        let after = client.call(Verb::Status {}, None).await.unwrap_err();
        assert_eq!(after.code, "SIDECAR_UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_sidecar_of_another_version_is_named() {
    let state = tempfile::tempdir().unwrap();
    let greeting = json!({ "version": 9, "sidecar": "home", "domain": "simulator",
        "challenge": "c1" });
    let _impostor = impostor(state.path(), greeting);
    let refused = OperatorClient::connect(state.path()).await.unwrap_err();
    assert!(matches!(refused, OperatorConnectError::Version(9)));
}

/// Greets as told, takes one request and hangs up.
fn impostor(state: &Path, greeting: Value) -> tokio::task::JoinHandle<()> {
    let folder = state.join("operator");
    std::fs::create_dir(&folder).unwrap();
    let listener = UnixListener::bind(folder.join("operator.sock")).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Framed::new(stream, LengthDelimitedCodec::new());
        raw.send(bytes::Bytes::from(greeting.to_string())).await.unwrap();
        drop(raw.next().await);
    })
}
