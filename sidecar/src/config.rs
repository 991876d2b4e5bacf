//! From the configuration file to what a sidecar is started with.
//!
//! The file's raw sections are turned into checked values, or refused with the key that is wrong.
//! Nothing is on by default at a real broker: reads of the listed accounts only. A key that this
//! version can't obey is an error, never ignored. No I/O but reading no file: the caller read it.
//!
//! | file | sections |
//! |---|---|
//! | `config/accounts.rs` | `accounts` |
//! | `config/broker.rs` | `broker`, `brokers`, `sidecar.local_…` |
//! | `config/limits.rs` | `paper`, `preview`, `approvals`, `auth` |
//! | `config/risk.rs`, `config/report.rs` | `risk` |
//! | `config/notices.rs` | `notices` |
//! | here | the switches, `tools`, `audit`, `sidecar`, the issuer of `remote_mcp` |

mod accounts;
mod broker;
mod limits;
mod notices;
mod report;
mod risk;

use crate::app::SidecarConfig;
use crate::notices::NoticeSettings;
use crate::operator::OperatorDomain;
use crate::tools::Enabled;
use ibkr_agent_broker::BrokerConfig;
use ibkr_agent_domain::{AccountId, ErrorCode, Mode, ScopeSet};
use ibkr_agent_gates::PolicyLimits;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::config::{RawConfig, RawRemoteMcp};
use ibkr_agent_token::IssuerConfig;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub use accounts::AccountProblem;
pub use ibkr_agent_gates::PolicySet;
pub use limits::{MAX_APPROVAL_TTL, MAX_OPEN_APPROVALS, MAX_PREVIEW_TTL};
pub use report::{describe as describe_policies, differences as policy_differences, policy_set};
pub use risk::Policies;

/// Shortest retention of records of live writes, in days.
const MIN_RETENTION_DAYS: u32 = 2555;

/// How often open orders are looked up at a real broker.
const BROKER_WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Why a configuration can't be used by a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value is wrong.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// An account that can't be meant.
    #[error("{key}: {account} {problem}")]
    Account {
        /// The key.
        key: &'static str,
        /// The account's id.
        account: String,
        /// Why not.
        problem: AccountProblem,
    },
    /// A real broker without an address.
    #[error("{key} is missing")]
    MissingBaseUrl {
        /// The key.
        key: &'static str,
    },
    /// An unchecked certificate beyond loopback.
    #[error("{url}: an unchecked certificate is accepted on a loopback address only")]
    TlsBypass {
        /// The address.
        url: String,
    },
    /// Two switches that must agree don't.
    #[error("safety.{name}_enabled is {safety}, {name}.enabled is {section}")]
    Switches {
        /// `sidecar` or `remote_mcp`.
        name: &'static str,
        /// The switch under `safety`.
        safety: bool,
        /// The switch of the section.
        section: bool,
    },
    /// Live trading was asked for.
    #[error("{key} can't be true: live trading isn't built in this version")]
    Live {
        /// The key.
        key: &'static str,
    },
    /// A scope that writes, without the section that it needs.
    #[error("auth.enabled_scopes: {scope} needs {needs}")]
    WriteScope {
        /// The scope.
        scope: String,
        /// What it needs.
        needs: &'static str,
    },
}

impl ConfigError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Value { .. } | Self::Account { .. } => ErrorCode::ConfigInvalid,
            Self::MissingBaseUrl { .. } => ErrorCode::ConfigMissingBrokerBaseUrl,
            Self::TlsBypass { .. } => ErrorCode::ConfigTlsBypassNonLocalhost,
            Self::Switches { name, .. } => match name.as_bytes() {
                b"sidecar" => ErrorCode::ConfigSidecarForbidden,
                _ => ErrorCode::ConfigRemoteMcpForbidden,
            },
            Self::Live { .. } => ErrorCode::ConfigLiveTradingForbidden,
            Self::WriteScope { .. } => ErrorCode::ConfigWriteToolsForbidden,
        }
    }

    /// The value that is wrong, as the file has it, so that its line can be found.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Account { account, .. } => Some(account),
            Self::TlsBypass { url } => Some(url),
            Self::WriteScope { scope, .. } => Some(scope),
            Self::Value { .. }
            | Self::MissingBaseUrl { .. }
            | Self::Switches { .. }
            | Self::Live { .. } => None,
        }
    }

    /// What to do, where the code's own advice isn't enough.
    #[must_use]
    pub const fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Account { problem, .. } => Some(problem.next_step()),
            Self::Value { .. }
            | Self::MissingBaseUrl { .. }
            | Self::TlsBypass { .. }
            | Self::Switches { .. }
            | Self::Live { .. }
            | Self::WriteScope { .. } => None,
        }
    }
}

pub(crate) fn invalid(key: &'static str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, message: message.into() }
}

