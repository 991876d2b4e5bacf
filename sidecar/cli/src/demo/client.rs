//! The demo's MCP client: plain HTTP and JSON-RPC of the 2026-07-28 revision, and an OAuth login.
//!
//! It does by hand what every MCP client does, so that the story shows what travels. It follows no
//! redirects, uses no proxy, and waits [`REQUEST_TIMEOUT`] at most. It isn't an SDK.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ibkr_agent_domain::Digest;
use ibkr_agent_protocol::service::ErrorBody;
use reqwest::header::{ACCEPT, LOCATION, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use super::identity::LOGIN_CLIENT;

/// The protocol revision that the client speaks.
pub const REVISION: &str = "2026-07-28";
/// Longest wait for any answer; longer than a tool call may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(80);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the login's answer would go; nothing listens there, the client reads the redirect.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer.
    #[error("no answer: {0}")]
    Transport(#[from] reqwest::Error),
    /// An HTTP refusal, with its challenge.
    #[error("HTTP {status}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The `WWW-Authenticate` header.
        challenge: Option<String>,
        /// The error's body, if it has one of ours.
        body: Option<Box<ErrorBody>>,
    },
    /// A JSON-RPC error.
    #[error("protocol error {code}: {message}")]
    Protocol {
        /// Its number.
        code: i64,
        /// Its message.
        message: String,
    },
    /// The tool answered with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Tool(Box<ErrorBody>),
    /// The answer isn't what it should be.
    #[error("unexpected answer: {0}")]
    Shape(&'static str),
    /// The login failed.
    #[error("the login failed: {0}")]
    Login(&'static str),
}

impl ClientError {
    /// The stable code, if the other side gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Tool(body) => Some(&body.code),
            Self::Refused { body, .. } => body.as_ref().map(|body| body.code.as_str()),
            Self::Transport(_) | Self::Protocol { .. } | Self::Shape(_) | Self::Login(_) => None,
        }
    }
}

/// An HTTP client for loopback: bounded in time, no redirects, no proxy.
///
/// # Errors
/// When TLS can't be set up.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        .build()
}

/// An MCP client with a bearer token.
pub struct McpClient {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    next_id: AtomicU64,
}

impl std::fmt::Debug for McpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpClient").field("url", &self.url).finish_non_exhaustive()
    }
}

impl McpClient {
    /// A client of an endpoint; without a token it can only be challenged.
    #[must_use]
    pub fn new(http: reqwest::Client, url: &str, token: Option<String>) -> Self {
        Self { http, url: url.to_owned(), token, next_id: AtomicU64::new(1) }
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn discover(&self) -> Result<Value, ClientError> {
        self.request("server/discover", None, json!({})).await
    }

    /// The names of the tools that are listed for this token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tools(&self) -> Result<Vec<String>, ClientError> {
        let result = self.request("tools/list", None, json!({})).await?;
        let tools = result.get("tools").and_then(Value::as_array);
        let tools = tools.ok_or(ClientError::Shape("no list of tools"))?;
        let names = tools.iter().filter_map(|tool| tool.get("name")).filter_map(Value::as_str);
        Ok(names.map(str::to_owned).collect())
    }

    /// Calls a tool; gives its structured content.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Tool`] when the tool refused.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, ClientError> {
        let result = self.call_result(tool, arguments).await?;
        if result.get("isError").and_then(Value::as_bool) == Some(true) {
            let text = result.pointer("/content/0/text").and_then(Value::as_str);
            let body = text.and_then(|text| serde_json::from_str(text).ok());
            return Err(body.map_or(ClientError::Shape("an error without a code"), |body| {
                ClientError::Tool(Box::new(body))
            }));
        }
        result
            .get("structuredContent")
            .cloned()
            .ok_or(ClientError::Shape("an answer without content"))
    }

    /// Calls a tool; gives the whole result, with its `_meta`.
    ///
    /// # Errors
    /// [`ClientError`]; a tool's error is a result here.
    pub async fn call_result(&self, tool: &str, arguments: Value) -> Result<Value, ClientError> {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", Some(tool), params).await
    }

    async fn request(
        &self,
        method: &str,
        name: Option<&str>,
        mut params: Value,
    ) -> Result<Value, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if let Some(params) = params.as_object_mut() {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo":
                    {"name": LOGIN_CLIENT, "version": env!("CARGO_PKG_VERSION")},
            });
            params.insert("_meta".to_owned(), meta);
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut request = self
            .http
            .post(&self.url)
            .header(ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", REVISION)
            .header("Mcp-Method", method)
            .json(&body);
        if let Some(name) = name {
            request = request.header("Mcp-Name", name);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        read(request.send().await?).await
    }
}

