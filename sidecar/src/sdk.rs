//! The Rust SDK: a sidecar inside a Rust program.
//!
//! Reads, previews and asking for approvals, with the same gates, store and log as every other
//! door. There is no method that approves: a human does, with the CLI or an operator's surface of
//! this state folder.

use crate::app::{Sidecar, SidecarConfig, StartError};
use crate::operator::OperatorDomain;
use crate::tools::Agent;
use ibkr_agent_broker::{Broker, BrokerConfig, TlsPolicy};
use ibkr_agent_domain::{AccountId, BrokerName, Door, ErrorCode, Mode, Untrusted};
use ibkr_agent_gates::PolicyLimits;
use ibkr_agent_protocol::catalogue::account::{
    AccountSummary, AccountSummaryOutput, AccountsList, AccountsListOutput, PositionsList,
    PositionsListOutput,
};
use ibkr_agent_protocol::catalogue::approvals::{OrderPreview, OrderPreviewOutput};
use ibkr_agent_protocol::catalogue::market::{MarketSnapshot, MarketSnapshotOutput};
use ibkr_agent_protocol::catalogue::{Tool, spec};
use ibkr_agent_protocol::service::{ErrorBody, LocalCaller, Progress, ToolCall, ToolService};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How a gateway is set up. Start with [`GatewayConfig::fake_local`] or
/// [`GatewayConfig::client_portal`].
#[derive(Debug)]
pub struct GatewayConfig {
    state_dir: PathBuf,
    backend: Backend,
    own: Vec<Arc<dyn Broker>>,
    accounts: BTreeSet<AccountId>,
}

#[derive(Debug)]
enum Backend {
    #[cfg(feature = "simulator")]
    Simulator,
    ClientPortal {
        base_url: String,
        tls: TlsPolicy,
    },
    Own,
}

impl GatewayConfig {
    /// The embedded simulator with its own state folder: no broker, no money.
    #[cfg(feature = "simulator")]
    #[must_use]
    pub fn fake_local(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            backend: Backend::Simulator,
            own: Vec::new(),
            accounts: BTreeSet::new(),
        }
    }

    /// A paper login at a Client Portal Gateway, such as `https://localhost:5000`.
    #[must_use]
    pub fn client_portal(state_dir: impl Into<PathBuf>, base_url: &str) -> Self {
        let backend =
            Backend::ClientPortal { base_url: base_url.to_owned(), tls: TlsPolicy::SystemRoots };
        Self { state_dir: state_dir.into(), backend, own: Vec::new(), accounts: BTreeSet::new() }
    }

    /// Only brokers of one's own, added with [`GatewayConfig::with_broker`].
    #[must_use]
    pub fn own_brokers(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            backend: Backend::Own,
            own: Vec::new(),
            accounts: BTreeSet::new(),
        }
    }

    /// Whether the gateway's certificate is verified; without it only a loopback address is
    /// accepted.
    #[must_use]
    pub fn with_verify_tls(mut self, verify: bool) -> Self {
        if let Backend::ClientPortal { tls, .. } = &mut self.backend {
            *tls = if verify { TlsPolicy::SystemRoots } else { TlsPolicy::AcceptInvalidOnLoopback };
        }
        self
    }

    /// Names the accounts that may be seen; none is by itself, except the simulator's.
    #[must_use]
    pub fn with_accounts(mut self, accounts: impl IntoIterator<Item = AccountId>) -> Self {
        self.accounts.extend(accounts);
        self
    }

    /// Adds a broker of one's own.
    #[must_use]
    pub fn with_broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.own.push(broker);
        self
    }
}

/// A running gateway. Stop it with [`Gateway::shutdown`].
#[derive(Debug)]
pub struct Gateway {
    sidecar: Sidecar,
    #[cfg(feature = "simulator")]
    simulator: Option<ibkr_agent_simulator::Simulator>,
}

impl Gateway {
    /// Opens the state folder and connects.
    ///
    /// # Errors
    /// An [`ErrorBody`] with the stable code, such as `STORE_LOCKED`.
    pub async fn new(config: GatewayConfig) -> Result<Self, ErrorBody> {
        let GatewayConfig { state_dir, backend, own, accounts } = config;
        #[cfg(feature = "simulator")]
        let mut simulator = None;
        let mut sidecar = match backend {
            #[cfg(feature = "simulator")]
            Backend::Simulator => {
                let started = embedded_simulator(&state_dir).await?;
                let url = started.base_url();
                simulator = Some(started);
                SidecarConfig::simulator(state_dir, &url)
            }
            Backend::ClientPortal { base_url, tls } => {
                let mut sidecar = broker_defaults(state_dir);
                let name = BrokerName::parse("paper")
                    .map_err(|error| ErrorBody::new(ErrorCode::ConfigInvalid, error.to_string()))?;
                let mut broker = BrokerConfig::new(name, &base_url, Mode::Paper);
                broker.tls = tls;
                sidecar.brokers = vec![broker];
                sidecar
            }
            Backend::Own => broker_defaults(state_dir),
        };
        sidecar.limits.accounts.extend(accounts);
        let sidecar = Sidecar::start_with(sidecar, own).await.map_err(|e| start_error(&e))?;
        Ok(Self {
            sidecar,
            #[cfg(feature = "simulator")]
            simulator,
        })
    }

