//! A small OAuth 2.1 authorization server on loopback, for the demo and the tests.
//!
//! Flow of a login (RFC 6749 §4.1 with RFC 7636): metadata → `/authorize`, which consents at once
//! on behalf of the demo's user → `/token` → an access token (RFC 9068) for the one resource that
//! it serves. Machines use client credentials. Metadata is RFC 8414's and OpenID Connect's.
//!
//! It is no identity provider for anything else: whoever can reach its port is the demo's user. It
//! listens on 127.0.0.1 only, keeps nothing on disk, and its key dies with the process.
//!
//! Invariants: PKCE (S256) always; a code is used once and lives [`CODE_LIFE`]; a redirect goes to
//! loopback only; a token's audience is the resource and its scope never exceeds what is offered.

mod grant;
mod signer;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use ibkr_agent_domain::{ScopeSet, Tier};
use ibkr_agent_remote::serve::{ServeOptions, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use signer::Signer;

/// The public client that logs in with a browser-like code flow.
pub const LOGIN_CLIENT: &str = "demo-agent";
/// The confidential client that uses its own credentials.
pub const SERVICE_CLIENT: &str = "demo-service";
/// Who consents.
pub const USER: &str = "demo-user";
/// Life of an access token from the token endpoint.
pub const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// Life of an authorization code.
pub const CODE_LIFE: Duration = Duration::from_secs(60);
/// Codes that may wait to be used.
const MAX_CODES: usize = 256;
/// Largest body of a token request.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// Why the provider can't start.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No loopback port is free.
    #[error("the demo's identity provider can't listen on loopback")]
    Bind(#[source] std::io::Error),
    /// No randomness for the key.
    #[error("the demo's identity provider can't make its key")]
    Key,
}

/// What a token says.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The user, or the client itself.
    pub subject: String,
    /// The client.
    pub client: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// How long the token lives.
    pub life: Duration,
}

impl Grant {
    /// The service client's own grant.
    #[must_use]
    pub fn service(scopes: ScopeSet, life: Duration) -> Self {
        Self { subject: SERVICE_CLIENT.to_owned(), client: SERVICE_CLIENT.to_owned(), scopes, life }
    }

    /// The demo user's grant to the login client.
    #[must_use]
    pub fn login(scopes: ScopeSet, life: Duration) -> Self {
        Self { subject: USER.to_owned(), client: LOGIN_CLIENT.to_owned(), scopes, life }
    }
}

/// A code that was given out and not used yet.
struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    scopes: ScopeSet,
    expires: Instant,
}

struct Shared {
    issuer: String,
    resource: OnceLock<String>,
    signer: Signer,
    secret: String,
    codes: Mutex<BTreeMap<String, Code>>,
}

impl Shared {
    fn codes(&self) -> MutexGuard<'_, BTreeMap<String, Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resource's URL; empty, which no token check accepts, until it is known.
    fn resource(&self) -> &str {
        self.resource.get().map_or("", String::as_str)
    }

    fn claims(&self, grant: &Grant) -> Value {
        let now = unix_now();
        json!({
            "iss": self.issuer,
            "sub": grant.subject,
            "aud": self.resource(),
            "client_id": grant.client,
            "scope": grant.scopes.to_string(),
            "iat": now,
            "exp": now.saturating_add(grant.life.as_secs()),
            "jti": uuid::Uuid::now_v7().to_string(),
        })
    }
}

/// The running provider. Dropping it stops it.
pub struct IdentityProvider {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityProvider").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

impl IdentityProvider {
    /// Listens on a free loopback port and makes a key.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn start() -> Result<Self, IdentityError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.map_err(IdentityError::Bind)?;
        let address = listener.local_addr().map_err(IdentityError::Bind)?;
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}"),
            resource: OnceLock::new(),
            signer: Signer::generate()?,
            secret: random_text()?,
            codes: Mutex::new(BTreeMap::new()),
        });
        let stop = CancellationToken::new();
        let options = ServeOptions {
            max_connections: 256,
            drain_timeout: Duration::from_secs(1),
            ..ServeOptions::default()
        };
        let served = serve(listener, router(Arc::clone(&shared)), options, stop.clone());
        Ok(Self { shared, stop, task: tokio::spawn(served) })
    }

    /// Names the one resource that tokens are for. The first name stays.
    pub fn protect(&self, resource: &str) {
        self.shared.resource.get_or_init(|| resource.to_owned());
    }

    /// The issuer's identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Where tokens are asked for.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.shared.issuer)
    }

    /// The service client's secret.
    #[must_use]
    pub fn service_secret(&self) -> &str {
        &self.shared.secret
    }

    /// A token made without the endpoint, for a caller in this process.
    #[must_use]
    pub fn mint(&self, grant: &Grant) -> String {
        self.shared.signer.access_token(&self.shared.claims(grant))
    }

    /// The claims that [`Self::mint`] would sign, for tests that change one of them.
    #[must_use]
    pub fn claims(&self, grant: &Grant) -> Value {
        self.shared.claims(grant)
    }

    /// The signing key.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.shared.signer
    }

    /// Stops listening.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if (&mut self.task).await.is_err() {
            tracing::warn!("the identity provider ended badly");
        }
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/jwks", get(keys))
        .route("/authorize", get(grant::authorize))
        .route("/token", post(grant::token))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(shared)
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let issuer = &shared.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "scopes_supported": offered().iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
    }))
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"keys": [shared.signer.jwk()]}))
}

/// The most that any token here can say: everything but live orders.
fn offered() -> ScopeSet {
    ScopeSet::up_to(Tier::Paper)
}

/// 256 random bits as text.
fn random_text() -> Result<String, IdentityError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IdentityError::Key)?;
    Ok(signer::encode(bytes))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
