//! Not too many orders work in the account at once, whoever placed them.

use crate::at_work::unlisted;
use crate::case::Case;
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_open_orders;
    let shown = case.facts.broker.account.orders.len();
    let open = shown.saturating_add(unlisted(case).count());
    let open = u32::try_from(open).unwrap_or(u32::MAX);
    let observed = format!("{open} work now");
    Check::policy(Gate::OpenOrders, open < most, "rate.max_open_orders", observed, most)
        .exempt_if(case.reduces)
}
