//! Streamable HTTP with raw bodies.

use crate::fake::{Caller, Fake, PROGRESSES, SENSELESS, WAITS};
use core::time::Duration;
use ibkr_agent_domain::{Digest, Scope, Tier};
use ibkr_agent_mcp::{CallerExtension, HttpOptions, http_service, instructions};
use ibkr_agent_protocol::catalogue::{FORBIDDEN, all};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const MODERN: &str = "2026-07-28";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    client: reqwest::Client,
}

async fn serve(caller: Option<Caller>, options: HttpOptions) -> Server {
    let fake = Arc::new(Fake::default());
    let service = http_service(Arc::clone(&fake), options);
    let mut router = axum::Router::new().route_service("/mcp", service);
    if let Some(caller) = caller {
        router = router.layer(axum::Extension(CallerExtension(caller)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
    Server { address, fake, client }
}

pub(crate) async fn serve_default() -> Server {
    serve(Some(Caller::new("alice", Tier::Live)), HttpOptions::default()).await
}

fn modern_body(method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

impl Server {
    fn post(&self, body: &Value) -> RequestBuilder {
        self.client
            .post(format!("http://{}/mcp", self.address))
            .header("Accept", "application/json, text/event-stream")
            .json(body)
    }

    pub(crate) fn modern(&self, method: &str, params: Value) -> RequestBuilder {
        let named = params["name"].as_str().or_else(|| params["uri"].as_str());
        let name = named.map(str::to_owned);
        let request = self
            .post(&modern_body(method, params))
            .header("MCP-Protocol-Version", MODERN)
            .header("Mcp-Method", method);
        match name {
            Some(name) => request.header("Mcp-Name", name),
            None => request,
        }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        result(self.modern("tools/call", params).send().await.unwrap()).await
    }

    fn legacy(&self, method: &str, params: &Value) -> RequestBuilder {
        self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .header("MCP-Protocol-Version", "2025-11-25")
    }
}

pub(crate) async fn result(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    assert!(body["error"].is_null(), "{body}");
    body["result"].clone()
}

fn initialize() -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}})
}

fn names(result: &Value) -> Vec<&str> {
    let tools = result["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn discovery_names_both_eras_the_instructions_tools_and_resources() {
    let server = serve_default().await;
    let found = result(server.modern("server/discover", json!({})).send().await.unwrap()).await;
    let versions = found["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(MODERN)) && versions.contains(&json!("2025-11-25")));
    assert_eq!(found["instructions"], json!(instructions()));
    assert_eq!(found["capabilities"], json!({"resources": {"subscribe": true}, "tools": {}}));
}

#[tokio::test]
async fn the_list_is_the_catalogue_for_this_caller_alone_in_both_eras() {
    let server = serve_default().await;
    let listed = result(server.modern("tools/list", json!({})).send().await.unwrap()).await;
    let declared: Vec<&str> = all().iter().map(|spec| spec.name).collect();
    assert_eq!(names(&listed), declared);
    assert_eq!(listed["cacheScope"], json!("private"));
    assert_eq!(listed["ttlMs"], json!(60_000));
    for (tool, spec) in listed["tools"].as_array().unwrap().iter().zip(all()) {
        assert_eq!(tool["outputSchema"], Value::Object(spec.output_schema().as_ref().clone()));
        assert_eq!(tool["inputSchema"], Value::Object(spec.input_schema().as_ref().clone()));
        assert_eq!(tool["title"], json!(spec.title));
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{} {hint}", spec.name);
        }
        assert_eq!(tool["annotations"]["destructiveHint"], json!(spec.destructive));
    }
    let legacy = result(server.legacy("tools/list", &json!({})).send().await.unwrap()).await;
    assert_eq!(names(&legacy), declared);

    let narrow = Caller::with("bob", Scope::RiskRead);
    let server = serve(Some(narrow), HttpOptions::default()).await;
    let listed = result(server.modern("tools/list", json!({})).send().await.unwrap()).await;
    assert_eq!(names(&listed), ["ibkr_limits_status"]);
}

#[tokio::test]
async fn an_answer_comes_as_text_and_structure_with_its_receipt() {
    let server = serve_default().await;
    let answer = server.call("ibkr_health", json!({"b": 1, "a": "x"})).await;
    assert_ne!(answer["isError"], json!(true));
    let text = answer["content"][0]["text"].as_str().unwrap();
    let expected = json!({"tool": "ibkr_health", "caller": "alice",
        "arguments": {"b": 1, "a": "x"}});
    assert_eq!(answer["structuredContent"], expected);
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);
    let meta = &answer["_meta"];
    // The receipt is over the text's bytes.
    assert_eq!(meta["ibkr-agent/output_hash"], json!(Digest::of(text.as_bytes()).to_string()));
    assert_eq!(meta["ibkr-agent/audit_event_id"], json!("ev-1"));
    assert_eq!(meta["ibkr-agent/receipt"], json!({"key": "aa", "signature": "bb"}));
    assert!(meta["ibkr-agent/call_id"].as_str().unwrap().len() == 36);
}

