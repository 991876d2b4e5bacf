//! What the hosted endpoint runs with: the file's sections checked once, at start.
//!
//! Two switches must agree before anything is served: `safety.remote_mcp_enabled` and
//! `remote_mcp.enabled`. Sections of the sidecar in the same file are read for their shape and
//! otherwise left alone. The environment enters by one function that the caller passes.

mod resource;

pub(crate) use resource::METADATA_PATH;
pub use resource::{InvalidResource, Resource};

use crate::front::{FrontConfig, RateLimit};
use crate::serve::ServeOptions;
use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet, Tier};
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::config::{
    ConfigProblem, RawConfig, RawLogging, RawRemoteMcp, RawTokenType, load,
};
use ibkr_agent_token::{IssuerConfig, TokenType};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the endpoint listens when the file doesn't say.
pub const DEFAULT_BIND: &str = "127.0.0.1:8080";
/// Where the relay listens when the file doesn't say.
pub const DEFAULT_RELAY_BIND: &str = "127.0.0.1:8443";
/// Requests per window and principal when the file doesn't say.
pub const DEFAULT_RATE_REQUESTS: u32 = 240;
/// Window in seconds when the file doesn't say.
pub const DEFAULT_RATE_WINDOW: u64 = 60;
/// Longest window in seconds.
pub const MAX_RATE_WINDOW: u64 = 3600;
/// Connections when the file doesn't say.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 1024;
/// Most connections that may be configured.
pub const MAX_CONNECTIONS: u32 = 65_536;
/// Largest clock difference in seconds.
pub const MAX_CLOCK_SKEW: u64 = 300;
/// Life of a sidecar's certificate in hours when the file doesn't say.
pub const DEFAULT_CERTIFICATE_HOURS: u32 = 24;
/// Longest life of a sidecar's certificate in hours.
pub const MAX_CERTIFICATE_HOURS: u32 = 24 * 30;
/// Shortest secret for token ids, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// Why a configuration can't be used; the exit code follows from the error's code.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {path} can't be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text isn't a configuration.
    #[error("{0}")]
    Text(#[from] ConfigProblem),
    /// A value is out of its range or doesn't parse.
    #[error("{key}: {message}")]
    Value {
        /// Dotted key.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The two switches of the endpoint aren't both on.
    #[error(
        "safety.remote_mcp_enabled is {safety} and remote_mcp.enabled is {section}: \
         both must be true to serve"
    )]
    Switches {
        /// `safety.remote_mcp_enabled`.
        safety: bool,
        /// `remote_mcp.enabled`.
        section: bool,
    },
    /// A live scope or the live section is switched on.
    #[error("{key}: live trading isn't built yet; leave it off")]
    Live {
        /// Dotted key.
        key: &'static str,
    },
    /// A live scope is allowed while live trading is off.
    #[error("remote_mcp.allowed_scopes: {scope} needs live trading, which is off")]
    WriteScope {
        /// The scope.
        scope: Scope,
    },
}

impl ConfigError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreadable { .. } | Self::Text(_) | Self::Value { .. } => {
                ErrorCode::ConfigInvalid
            }
            Self::Switches { .. } => ErrorCode::ConfigRemoteMcpForbidden,
            Self::Live { .. } => ErrorCode::ConfigLiveTradingForbidden,
            Self::WriteScope { .. } => ErrorCode::ConfigWriteToolsForbidden,
        }
    }
}

fn invalid(key: &'static str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, message: message.into() }
}

/// The checked configuration of the hosted endpoint.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Where the MCP endpoint listens.
    pub bind_address: SocketAddr,
    /// The front layer.
    pub front: FrontConfig,
    /// The issuer and what its tokens must look like.
    pub issuer: IssuerConfig,
    /// The accept loop.
    pub serve: ServeOptions,
    /// The relay acceptor.
    pub relay: RelaySettings,
    /// Logs.
    pub logging: RawLogging,
}

/// The relay acceptor's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// Where sidecars connect.
    pub bind_address: SocketAddr,
    /// The name that they dial.
    pub server_name: String,
    /// Folder of keys and store; `None` where no folder was configured.
    pub state_dir: Option<PathBuf>,
    /// Life of a sidecar's certificate.
    pub certificate_life: Duration,
}

