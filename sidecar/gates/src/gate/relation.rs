//! A single order is always offered; nobody has built the gates of any other plan yet.

use crate::{Check, Gate};
use ibkr_agent_domain::{ErrorCode, OrderPlan, Shape};

pub(crate) fn check(plan: &OrderPlan) -> Option<Check> {
    let relation = match plan.shape() {
        Shape::Single(_) => return None,
        Shape::Bracket { .. } => "a bracket",
        Shape::OneCancelsAll(_) => "a group of which one fill cancels the others",
    };
    let code = ErrorCode::OrderPolicyRefused;
    Some(Check::new(Gate::Relation, false, code, relation, "a single order"))
}
