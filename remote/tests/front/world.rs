//! A front end on port 0 with its issuer, and a tool service that counts its calls.

use crate::issuer::Issuer;
use ibkr_agent_domain::{Scope, ScopeSet, Tier};
use ibkr_agent_protocol::catalogue::{self, ToolSpec};
use ibkr_agent_protocol::service::{EventStream, Progress, ToolCall, ToolReply, ToolService};
use ibkr_agent_remote::config::Resource;
use ibkr_agent_remote::front::{
    AttributedRefusal, Bearer, FrontConfig, NotReady, ReadinessCheck, RefusalLog, router,
};
use ibkr_agent_remote::serve::{ServeOptions, serve};
use ibkr_agent_token::{HttpOptions, IssuerConfig, SystemClock, Validator};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const READS: &str = "ibkr:health:read ibkr:accounts:read";

/// Whoever answers the calls: notes subject and tool, and can hold an answer back.
#[derive(Default)]
pub(crate) struct Door {
    pub(crate) calls: Mutex<Vec<(String, String)>>,
    pub(crate) hold: Mutex<Option<Arc<Notify>>>,
    pub(crate) reached: Notify,
}

impl Door {
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.calls.lock().unwrap().clone()
    }
}

impl ToolService for Door {
    type Caller = Bearer;

    fn tools(&self, caller: &Bearer) -> Vec<&'static ToolSpec> {
        let scopes = caller.verified.scopes();
        catalogue::all().iter().filter(|spec| scopes.contains(spec.scope)).collect()
    }

    async fn call(
        &self,
        caller: Bearer,
        call: ToolCall,
        _progress: Progress,
        _cancelled: CancellationToken,
    ) -> ToolReply {
        let subject = caller.verified.subject().to_owned();
        self.calls.lock().unwrap().push((subject, call.tool));
        self.reached.notify_one();
        let hold = self.hold.lock().unwrap().clone();
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let body = RawValue::from_string(r#"{"answered":true}"#.to_owned()).unwrap();
        ToolReply::success(call.call_id, body)
    }

    fn events(&self, _caller: &Bearer) -> EventStream {
        Box::pin(futures_util::stream::empty())
    }
}

/// What a test may change before the start.
pub(crate) struct Setup {
    pub(crate) front: FrontConfig,
    pub(crate) serve: ServeOptions,
    pub(crate) keys_url: Option<String>,
    pub(crate) unready: bool,
}

/// A running front end.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) door: Arc<Door>,
    pub(crate) refusals: mpsc::Receiver<AttributedRefusal>,
    pub(crate) log: Arc<RefusalLog>,
    pub(crate) client: Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        Self::over(change, |door, _| door).await
    }

    /// A front end over another service, which is made of the door and the operator's ceiling.
    pub(crate) async fn over<S: ToolService<Caller = Bearer>>(
        change: impl FnOnce(&mut Setup),
        service: impl FnOnce(Arc<Door>, ScopeSet) -> Arc<S>,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/mcp");
        let issuer = Issuer::start(&url).await;
        // All but the cancellation of paper orders, to have a scope that the operator disallows.
        let allowed: ScopeSet = ScopeSet::up_to(Tier::Paper)
            .iter()
            .filter(|scope| *scope != Scope::OrdersPaperCancel)
            .collect();
        let resource = Resource::parse(&url).unwrap();
        let mut front = FrontConfig::new(resource, issuer.url.clone(), allowed);
        front.allow_loopback();
        let serve_options = ServeOptions::default();
        let mut setup = Setup { front, serve: serve_options, keys_url: None, unready: false };
        change(&mut setup);
        let mut config = IssuerConfig::new(issuer.url.clone(), vec![url.clone()]);
        config.jwks_url = Some(setup.keys_url.unwrap_or(format!("{}/keys", issuer.url)));
        let validator =
            Validator::new(vec![config], HttpOptions::default(), Arc::new(SystemClock)).unwrap();
        let door = Arc::new(Door::default());
        let (log, refusals) = RefusalLog::new();
        let log = Arc::new(log);
        let unready = setup.unready;
        let readiness = ReadinessCheck::new(move || {
            let problem = NotReady { component: "relay", reason: "no sidecar is connected" };
            unready.then_some(problem).into_iter().collect()
        });
        let sink: Arc<RefusalLog> = Arc::clone(&log);
        let service = service(Arc::clone(&door), setup.front.allowed_scopes.clone());
        let router = router(setup.front, service, validator, readiness, sink);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, setup.serve, shutdown.clone()));
        let client = client();
        Self { issuer, address, url, door, refusals, log, client, shutdown, server }
    }

    /// Waits until a call has reached the service.
    pub(crate) async fn reached(&self) {
        let reached = self.door.reached.notified();
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A POST of a message with a token.
    pub(crate) fn post(&self, token: &str, message: &Value) -> RequestBuilder {
        self.post_bare(message).bearer_auth(token)
    }

    /// A POST of a message without a token.
    pub(crate) fn post_bare(&self, message: &Value) -> RequestBuilder {
        self.client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(message.to_string())
    }

    /// A call of a tool in the current protocol revision.
    pub(crate) fn call(&self, token: &str, tool: &str) -> RequestBuilder {
        modern_headers(self.post(token, &modern_call(tool)), "tools/call").header("mcp-name", tool)
    }
}

pub(crate) fn modern_headers(request: RequestBuilder, method: &str) -> RequestBuilder {
    request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method)
}

pub(crate) fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

pub(crate) fn modern_call(tool: &str) -> Value {
    modern("tools/call", json!({"name": tool, "arguments": {}}))
}

/// The body as JSON, from an object or from the first data line of an event stream that has one.
pub(crate) async fn body(response: Response) -> Value {
    let text = response.text().await.unwrap();
    let events = || text.lines().filter_map(|line| line.strip_prefix("data:"));
    let data = events().map(str::trim).find(|data| !data.is_empty());
    let parsed = serde_json::from_str(data.unwrap_or(&text));
    assert!(parsed.is_ok(), "not JSON: {text}");
    parsed.unwrap()
}

/// Checks status and header of a challenge.
pub(crate) fn challenge(response: &Response, status: StatusCode) -> String {
    assert_eq!(response.status(), status);
    response.headers()["www-authenticate"].to_str().unwrap().to_owned()
}
