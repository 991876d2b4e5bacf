//! MCP over Streamable HTTP: a tower service to be mounted at `/mcp`, behind a front layer that
//! authenticates and inserts the [`CallerExtension`](crate::CallerExtension).

use crate::{CappedSessions, McpServer};
use core::time::Duration;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::service::ToolService;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The tower service that [`http_service`] makes.
pub type McpHttpService<S> = StreamableHttpService<McpServer<S>, CappedSessions>;

/// How MCP over HTTP is served. The default suits a listener on loopback.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// `Host` values that are served, with or without a port; others are refused (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are served, with their scheme and a port or `:*`. A request without an
    /// `Origin` passes; with another one it is refused.
    pub allowed_origins: Vec<String>,
    /// Answer with one JSON object where nothing precedes it, instead of an event stream.
    pub json_response: bool,
    /// Keep sessions for clients of the older revisions. Off by default: they work without.
    pub legacy_sessions: bool,
    /// How long a session lives without use.
    pub session_idle: Duration,
    /// Most sessions at a time.
    pub max_sessions: usize,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Which tools are listed where the request doesn't carry a choice of its own.
    pub listing: Listing,
    /// How often an open event stream gets a sign of life.
    pub keep_alive: Duration,
    /// Ends open streams and sessions.
    pub shutdown: CancellationToken,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            allowed_hosts: owned(&["localhost", "127.0.0.1", "::1"]),
            allowed_origins: owned(&["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"]),
            json_response: true,
            legacy_sessions: false,
            session_idle: Duration::from_secs(180),
            max_sessions: 256,
            max_body_bytes: 256 * 1024,
            listing: Listing::everything(),
            keep_alive: Duration::from_secs(15),
            shutdown: CancellationToken::new(),
        }
    }
}

/// The MCP endpoint over a tool service.
#[must_use]
pub fn http_service<S: ToolService>(service: Arc<S>, options: HttpOptions) -> McpHttpService<S> {
    let sessions = CappedSessions::new(options.max_sessions, options.session_idle);
    // To the transport an empty list means any host; here it means none.
    let hosts = match options.allowed_hosts {
        hosts if hosts.is_empty() => vec!["none.invalid".to_owned()],
        hosts => hosts,
    };
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_allowed_origins(options.allowed_origins)
        .enforce_origin_validation()
        .with_json_response(options.json_response)
        .with_legacy_session_mode(options.legacy_sessions)
        .with_max_request_body_bytes(options.max_body_bytes)
        .with_sse_keep_alive(Some(options.keep_alive))
        .with_cancellation_token(options.shutdown);
    let server = McpServer::for_http(service).with_listing(options.listing);
    StreamableHttpService::new(move || Ok(server.for_session()), Arc::new(sessions), config)
}
