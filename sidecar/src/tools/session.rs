//! Health and the broker session.

use super::{Asked, Done};
use ibkr_agent_domain::{ErrorCode, SessionState};
use ibkr_agent_protocol::catalogue::session::{
    AuditHealth, BackendStatusOutput, BrokerStatus, Enabled, HealthOutput, HealthStatus,
    RenewAction, SessionOutput, SessionRenewOutput, SessionRequirementsOutput, Versions,
};
use ibkr_agent_protocol::catalogue::{self, Wire};
use ibkr_agent_protocol::service::ErrorBody;

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
        let status = |broker: &std::sync::Arc<dyn ibkr_agent_broker::Broker>| {
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
        let state = self.core.brokers.market()?.health().state;
        let steps: &[&str] = steps_for(state);
        let output = SessionRequirementsOutput {
            ready: state == SessionState::Ready,
            state: Wire(state),
            needs_human: matches!(
                state,
                SessionState::Unreachable | SessionState::LoginRequired | SessionState::Competing
            ),
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
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
        let next_step = steps_for(after).first().copied().unwrap_or("Nothing: the session works.");
        let output = SessionRenewOutput {
            ready: after == SessionState::Ready,
            action: Wire(action),
            before: Wire(before),
            after: Wire(after),
            next_step: next_step.to_owned(),
        };
        Done::read(&output, None)
    }
}

/// What a human does now, in order.
const fn steps_for(state: SessionState) -> &'static [&'static str] {
    match state {
        SessionState::Ready => &[],
        SessionState::Unreachable => &[
            "Start the Client Portal Gateway on the sidecar's host.",
            "Check that broker.base_url in the configuration names its address and port.",
            "Log in with a browser on that host.",
        ],
        SessionState::LoginRequired => &[
            "Open the Client Portal Gateway's address in a browser on the sidecar's host.",
            "Log in with the IBKR username of this broker and confirm the second factor.",
            "Call ibkr_session_renew.",
        ],
        SessionState::BrokerageDown => &[
            "Call ibkr_session_renew: the brokerage session can be opened without a login.",
            "If that doesn't help, log in at the gateway in a browser again.",
        ],
        SessionState::Competing => &[
            "Another session of the same IBKR username is active, such as TWS or the mobile app.",
            "Log out there, or use a second username for the gateway.",
            "Call ibkr_session_renew.",
        ],
    }
}
