//! The broker session works.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::{ErrorCode, SessionState};

pub(super) fn check(case: &Case<'_>) -> Check {
    let state = case.facts.broker.session;
    let code = ErrorCode::BrokerSessionRequired;
    Check::new(Gate::Session, state == SessionState::Ready, code, state.as_str(), "ready")
}
