//! What one approval sends: orders that belong together, and how.
//!
//! A single order's plan has the bytes of the order. Any other plan has a line `relation=` and the
//! lines of its orders, each under `leg.N.`, counted from one: no plan shares bytes with another.

use super::{CanonicalOrder, Form, Side};
use crate::{AccountId, BrokerName, Digest, Mode, Money};
use core::fmt::Write as _;
use core::num::NonZeroU8;

/// Most orders in a plan.
pub const MAX_LEGS: usize = 8;

/// How the orders of a plan belong together. Taken apart wherever a plan is judged, shown or sent,
/// so that no relation is sent as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'a> {
    /// One order.
    Single(&'a CanonicalOrder),
    /// An order and what closes its position, which works once it has filled.
    Bracket {
        /// What opens.
        entry: &'a CanonicalOrder,
        /// What closes: one or two, of which one ends the other.
        exits: &'a [CanonicalOrder],
    },
    /// Two or more, of which the first that fills cancels the others.
    OneCancelsAll(&'a [CanonicalOrder]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Relation {
    Single,
    Bracket,
    OneCancelsAll,
}

impl Relation {
    const ALL: [Self; 3] = [Self::Single, Self::Bracket, Self::OneCancelsAll];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Bracket => "bracket",
            Self::OneCancelsAll => "one_cancels_all",
        }
    }
}

/// Why orders make no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// Too few or too many for the relation.
    #[error("a bracket has one or two exits; a group has 2 to {MAX_LEGS} orders")]
    Legs,
    /// Another broker login, mode or account.
    #[error("the orders of a plan go through one login, for one account")]
    Target,
    /// An exit of another contract, on the entry's side, or of a larger quantity.
    #[error("an exit closes the contract that the entry opens, and no more of it")]
    Exit,
    /// An order in the form of an older store.
    #[error("an order of an older version can't be part of a new plan")]
    Form,
    /// Bytes that no plan writes.
    #[error("these aren't the canonical bytes of a plan")]
    NotCanonical,
}

/// Orders that one approval covers and one request sends. Immutable, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderPlan {
    relation: Relation,
    first: CanonicalOrder,
    /// All of them, where there are several.
    several: Vec<CanonicalOrder>,
}

impl OrderPlan {
    /// One order.
    #[must_use]
    pub const fn single(order: CanonicalOrder) -> Self {
        Self { relation: Relation::Single, first: order, several: Vec::new() }
    }

    /// An entry with one or two exits.
    ///
    /// # Errors
    /// [`InvalidPlan`] when they don't belong together so.
    pub fn bracket(entry: CanonicalOrder, exits: Vec<CanonicalOrder>) -> Result<Self, InvalidPlan> {
        if !(1..=2).contains(&exits.len()) {
            return Err(InvalidPlan::Legs);
        }
        let closes = |exit: &CanonicalOrder| {
            let opposite = match entry.terms().side {
                Side::Buy => Side::Sell,
                Side::Sell => Side::Buy,
            };
            exit.contract() == entry.contract()
                && exit.terms().side == opposite
                && exit.terms().quantity.get() <= entry.terms().quantity.get()
        };
        if !exits.iter().all(closes) {
            return Err(InvalidPlan::Exit);
        }
        Self::of(Relation::Bracket, [vec![entry], exits].concat())
    }

    /// Orders of which the first that fills cancels the others.
    ///
    /// # Errors
    /// [`InvalidPlan`] when they don't belong together so.
    pub fn one_cancels_all(orders: Vec<CanonicalOrder>) -> Result<Self, InvalidPlan> {
        Self::of(Relation::OneCancelsAll, orders)
    }

    fn of(relation: Relation, several: Vec<CanonicalOrder>) -> Result<Self, InvalidPlan> {
        if !(2..=MAX_LEGS).contains(&several.len()) {
            return Err(InvalidPlan::Legs);
        }
        let first = several.first().ok_or(InvalidPlan::Legs)?.clone();
        let target = |order: &CanonicalOrder| {
            (order.broker().clone(), order.mode(), order.account().clone())
        };
        if several.iter().any(|order| target(order) != target(&first)) {
            return Err(InvalidPlan::Target);
        }
        if several.iter().any(|order| order.form() != Form::V2) {
            return Err(InvalidPlan::Form);
        }
        Ok(Self { relation, first, several })
    }

