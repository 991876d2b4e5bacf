//! The owner of a state folder in this process: simulator where one is needed, sidecar, and the
//! operator's door. It decides nothing about calls.

use super::Plan;
use crate::failure::Failure;
use crate::signals;
use ibkr_agent_domain::{Door, ErrorCode};
use ibkr_agent_gateway::app::Sidecar;
use ibkr_agent_gateway::desk::OperatorDesk;
use ibkr_agent_gateway::operator::{open_operator_door, serve_operators};
use ibkr_agent_gateway::tools::{Agent, Agents};
use ibkr_agent_protocol::catalogue::ToolSpec;
use ibkr_agent_protocol::service::{
    EventStream, LocalCaller, Progress, ToolCall, ToolReply, ToolService,
};
use ibkr_agent_simulator::{Simulator, SimulatorConfig, SimulatorError};
use ibkr_agent_token::IssuerConfig;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The simulator's own state in the state folder.
const SIMULATOR_FILE: &str = "simulator.json";

/// Why this process can't own the state.
#[derive(Debug)]
pub(crate) enum OwnError {
    /// Another process does.
    Locked,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for OwnError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<OwnError> for Failure {
    fn from(error: OwnError) -> Self {
        match error {
            OwnError::Locked => {
                Self::new(ErrorCode::StoreLocked, "another process of this state folder runs")
            }
            OwnError::Failed(failure) => failure,
        }
    }
}

/// A running sidecar that this process owns.
pub(crate) struct Owned {
    sidecar: Sidecar,
    simulator: Option<Simulator>,
    operators: JoinHandle<()>,
    stop: CancellationToken,
}

impl Owned {
    /// Starts what the configuration says.
    pub(crate) async fn start(plan: &Plan) -> Result<Self, OwnError> {
        Box::pin(Self::start_with(plan, Vec::new())).await
    }

    /// As [`Owned::start`], with further issuers whose tokens are accepted.
    pub(crate) async fn start_with(
        plan: &Plan,
        issuers: Vec<IssuerConfig>,
    ) -> Result<Self, OwnError> {
        let simulator = match plan.settings.backing {
            ibkr_agent_gateway::config::Backing::Simulator => Some(start_simulator(plan).await?),
            ibkr_agent_gateway::config::Backing::Brokers(_) => None,
        };
        let started = Box::pin(start_sidecar(plan, issuers, simulator.as_ref())).await;
        let sidecar = match started {
            Ok(sidecar) => sidecar,
            Err(error) => {
                stop_simulator(simulator).await;
                return Err(error);
            }
        };
        let door = match open_operator_door(&plan.state_dir).await {
            Ok(door) => door,
            Err(error) => {
                sidecar.shutdown().await;
                stop_simulator(simulator).await;
                return Err(OwnError::Failed(Failure(error.into())));
            }
        };
        let stop = CancellationToken::new();
        let operators = tokio::spawn(serve_operators(door, sidecar.desk(), stop.clone()));
        tokio::spawn(signals::halt_on_signal(sidecar.engine().clone(), stop.clone()));
        Ok(Self { sidecar, simulator, operators, stop })
    }

    /// The agents' service.
    pub(crate) fn agents(&self) -> Arc<Agents> {
        self.sidecar.agents()
    }

    /// The operator's desk.
    pub(crate) fn desk(&self) -> Arc<OperatorDesk> {
        self.sidecar.desk()
    }

    /// Lets operators finish, then calls in flight, then lets the store and the simulator go.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        if self.operators.await.is_err() {
            tracing::error!("operator.door_failed");
        }
        self.sidecar.shutdown().await;
        stop_simulator(self.simulator).await;
    }
}

async fn start_simulator(plan: &Plan) -> Result<Simulator, OwnError> {
    let state_path = Some(plan.state_dir.join(SIMULATOR_FILE));
    let config = SimulatorConfig { state_path, ..SimulatorConfig::default() };
    Simulator::start(config).await.map_err(|error| match error {
        SimulatorError::StateInUse { .. } => OwnError::Locked,
        SimulatorError::StateAccess { .. } => OwnError::Failed(Failure::because(
            ErrorCode::StoreUnavailable,
            "the simulator can't start",
            &error,
        )),
        SimulatorError::StateDamaged { .. } | SimulatorError::StateVersion { .. } => {
            OwnError::Failed(Failure::because(
                ErrorCode::StoreDamaged,
                "the simulator can't start",
                &error,
            ))
        }
        SimulatorError::Bind { .. }
        | SimulatorError::Tls { .. }
        | SimulatorError::Catalogue { .. } => OwnError::Failed(Failure::because(
            ErrorCode::BrokerBackendUnavailable,
            "the simulator can't start",
            &error,
        )),
    })
}

async fn stop_simulator(simulator: Option<Simulator>) {
    if let Some(simulator) = simulator {
        simulator.shutdown().await;
    }
}

async fn start_sidecar(
    plan: &Plan,
    issuers: Vec<IssuerConfig>,
    simulator: Option<&Simulator>,
) -> Result<Sidecar, OwnError> {
    let url = simulator.map(Simulator::base_url).unwrap_or_default();
    let mut config = plan.settings.sidecar(plan.state_dir.clone(), &url);
    config.issuers.extend(issuers);
    config.invocation.clone_from(&plan.invocation);
    Sidecar::start(config).await.map_err(|error| {
        let code = error.code();
        if code == ErrorCode::StoreLocked {
            return OwnError::Locked;
        }
        OwnError::Failed(Failure::because(code, "the sidecar can't start", &error))
    })
}

/// The sidecar's tool service for processes of the local user.
#[derive(Debug)]
pub(crate) struct LocalAgents(Arc<Agents>);

impl LocalAgents {
    /// The local door of a service.
    pub(crate) const fn new(agents: Arc<Agents>) -> Self {
        Self(agents)
    }
}

const fn local(caller: LocalCaller) -> Agent {
    Agent::Local { caller, door: Door::Stdio }
}

impl ToolService for LocalAgents {
    type Caller = LocalCaller;

    fn tools(&self, caller: &LocalCaller) -> Vec<&'static ToolSpec> {
        self.0.tools(&local(caller.clone()))
    }

    async fn call(
        &self,
        caller: LocalCaller,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        ToolService::call(self.0.as_ref(), local(caller), call, progress, cancelled).await
    }

    fn events(&self, caller: &LocalCaller) -> EventStream {
        self.0.events(&local(caller.clone()))
    }
}
