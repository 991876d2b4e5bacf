//! Health and the broker session.

use super::{Asked, Done};
use ibkr_agent_broker::{Broker, Viewer};
use ibkr_agent_domain::{Door, ErrorCode, SessionState};
use ibkr_agent_protocol::catalogue::session::{
    AuditHealth, BackendStatusOutput, BrokerStatus, Enabled, HealthOutput, HealthStatus,
    RenewAction, SessionOutput, SessionRenewOutput, SessionRequirementsOutput, Versions,
};
use ibkr_agent_protocol::catalogue::{self, Wire};
use ibkr_agent_protocol::service::ErrorBody;
use std::sync::Arc;

impl Asked<'_> {
    pub(super) async fn health(&self) -> Result<Done, ErrorBody> {
        self.input::<catalogue::session::Health>()?;
        let session = self.core.brokers.market()?.health();
        let halted = self.core.engine.look(|engine, _| engine.halt_entry().halted).await;
        let halted = halted.map_err(super::refusal_body)?;
        let writable = self.core.ledger.is_writable();
        let status = match (session.state, writable) {
            (SessionState::Ready, true) => HealthStatus::Ok,
            (SessionState::Unreachable, _) | (_, false) => HealthStatus::Down,
            (
                SessionState::LoginRequired | SessionState::BrokerageDown | SessionState::Competing,
                true,
            ) => HealthStatus::Degraded,
        };
        let output = HealthOutput {
            status: Wire(status),
            backend: Wire(self.core.backend),
            mode: Wire(self.core.mode()),
            session: SessionOutput::from(&session),
            audit: AuditHealth { writable, size: self.core.ledger.head().size },
            halted,
            enabled: Enabled {
                preview: self.core.enabled.preview,
                paper: self.core.enabled.paper,
                live: false,
                remote: self.core.enabled.remote,
            },
            versions: Versions {
                gateway: env!("CARGO_PKG_VERSION").to_owned(),
                catalogue: Wire(catalogue::catalogue_hash()),
            },
        };
        Done::read(&output, None)
    }

    pub(super) fn backend_status(&self) -> Result<Done, ErrorBody> {
        self.input::<catalogue::session::BackendStatus>()?;
        let now = self.now();
        let status = |broker: &Arc<dyn Broker>| {
            BrokerStatus::new(broker.name().clone(), broker.mode(), &broker.health(), now)
        };
        let output = BackendStatusOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(now),
            brokers: self.core.brokers.all().iter().map(status).collect(),
        };
        Done::read(&output, None)
    }

    pub(super) fn session_requirements(&self) -> Result<Done, ErrorBody> {
        self.input::<catalogue::session::SessionRequirements>()?;
        let broker = self.core.brokers.market()?;
        let state = broker.health().state;
        let steps = self.steps(broker);
        let output = SessionRequirementsOutput {
            ready: state == SessionState::Ready,
            state: Wire(state),
            needs_human: matches!(
                state,
                SessionState::Unreachable | SessionState::LoginRequired | SessionState::Competing
            ),
            steps,
        };
        Done::read(&output, None)
    }

    pub(super) async fn session_renew(&self) -> Result<Done, ErrorBody> {
        self.input::<catalogue::session::SessionRenew>()?;
        let broker = self.core.brokers.market()?;
        let before = broker.health().state;
        let after = match broker.renew().await {
            Ok(health) => health.state,
            Err(error) if error.code() == ErrorCode::BrokerSessionRequired => {
                SessionState::LoginRequired
            }
            Err(error) => return Err(crate::brokers::error_body(&error)),
        };
        let action = match (before, after) {
            (SessionState::Ready, SessionState::Ready) => RenewAction::KeptAlive,
            (_, SessionState::Ready) => RenewAction::BrokerageOpened,
            (_, SessionState::LoginRequired) => RenewAction::LoginRequired,
            (_, _) => RenewAction::Failed,
        };
        let steps = self.steps(broker);
        let nothing = || "Nothing: the session works.".to_owned();
        let next_step = steps.into_iter().next().unwrap_or_else(nothing);
        let output = SessionRenewOutput {
            ready: after == SessionState::Ready,
            action: Wire(action),
            before: Wire(before),
            after: Wire(after),
            next_step,
        };
        Done::read(&output, None)
    }

    /// What a human does about the session, its commands as they reach this sidecar.
    fn steps(&self, broker: &Arc<dyn Broker>) -> Vec<String> {
        let door = self.caller.requester.door;
        let invocation = self.core.invocation.told_at(door);
        let steps = broker.instructions(&viewer(door));
        steps.iter().map(|step| invocation.spell(step)).collect()
    }
}

/// Where the reader of the steps sits. A caller over the network learns neither who runs the
/// sidecar nor how its host is reached.
fn viewer(door: Door) -> Viewer {
    let told = Viewer::from_environment(|name| std::env::var(name).ok());
    match door {
        Door::Stdio | Door::Sdk | Door::Operator | Door::Internal => told,
        Door::LocalHttp | Door::Relay => Viewer { user: None, host: None, ..told },
    }
}
