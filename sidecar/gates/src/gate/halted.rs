//! The instrument isn't halted.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::ErrorCode;

pub(super) fn check(case: &Case<'_>) -> Check {
    let halted = case.quote().is_some_and(|quote| quote.halted == Some(true));
    let observed = if halted { "trading in it is halted" } else { "not halted" };
    let wait = halted.then(|| "wait until trading in it goes on".to_owned());
    let code = ErrorCode::OrderPolicyRefused;
    Check::new(Gate::Halted, !halted, code, observed, "an instrument that trades").nearest(wait)
}
