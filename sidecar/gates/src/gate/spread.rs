//! Bid and ask aren't too far apart.

use crate::case::{Case, percent_of, plain};
use crate::{Check, Gate};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let most = case.limits().max_spread_percent;
    let limit = format!("{} % of the middle", plain(most));
    let rule = "price.max_spread_percent";
    let positive = |price: Option<Decimal>| price.filter(|price| *price > Decimal::ZERO);
    let quote = case.quote();
    let bid = quote.and_then(|quote| positive(quote.bid));
    let ask = quote.and_then(|quote| positive(quote.ask));
    let (Some(bid), Some(ask)) = (bid, ask) else {
        // The collar denies what it can't hold against a price.
        return Check::policy(Gate::Spread, true, rule, "one side of the market", limit)
            .warned_if(true);
    };
    let wide = ask.checked_sub(bid).and_then(|gap| {
        let middle = bid.checked_add(ask)?.checked_div(Decimal::TWO)?;
        percent_of(gap, middle)
    });
    let observed = match wide {
        Some(wide) => format!("{bid} to {ask}: {} %", wide.round_dp(2).normalize()),
        None => "not computable".to_owned(),
    };
    // A bid above the ask is no market either.
    let passed = wide.is_some_and(|wide| wide <= most && wide >= -most);
    Check::policy(Gate::Spread, passed, rule, observed, limit)
}
