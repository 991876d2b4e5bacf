//! The audit log can be written.

use crate::{Check, Gate, Switches};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(switches: Switches) -> Check {
    let observed = if switches.audit_writable { "writable" } else { "not writable" };
    let code = ErrorCode::AuditWriteFailed;
    Check::new(Gate::Audit, switches.audit_writable, code, observed, "writable")
}
