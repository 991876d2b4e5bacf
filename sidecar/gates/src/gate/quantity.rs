//! The quantity is within the limit.

use crate::case::{Case, plain};
use crate::{Check, Gate};

pub(super) fn check(case: &Case<'_>) -> Check {
    let limits = case.limits();
    let most = *limits.max_quantity_of.get(&case.order.class()).unwrap_or(&limits.max_quantity);
    let quantity = case.order.terms().quantity;
    let passed = quantity.get() <= most;
    Check::policy(Gate::Quantity, passed, "size.max_quantity", quantity, plain(most))
        .nearest((!passed).then(|| format!("{} would pass", plain(most))))
        .exempt_if(case.reduces)
}
