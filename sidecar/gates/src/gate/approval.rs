//! The approval is given, unexpired, unspent and for this very order.

use crate::decide::PlaceIntent;
use crate::{Check, Gate};
use ibkr_agent_domain::{ErrorCode, Timestamp};

pub(crate) fn check(intent: &PlaceIntent, now: Timestamp) -> Check {
    let approval = &intent.approval;
    let each_is_named = intent.references.len() == intent.plan.orders().len();
    let (passed, code, observed) = if approval.plan != intent.plan.digest() || !each_is_named {
        (false, ErrorCode::ApprovalPreviewMismatch, "for another order")
    } else if approval.expires_at <= now {
        (false, ErrorCode::ApprovalExpired, "expired")
    } else {
        (true, ErrorCode::PaperApprovalRequired, "given for this order")
    };
    let limit = format!("unspent, for this order, before {}", approval.expires_at);
    Check::new(Gate::Approval, passed, code, observed, limit)
}
