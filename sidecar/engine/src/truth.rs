//! What the broker's truth is of one of our orders: every order under our reference, its fills, and
//! how far that is from what a human approved.
//!
//! Nothing here decides or records. A fact that was seen is never taken back by an older one: an
//! order that ended doesn't work again under the same broker id, and fills only grow, unless the
//! broker takes one back (`unsaid.rs`).

use crate::OrderEntry;
use ibkr_agent_domain::{
    BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, BrokerTimeInForce, Execution,
    OrderEvent, Pricing, SignedPrice, Timestamp,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

/// Most broker orders under one reference, and most fills, that are kept one by one.
const MOST: usize = 500;

/// One order at the broker under our reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// What the broker last showed of it.
    pub order: BrokerOrder,
}

impl Incarnation {
    /// Whether it may still trade, an inactive one included.
    #[must_use]
    pub const fn may_trade(&self) -> bool {
        self.order.status.is_open() || matches!(self.order.status, BrokerOrderStatus::Inactive)
    }
}

/// One fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The broker order that it filled, if told.
    pub order: Option<BrokerOrderId>,
    /// The correction's number, where its id has one.
    pub revision: u32,
    /// How much.
    pub quantity: Decimal,
    /// At what price.
    pub price: Decimal,
}

/// A way in which the broker's truth isn't what was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Its terms at the broker aren't those that were approved.
    Changed,
    /// More filled than was approved.
    Overfilled,
    /// More than one order works, or traded, under its reference.
    Twin,
    /// The broker took a fill back, or made it smaller.
    TakenBack,
    /// The broker shows it in a row that can't be read.
    Unreadable,
    /// It was to close a position, and more of it is left than there is to close.
    LeftBehind,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Self; 6] = [
        Self::Changed,
        Self::Overfilled,
        Self::Twin,
        Self::TakenBack,
        Self::Unreadable,
        Self::LeftBehind,
    ];

    /// Our name, in snake case; also the notice's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "order_changed_at_broker",
            Self::Overfilled => "overfilled",
            Self::Twin => "twin_order",
            Self::TakenBack => "fill_taken_back",
            Self::Unreadable => "order_unreadable",
            Self::LeftBehind => "order_left_behind",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.as_str() == text)
    }
}

impl OrderEntry {
    /// The ids that the broker has given to orders of this reference.
    pub fn broker_ids(&self) -> impl Iterator<Item = &BrokerOrderId> {
        let shown = self.incarnations.iter().map(|one| &one.order.order_id);
        let told = self.broker_order_id.iter();
        told.filter(|id| self.incarnations.iter().all(|one| one.order.order_id != **id))
            .chain(shown)
    }

    /// The ids of those that may still trade; the one that was told, while none was shown.
    #[must_use]
    pub fn cancellable(&self) -> Vec<BrokerOrderId> {
        let open = self.incarnations.iter().filter(|one| one.may_trade());
        let ids: Vec<_> = open.map(|one| one.order.order_id.clone()).collect();
        if ids.is_empty() { self.broker_order_id.iter().cloned().collect() } else { ids }
    }

    /// Whether it is over as we see it, while no row of the broker's said so: its quantity may have
    /// been raised since.
    pub(crate) fn is_unended(&self) -> bool {
        let by_fills_alone = self.incarnations.is_empty() && !self.fills.is_empty();
        let is_open = by_fills_alone || self.incarnations.iter().any(Incarnation::may_trade);
        self.state.is_final() && is_open
    }

    /// Whether it may count against a limit: until its session is over, and for a minute at least.
    #[must_use]
    pub fn may_count(&self, now: Timestamp) -> bool {
        let recent = now.since(self.created_at) < crate::limits::MINUTE;
        // Rows of older versions don't know their session's end: a day and a half is enough.
        let over = |end: Timestamp| end <= now;
        let unknown = self.created_at.plus(std::time::Duration::from_secs(36 * 3600));
        recent || !over(self.counts_until.unwrap_or(unknown))
    }

