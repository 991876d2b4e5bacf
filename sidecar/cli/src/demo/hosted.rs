//! The hosted half of the demo: the remote's own parts on loopback, with its own CAs and store.
//!
//! The MCP port is bound before the configuration is made, because the resource's URL holds it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::{ScopeSet, SidecarId, Tier};
use ibkr_agent_protocol::relay::JoinToken;
use ibkr_agent_remote::config::Resource;
use ibkr_agent_remote::front::{
    FrontConfig, NotReady, RateLimit, ReadinessCheck, RefusalLog, router,
};
use ibkr_agent_remote::pairing::{DEFAULT_JOIN_TTL, NewPairing};
use ibkr_agent_remote::pki::Pki;
use ibkr_agent_remote::relay::{RelayConfig, RelayHandle, RelayListener, SidecarRoute as _};
use ibkr_agent_remote::serve::{ServeOptions, serve};
use ibkr_agent_remote::service::HostedService;
use ibkr_agent_remote::store::{Store, Subject};
use ibkr_agent_token::{HttpOptions, IssuerConfig, SystemClock, Validator};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stack::StackError;

/// The name that the relay's certificate carries.
const RELAY_NAME: &str = "localhost";
/// Requests of one principal in a minute: a load test is a guest here.
const REQUESTS_PER_MINUTE: u32 = 1_000_000;
/// How long open connections may go on after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The running hosted half.
pub struct Hosted {
    url: String,
    relay: RelayHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosted").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An MCP port that is bound and not served yet.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Binds a loopback port; 0 takes a free one.
    ///
    /// # Errors
    /// [`StackError`] that names the port when it is taken.
    pub async fn bind(port: u16) -> Result<Self, StackError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let bound = TcpListener::bind(wanted).await;
        let listener = bound.map_err(|error| StackError::port(port, &error))?;
        let address = listener.local_addr().map_err(|error| StackError::port(port, &error))?;
        Ok(Self { listener, address })
    }

    /// The URL that clients use, which is also the resource that tokens name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

/// How a token of the demo's issuer is checked, at both halves.
#[must_use]
pub fn issuer_config(issuer: &str, resource: &str) -> IssuerConfig {
    IssuerConfig::new(issuer, vec![resource.to_owned()])
}

/// A validator of the demo's tokens.
///
/// # Errors
/// [`StackError`] when the issuer's URL can't be used.
pub fn validator(issuer: &str, resource: &str) -> Result<Validator, StackError> {
    let issuers = vec![issuer_config(issuer, resource)];
    Validator::new(issuers, HttpOptions::default(), Arc::new(SystemClock))
        .map_err(|error| StackError::new("the token check can't be set up", &error))
}

impl Hosted {
    /// Starts endpoint and relay; `folder` holds CAs and store.
    ///
    /// # Errors
    /// [`StackError`] with the part that can't start.
    pub async fn start(port: Port, folder: &Path, issuer: &str) -> Result<Self, StackError> {
        let url = port.url();
        let (store, pki) = open_state(folder.to_owned()).await?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = RelayListener::bind(RelayConfig::new(any, "demo"), store, pki).await;
        let (relay, acceptor) =
            bound.map_err(|error| StackError::new("the relay can't listen", &error))?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(acceptor.run(stop.clone()));
        let allowed = ScopeSet::up_to(Tier::Paper);
        let front = front(&url, issuer, &allowed, &stop)?;
        let service = Arc::new(HostedService::new(relay.routes().clone(), allowed));
        let routes = relay.routes().clone();
        let readiness = ReadinessCheck::new(move || {
            let missing = NotReady { component: "sidecar", reason: "no sidecar is connected" };
            if routes.connected().is_empty() { vec![missing] } else { Vec::new() }
        });
        let (refusals, attributed) = RefusalLog::new();
        drop(attributed);
        let validator = validator(issuer, &url)?;
        tasks.spawn(warm(validator.clone(), stop.clone()));
        let app = router(front, service, validator, readiness, Arc::new(refusals));
        let options = ServeOptions { drain_timeout: DRAIN, ..ServeOptions::default() };
        tasks.spawn(serve(port.listener, app, options, stop.clone()));
        Ok(Self { url, relay, stop, tasks })
    }

    /// The MCP endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The relay's address as sidecars dial it.
    #[must_use]
    pub fn relay_url(&self) -> String {
        format!("wss://{RELAY_NAME}:{}", self.relay.local_addr().port())
    }

    /// The relay.
    #[must_use]
    pub const fn relay(&self) -> &RelayHandle {
        &self.relay
    }

    /// A one-time join token for a sidecar that will serve every subject of an issuer.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn join_token(
        &self,
        sidecar: &SidecarId,
        issuer: &str,
    ) -> Result<JoinToken, StackError> {
        let subjects = vec![Subject::new(issuer, "*")];
        let new = NewPairing { sidecar: sidecar.clone(), subjects, ttl: DEFAULT_JOIN_TTL };
        let made = self.relay.pairing().create(new).await;
        made.map_err(|error| StackError::new("no join token can be made", &error))
    }

    /// Stops both listeners and waits for them.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn open_state(folder: std::path::PathBuf) -> Result<(Arc<Store>, Arc<Pki>), StackError> {
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&folder)
            .map_err(|error| StackError::new("the remote's store can't be opened", &error))?;
        let pki = Pki::open(&folder, RELAY_NAME, SystemTime::now())
            .map_err(|error| StackError::new("the relay's CAs can't be made", &error))?;
        Ok((Arc::new(store), Arc::new(pki)))
    });
    opened.await.unwrap_or_else(|error| Err(StackError::new("the remote can't start", &error)))
}

/// Fetches the issuer's keys, so that the endpoint is ready before the first caller.
async fn warm(validator: Validator, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        _ = validator.warm() => {}
    }
}

fn front(
    url: &str,
    issuer: &str,
    allowed: &ScopeSet,
    stop: &CancellationToken,
) -> Result<FrontConfig, StackError> {
    let resource = Resource::parse(url)
        .map_err(|error| StackError::new("the endpoint's URL can't be used", &error))?;
    let mut front = FrontConfig::new(resource, issuer.to_owned(), allowed.clone());
    front.allow_loopback();
    front.shutdown = stop.clone();
    if let Some(limit) = RateLimit::new(REQUESTS_PER_MINUTE, Duration::from_secs(60)) {
        front.rate_limit = limit;
    }
    Ok(front)
}
