//! A pair of streams, with the client of the same library at the other end.

use crate::fake::{Caller, Fake, NEVER_READ, NEVER_WRITE, PROGRESSES, WAITS};
use core::time::Duration;
use ibkr_agent_domain::{Tier, Untrusted};
use ibkr_agent_mcp::{StdioError, instructions, serve_stream};
use ibkr_agent_protocol::catalogue::all;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Served {
    pub(crate) fake: Arc<Fake>,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), StdioError>>,
    pub(crate) client: DuplexStream,
}

pub(crate) fn serve() -> Served {
    let fake = Arc::new(Fake::default());
    let shutdown = CancellationToken::new();
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(server);
    let caller = |name: &Untrusted| Caller::new(name.as_str(), Tier::Paper);
    let ended =
        tokio::spawn(serve_stream(Arc::clone(&fake), caller, reader, writer, shutdown.clone()));
    Served { fake, shutdown, ended, client }
}

/// Speaks lines of JSON.
pub(crate) struct Raw {
    lines: tokio::io::Lines<BufReader<tokio::io::ReadHalf<DuplexStream>>>,
    writer: tokio::io::WriteHalf<DuplexStream>,
}

impl Raw {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { lines: BufReader::new(reader).lines(), writer }
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.writer.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("an answer");
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    }

    pub(crate) async fn initialize(&mut self, name: &str) -> Value {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": name, "version": "1"}});
        self.send(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}))
            .await;
        let answer = self.receive().await;
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answer
    }

    async fn call(&mut self, id: u32, params: Value) {
        let method = "tools/call";
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }
}

async fn connect(stream: DuplexStream) -> RunningService<RoleClient, ()> {
    timeout(PATIENCE, ().serve(stream)).await.expect("a handshake").unwrap()
}

fn error_code(result: &CallToolResult) -> String {
    assert_eq!(result.is_error, Some(true));
    assert!(result.structured_content.is_none());
    let text = serde_json::to_value(&result.content).unwrap()[0]["text"].clone();
    let error: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    error["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_librarys_own_client_lists_and_calls() {
    let served = serve();
    let client = connect(served.client).await;
    let tools = client.list_all_tools().await.unwrap();
    let permitted = all().len();
    assert_eq!(tools.len(), permitted);
    let arguments = json!({"query": "AAPL"}).as_object().unwrap().clone();
    let call = CallToolRequestParams::new("ibkr_contracts_search").with_arguments(arguments);
    let result = client.call_tool(call).await.unwrap();
    let structure = result.structured_content.unwrap();
    assert_eq!(structure["tool"], json!("ibkr_contracts_search"));
    assert_eq!(structure["arguments"], json!({"query": "AAPL"}));
    client.cancel().await.unwrap();
    timeout(PATIENCE, served.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_caller_is_named_as_the_client_names_itself_escaped() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    let opened = raw.initialize("evil\u{202e}client").await;
    assert_eq!(opened["result"]["instructions"], json!(instructions()));
    assert_eq!(
        opened["result"]["capabilities"],
        json!({"resources": {"subscribe": true}, "tools": {}})
    );
    raw.call(1, json!({"name": "ibkr_health"})).await;
    let answer = raw.receive().await;
    assert_eq!(answer["id"], json!(1));
    assert_eq!(served.fake.calls()[0].0, "evil\\u{202e}client");
}

#[tokio::test]
async fn a_modern_client_discovers_and_calls_without_a_handshake() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "1"},
    });
    let discover =
        json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}});
    raw.send(discover).await;
    let found = raw.receive().await;
    assert!(found["result"]["supportedVersions"].is_array(), "{found}");
    raw.call(2, json!({"name": "ibkr_health", "arguments": {}, "_meta": meta})).await;
    let answer = raw.receive().await;
    assert_eq!(answer["result"]["structuredContent"]["caller"], json!("modern"));
    assert_eq!(answer["result"]["resultType"], json!("complete"));
}

#[tokio::test]
async fn a_cancelled_request_reaches_the_service() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    raw.initialize("t").await;
    raw.call(7, json!({"name": WAITS})).await;
    timeout(PATIENCE, served.fake.started.notified()).await.expect("the call starts");
    let params = json!({"requestId": 7, "reason": "enough"});
    raw.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        .await;
    timeout(PATIENCE, served.fake.cancelled.notified()).await.expect("the call is cancelled");
}

#[tokio::test]
async fn a_long_name_of_a_tool_is_cut_to_what_every_door_behind_takes() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    raw.initialize("t").await;
    raw.call(1, json!({"name": "\u{20ac}".repeat(100)})).await;
    assert_eq!(raw.receive().await["id"], json!(1));
    assert_eq!(served.fake.calls()[0].1, "\u{20ac}".repeat(42), "128 bytes at most");
}

#[tokio::test]
async fn progress_precedes_the_answer() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    raw.initialize("t").await;
    raw.call(3, json!({"name": PROGRESSES, "_meta": {"progressToken": 9}})).await;
    for step in [1.0, 2.0] {
        let note = raw.receive().await;
        assert_eq!(note["method"], json!("notifications/progress"));
        assert_eq!(note["params"]["progressToken"], json!(9));
        assert_eq!(note["params"]["progress"].as_f64(), Some(step));
    }
    assert_eq!(raw.receive().await["id"], json!(3));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_answers_ends_and_a_write_then_is_unknown() {
    let served = serve();
    let client = connect(served.client).await;
    let read = client.call_tool(CallToolRequestParams::new(NEVER_READ)).await.unwrap();
    assert_eq!(error_code(&read), "CALL_TIMED_OUT");
    let write = client.call_tool(CallToolRequestParams::new(NEVER_WRITE)).await.unwrap();
    assert_eq!(error_code(&write), "CALL_OUTCOME_UNKNOWN");
}

#[tokio::test]
async fn shutting_down_ends_a_served_client_and_one_that_never_spoke() {
    let served = serve();
    let client = connect(served.client).await;
    served.shutdown.cancel();
    timeout(PATIENCE, served.ended).await.unwrap().unwrap().unwrap();
    drop(client);
    let silent = serve();
    silent.shutdown.cancel();
    timeout(PATIENCE, silent.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_at_once_is_no_error_and_one_that_starts_wrong_is() {
    let served = serve();
    drop(served.client);
    timeout(PATIENCE, served.ended).await.unwrap().unwrap().unwrap();
    let served = serve();
    let mut raw = Raw::new(served.client);
    raw.send(json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": 1, "progress": 1}}))
        .await;
    let ended = timeout(PATIENCE, served.ended).await.unwrap().unwrap();
    assert!(matches!(ended, Err(StdioError::Handshake(_))), "{ended:?}");
}