/// What stands behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// The embedded simulator.
    Simulator,
    /// Broker logins, at least one.
    Brokers(Vec<BrokerConfig>),
}

/// The checked configuration of a sidecar.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What stands behind it.
    pub backing: Backing,
    /// Accounts that may be seen and, as far as limits allow, traded.
    pub accounts: BTreeSet<AccountId>,
    /// The most that a local caller may do.
    pub local_scopes: ScopeSet,
    /// Issuers of callers with tokens, and the most that theirs may do.
    pub issuers: Vec<(IssuerConfig, ScopeSet)>,
    /// Oldest token by which an agent may submit.
    pub max_submit_token_age: Duration,
    /// The limits where nothing is bound.
    pub limits: PolicyLimits,
    /// Other limits for an account in a mode.
    pub bound: Vec<(AccountId, Mode, PolicyLimits)>,
    /// Whether orders may be previewed.
    pub preview_enabled: bool,
    /// Whether paper orders may be sent.
    pub paper_enabled: bool,
    /// Life of a preview.
    pub preview_ttl: Duration,
    /// Longest life of an approval.
    pub approval_ttl: Duration,
    /// Approvals that may wait at once.
    pub max_open_approvals: usize,
    /// How long a question of the broker waits for a human before the answer is no.
    pub question_timeout: Duration,
    /// The link to a remote, when it is on.
    pub relay: Option<RelaySettings>,
    /// Which tools local clients are shown.
    pub listing: Listing,
    /// Where notices go.
    pub notices: NoticeSettings,
}

/// The link to a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// The relay's address, if it is configured here rather than when pairing.
    pub url: Option<String>,
    /// Time between heartbeats.
    pub heartbeat_interval: Option<Duration>,
    /// Silence after which the link is cut.
    pub heartbeat_timeout: Option<Duration>,
}

impl Settings {
    /// Checks every section that concerns a sidecar.
    ///
    /// # Errors
    /// [`ConfigError`] of the first thing that is wrong.
    pub fn try_from_raw(raw: &RawConfig) -> Result<Self, ConfigError> {
        check_switches(raw)?;
        check_audit(raw)?;
        let backing = broker::backing(raw)?;
        let accounts = accounts::accounts(raw, &backing)?;
        let allowed = limits::allowed(raw, &backing);
        let local_scopes = limits::local_scopes(raw, allowed)?;
        let Policies { limits, bound } = risk::policies(raw, &backing, &accounts, allowed)?;
        let (preview_ttl, approval_ttl, max_open_approvals) = limits::lives(raw)?;
        let issuers = issuers(raw, &limits::ceiling(allowed))?;
        let age = raw.remote_mcp.submit_token_age();
        let max_submit_token_age =
            age.map_err(|message| invalid(RawRemoteMcp::SUBMIT_TOKEN_AGE, message))?;
        Ok(Self {
            backing,
            accounts,
            local_scopes,
            issuers,
            max_submit_token_age,
            limits,
            bound,
            preview_enabled: allowed.preview,
            paper_enabled: allowed.paper,
            preview_ttl,
            approval_ttl,
            max_open_approvals,
            question_timeout: limits::question_timeout(raw)?,
            relay: relay(raw)?,
            listing: listing(raw)?,
            notices: notices::notices(raw)?,
        })
    }

    /// What operators' signatures are good for; also names the state's subfolder.
    #[must_use]
    pub const fn domain(&self) -> OperatorDomain {
        match self.backing {
            Backing::Simulator => OperatorDomain::Simulator,
            Backing::Brokers(_) => OperatorDomain::Broker,
        }
    }

    /// What a sidecar is started with. `simulator` is where the simulator listens; it isn't used
    /// with a real broker.
    #[must_use]
    pub fn sidecar(&self, state_dir: PathBuf, simulator: &str) -> SidecarConfig {
        let mut config = SidecarConfig::simulator(state_dir, simulator);
        if let Backing::Brokers(brokers) = &self.backing {
            config.brokers.clone_from(brokers);
            config.watch_interval = BROKER_WATCH_INTERVAL;
        }
        config.domain = self.domain();
        config.limits.clone_from(&self.limits);
        config.bound.clone_from(&self.bound);
        config.notices.clone_from(&self.notices);
        config.scope_ceiling.clone_from(&self.local_scopes);
        config.preview_ttl = self.preview_ttl;
        config.approval_ttl = self.approval_ttl;
        config.max_open_approvals = self.max_open_approvals;
        config.question_timeout = self.question_timeout;
        config.issuers = self.issuers.iter().map(|(issuer, _)| issuer.clone()).collect();
        config.max_submit_token_age = self.max_submit_token_age;
        let ceilings = self.issuers.iter();
        config.issuer_ceilings =
            ceilings.map(|(issuer, scopes)| (issuer.issuer.clone(), scopes.clone())).collect();
        let (preview, paper) = (self.preview_enabled, self.paper_enabled);
        config.enabled = Enabled { preview, paper, remote: self.relay.is_some() };
        config
    }
}

