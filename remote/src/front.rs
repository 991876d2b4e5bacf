//! The HTTP front end of an MCP endpoint: everything between the socket and rmcp.
//!
//! Generic over the tool service, so the hosted remote (a relay), the local HTTP mode (a sidecar in
//! the same process) and the benches share every line. It decides who may call and what may pass;
//! it doesn't decide anything about orders, and keeps no payload.
//!
//! Order of a request to `/mcp`, see [`pipeline`]: host and origin, bearer token, size and time of
//! the body, one light look at the message, rate of the principal, scope of the tool, age of the
//! token where it would submit, owner of a legacy session, then rmcp. Metadata and health are open
//! to anybody.
//!
//! Invariants: a request without a verified token never reaches the service; neither does a call of
//! a tool whose scope the token lacks or the operator doesn't allow; the `Authorization` header
//! goes no further than this module, only the redacting [`Bearer`] does.

mod answer;
mod envelope;
mod limits;
mod pipeline;
mod policy;
mod refusals;
mod sessions;
mod strict;
mod token_id;
mod wellknown;

pub use limits::RateLimit;
pub use policy::InvalidEntry;
pub use refusals::{AttributedRefusal, Counts, MAX_COUNTS, MAX_WAITING, RefusalLog, RefusalSink};
pub use sessions::{MAX_PER_PRINCIPAL, MAX_SESSIONS};
pub use wellknown::NotReady;

use crate::config::Resource;
use answer::Challenges;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet};
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::config::DEFAULT_SUBMIT_TOKEN_AGE;
use ibkr_agent_protocol::service::ToolService;
use ibkr_agent_token::{BearerToken, Validator, Verified};
use limits::Limiter;
use policy::HostPolicy;
use sessions::{Principal, Sessions};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use token_id::TokenIds;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use wellknown::ResourceMetadata;

/// Largest request body in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Largest body that is read of a request without a good token, to echo its id; it is then refused
/// whatever it says, and nobody may fill our memory without a name.
pub const MAX_STRANGER_BODY_BYTES: usize = 64 * 1024;
/// Time to read a request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until an answer must have begun; longer than any tool call may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// Failed authentications of one peer in a minute before it is told to wait.
pub const MAX_FAILURES_PER_MINUTE: u32 = 120;

const MINUTE: Duration = Duration::from_secs(60);

/// A caller at the HTTP door: who it is, and the token that the sidecar will check again.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The checked claims.
    pub verified: Verified,
    /// The token as sent; shows nothing of itself.
    pub raw: Arc<BearerToken>,
}

/// What the front layer runs with.
#[derive(Debug, Clone)]
pub struct FrontConfig {
    /// The URL that clients use.
    pub resource: Resource,
    /// The issuer that the metadata names.
    pub issuer: String,
    /// The most that any token can be used for.
    pub allowed_scopes: ScopeSet,
    /// Oldest token by which an agent may submit an order.
    pub max_submit_token_age: Duration,
    /// Requests of one user.
    pub rate_limit: RateLimit,
    /// Which tools are listed to a caller whose URL doesn't say.
    pub listing: Listing,
    /// A page for people.
    pub documentation_url: Option<String>,
    /// Time to read a request body.
    pub body_timeout: Duration,
    /// Failed authentications of one peer; `None` doesn't limit them.
    pub failure_limit: Option<RateLimit>,
    /// Legacy sessions of one principal, and of all.
    pub session_caps: (usize, usize),
    /// Whether clients of the older revisions get sessions; without, they work statelessly.
    pub legacy_sessions: bool,
    /// Ends open event streams and sessions, so that a drain needn't wait for them.
    pub shutdown: CancellationToken,
    policy: HostPolicy,
    token_ids: TokenIds,
}

impl FrontConfig {
    /// The defaults for a resource: its own host and origin, 240 requests a minute.
    #[must_use]
    pub fn new(resource: Resource, issuer: String, allowed_scopes: ScopeSet) -> Self {
        let policy = HostPolicy::new(&resource);
        let requests = crate::config::DEFAULT_RATE_REQUESTS;
        let rate_limit = RateLimit::new(requests, MINUTE).unwrap_or(RateLimit::ONE_A_SECOND);
        Self {
            resource,
            issuer,
            allowed_scopes,
            max_submit_token_age: Duration::from_secs(DEFAULT_SUBMIT_TOKEN_AGE),
            rate_limit,
            listing: Listing::default(),
            documentation_url: None,
            body_timeout: BODY_TIMEOUT,
            failure_limit: RateLimit::new(MAX_FAILURES_PER_MINUTE, MINUTE),
            session_caps: (MAX_PER_PRINCIPAL, MAX_SESSIONS),
            legacy_sessions: true,
            shutdown: CancellationToken::new(),
            policy,
            token_ids: TokenIds::random(),
        }
    }

    /// Serves this machine's own names too, as a socket on loopback may.
    pub fn allow_loopback(&mut self) {
        self.policy.allow_loopback();
    }