    /// How its orders belong together.
    #[must_use]
    pub fn shape(&self) -> Shape<'_> {
        match (self.relation, self.several.split_first()) {
            (Relation::Bracket, Some((entry, exits))) => Shape::Bracket { entry, exits },
            (Relation::OneCancelsAll, Some(_)) => Shape::OneCancelsAll(&self.several),
            (Relation::Single, _) | (_, None) => Shape::Single(&self.first),
        }
    }

    /// Its orders, the entry of a bracket first.
    #[must_use]
    pub fn orders(&self) -> &[CanonicalOrder] {
        match self.shape() {
            Shape::Single(order) => core::slice::from_ref(order),
            Shape::Bracket { .. } | Shape::OneCancelsAll(_) => &self.several,
        }
    }

    /// Its orders with their places.
    pub fn legs(&self) -> impl Iterator<Item = (Leg, &CanonicalOrder)> {
        let orders = self.orders();
        let count = u8::try_from(orders.len()).ok().and_then(NonZeroU8::new);
        let of = count.unwrap_or(NonZeroU8::MIN);
        (0..of.get()).map(move |number| Leg { number, of }).zip(orders)
    }

    /// The form of its canonical bytes.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.first.form()
    }

    /// The broker login that it goes through.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        self.first.broker()
    }

    /// Simulated, paper or live.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.first.mode()
    }

    /// The account that trades.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        self.first.account()
    }

    /// The bytes that an approval covers; see the module documentation.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        if self.relation == Relation::Single {
            return self.first.canonical_bytes();
        }
        let mut text =
            format!("{}action=place\nrelation={}\n", Form::V2.header(), self.relation.as_str());
        for (number, order) in (1_u32..).zip(self.orders()) {
            for (field, value) in order.fields() {
                // Writing to a String can't fail.
                let _ = writeln!(text, "leg.{number}.{}={value}", field.key());
            }
        }
        text.into_bytes()
    }

    /// SHA-256 of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_bytes())
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`InvalidPlan::NotCanonical`] for anything that a plan doesn't write exactly so.
    pub fn parse(text: &str) -> Result<Self, InvalidPlan> {
        let relation = text.lines().nth(2).and_then(|line| line.strip_prefix("relation="));
        let plan = match relation {
            // It is read as strictly.
            None => CanonicalOrder::parse(text).ok().map(Self::single),
            Some(name) => read(name, text).filter(|plan| plan.canonical_bytes() == text.as_bytes()),
        };
        plan.ok_or(InvalidPlan::NotCanonical)
    }

    /// What its orders may cost at most by their limits: of several that open a position, the
    /// largest that can fill together. `None` where an order has no limit, or it is too large.
    #[must_use]
    pub fn limit_value(&self) -> Option<Money> {
        match self.shape() {
            Shape::Single(order) => order.limit_value(),
            Shape::Bracket { entry, .. } => entry.limit_value(),
            Shape::OneCancelsAll(orders) => {
                let values: Option<Vec<Money>> =
                    orders.iter().map(CanonicalOrder::limit_value).collect();
                let values = values?;
                let currency = values.first()?.currency;
                let same = values.iter().all(|value| value.currency == currency);
                let largest = values.iter().map(|value| value.amount).max()?;
                same.then(|| Money::new(largest, currency))
            }
        }
    }

    /// One line for people for each order; see [`CanonicalOrder::summary`].
    #[must_use]
    pub fn summary(&self) -> String {
        let lines: Vec<String> = match self.shape() {
            Shape::Single(order) => vec![order.summary()],
            Shape::Bracket { entry, exits } => {
                let exits = exits.iter().map(|exit| format!("then {}", exit.summary()));
                core::iter::once(entry.summary()).chain(exits).collect()
            }
            Shape::OneCancelsAll(orders) => {
                let or = |order: &CanonicalOrder| format!("one of {}", order.summary());
                orders.iter().map(or).collect()
            }
        };
        lines.join("\n")
    }
}

impl From<CanonicalOrder> for OrderPlan {
    fn from(order: CanonicalOrder) -> Self {
        Self::single(order)
    }
}

fn read(relation: &str, text: &str) -> Option<OrderPlan> {
    let relation = Relation::ALL.into_iter().find(|known| known.as_str() == relation)?;
    let legs = (1..=MAX_LEGS).map_while(|number| {
        let prefix = format!("leg.{number}.");
        let mut order = String::from(Form::V2.header());
        for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
            order.push_str(line);
            order.push('\n');
        }
        CanonicalOrder::parse(&order).ok()
    });
    let mut legs: Vec<CanonicalOrder> = legs.collect();
    match relation {
        Relation::Single => None,
        Relation::Bracket if legs.is_empty() => None,
        Relation::Bracket => {
            let exits = legs.split_off(1);
            OrderPlan::bracket(legs.pop()?, exits).ok()
        }
        Relation::OneCancelsAll => OrderPlan::one_cancels_all(legs).ok(),
    }
}

/// The place of an order in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg {
    number: u8,
    of: NonZeroU8,
}

impl Leg {
    /// The one order of a plan.
    pub const SOLE: Self = Self { number: 0, of: NonZeroU8::MIN };

    /// The order with a number, counted from zero, of so many; `None` for one beyond them.
    #[must_use]
    pub const fn new(number: u8, of: NonZeroU8) -> Option<Self> {
        if number < of.get() { Some(Self { number, of }) } else { None }
    }

    /// Counted from zero, as our references count.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.number
    }

    /// How many the plan has.
    #[must_use]
    pub const fn of(self) -> NonZeroU8 {
        self.of
    }
}