fn check_switches(raw: &RawConfig) -> Result<(), ConfigError> {
    if raw.safety.live_trading_enabled {
        return Err(ConfigError::Live { key: "safety.live_trading_enabled" });
    }
    if raw.live_trading.enabled {
        return Err(ConfigError::Live { key: "live_trading.enabled" });
    }
    let pairs = [
        ("sidecar", raw.safety.sidecar_enabled, raw.sidecar.enabled),
        ("remote_mcp", raw.safety.remote_mcp_enabled, raw.remote_mcp.enabled),
    ];
    for (name, safety, section) in pairs {
        if safety != section {
            return Err(ConfigError::Switches { name, safety, section });
        }
    }
    Ok(())
}

fn check_audit(raw: &RawConfig) -> Result<(), ConfigError> {
    const DAYS: &str = "audit.live_write_retention_days";
    if let Some(days) = raw.audit.live_write_retention_days
        && days < MIN_RETENTION_DAYS
    {
        return Err(invalid(DAYS, format!("{days} is under {MIN_RETENTION_DAYS}")));
    }
    // Nothing is ever purged by this version, so these two hold; their opposite would be a lie.
    if raw.audit.immutable_live_events == Some(false) {
        return Err(invalid("audit.immutable_live_events", "records are always immutable"));
    }
    Ok(())
}

fn listing(raw: &RawConfig) -> Result<Listing, ConfigError> {
    let names = raw.tools.toolsets.iter().map(String::as_str);
    Listing::of_names(names).map_err(|error| invalid("tools.toolsets", error.to_string()))
}

fn relay(raw: &RawConfig) -> Result<Option<RelaySettings>, ConfigError> {
    const TIMEOUT: &str = "sidecar.heartbeat_timeout_seconds";
    if !raw.sidecar.enabled {
        return Ok(None);
    }
    let seconds = |key: &'static str, value: Option<u64>| match value {
        Some(value @ 1..=300) => Ok(Some(Duration::from_secs(value))),
        Some(value) => Err(invalid(key, format!("{value} isn't between 1 and 300"))),
        None => Ok(None),
    };
    let interval = raw.sidecar.heartbeat_interval_seconds;
    let heartbeat_interval = seconds("sidecar.heartbeat_interval_seconds", interval)?;
    let heartbeat_timeout = seconds(TIMEOUT, raw.sidecar.heartbeat_timeout_seconds)?;
    if let (Some(interval), Some(timeout)) = (heartbeat_interval, heartbeat_timeout)
        && timeout <= interval
    {
        return Err(invalid(TIMEOUT, "must be longer than heartbeat_interval_seconds"));
    }
    let url = raw.sidecar.remote_relay_url.clone();
    Ok(Some(RelaySettings { url, heartbeat_interval, heartbeat_timeout }))
}

/// The issuer of callers with tokens: the same section that the HTTP front reads.
fn issuers(
    raw: &RawConfig,
    ceiling: &ScopeSet,
) -> Result<Vec<(IssuerConfig, ScopeSet)>, ConfigError> {
    let section = &raw.remote_mcp;
    let Some(issuer) = section.issuer.as_deref().filter(|issuer| !issuer.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut audiences = section.audiences.clone();
    if audiences.is_empty() {
        let resource = section.resource.clone();
        let bind = section.bind_address.as_deref();
        let own = || bind.map(|bind| format!("http://{bind}/mcp"));
        audiences.extend(resource.or_else(own));
    }
    if audiences.is_empty() {
        return Err(invalid("remote_mcp.resource", "give the URL that clients use"));
    }
    let mut config = IssuerConfig::new(issuer, audiences);
    config.jwks_url.clone_from(&section.jwks_url);
    if section.jwks_url.is_none() {
        config.metadata_url.clone_from(&section.metadata_url);
    }
    if let Some(seconds) = section.clock_skew_seconds {
        config.clock_skew = Duration::from_secs(seconds);
    }
    if let Some(seconds) = section.max_token_lifetime_seconds {
        config.max_lifetime = Duration::from_secs(seconds);
    }
    if !section.accepted_token_types.is_empty() {
        let types =
            section.accepted_token_types.iter().map(|accepted| broker::token_type(*accepted));
        config.accepted_types = types.collect();
    }
    let named = limits::scopes("remote_mcp.allowed_scopes", &section.allowed_scopes)?;
    // The same default as the front's: reads, unless the operator lists more.
    let asked = if section.allowed_scopes.is_empty() { ceiling.reads_only() } else { named };
    Ok(vec![(config, asked.intersection(ceiling))])
}
