//! One order under judgement: the policy, the facts, and what several gates need of both.

use crate::{Facts, Policy, PolicyLimits, exposure};
use ibkr_agent_domain::{
    AssetClass, CanonicalOrder, Money, Position, Quote, Side, SignedPrice, Timestamp,
};
use rust_decimal::Decimal;

/// Largest difference between our clock and the broker's, in milliseconds.
pub(crate) const MAX_CLOCK_SKEW_MS: u64 = 30_000;

/// An order with everything that judges it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) facts: &'a Facts,
    pub(crate) order: &'a CanonicalOrder,
    pub(crate) now: Timestamp,
    /// Whether it can only bring the position closer to zero.
    pub(crate) reduces: bool,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        facts: &'a Facts,
        order: &'a CanonicalOrder,
        now: Timestamp,
    ) -> Self {
        Self { policy, facts, order, now, reduces: reduces(facts, order) }
    }

    pub(crate) const fn limits(&self) -> &'a PolicyLimits {
        self.policy.limits()
    }

    pub(crate) const fn quote(&self) -> Option<&'a Quote> {
        self.facts.broker.quote.as_ref()
    }

    pub(crate) const fn side(&self) -> Side {
        self.order.terms().side
    }

    pub(crate) const fn quantity(&self) -> Decimal {
        self.order.terms().quantity.get()
    }

    pub(crate) fn limit_price(&self) -> Option<SignedPrice> {
        self.order.terms().pricing.limit()
    }

    /// The most that it can cost or bring, in the order's currency.
    pub(crate) fn exposure(&self) -> Option<Money> {
        exposure(self.order, self.quote(), self.policy.slippage_percent()).bound()
    }

    /// The same in the policy's currency. A rate of zero or below is no rate: with it every value
    /// would be within every limit.
    pub(crate) fn value(&self) -> Option<Decimal> {
        let rate = self.facts.broker.policy_currency_rate.filter(|rate| *rate > Decimal::ZERO)?;
        self.exposure()?.amount.checked_mul(rate)
    }

    /// An amount of the policy's currency, for people.
    pub(crate) fn shown(&self, value: Option<Decimal>) -> String {
        value.map_or_else(
            || "unknown in the policy's currency".to_owned(),
            |value| format!("{} {}", plain(value), self.policy.currency()),
        )
    }

    /// The position once this order and everything that works on its side have filled.
    pub(crate) fn position_after(&self) -> Option<Decimal> {
        let moved = self.facts.committed().checked_add(self.quantity())?;
        match self.side() {
            Side::Buy => self.facts.broker.position.checked_add(moved),
            Side::Sell => self.facts.broker.position.checked_sub(moved),
        }
    }

    /// What a unit of the instrument counts: the worse of the order's and the market's price.
    pub(crate) fn unit_value(&self) -> Option<Decimal> {
        let quantity = self.quantity();
        self.value()?.checked_div(quantity)
    }

    /// What the whole position may be worth once everything on the order's side has filled, in the
    /// policy's currency.
    pub(crate) fn position_value(&self) -> Option<Decimal> {
        self.position_after()?.abs().checked_mul(self.unit_value()?)
    }
}

/// A number for people: four digits after the point at most.
pub(crate) fn plain(number: Decimal) -> Decimal {
    number.round_dp(4).normalize()
}

/// `part` of `whole`, in percent.
pub(crate) fn percent_of(part: Decimal, whole: Decimal) -> Option<Decimal> {
    part.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(whole)
}

/// Whether the account's worst case can't get worse by an order: it only brings the position
/// closer to zero, even if all that works on its side fills, and it holds nothing else in check:
/// shares may be what covers a short call, and then selling them is a risk.
fn reduces(facts: &Facts, order: &CanonicalOrder) -> bool {
    let position = facts.broker.position;
    let Some(committed) = facts.committed().checked_add(order.terms().quantity.get()) else {
        return false;
    };
    let closer = match order.terms().side {
        Side::Sell => position > Decimal::ZERO && committed <= position,
        Side::Buy => position < Decimal::ZERO && committed <= -position,
    };
    let positions = &facts.broker.account.positions;
    closer && !positions.iter().any(|held| may_lean_on(held, order))
}

/// Whether a position may be one whose risk what an order trades holds in check: a short option or
/// warrant on it, a future or a contract for difference the other way round. An option that is held
/// long only loses what it cost. What isn't told may be any of these.
fn may_lean_on(held: &Position, order: &CanonicalOrder) -> bool {
    if held.quantity.is_zero() || held.conid == order.conid() {
        return false;
    }
    // IBKR describes a derivative by its underlying's symbol first, which may have a space itself:
    // `SPY JAN2027 600 C`, `BRK B JAN2027 500 C`.
    let (text, symbol) = (held.symbol.as_str().trim(), order.symbol());
    let is_on_it = text.is_empty()
        || text.split_at_checked(symbol.len()).is_some_and(|(first, rest)| {
            first.eq_ignore_ascii_case(symbol) && (rest.is_empty() || rest.starts_with(' '))
        });
    match held.class {
        Some(AssetClass::Option | AssetClass::FutureOption | AssetClass::Warrant) => {
            is_on_it && held.quantity < Decimal::ZERO
        }
        Some(AssetClass::Future | AssetClass::Cfd) => {
            // What a sale reduces is long.
            let is_long = order.terms().side == Side::Sell;
            is_on_it && (held.quantity < Decimal::ZERO) == is_long
        }
        Some(
            AssetClass::Stock
            | AssetClass::Forex
            | AssetClass::Index
            | AssetClass::Bond
            | AssetClass::Fund
            | AssetClass::Crypto,
        ) => false,
        None => is_on_it,
    }
}