    /// Takes in a row of the broker's. An ending is never undone, and fills never shrink.
    pub(crate) fn show(&mut self, row: &BrokerOrder, now: Timestamp) {
        self.seen_at = Some(now);
        let row = kept(row);
        let found = self.incarnations.iter_mut().find(|one| one.order.order_id == row.order_id);
        let Some(known) = found else {
            if self.incarnations.len() < MOST {
                self.broker_order_id = Some(row.order_id.clone());
                self.incarnations.push(Incarnation { first_seen: now, order: row });
            }
            return;
        };
        let before = &known.order;
        let mut seen = row.over(before);
        seen.filled = seen.filled.max(before.filled);
        let ended = |status| {
            use BrokerOrderStatus as B;
            matches!(status, B::Filled | B::Cancelled | B::PreCancelled)
        };
        let backwards = ended(before.status) && !ended(seen.status);
        let unfilled = before.status == BrokerOrderStatus::Filled;
        if backwards || (unfilled && seen.status != BrokerOrderStatus::Filled) {
            seen.status = before.status;
        }
        known.order = seen;
    }

    /// Takes in a fill; a correction takes the place of what it corrects.
    pub(crate) fn fill(&mut self, execution: &Execution, now: Timestamp) {
        self.seen_at = Some(now);
        let (id, revision) = execution.revision().unwrap_or_else(|| (execution.id.as_str(), 0));
        let fill = Fill {
            order: execution.order_id.clone(),
            revision,
            quantity: execution.quantity,
            price: execution.price,
        };
        // A fill may be all that shows by which id the broker knows it.
        self.broker_order_id = self.broker_order_id.take().or_else(|| execution.order_id.clone());
        let known = self.fills.get(id);
        let is_news = known.is_none_or(|known| known.revision <= revision);
        if !is_news || (known.is_none() && self.fills.len() >= MOST) {
            return;
        }
        // A correction speaks of the fill that it corrects, not of the order's other ones.
        let less =
            known.map_or(Decimal::ZERO, |known| known.quantity.saturating_sub(fill.quantity));
        let of = fill.order.clone();
        self.fills.insert(id.to_owned(), fill);
        let alone = self.incarnations.len() == 1;
        for one in self.incarnations.iter_mut().filter(|_| less > Decimal::ZERO) {
            if of.as_ref().map_or(alone, |order| *order == one.order.order_id) {
                let filled = one.order.filled.map(|filled| filled.saturating_sub(less));
                one.order.filled = filled.map(|filled| filled.max(Decimal::ZERO));
            }
        }
    }

    /// How much of it has filled, as far as its rows and fills were seen.
    pub(crate) fn seen_filled(&self) -> Decimal {
        let by_fill = self.fills.values().map(|fill| fill.quantity).fold(Decimal::ZERO, add);
        let by_row = self.incarnations.iter().map(|one| self.filled_of(one));
        by_fill.max(by_row.fold(Decimal::ZERO, add))
    }

    /// Believes that the broker took fills back: only these are left, and only so much filled.
    pub(crate) fn take_back(
        &mut self,
        fills: &BTreeSet<String>,
        filled: &BTreeMap<BrokerOrderId, Decimal>,
    ) {
        self.fills.retain(|id, _| fills.contains(id));
        for one in &mut self.incarnations {
            one.order.filled = filled.get(&one.order.order_id).copied().or(one.order.filled);
        }
    }

    /// The event that the truth amounts to, and what it makes of filled quantity and average price.
    pub(crate) fn conclude(&mut self) -> Option<OrderEvent> {
        let by_fill = self.fills.values().map(|fill| fill.quantity).fold(Decimal::ZERO, add);
        let filled = self.seen_filled();
        if !self.fills.is_empty() || self.incarnations.iter().any(|one| one.order.filled.is_some())
        {
            self.filled = Some(filled);
        }
        let spent = self.fills.values().map(|fill| fill.quantity.saturating_mul(fill.price));
        let by_price = spent.fold(Decimal::ZERO, add).checked_div(by_fill);
        let told = self.incarnations.iter().rev().find_map(|one| one.order.average_price);
        self.average_price = told.or(by_price).or(self.average_price);
        self.event(filled)
    }

    /// What one of them has filled: as its row says or its fills add up to, whichever is more.
    fn filled_of(&self, one: &Incarnation) -> Decimal {
        let alone = self.incarnations.len() == 1;
        let own = self.fills.values().filter(|fill| match &fill.order {
            Some(order) => *order == one.order.order_id,
            None => alone,
        });
        let by_fill = own.map(|fill| fill.quantity).fold(Decimal::ZERO, add);
        by_fill.max(one.order.filled.unwrap_or_default())
    }