    /// Runs any tool of the catalogue by its name.
    ///
    /// # Errors
    /// The [`ErrorBody`] that every door would show.
    pub async fn call(&self, tool: &str, arguments: &Value) -> Result<Value, ErrorBody> {
        let invalid = |_| ErrorBody::new(ErrorCode::InputInvalid, "the arguments aren't JSON");
        let arguments = serde_json::value::to_raw_value(arguments).map_err(invalid)?;
        let caller = LocalCaller { client: Untrusted::new("sdk") };
        let agent = Agent::Local { caller, door: Door::Sdk };
        let call = ToolCall::new(tool, arguments);
        let agents = self.sidecar.agents();
        let token = CancellationToken::new();
        let reply =
            ToolService::call(agents.as_ref(), agent, call, Progress::ignored(), token).await;
        let unreadable = |_| ErrorBody::new(ErrorCode::OutputUnsafe, "the answer isn't JSON");
        reply.result.and_then(|body| serde_json::from_str(body.get()).map_err(unreadable))
    }

    async fn typed<T: Tool>(&self, arguments: &Value) -> Result<T::Output, ErrorBody>
    where
        T::Output: DeserializeOwned,
    {
        let name = spec::<T>().map_or("", |spec| spec.name);
        let value = self.call(name, arguments).await?;
        serde_json::from_value(value)
            .map_err(|_| ErrorBody::new(ErrorCode::OutputUnsafe, "the answer isn't understood"))
    }

    /// The accounts that this gateway serves.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub async fn accounts(&self) -> Result<AccountsListOutput, ErrorBody> {
        self.typed::<AccountsList>(&json!({})).await
    }

    /// An account's key figures.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub async fn summary(&self, account: &str) -> Result<AccountSummaryOutput, ErrorBody> {
        self.typed::<AccountSummary>(&json!({ "account_id": account })).await
    }

    /// An account's positions.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub async fn positions(&self, account: &str) -> Result<PositionsListOutput, ErrorBody> {
        self.typed::<PositionsList>(&json!({ "account_id": account, "detail": "full" })).await
    }

    /// A quote by instrument, such as `AAPL`.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub async fn quote(&self, instrument: &str) -> Result<MarketSnapshotOutput, ErrorBody> {
        self.typed::<MarketSnapshot>(&json!({ "instrument": instrument })).await
    }

    /// Previews an order: `arguments` as `ibkr_order_preview` takes them.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub async fn preview(&self, arguments: &Value) -> Result<OrderPreviewOutput, ErrorBody> {
        self.typed::<OrderPreview>(arguments).await
    }

    /// The sidecar behind it.
    #[must_use]
    pub const fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// Finishes what is in flight and stops.
    pub async fn shutdown(self) {
        self.sidecar.shutdown().await;
        #[cfg(feature = "simulator")]
        if let Some(simulator) = self.simulator {
            simulator.shutdown().await;
        }
    }
}

/// Reads and previews at a real broker; paper stays off until a configuration file enables it.
fn broker_defaults(state_dir: PathBuf) -> SidecarConfig {
    let mut config = SidecarConfig::simulator(state_dir, "");
    config.domain = OperatorDomain::Broker;
    config.brokers = Vec::new();
    config.limits = PolicyLimits { id: "sdk".to_owned(), ..PolicyLimits::tight(BTreeSet::new()) };
    config.scope_ceiling = ibkr_agent_domain::ScopeSet::up_to(ibkr_agent_domain::Tier::Preview);
    config.enabled.paper = false;
    config.watch_interval = core::time::Duration::from_secs(10);
    config
}

#[cfg(feature = "simulator")]
async fn embedded_simulator(
    state_dir: &std::path::Path,
) -> Result<ibkr_agent_simulator::Simulator, ErrorBody> {
    use ibkr_agent_simulator::{Simulator, SimulatorConfig};
    let failed = |error: String| ErrorBody::new(ErrorCode::BrokerBackendUnavailable, error);
    crate::secrets::make_folder(state_dir).map_err(|error| failed(error.to_string()))?;
    let config = SimulatorConfig {
        state_path: Some(state_dir.join("simulator.json")),
        ..SimulatorConfig::default()
    };
    Simulator::start(config).await.map_err(|error| failed(error.to_string()))
}

fn start_error(error: &StartError) -> ErrorBody {
    ErrorBody::new(error.code(), error.to_string())
}