#[tokio::test]
async fn unknown_and_forbidden_tools_reach_the_service_and_come_back_as_errors() {
    let server = serve_default().await;
    for (tool, code) in
        [("ibkr_no_such_tool", "INPUT_UNKNOWN_TOOL"), (FORBIDDEN[2], "READONLY_WRITE_FORBIDDEN")]
    {
        let answer = server.call(tool, json!({})).await;
        assert_eq!(answer["isError"], json!(true), "{tool}");
        assert!(answer.get("structuredContent").is_none(), "{tool}");
        let text = answer["content"][0]["text"].as_str().unwrap();
        let error: Value = serde_json::from_str(text).unwrap();
        assert_eq!(error["code"], json!(code));
        assert_eq!(error["call_id"], answer["_meta"]["ibkr-agent/call_id"]);
        assert!(error["user_action"].is_string() && error["retryable"].is_boolean());
    }
    let called: Vec<String> = server.fake.calls().into_iter().map(|call| call.1).collect();
    assert_eq!(called, ["ibkr_no_such_tool", FORBIDDEN[2]]);
}

#[tokio::test]
async fn an_answer_that_is_not_an_object_is_an_error() {
    let server = serve_default().await;
    let answer = server.call(SENSELESS, json!({})).await;
    assert_eq!(answer["isError"], json!(true));
    assert!(answer.get("structuredContent").is_none());
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("INTERNAL_ERROR"));
}

#[tokio::test]
async fn an_older_client_works_without_a_session() {
    let server = serve_default().await;
    let response = server.legacy("initialize", &initialize()).send().await.unwrap();
    assert!(response.headers().get("mcp-session-id").is_none());
    let opened = result(response).await;
    assert_eq!(opened["protocolVersion"], json!("2025-11-25"));
    assert_eq!(opened["instructions"], json!(instructions()));
    let params = json!({"name": "ibkr_health"});
    let answer = result(server.legacy("tools/call", &params).send().await.unwrap()).await;
    assert_eq!(answer["structuredContent"]["arguments"], json!({}));
    assert!(answer.get("resultType").is_none());
}

