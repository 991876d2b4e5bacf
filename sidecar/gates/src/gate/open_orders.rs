//! Not too many orders work in the account at once, whoever placed them.

use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_open_orders;
    let shown = &case.facts.broker.account.orders;
    let is_shown = |id| shown.iter().any(|open| open.reference.as_ref() == Some(id));
    let own = &case.facts.own.orders;
    let unseen = own.iter().filter(|own| !own.state.is_final() && !is_shown(&own.id)).count();
    let open = u32::try_from(shown.len().saturating_add(unseen)).unwrap_or(u32::MAX);
    let observed = format!("{open} work now");
    Check::policy(Gate::OpenOrders, open < most, "rate.max_open_orders", observed, most)
        .exempt_if(case.reduces)
}
