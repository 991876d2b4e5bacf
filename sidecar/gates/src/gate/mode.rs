//! The mode (simulated, paper) is switched on.

use crate::{Check, Gate, PolicyLimits};
use ibkr_agent_domain::{CanonicalOrder, ErrorCode, Mode};

pub(super) fn check(limits: &PolicyLimits, order: &CanonicalOrder) -> Check {
    let code = match order.mode() {
        Mode::Live => ErrorCode::LiveTradingDisabled,
        Mode::Paper | Mode::Simulated => ErrorCode::PaperTradingDisabled,
    };
    let passed = limits.modes.contains(&order.mode());
    let limit = "a mode that the configuration enables";
    Check::new(Gate::ModeEnabled, passed, code, order.mode(), limit)
}