    /// Serves a further `Host`.
    ///
    /// # Errors
    /// [`InvalidEntry`].
    pub fn allow_host(&mut self, host: &str) -> Result<(), InvalidEntry> {
        self.policy.allow_host(host)
    }

    /// Lets pages of a further origin call.
    ///
    /// # Errors
    /// [`InvalidEntry`].
    pub fn allow_origin(&mut self, origin: &str) -> Result<(), InvalidEntry> {
        self.policy.allow_origin(origin)
    }

    /// Keys the token ids in logs, so that they compare across restarts.
    pub fn set_token_id_secret(&mut self, secret: &[u8]) {
        self.token_ids = TokenIds::keyed(secret);
    }

    /// The scopes that a client should ask for first: reads, without the export of records.
    fn minimum_scopes(&self) -> ScopeSet {
        let reads = self.allowed_scopes.reads_only();
        reads.iter().filter(|scope| *scope != Scope::AuditExport).collect()
    }
}

/// What else isn't ready, asked at each `/readyz`. Must answer at once.
#[derive(Clone)]
pub struct ReadinessCheck(Arc<dyn Fn() -> Vec<NotReady> + Send + Sync>);

impl ReadinessCheck {
    /// A check.
    pub fn new(check: impl Fn() -> Vec<NotReady> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Nothing else can be unready.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Vec::new)
    }
}

impl std::fmt::Debug for ReadinessCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadinessCheck")
    }
}

/// What is behind the front layer: rmcp over a tool service.
type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The state that every request shares.
struct Front {
    config: FrontConfig,
    challenges: Challenges,
    metadata: ResourceMetadata,
    validator: Validator,
    refusals: Arc<dyn RefusalSink>,
    sessions: Sessions,
    principals: Limiter<Principal>,
    failures: Option<Limiter<IpAddr>>,
    inner: Inner,
}

impl Front {
    fn refused(&self, code: ErrorCode, subject: Option<&Verified>, tool: Option<&str>) {
        self.refusals.refused(code, subject, tool);
    }
}

/// The router of an MCP endpoint over a tool service.
pub fn router<S>(
    config: FrontConfig,
    service: Arc<S>,
    validator: Validator,
    readiness: ReadinessCheck,
    refusals: Arc<dyn RefusalSink>,
) -> Router
where
    S: ToolService<Caller = Bearer>,
{
    let inner = pipeline::inner(&config, service);
    router_over(config, inner, validator, readiness, refusals)
}

fn router_over(
    config: FrontConfig,
    inner: Inner,
    validator: Validator,
    readiness: ReadinessCheck,
    refusals: Arc<dyn RefusalSink>,
) -> Router {
    let minimum = config.minimum_scopes();
    let documentation = config.documentation_url.clone();
    let metadata = ResourceMetadata::new(&config.resource, &config.issuer, &minimum, documentation);
    let path = config.resource.path().to_owned();
    let (per_principal, total) = config.session_caps;
    let front = Arc::new(Front {
        challenges: Challenges::new(config.resource.metadata_url(), minimum),
        metadata,
        validator: validator.clone(),
        refusals,
        sessions: Sessions::new(per_principal, total),
        principals: Limiter::new(config.rate_limit),
        failures: config.failure_limit.map(Limiter::new),
        inner,
        config,
    });
    let describe = Arc::clone(&front);
    let metadata = get(move || {
        let response = wellknown::metadata(&describe);
        async move { response }
    });
    let ready = get(move || {
        let response = wellknown::readiness(&validator, &readiness);
        async move { response }
    });
    let endpoint = axum::routing::any(move |request: Request<Body>| {
        let front = Arc::clone(&front);
        async move { pipeline::handle(&front, request).await }
    });
    let well_known = crate::config::METADATA_PATH;
    let mut router = Router::new()
        .route("/healthz", get(|| async { wellknown::health() }))
        .route("/readyz", ready)
        .route(well_known, metadata.clone())
        .route(&format!("{well_known}/mcp"), metadata.clone())
        .route("/mcp", endpoint.clone())
        .route("/mcp/", endpoint.clone());
    for document in ["oauth-authorization-server", "openid-configuration"] {
        let absent = get(|| async { wellknown::no_authorization_server() });
        router = router
            .route(&format!("/.well-known/{document}"), absent.clone())
            .route(&format!("/.well-known/{document}/{{*path}}"), absent);
    }
    // A proxy may publish the endpoint under another path than ours and pass that on.
    if !matches!(path.as_str(), "" | "/mcp") && is_literal(&path) {
        router = router.route(&path, endpoint).route(&format!("{well_known}{path}"), metadata);
    }
    router
        .fallback(|| async { wellknown::not_found() })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(pipeline::panicked))
}

/// Whether a path has no character that the router reads as a pattern, and isn't one of ours.
fn is_literal(path: &str) -> bool {
    let taken = ["/healthz", "/readyz", "/.well-known"];
    !path.contains(['{', '}']) && !taken.iter().any(|prefix| path.starts_with(prefix))
}