/// Reads one environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl RemoteConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &std::path::Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        Self::parse(&text_of(path)?, environment)
    }

    /// Reads and checks a configuration file with another listening address, as `--bind` gives it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_bound(
        path: &std::path::Path,
        bind_address: SocketAddr,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let mut raw = load(&text_of(path)?)?;
        raw.remote_mcp.bind_address = Some(bind_address.to_string());
        Self::try_from_raw(&raw, environment)
    }

    /// Checks a configuration text.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, ConfigError> {
        Self::try_from_raw(&load(text)?, environment)
    }

    /// Checks the sections of a parsed file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn try_from_raw(
        raw: &RawConfig,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let section = &raw.remote_mcp;
        if !(raw.safety.remote_mcp_enabled && section.enabled) {
            let safety = raw.safety.remote_mcp_enabled;
            return Err(ConfigError::Switches { safety, section: section.enabled });
        }
        if raw.safety.live_trading_enabled {
            return Err(ConfigError::Live { key: "safety.live_trading_enabled" });
        }
        if raw.live_trading.enabled {
            return Err(ConfigError::Live { key: "live_trading.enabled" });
        }
        let bind = section.bind_address.as_deref().unwrap_or(DEFAULT_BIND);
        let bind_address = address("remote_mcp.bind_address", bind)?;
        let resource = resource(section, bind_address)?;
        let issuer = issuer(section, &resource)?;
        let mut front = front(section, bind_address, resource, environment)?;
        let names = raw.tools.toolsets.iter().map(String::as_str);
        front.listing = Listing::of_names(names)
            .map_err(|error| invalid("tools.toolsets", error.to_string()))?;
        let serve = serve(section)?;
        let relay = relay(raw)?;
        Ok(Self { bind_address, front, issuer, serve, relay, logging: raw.logging.clone() })
    }
}

fn text_of(path: &std::path::Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| invalid(key, format!("{text:?} isn't an address:port")))
}

fn resource(section: &RawRemoteMcp, bind: SocketAddr) -> Result<Resource, ConfigError> {
    const KEY: &str = "remote_mcp.resource";
    let text = match &section.resource {
        Some(text) => text.clone(),
        None if bind.ip().is_loopback() && bind.port() != 0 => format!("http://{bind}/mcp"),
        None => return Err(invalid(KEY, "give the URL that clients use")),
    };
    let resource = Resource::parse(&text).map_err(|error| invalid(KEY, error.to_string()))?;
    check_exposure(bind, &resource)?;
    Ok(resource)
}

/// A socket that others can reach needs TLS in front of it, which the resource's scheme states.
fn check_exposure(bind: SocketAddr, resource: &Resource) -> Result<(), ConfigError> {
    if bind.ip().is_loopback() || resource.is_https() {
        return Ok(());
    }
    let message = format!("{bind} isn't loopback, so remote_mcp.resource must be an https URL");
    Err(invalid("remote_mcp.bind_address", message))
}

fn issuer(section: &RawRemoteMcp, resource: &Resource) -> Result<IssuerConfig, ConfigError> {
    const SKEW: &str = "remote_mcp.clock_skew_seconds";
    let Some(issuer) = section.issuer.clone().filter(|issuer| !issuer.is_empty()) else {
        return Err(invalid("remote_mcp.issuer", "give the issuer of the access tokens"));
    };
    let audiences = if section.audiences.is_empty() {
        vec![resource.as_str().to_owned()]
    } else {
        section.audiences.clone()
    };
    let mut config = IssuerConfig::new(issuer, audiences);
    config.jwks_url.clone_from(&section.jwks_url);
    // A key set address is enough; with both, the metadata would only be read to be ignored.
    if section.jwks_url.is_none() {
        config.metadata_url.clone_from(&section.metadata_url);
    }
    if let Some(seconds) = section.clock_skew_seconds {
        if seconds > MAX_CLOCK_SKEW {
            return Err(invalid(SKEW, format!("{seconds} is over {MAX_CLOCK_SKEW}")));
        }
        config.clock_skew = Duration::from_secs(seconds);
    }
    if let Some(seconds) = section.max_token_lifetime_seconds {
        if seconds == 0 {
            return Err(invalid("remote_mcp.max_token_lifetime_seconds", "must be at least 1"));
        }
        config.max_lifetime = Duration::from_secs(seconds);
    }
    if !section.accepted_token_types.is_empty() {
        let types = section.accepted_token_types.iter().map(|accepted| match accepted {
            RawTokenType::AtJwt => TokenType::AtJwt,
            RawTokenType::Jwt => TokenType::Jwt,
        });
        config.accepted_types = types.collect();
    }
    Ok(config)
}

