//! Trading isn't halted.

use crate::{Check, Gate, Switches};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(switches: Switches) -> Check {
    let observed = if switches.halted { "halted" } else { "open" };
    Check::new(Gate::KillSwitch, !switches.halted, ErrorCode::KillSwitchClosed, observed, "open")
}
