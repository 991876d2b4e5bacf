//! The account is on the sidecar's list and reported by the broker.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let account = case.order.account();
    let passed = case.facts.broker.account_reported && case.limits().accounts.contains(account);
    let limit = "an account on the sidecar's list that the broker reports";
    Check::new(Gate::Account, passed, ErrorCode::InputUnauthorizedAccount, account, limit)
}
