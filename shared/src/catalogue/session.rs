//! Health, backend and session tools.

use super::text::names;
use super::{Backend, Declaration, Hints, NoInput, RiskClass, Tool, Toolset, Wire};
use ibkr_agent_domain::{BrokerName, Digest, Mode, Scope, SessionHealth, SessionState, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

names! {
    /// How the gateway is.
    HealthStatus {
        /// Everything that is switched on works.
        Ok = "ok",
        /// Something needs a human, reads may fail.
        Degraded = "degraded",
        /// Nothing works.
        Down = "down",
    }
    /// What a renewal did.
    RenewAction {
        /// Nothing was needed beyond a keep-alive.
        KeptAlive = "kept_alive",
        /// The brokerage session was opened.
        BrokerageOpened = "brokerage_opened",
        /// Only a human's login can help.
        LoginRequired = "login_required",
        /// It was tried and failed.
        Failed = "failed",
    }
}

/// `ibkr_health`.
#[derive(Debug)]
pub struct Health;

impl Tool for Health {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_health",
        title: "Gateway health",
        description: "Tells whether the gateway works: broker session, audit log, what is switched \
            on, versions. Use it first, or when another tool fails. If the session isn't ready, \
            call ibkr_session_requirements for what a human must do.",
        scope: Scope::HealthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Session,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = NoInput;
    type Output = HealthOutput;
}

/// Answer of [`Health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthOutput {
    /// Overall state.
    pub status: Wire<HealthStatus>,
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// Where orders would go: simulated, paper or live.
    pub mode: Wire<Mode>,
    /// The broker session.
    pub session: SessionOutput,
    /// The audit log.
    pub audit: AuditHealth,
    /// Whether trading is halted.
    pub halted: bool,
    /// What is switched on.
    pub enabled: Enabled,
    /// Versions.
    pub versions: Versions,
}

/// The audit log's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHealth {
    /// Whether records can be written; if not, trading is stopped.
    pub writable: bool,
    /// Number of records.
    pub size: u64,
}

/// What is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enabled {
    /// Order previews.
    pub preview: bool,
    /// Paper orders.
    pub paper: bool,
    /// Live orders.
    pub live: bool,
    /// The hosted MCP endpoint.
    pub remote: bool,
}

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The gateway's version.
    pub gateway: String,
    /// Digest of the tool catalogue.
    pub catalogue: Wire<Digest>,
}

/// The broker session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionOutput {
    /// State; only "ready" serves reads and orders.
    pub state: Wire<SessionState>,
    /// Since when it has been in this state.
    pub since: Wire<Timestamp>,
    /// When the broker last answered a keep-alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_keep_alive: Option<Wire<Timestamp>>,
    /// Whether it is a paper login, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_paper: Option<bool>,
    /// The broker's clock minus ours, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
}

impl From<&SessionHealth> for SessionOutput {
    fn from(health: &SessionHealth) -> Self {
        Self {
            state: Wire(health.state),
            since: Wire(health.since),
            last_keep_alive: health.last_tickle.map(Wire),
            is_paper: health.is_paper,
            clock_skew_ms: health.clock_skew_ms,
        }
    }
}

/// `ibkr_backend_status`.
#[derive(Debug)]
pub struct BackendStatus;

impl Tool for BackendStatus {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_backend_status",
        title: "Broker session status",
        description: "State of each broker session and the age of its last keep-alive. Use it to \
            see why reads or orders fail; ibkr_session_renew may bring a session back without a \
            login.",
        scope: Scope::HealthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Session,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = NoInput;
    type Output = BackendStatusOutput;
}

/// Answer of [`BackendStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendStatusOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we looked.
    pub as_of: Wire<Timestamp>,
    /// One entry per configured broker login.
    pub brokers: Vec<BrokerStatus>,
}

/// One broker login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerStatus {
    /// Its configured name.
    pub broker: Wire<BrokerName>,
    /// Where it trades: simulated, paper or live.
    pub mode: Wire<Mode>,
    /// Its session.
    pub session: SessionOutput,
    /// Age of the last keep-alive in seconds, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_age_seconds: Option<u64>,
}

impl BrokerStatus {
    /// The status of a login as seen at `now`.
    #[must_use]
    pub fn new(broker: BrokerName, mode: Mode, health: &SessionHealth, now: Timestamp) -> Self {
        Self {
            broker: Wire(broker),
            mode: Wire(mode),
            session: SessionOutput::from(health),
            keep_alive_age_seconds: health.last_tickle.map(|then| now.since(then).as_secs()),
        }
    }
}

/// `ibkr_session_requirements`.
#[derive(Debug)]
pub struct SessionRequirements;

impl Tool for SessionRequirements {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_session_requirements",
        title: "What the session needs",
        description: "Tells, step by step, what a human must do now so that the broker session \
            works; empty when it is ready. Show the steps to the user: an agent can't log in.",
        scope: Scope::HealthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Session,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = NoInput;
    type Output = SessionRequirementsOutput;
}

/// Answer of [`SessionRequirements`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRequirementsOutput {
    /// Whether reads and orders work.
    pub ready: bool,
    /// State of the session.
    pub state: Wire<SessionState>,
    /// Whether only a human can go on.
    pub needs_human: bool,
    /// What to do, in order.
    pub steps: Vec<String>,
}

/// `ibkr_session_renew`.
#[derive(Debug)]
pub struct SessionRenew;

impl Tool for SessionRenew {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_session_renew",
        title: "Renew the broker session",
        description: "Keeps the broker session alive and opens the brokerage session if that \
            works without a login. It never takes over a session that is active elsewhere. If the \
            answer says login_required, call ibkr_session_requirements and show the steps.",
        scope: Scope::HealthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Session,
        hints: Hints { read_only: false, ..Hints::BROKER_READ },
        in_default: false,
    };
    type Input = NoInput;
    type Output = SessionRenewOutput;
}

/// Answer of [`SessionRenew`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRenewOutput {
    /// Whether reads and orders work now.
    pub ready: bool,
    /// What was done.
    pub action: Wire<RenewAction>,
    /// State before.
    pub before: Wire<SessionState>,
    /// State after.
    pub after: Wire<SessionState>,
    /// What to do next.
    pub next_step: String,
}