    fn event(&self, filled: Decimal) -> Option<OrderEvent> {
        use BrokerOrderStatus as B;
        let statuses = || self.incarnations.iter().map(|one| one.order.status);
        let whole = self.order.terms().quantity.get();
        // One that can still trade beats another that is done.
        let works = |one: &Incarnation| {
            let status = one.order.status;
            let left = self.filled_of(one) < one.order.quantity.unwrap_or(whole);
            status.is_open() && status != B::PendingCancel && left
        };
        if self.incarnations.iter().any(works) {
            return Some(OrderEvent::WorkingSeen);
        }
        if filled >= whole || statuses().any(|status| status == B::Filled) {
            return Some(OrderEvent::FillSeen);
        }
        if statuses().any(|status| status == B::PendingCancel) {
            return Some(OrderEvent::CancelPendingSeen);
        }
        if statuses().any(|status| status == B::Inactive) {
            return Some(OrderEvent::HeldSeen);
        }
        if statuses().next().is_some() {
            return Some(OrderEvent::CancelSeen);
        }
        // Fills without a row: a part of it traded, so the broker has it.
        (filled > Decimal::ZERO).then_some(OrderEvent::WorkingSeen)
    }

    /// How the broker's truth isn't what was approved.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.incarnations.iter().any(|one| self.differs(&one.order)) {
            findings.push(Finding::Changed);
        }
        if self.filled.is_some_and(|filled| filled > self.order.terms().quantity.get()) {
            findings.push(Finding::Overfilled);
        }
        let traded = |one: &Incarnation| self.filled_of(one) > Decimal::ZERO;
        let alive = self.incarnations.iter().filter(|one| one.may_trade() || traded(one));
        if alive.count() > 1 {
            findings.push(Finding::Twin);
        }
        if self.told.contains(&Finding::TakenBack) {
            findings.push(Finding::TakenBack);
        }
        findings
    }

    /// Whether a row's terms are others than those that were approved. What a row doesn't tell
    /// isn't a difference.
    fn differs(&self, row: &BrokerOrder) -> bool {
        let terms = self.order.terms();
        let expected = shown_as(&terms.pricing);
        // No kind was told, or in a word that isn't known: a price tells.
        let kind = if row.order_type == BrokerOrderType::Other {
            row.trigger_price.is_some() && expected.trigger.is_none()
        } else {
            row.order_type != expected.kind
        };
        let other = |told: Option<Decimal>, expected: Option<SignedPrice>| {
            told.zip(expected).is_some_and(|(told, expected)| told != expected.get())
        };
        let duration = row.time_in_force.as_ref().is_some_and(|told| match told {
            BrokerTimeInForce::Known(known) => *known != terms.time_in_force,
            BrokerTimeInForce::Other(_) => true,
        });
        kind || duration
            || row.side.is_some_and(|side| side != terms.side)
            || row.quantity.is_some_and(|quantity| quantity != terms.quantity.get())
            || other(row.limit_price, expected.limit)
            || other(row.trigger_price, expected.trigger)
    }

    /// What the limits must count for it: never less than before, never less than the broker's
    /// truth. An order at the broker that may trade counts whole, an ended one what it filled.
    pub(crate) fn recount(&mut self) {
        let limit = self.order.terms().pricing.limit().map(SignedPrice::get);
        let mut value = Decimal::ZERO;
        for one in &self.incarnations {
            let row = &one.order;
            let filled = self.filled_of(one);
            let quantity = if one.may_trade() {
                row.quantity.unwrap_or_else(|| self.order.terms().quantity.get()).max(filled)
            } else {
                filled
            };
            let prices = [row.limit_price, row.trigger_price, row.average_price];
            let price = prices.into_iter().flatten().max().or(limit).unwrap_or_default();
            value = add(value, quantity.saturating_mul(price));
        }
        let spent = self.fills.values().map(|fill| fill.quantity.saturating_mul(fill.price));
        let value = value.max(spent.fold(Decimal::ZERO, add));
        let rate = self.policy_rate.unwrap_or(Decimal::ONE);
        let counted = value.saturating_mul(self.order.multiplier()).saturating_mul(rate);
        self.counted_notional = self.counted_notional.max(counted);
    }

    /// The difference to what was approved, in one line; `None` when there is none.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let findings = self.findings();
        if findings.is_empty() {
            return None;
        }
        let terms = self.order.terms();
        let price = match terms.pricing.limit() {
            Some(limit) => format!("@ {}", limit.get().normalize()),
            None => terms.pricing.words(),
        };
        let mut parts = vec![format!("approved {} {price}", terms.quantity)];
        for one in self.incarnations.iter().filter(|one| self.differs(&one.order)) {
            parts.push(format!("now {}", described(&one.order)));
        }
        if findings.contains(&Finding::Twin) {
            let ids: Vec<String> =
                self.incarnations.iter().map(|one| one.order.order_id.to_string()).collect();
            parts.push(format!("the broker has it {} times ({})", ids.len(), ids.join(", ")));
        }
        if let Some(filled) = self.filled {
            parts.push(format!("filled {}", filled.normalize()));
        }
        if findings.contains(&Finding::TakenBack) {
            parts.push("after the broker took fills back".to_owned());
        }
        Some(parts.join(", "))
    }
}

