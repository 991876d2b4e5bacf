//! A mini issuer on loopback: metadata, a key set that a test changes, and counts of what was
//! fetched. Plus a clock that a test sets.

use std::future::IntoFuture as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ibkr_agent_token::{BearerToken, Clock, HttpOptions, IssuerConfig, Validator};
use serde_json::{Value, json};

use crate::keys::Signing;

/// The resource that tokens are meant for.
pub(crate) const RESOURCE: &str = "https://agent.example/mcp";
/// What the test clock shows at first.
pub(crate) const NOW: i64 = 1_800_000_000;

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, now: i64) {
        self.0.store(now, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_unix(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the issuer answers on one path.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(String),
    Status(StatusCode),
    Redirect(String),
    /// Holds the answer back until the barrier has been passed.
    Gate(Arc<tokio::sync::Semaphore>, String),
}

struct Site {
    oauth: Mutex<Answer>,
    openid: Mutex<Answer>,
    keys: Mutex<Answer>,
    key_fetches: AtomicUsize,
    metadata_fetches: AtomicUsize,
}

/// A running issuer; stops when dropped.
pub(crate) struct MiniIssuer {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    site: Arc<Site>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for MiniIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn give(answer: Answer) -> Response {
    let json = |body| ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    match answer {
        Answer::Json(body) => json(body),
        Answer::Status(status) => status.into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Answer::Gate(gate, body) => {
            gate.acquire().await.unwrap().forget();
            json(body)
        }
    }
}

async fn oauth(State(site): State<Arc<Site>>) -> Response {
    site.metadata_fetches.fetch_add(1, Ordering::SeqCst);
    let answer = site.oauth.lock().unwrap().clone();
    give(answer).await
}

async fn openid(State(site): State<Arc<Site>>) -> Response {
    let answer = site.openid.lock().unwrap().clone();
    give(answer).await
}

async fn keys(State(site): State<Arc<Site>>) -> Response {
    site.key_fetches.fetch_add(1, Ordering::SeqCst);
    let answer = site.keys.lock().unwrap().clone();
    give(answer).await
}

impl MiniIssuer {
    /// Starts an issuer that publishes these keys.
    pub(crate) async fn start(published: &[&Signing]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
        let site = Arc::new(Site {
            oauth: Mutex::new(Answer::Json(metadata)),
            openid: Mutex::new(Answer::Status(StatusCode::NOT_FOUND)),
            keys: Mutex::new(Answer::Json(key_set(published))),
            key_fetches: AtomicUsize::new(0),
            metadata_fetches: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/.well-known/oauth-authorization-server", get(oauth))
            .route("/.well-known/openid-configuration", get(openid))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&site));
        let task = tokio::spawn(axum::serve(listener, app).into_future());
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        Self { url, clock, site, task }
    }

    pub(crate) fn publish(&self, keys: &[&Signing]) {
        self.answer_keys(Answer::Json(key_set(keys)));
    }

    pub(crate) fn answer_keys(&self, answer: Answer) {
        *self.site.keys.lock().unwrap() = answer;
    }

    pub(crate) fn answer_oauth(&self, answer: Answer) {
        *self.site.oauth.lock().unwrap() = answer;
    }

    pub(crate) fn answer_openid(&self, answer: Answer) {
        *self.site.openid.lock().unwrap() = answer;
    }

    pub(crate) fn key_fetches(&self) -> usize {
        self.site.key_fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn metadata_fetches(&self) -> usize {
        self.site.metadata_fetches.load(Ordering::SeqCst)
    }

    /// A configuration for this issuer.
    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig::new(self.url.clone(), vec![RESOURCE.into()])
    }

    /// A validator with this configuration and these options.
    pub(crate) fn validator_with(&self, config: IssuerConfig, options: HttpOptions) -> Validator {
        let clock = Arc::clone(&self.clock);
        Validator::new(vec![config], options, clock).unwrap()
    }

    /// A validator that refetches at most once in the run of a test and never waits after failures.
    pub(crate) fn validator(&self) -> Validator {
        self.validator_with(self.config(), options())
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url, "sub": "user-1", "aud": RESOURCE, "client_id": "agent-1",
            "iat": NOW - 10, "exp": NOW + 290,
            "scope": "openid ibkr:positions:read ibkr:accounts:read",
        })
    }

    /// The claims of a good token with one changed, or taken away by null.
    pub(crate) fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.into(), value);
        }
        claims
    }
}

/// Options for tests: no wait after failures, one mismatch fetch per hour.
pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        backoff_initial: Duration::ZERO,
        refetch_interval: Duration::from_secs(3600),
        ..HttpOptions::default()
    }
}

/// The document that publishes these keys.
pub(crate) fn key_set(keys: &[&Signing]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// A token as a caller hands it in.
pub(crate) fn bearer(token: &str) -> BearerToken {
    BearerToken::parse(token).unwrap()
}
