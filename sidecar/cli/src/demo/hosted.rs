//! The hosted half of the demo: the remote's own parts on loopback, with its own CAs and store.
//!
//! It is the remote that `ibkr-agent-remote serve` runs, in this process. The MCP port is bound
//! before the configuration is made, because the resource's URL holds it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ibkr_agent_domain::{ScopeSet, SidecarId, Tier};
use ibkr_agent_protocol::config::RawConfig;
use ibkr_agent_protocol::relay::JoinToken;
use ibkr_agent_remote::config::RemoteConfig;
use ibkr_agent_remote::pairing::{DEFAULT_JOIN_TTL, NewPairing};
use ibkr_agent_remote::relay::Routes;
use ibkr_agent_remote::start::{Remote, RemoteHandle};
use ibkr_agent_remote::store::Subject;
use ibkr_agent_token::{HttpOptions, IssuerConfig, SystemClock, Validator};
use tokio::net::TcpListener;

use super::stack::StackError;

/// The name that the relay's certificate carries.
const RELAY_NAME: &str = "localhost";
/// Requests of one principal in a minute: a load test is a guest here.
const REQUESTS_PER_MINUTE: u32 = 1_000_000;

/// The running hosted half.
#[derive(Debug)]
pub struct Hosted {
    url: String,
    remote: RemoteHandle,
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
        let raw = configuration(&port, folder, issuer);
        let config = RemoteConfig::try_from_raw(&raw, &|_| None)
            .map_err(|error| StackError::new("the remote's configuration can't be used", &error))?;
        let started = Box::pin(Remote::start_on(port.listener, config)).await;
        let remote = started.map_err(|error| StackError::new("the remote can't start", &error))?;
        Ok(Self { url, remote })
    }

    /// The MCP endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The relay's address as sidecars dial it.
    #[must_use]
    pub fn relay_url(&self) -> String {
        format!("wss://{RELAY_NAME}:{}", self.remote.relay_addr().port())
    }

    /// The way to the sidecars.
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        self.remote.routes()
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
        let made = self.remote.pairing().create(new).await;
        made.map_err(|error| StackError::new("no join token can be made", &error))
    }

    /// Drains and stops.
    pub async fn shutdown(self) {
        self.remote.shutdown().await;
    }
}

/// What a configuration file of this remote would say.
fn configuration(port: &Port, folder: &Path, issuer: &str) -> RawConfig {
    let mut raw = RawConfig::default();
    raw.safety.remote_mcp_enabled = true;
    let section = &mut raw.remote_mcp;
    section.enabled = true;
    section.bind_address = Some(port.address.to_string());
    section.resource = Some(port.url());
    section.issuer = Some(issuer.to_owned());
    let scopes = ScopeSet::up_to(Tier::Paper);
    section.allowed_scopes = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    section.rate_limit_max_requests = Some(REQUESTS_PER_MINUTE);
    raw.relay.bind_address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string());
    raw.relay.server_name = Some(RELAY_NAME.to_owned());
    raw.relay.state_dir = Some(folder.display().to_string());
    raw
}