/// What the broker shows of an order of this kind, as it was approved.
struct ShownAs {
    kind: BrokerOrderType,
    limit: Option<SignedPrice>,
    /// Only one that stays where it is: a trailing one moves.
    trigger: Option<SignedPrice>,
}

fn shown_as(pricing: &Pricing) -> ShownAs {
    use BrokerOrderType as B;
    let shown = |kind, limit, trigger| ShownAs { kind, limit, trigger };
    match *pricing {
        Pricing::Market => shown(B::Market, None, None),
        Pricing::Limit { limit } => shown(B::Limit, Some(limit), None),
        Pricing::Stop { trigger } => shown(B::Stop, None, Some(trigger)),
        Pricing::StopLimit { trigger, limit } => shown(B::StopLimit, Some(limit), Some(trigger)),
        Pricing::Trailing { .. } => shown(B::Trailing, None, None),
        Pricing::TrailingLimit { .. } => shown(B::TrailingLimit, None, None),
        Pricing::MarketIfTouched { trigger } => shown(B::MarketIfTouched, None, Some(trigger)),
        Pricing::LimitIfTouched { trigger, limit } => {
            shown(B::LimitIfTouched, Some(limit), Some(trigger))
        }
        Pricing::AtClose { limit: None } => shown(B::MarketOnClose, None, None),
        Pricing::AtClose { limit } => shown(B::LimitOnClose, limit, None),
        // The broker's list names the kind alone; that it is for the opening stands elsewhere.
        Pricing::AtOpen { limit: None } => shown(B::Market, None, None),
        Pricing::AtOpen { limit } => shown(B::Limit, limit, None),
        Pricing::MidPrice { cap } => shown(B::MidPrice, cap, None),
    }
}

/// The part of a row that is kept: what changes with each look without being news isn't.
fn kept(row: &BrokerOrder) -> BrokerOrder {
    BrokerOrder {
        side: row.side,
        quantity: row.quantity,
        filled: row.filled,
        order_type: row.order_type,
        kind: row.kind.clone(),
        limit_price: row.limit_price,
        trigger_price: row.trigger_price,
        average_price: row.average_price,
        time_in_force: row.time_in_force.clone(),
        status: row.status,
        cancel_reason: row.cancel_reason.clone(),
        ..BrokerOrder::of(row.order_id.clone(), row.account.clone(), row.conid)
    }
}

/// A row's terms in our words: `500 @ 235`, with the kind when it isn't a limit.
fn described(row: &BrokerOrder) -> String {
    let mut text = row.quantity.map_or_else(|| "?".to_owned(), |q| q.normalize().to_string());
    if !matches!(row.order_type, BrokerOrderType::Limit | BrokerOrderType::Other) {
        text = format!("{text} {}", row.order_type.as_str());
    }
    if let Some(price) = row.limit_price.or(row.trigger_price) {
        text = format!("{text} @ {}", price.normalize());
    }
    if let Some(BrokerTimeInForce::Other(word)) = &row.time_in_force {
        text = format!("{text} {word}");
    }
    text
}

fn add(sum: Decimal, more: Decimal) -> Decimal {
    sum.saturating_add(more)
}