fn allowed_scopes(section: &RawRemoteMcp) -> Result<ScopeSet, ConfigError> {
    if section.allowed_scopes.is_empty() {
        return Ok(ScopeSet::up_to(Tier::Read));
    }
    let mut scopes = Vec::new();
    for text in &section.allowed_scopes {
        let Some(scope) = Scope::parse(text) else {
            let message = format!("{text:?} isn't one of the scopes");
            return Err(invalid("remote_mcp.allowed_scopes", message));
        };
        if scope.tier() == Tier::Live {
            return Err(ConfigError::WriteScope { scope });
        }
        scopes.push(scope);
    }
    Ok(scopes.into_iter().collect())
}

fn front(
    section: &RawRemoteMcp,
    bind: SocketAddr,
    resource: Resource,
    environment: Environment<'_>,
) -> Result<FrontConfig, ConfigError> {
    let issuer = section.issuer.clone().unwrap_or_default();
    let mut front = FrontConfig::new(resource, issuer, allowed_scopes(section)?);
    front.rate_limit = rate_limit(section)?;
    let age = section.submit_token_age();
    front.max_submit_token_age =
        age.map_err(|message| invalid(RawRemoteMcp::SUBMIT_TOKEN_AGE, message))?;
    front.documentation_url.clone_from(&section.documentation_url);
    if bind.ip().is_loopback() {
        front.allow_loopback();
    }
    for host in &section.allowed_hosts {
        front
            .allow_host(host)
            .map_err(|error| invalid("remote_mcp.allowed_hosts", error.to_string()))?;
    }
    for origin in &section.allowed_origins {
        front
            .allow_origin(origin)
            .map_err(|error| invalid("remote_mcp.allowed_origins", error.to_string()))?;
    }
    if let Some(name) = &section.token_id_hmac_secret_env {
        const KEY: &str = "remote_mcp.token_id_hmac_secret_env";
        let secret = environment(name)
            .ok_or_else(|| invalid(KEY, format!("the variable {name:?} isn't set")))?;
        if secret.len() < MIN_SECRET_BYTES {
            let message = format!("{name:?} needs at least {MIN_SECRET_BYTES} bytes");
            return Err(invalid(KEY, message));
        }
        front.set_token_id_secret(secret.as_bytes());
    }
    Ok(front)
}

fn rate_limit(section: &RawRemoteMcp) -> Result<RateLimit, ConfigError> {
    let requests = section.rate_limit_max_requests.unwrap_or(DEFAULT_RATE_REQUESTS);
    let seconds = section.rate_limit_window_seconds.unwrap_or(DEFAULT_RATE_WINDOW);
    if !(1..=MAX_RATE_WINDOW).contains(&seconds) {
        let message = format!("{seconds} isn't within 1 to {MAX_RATE_WINDOW}");
        return Err(invalid("remote_mcp.rate_limit_window_seconds", message));
    }
    RateLimit::new(requests, Duration::from_secs(seconds))
        .ok_or_else(|| invalid("remote_mcp.rate_limit_max_requests", "must be at least 1"))
}

fn serve(section: &RawRemoteMcp) -> Result<ServeOptions, ConfigError> {
    const KEY: &str = "remote_mcp.max_connections";
    let connections = section.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
    if !(1..=MAX_CONNECTIONS).contains(&connections) {
        return Err(invalid(KEY, format!("{connections} isn't within 1 to {MAX_CONNECTIONS}")));
    }
    let max_connections = usize::try_from(connections).unwrap_or(usize::MAX);
    Ok(ServeOptions { max_connections, ..ServeOptions::default() })
}

fn relay(raw: &RawConfig) -> Result<RelaySettings, ConfigError> {
    const HOURS: &str = "relay.certificate_hours";
    let section = &raw.relay;
    let bind = section.bind_address.as_deref().unwrap_or(DEFAULT_RELAY_BIND);
    let hours = section.certificate_hours.unwrap_or(DEFAULT_CERTIFICATE_HOURS);
    if !(1..=MAX_CERTIFICATE_HOURS).contains(&hours) {
        return Err(invalid(HOURS, format!("{hours} isn't within 1 to {MAX_CERTIFICATE_HOURS}")));
    }
    let server_name = section.server_name.clone().unwrap_or_else(|| "localhost".to_owned());
    if rustls_pki_types::ServerName::try_from(server_name.as_str()).is_err() {
        return Err(invalid("relay.server_name", format!("{server_name:?} isn't a host name")));
    }
    Ok(RelaySettings {
        bind_address: address("relay.bind_address", bind)?,
        server_name,
        state_dir: section.state_dir.as_ref().map(PathBuf::from),
        certificate_life: Duration::from_secs(u64::from(hours) * 3600),
    })
}

#[cfg(test)]
mod tests;