#[tokio::test]
async fn a_request_without_a_caller_reaches_no_service() {
    let server = serve(None, HttpOptions::default()).await;
    for (method, params) in
        [("tools/list", json!({})), ("tools/call", json!({"name": "ibkr_health"}))]
    {
        let response = server.modern(method, params).send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], json!(-32603), "{body}");
        assert!(body.get("result").is_none());
    }
    assert!(server.fake.calls().is_empty());
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_and_no_list_means_none() {
    let server = serve_default().await;
    let list = |server: &Server| server.modern("tools/list", json!({}));
    for (header, value, status) in [
        ("Host", "evil.example", 403),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://localhost:1234", 200),
    ] {
        let response = list(&server).header(header, value).send().await.unwrap();
        assert_eq!(response.status(), status, "{header}: {value}");
    }
    let alice = || Some(Caller::new("alice", Tier::Read));
    let closed = HttpOptions { allowed_hosts: Vec::new(), ..HttpOptions::default() };
    let server = serve(alice(), closed).await;
    assert_eq!(list(&server).send().await.unwrap().status(), 403);
    let closed = HttpOptions { allowed_origins: Vec::new(), ..HttpOptions::default() };
    let server = serve(alice(), closed).await;
    assert_eq!(list(&server).send().await.unwrap().status(), 200);
    let local = list(&server).header("Origin", "http://localhost:1234").send().await.unwrap();
    assert_eq!(local.status(), 403);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused() {
    let options = HttpOptions { max_body_bytes: 4096, ..HttpOptions::default() };
    let server = serve(Some(Caller::new("alice", Tier::Read)), options).await;
    let call = |size: usize| {
        server.modern(
            "tools/call",
            json!({"name": "ibkr_health", "arguments": {"x": "y".repeat(size)}}),
        )
    };
    assert_eq!(call(1000).send().await.unwrap().status(), 200);
    assert_eq!(call(5000).send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_call_in_both_eras() {
    let server = serve_default().await;
    let params = json!({"name": WAITS, "arguments": {}});
    let modern = modern_body("tools/call", params.clone());
    let legacy = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    for (version, body) in [(MODERN, modern), ("2025-11-25", legacy)] {
        let body = body.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {version}\r\n\
             Mcp-Method: tools/call\r\nMcp-Name: {WAITS}\r\nContent-Length: {}\r\n\r\n{body}",
            server.address,
            body.len()
        );
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        timeout(PATIENCE, server.fake.started.notified()).await.expect("the call starts");
        drop(socket);
        let cancelled = timeout(PATIENCE, server.fake.cancelled.notified()).await;
        cancelled.unwrap_or_else(|_| panic!("{version}: the call isn't cancelled"));
    }
}

#[tokio::test]
async fn progress_precedes_the_answer_on_the_same_stream() {
    let server = serve_default().await;
    let params = json!({"name": PROGRESSES, "arguments": {}, "_meta": {"progressToken": "p"}});
    let response = server.modern("tools/call", params).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|data| serde_json::from_str(data.trim()).ok())
        .collect();
    let steps: Vec<&Value> = events.iter().map(|event| &event["params"]["progress"]).collect();
    assert_eq!(events.len(), 3, "{text}");
    assert_eq!(steps[0].as_f64(), Some(1.0));
    assert_eq!(steps[1].as_f64(), Some(2.0));
    assert_eq!(events[0]["params"]["progressToken"], json!("p"));
    assert_eq!(events[0]["params"]["message"], json!("reading"));
    let hostile = events[1]["params"]["message"].as_str().unwrap();
    assert!(hostile.starts_with("more\\u{202e}\\u{1b}[2J") && hostile.len() < 300, "{hostile}");
    assert_eq!(events[2]["result"]["structuredContent"]["tool"], json!(PROGRESSES));
}

#[tokio::test]
async fn sessions_are_bounded_in_number() {
    let options = HttpOptions { legacy_sessions: true, max_sessions: 1, ..HttpOptions::default() };
    let server = serve(Some(Caller::new("alice", Tier::Read)), options).await;
    let open = || server.legacy("initialize", &initialize()).send();
    let first = open().await.unwrap();
    assert_eq!(first.status(), 200);
    let session = first.headers()["mcp-session-id"].clone();
    drop(first);
    assert!(open().await.unwrap().status().is_server_error());
    let ended = server
        .client
        .delete(format!("http://{}/mcp", server.address))
        .header("mcp-session-id", session)
        .header("MCP-Protocol-Version", "2025-11-25")
        .send()
        .await
        .unwrap();
    assert!(ended.status().is_success(), "{}", ended.status());
    assert_eq!(open().await.unwrap().status(), 200);
}
