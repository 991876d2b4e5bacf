//! The price isn't too far on the side that costs: against the price that it trades with, the
//! middle of the market, and the last trade, else the last close. The tightest decides. On the
//! passive side distance warns and never denies.

use crate::case::{Case, percent_of, plain};
use crate::exposure::positive;
use crate::{Check, Gate};
use ibkr_agent_domain::{ErrorCode, Pricing, Quote, Side, SignedPrice};
use rust_decimal::Decimal;

/// The price that the collar holds against the market; `None` for the kinds that have none, or that
/// have one only once a trigger is reached: the collar can't judge those and denies them.
const fn collared_price(pricing: &Pricing) -> Option<SignedPrice> {
    match *pricing {
        Pricing::Limit { limit } => Some(limit),
        Pricing::Market
        | Pricing::Stop { .. }
        | Pricing::StopLimit { .. }
        | Pricing::Trailing { .. }
        | Pricing::TrailingLimit { .. }
        | Pricing::MarketIfTouched { .. }
        | Pricing::LimitIfTouched { .. }
        | Pricing::AtClose { .. }
        | Pricing::AtOpen { .. }
        | Pricing::MidPrice { .. } => None,
    }
}

/// A price of the market that the limit is held against.
struct Mark {
    name: &'static str,
    rule: &'static str,
    price: Decimal,
    /// How far beyond it the limit may lie, in percent.
    most: Decimal,
}

impl Mark {
    /// How far beyond the mark a price lies where that costs, in percent.
    fn beyond(&self, side: Side, price: Decimal) -> Option<Decimal> {
        let over = match side {
            Side::Buy => price.checked_sub(self.price),
            Side::Sell => self.price.checked_sub(price),
        };
        percent_of(over?, self.price)
    }

    /// The furthest price that passes.
    fn furthest(&self, side: Side) -> Option<Decimal> {
        let part = self.price.checked_mul(self.most)?.checked_div(Decimal::ONE_HUNDRED)?;
        match side {
            Side::Buy => self.price.checked_add(part),
            Side::Sell => self.price.checked_sub(part),
        }
    }
}

/// The price against which the order trades at once, then what else tells where the market is.
fn marks(case: &Case<'_>, quote: &Quote) -> Vec<Mark> {
    let limits = case.limits();
    let (bid, ask) = (positive(quote.bid), positive(quote.ask));
    let (touch, name) = match case.side() {
        Side::Buy => (ask, "the ask"),
        Side::Sell => (bid, "the bid"),
    };
    let middle = || bid?.checked_add(ask?)?.checked_div(Decimal::TWO);
    let (last, last_name) = match positive(quote.last) {
        Some(last) => (Some(last), "the last trade"),
        None => (positive(quote.close), "the last close"),
    };
    let candidates = [
        (name, "price.collar_percent", touch, limits.collar_percent),
        ("the middle", "price.mid_percent", middle(), limits.mid_percent),
        (last_name, "price.last_percent", last, limits.last_percent),
    ];
    let known = candidates.into_iter().filter_map(|(name, rule, price, most)| {
        price.map(|price| Mark { name, rule, price, most })
    });
    known.collect()
}

pub(super) fn check(case: &Case<'_>) -> Check {
    let passive = case.limits().passive_warning_percent;
    let unknown = |code, observed: String, limit: &str| {
        Check::new(Gate::PriceCollar, false, code, observed, limit)
    };
    let Some(limit) = collared_price(&case.order.terms().pricing).map(SignedPrice::get) else {
        let observed = format!("a {} order", case.order.terms().pricing.order_type());
        return unknown(ErrorCode::OrderPolicyRefused, observed, "a limit order");
    };
    let marks = case.quote().map(|quote| marks(case, quote)).unwrap_or_default();
    // Without the side that it trades with, the last trade may be of any age.
    let Some(touch) = marks.iter().find(|mark| mark.rule == "price.collar_percent") else {
        let code = ErrorCode::MarketDataIncomplete;
        return unknown(code, "no price on the side that it trades with".to_owned(), "bid and ask");
    };
    let side = case.side();
    let measured: Option<Vec<(Decimal, &Mark)>> = marks
        .iter()
        .map(|mark| Some((mark.beyond(side, limit)?.checked_sub(mark.most)?, mark)))
        .collect();
    let worst = measured.and_then(|all| all.into_iter().max_by_key(|(excess, _)| *excess));
    let (Some((excess, worst)), Some(to_touch)) = (worst, touch.beyond(side, limit)) else {
        let code = ErrorCode::OrderPolicyRefused;
        return unknown(code, "not computable".to_owned(), "a price near the market");
    };
    let shown = |percent: Decimal| percent.abs().round_dp(2).normalize();
    let observed = match worst.beyond(side, limit) {
        Some(beyond) if beyond > Decimal::ZERO => {
            format!("{limit} is {} % beyond {} {}", shown(beyond), worst.name, plain(worst.price))
        }
        Some(_) | None => {
            format!(
                "{limit} is {} % short of {} {}",
                shown(to_touch),
                touch.name,
                plain(touch.price)
            )
        }
    };
    let text = format!(
        "{} % beyond {}; a warning from {} % on the passive side",
        plain(worst.most),
        worst.name,
        plain(passive),
    );
    let passed = excess <= Decimal::ZERO;
    let furthest = marks.iter().filter_map(|mark| mark.furthest(side));
    let nearest = match side {
        Side::Buy => furthest.min().map(|price| format!("a limit of at most {}", plain(price))),
        Side::Sell => furthest.max().map(|price| format!("a limit of at least {}", plain(price))),
    };
    Check::policy(Gate::PriceCollar, passed, worst.rule, observed, text)
        .nearest(nearest.filter(|_| !passed))
        .warned_if(-to_touch >= passive)
}
