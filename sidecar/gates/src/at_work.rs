//! What orders at work may still cost: those that the broker lists, and ours that it doesn't list
//! yet.

use crate::OwnOrder;
use crate::case::Case;
use ibkr_agent_domain::{BrokerOrder, Conid, Currency, Side};
use rust_decimal::Decimal;

/// Our orders that may still trade and that the broker's list doesn't show.
pub(crate) fn unlisted<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a OwnOrder> {
    let listed = &case.facts.broker.account.orders;
    let is_listed = |own: &OwnOrder| listed.iter().any(|o| o.reference.as_ref() == Some(&own.id));
    case.facts.own.orders.iter().filter(move |own| !own.state.is_final() && !is_listed(own))
}

/// The currency of each buy at work with what is left to pay of it; `None` where its price or
/// quantity isn't told. Our own of the order's contract are left out where the list lacks them:
/// they are [`under_way`](crate::OwnFacts::under_way).
pub(crate) fn buys_at_work(case: &Case<'_>) -> Vec<(Currency, Option<Decimal>)> {
    let listed = case.facts.broker.account.orders.iter();
    let listed = listed.filter(|open| open.side != Some(Side::Sell));
    let mut buys: Vec<_> =
        listed.map(|open| (currency_of(case, open.conid), to_pay(open))).collect();
    let own =
        unlisted(case).filter(|own| own.terms.side == Side::Buy && own.conid != case.order.conid());
    buys.extend(own.map(|own| {
        let price = own.terms.pricing.limit().map(|price| price.get());
        let value = price.and_then(|price| price.checked_mul(own.terms.quantity.get()));
        (currency_of(case, own.conid), value)
    }));
    buys
}

/// A price below zero takes nothing off: only its quantity is known to be bought.
fn to_pay(open: &BrokerOrder) -> Option<Decimal> {
    let price = open.limit_price.or(open.trigger_price).or(open.other_price)?;
    let left = open.quantity?.checked_sub(open.filled.unwrap_or_default())?;
    left.max(Decimal::ZERO).checked_mul(price.max(Decimal::ZERO))
}

/// The currency that a contract trades in, as the positions tell it; the order's own where nothing
/// does, so that what isn't known counts.
fn currency_of(case: &Case<'_>, conid: Conid) -> Currency {
    let held = case.facts.broker.account.positions.iter().find(|held| held.conid == conid);
    let own = case.order.currency();
    if conid == case.order.conid() { own } else { held.map_or(own, |held| held.currency) }
}