async fn read(response: reqwest::Response) -> Result<Value, ClientError> {
    let status = response.status();
    let challenge = response.headers().get(WWW_AUTHENTICATE);
    let challenge = challenge.and_then(|text| text.to_str().ok()).map(str::to_owned);
    let text = response.text().await?;
    let message = message(&text);
    if let Some(error) = message.as_ref().and_then(|message| message.get("error")) {
        let data = error.get("data").cloned();
        let body = data.and_then(|data| serde_json::from_value(data).ok()).map(Box::new);
        if !status.is_success() && (challenge.is_some() || body.is_some()) {
            return Err(ClientError::Refused { status, challenge, body });
        }
        return Err(ClientError::Protocol {
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
        });
    }
    if !status.is_success() {
        return Err(ClientError::Refused { status, challenge, body: None });
    }
    let result = message.and_then(|mut message| message.get_mut("result").map(Value::take));
    result.ok_or(ClientError::Shape("no result"))
}

/// The answer in a JSON body, or the last message of an event stream.
fn message(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.rfind(|line| line.contains("\"jsonrpc\"")).and_then(|line| serde_json::from_str(line).ok())
}

/// The address of the resource's metadata in a challenge (RFC 9728 §5.1).
#[must_use]
pub fn metadata_url(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("resource_metadata=\"")?;
    rest.split_once('"').map(|(url, _)| url)
}

/// Reads a JSON document.
///
/// # Errors
/// [`ClientError`].
pub async fn document(http: &reqwest::Client, url: &str) -> Result<Value, ClientError> {
    let response = http.get(url).send().await?.error_for_status()?;
    serde_json::from_slice(&response.bytes().await?)
        .map_err(|_| ClientError::Shape("a document that isn't JSON"))
}

/// A login at an issuer for a resource: authorization code with PKCE.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The resource that the token is for.
    pub resource: &'a str,
}

/// An authorization code with what is needed to redeem it.
pub struct LoginCode {
    code: String,
    verifier: String,
    token_endpoint: String,
}

impl std::fmt::Debug for LoginCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginCode")
    }
}

impl Login<'_> {
    /// Logs in and gives an access token of these scopes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn with_code(
        &self,
        http: &reqwest::Client,
        scope: &str,
    ) -> Result<String, ClientError> {
        let code = self.code(http, scope).await?;
        self.redeem(http, &code).await
    }

    /// Discovers the issuer and asks for a code. The demo's issuer consents at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn code(
        &self,
        http: &reqwest::Client,
        scope: &str,
    ) -> Result<LoginCode, ClientError> {
        let url = format!("{}/.well-known/oauth-authorization-server", self.issuer);
        let metadata = document(http, &url).await?;
        let text = |name| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("issuer") != self.issuer {
            return Err(ClientError::Login("the metadata is another issuer's"));
        }
        let verifier = random_text()?;
        let state = random_text()?;
        let challenge = URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).as_bytes());
        let mut url = Url::parse(&text("authorization_endpoint"))
            .map_err(|_| ClientError::Login("no authorization endpoint"))?;
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", LOGIN_CLIENT),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("scope", scope),
            ("resource", self.resource),
            ("state", &state),
        ]);
        let answer = http.get(url).send().await?;
        let location = answer.headers().get(LOCATION).and_then(|text| text.to_str().ok());
        let back = location.and_then(|text| Url::parse(text).ok());
        let back = back.ok_or(ClientError::Login("no way back from the issuer"))?;
        let value = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, v)| v);
        if value("state").as_deref() != Some(&state) || value("iss").as_deref() != Some(self.issuer)
        {
            return Err(ClientError::Login("the answer belongs to another login"));
        }
        let code = value("code").ok_or(ClientError::Login("the issuer refused"))?.into_owned();
        Ok(LoginCode { code, verifier, token_endpoint: text("token_endpoint") })
    }

    /// Turns a code into an access token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn redeem(
        &self,
        http: &reqwest::Client,
        code: &LoginCode,
    ) -> Result<String, ClientError> {
        let mut form = Url::parse("http://localhost/")
            .map_err(|_| ClientError::Login("the form can't be made"))?;
        form.query_pairs_mut().extend_pairs([
            ("grant_type", "authorization_code"),
            ("client_id", LOGIN_CLIENT),
            ("redirect_uri", REDIRECT_URI),
            ("code", &code.code),
            ("code_verifier", &code.verifier),
            ("resource", self.resource),
        ]);
        let form = form.query().unwrap_or_default().to_owned();
        let request = http.post(&code.token_endpoint).body(form);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.send().await?.error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)
            .map_err(|_| ClientError::Login("the token endpoint's answer isn't JSON"))?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or(ClientError::Login("no token"))
    }
}

fn random_text() -> Result<String, ClientError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| ClientError::Login("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
