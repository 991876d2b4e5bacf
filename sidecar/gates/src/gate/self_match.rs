//! It can't trade with another order of the same account, whoever placed that.

use crate::at_work::unlisted;
use crate::case::{Case, plain};
use crate::{Check, Gate, OwnOrder};
use ibkr_agent_domain::{BrokerOrder, BrokerOrderType, Side};
use rust_decimal::Decimal;

/// What an order of the other side may do to this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meeting {
    /// Their prices don't meet.
    Apart,
    /// They meet, or may.
    Meets,
}

fn meeting(case: &Case<'_>, open: &BrokerOrder) -> Meeting {
    let ours = case.limit_price().map(|price| price.get());
    let theirs = match open.order_type {
        BrokerOrderType::Limit | BrokerOrderType::LimitOnClose => open.limit_price,
        // These wait for a trigger, and say nothing until it is reached.
        BrokerOrderType::Stop
        | BrokerOrderType::StopLimit
        | BrokerOrderType::Trailing
        | BrokerOrderType::TrailingLimit
        | BrokerOrderType::MarketIfTouched
        | BrokerOrderType::LimitIfTouched => return Meeting::Apart,
        BrokerOrderType::Market
        | BrokerOrderType::MarketOnClose
        | BrokerOrderType::MidPrice
        | BrokerOrderType::Relative
        | BrokerOrderType::Other => None,
    };
    let apart = |(ours, theirs): (Decimal, Decimal)| match case.side() {
        Side::Buy => ours < theirs,
        Side::Sell => ours > theirs,
    };
    if ours.zip(theirs).is_some_and(apart) { Meeting::Apart } else { Meeting::Meets }
}

/// Whether an order of ours meets this one's price, or may.
fn crosses(case: &Case<'_>, own: &OwnOrder) -> bool {
    let ours = case.limit_price().map(|price| price.get());
    let theirs = own.terms.pricing.limit().map(|price| price.get());
    ours.zip(theirs).is_none_or(|(ours, theirs)| match case.side() {
        Side::Buy => ours >= theirs,
        Side::Sell => ours <= theirs,
    })
}

pub(super) fn check(case: &Case<'_>) -> Check {
    let guard = case.limits().self_match;
    let limit = format!("an order that trades with another one of the account: {}", guard.as_str());
    let judged = |passed, observed: String| {
        Check::policy(Gate::SelfMatch, passed, "guard.self_match", observed, &limit)
    };
    let opposite = case.facts.broker.account.orders.iter().filter(|open| {
        open.conid == case.order.conid() && open.side.is_none_or(|side| side != case.side())
    });
    // One of ours that the broker doesn't list yet is on its way.
    let unseen = unlisted(case).find(|own| {
        own.conid == case.order.conid() && own.terms.side != case.side() && crosses(case, own)
    });
    if let Some(own) = unseen {
        let observed = format!("our own order {} on the other side is on its way", own.name());
        return judged(false, observed)
            .nearest(Some("wait until it is at work, or cancel it first".to_owned()))
            .guarded(guard)
            // What nobody has seen at the broker blocks no way out.
            .exempt_if(case.reduces);
    }
    let Some((meets, open)) =
        opposite.map(|open| (meeting(case, open), open)).max_by_key(|(meets, _)| *meets)
    else {
        return judged(true, "none on the other side".to_owned());
    };
    let whose = if open.reference.is_some() { "" } else { ", not placed by this gateway," };
    let price = open.limit_price.or(open.trigger_price).or(open.other_price);
    let price = price.map_or_else(String::new, |price| format!(" at {}", plain(price)));
    let side = open.side.map_or("an order", Side::as_str);
    let observed = format!("{side} order {}{price}{whose} works", open.order_id);
    match meets {
        Meeting::Apart => judged(true, observed),
        Meeting::Meets => judged(false, observed)
            .nearest(Some(format!("cancel order {} first", open.order_id)))
            .guarded(guard),
    }
}
