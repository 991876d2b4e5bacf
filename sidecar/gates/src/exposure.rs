//! What an order may cost or bring, as the limits count it.
//!
//! A buy at a limit counts its limit. An order that takes the market's price counts the touch, or a
//! trigger beyond it, with the policy's slippage on top. A sell counts the better of its limit and
//! the bid, since it may bring more than its limit. What can't be bounded is said to be unbounded,
//! and no limit admits that.

use ibkr_agent_domain::{
    CanonicalOrder, ContractIdentity, Money, Offset, Pricing, Quote, Side, SignedPrice,
};
use rust_decimal::Decimal;

/// The largest value that an order can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// At most this, in the contract's currency.
    Bounded(Money),
    /// No bound is known: no price, or one that isn't above zero.
    Unbounded,
}

impl Exposure {
    /// The bound.
    #[must_use]
    pub const fn bound(self) -> Option<Money> {
        match self {
            Self::Bounded(money) => Some(money),
            Self::Unbounded => None,
        }
    }
}

/// A price that is one: the broker writes a side without a price as zero or below.
pub(crate) fn positive(price: Option<Decimal>) -> Option<Decimal> {
    price.filter(|price| *price > Decimal::ZERO)
}

/// The price against which an order of this side trades at once, else the last one.
fn touch_price(quote: &Quote, side: Side) -> Option<Decimal> {
    let touch = match side {
        Side::Buy => quote.ask,
        Side::Sell => quote.bid,
    };
    positive(touch.or(quote.last))
}

/// The exposure of an order under a quote; `slippage_percent` is how far a market order may trade
/// beyond the price it was sent at.
#[must_use]
pub fn exposure(
    order: &CanonicalOrder,
    quote: Option<&Quote>,
    slippage_percent: Decimal,
) -> Exposure {
    // What a combination can cost isn't its net price: nothing bounds it here yet.
    match order.contract().identity() {
        ContractIdentity::Stock
        | ContractIdentity::Option { .. }
        | ContractIdentity::Future { .. }
        | ContractIdentity::Pair { .. } => {}
        ContractIdentity::Combo { .. } => return Exposure::Unbounded,
    }
    let terms = order.terms();
    let touch = quote.and_then(|quote| touch_price(quote, terms.side));
    let price = worst_price(terms.side, &terms.pricing, touch, slippage_percent);
    let value = price
        .filter(|price| *price > Decimal::ZERO)
        .and_then(|price| price.checked_mul(terms.quantity.get()))
        .and_then(|value| value.checked_mul(order.multiplier()));
    value.map_or(Exposure::Unbounded, |value| {
        Exposure::Bounded(Money::new(value.normalize(), order.currency()))
    })
}

/// The price at which the order counts.
fn worst_price(
    side: Side,
    pricing: &Pricing,
    touch: Option<Decimal>,
    slippage_percent: Decimal,
) -> Option<Decimal> {
    let slipped = |price: Decimal| {
        price
            .checked_mul(Decimal::ONE_HUNDRED.checked_add(slippage_percent)?)?
            .checked_div(Decimal::ONE_HUNDRED)
    };
    let limited = |limit: SignedPrice| match side {
        Side::Buy => Some(limit.get()),
        Side::Sell => Some(limit.get().max(touch?)),
    };
    let at_market = |beyond: Decimal| slipped(touch?.max(beyond));
    match *pricing {
        Pricing::Market
        | Pricing::AtClose { limit: None }
        | Pricing::AtOpen { limit: None }
        | Pricing::MidPrice { cap: None } => at_market(Decimal::ZERO),
        Pricing::Stop { trigger } | Pricing::MarketIfTouched { trigger } => {
            at_market(trigger.get())
        }
        Pricing::Trailing { by } => at_market(trailed(touch?, by)?),
        Pricing::TrailingLimit { by, limit_offset } => {
            trailed(touch?, by)?.checked_add(limit_offset.get())
        }
        Pricing::Limit { limit }
        | Pricing::StopLimit { trigger: _, limit }
        | Pricing::LimitIfTouched { trigger: _, limit }
        | Pricing::AtClose { limit: Some(limit) }
        | Pricing::AtOpen { limit: Some(limit) }
        | Pricing::MidPrice { cap: Some(limit) } => limited(limit),
    }
}

/// A distance above the touch: the first trigger of a trailing buy, and more than any of a sell.
fn trailed(touch: Decimal, by: Offset) -> Option<Decimal> {
    match by {
        Offset::Amount(amount) => touch.checked_add(amount.get()),
        Offset::Percent(percent) => {
            let part = touch.checked_mul(percent.get())?.checked_div(Decimal::ONE_HUNDRED)?;
            touch.checked_add(part)
        }
    }
}
