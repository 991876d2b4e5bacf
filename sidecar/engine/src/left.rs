//! Orders that were to close a position which is gone: filled, they would open one the other way.
//!
//! A stop, or a sale that waits for its price, outlives the position when somebody closes that
//! elsewhere. IBKR has no order that only reduces, so a human hears of it and cancels it. Positions
//! and orders are never read at one moment: what is told stood still for a while. Nothing here
//! changes an order.

use crate::{After, Effect, Engine, Finding, Notice, Now, OrderEntry, Payload, Row};
use ibkr_agent_domain::{AccountId, ClientOrderId, OrderState, Position, Side};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long order and position must stand still.
const STILL: Duration = Duration::from_secs(15);

/// Orders that fit their position no longer: what of them is left, the position, and since when
/// both stand still.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<ClientOrderId, (Decimal, Decimal, Duration)>);

impl Engine {
    /// Compares the orders of an account that were to close something with what it holds.
    pub(super) fn left_behind(
        &mut self,
        account: &AccountId,
        positions: &[Position],
        now: Now,
    ) -> Vec<Effect> {
        let mut found = BTreeMap::new();
        for entry in self.orders.open_of(account) {
            let position = positions.iter().filter(|one| one.conid == entry.order.conid());
            let position =
                position.fold(Decimal::ZERO, |sum, one| sum.saturating_add(one.quantity));
            let left = unfilled(entry);
            if self.was_closing(entry) && works(entry.state) && left > closable(entry, position) {
                let since = match self.left.0.get(&entry.id) {
                    Some((before, at, since)) if (*before, *at) == (left, position) => *since,
                    Some(_) | None => now.monotonic,
                };
                found.insert(entry.id.clone(), (left, position, since));
            }
        }
        let others = std::mem::take(&mut self.left.0).into_iter();
        let elsewhere = |id: &ClientOrderId| {
            self.orders.get(id).is_some_and(|entry| entry.account() != account)
        };
        self.left.0 = others.filter(|(id, _)| elsewhere(id)).chain(found.clone()).collect();
        let is_due = |since: Duration| now.monotonic.saturating_sub(since) >= STILL;
        let due = found.into_iter().filter(|(_, (_, _, since))| is_due(*since));
        due.filter_map(|(id, (left, position, _))| self.tell_left(&id, left, position, now))
            .flatten()
            .collect()
    }

    /// Whether all of it was to bring the position closer to zero when it was approved.
    fn was_closing(&self, entry: &OrderEntry) -> bool {
        let approval = self.approvals.get(&entry.approval);
        let whole = entry.order.terms().quantity.get();
        approval.is_some_and(|approval| whole <= closable(entry, approval.position))
    }

    fn tell_left(
        &mut self,
        id: &ClientOrderId,
        left: Decimal,
        position: Decimal,
        now: Now,
    ) -> Option<[Effect; 2]> {
        let mut entry = self.orders.get(id).cloned()?;
        if !entry.told.insert(Finding::LeftBehind) {
            return None;
        }
        let difference = format!(
            "{}: {} of it are left, and the position is {}",
            entry.order.summary(),
            left.normalize(),
            position.normalize()
        );
        entry.message.clone_from(&difference);
        entry.said_by = crate::Speaker::Gateway;
        entry.updated_at = now.wall;
        self.orders.insert(entry.clone());
        let notice = Notice::Differs {
            finding: Finding::LeftBehind,
            order: entry.id.clone(),
            account: entry.account().clone(),
            difference,
        };
        let mut record = super::outcomes::outcome_record(&entry);
        record.details.push(Finding::LeftBehind.as_str());
        let rows = vec![Row::Order(Box::new(entry))];
        let after = After::Settled(id.clone());
        let commit = self.commit(Vec::new(), rows, Payload::Record(record), after, now);
        Some([commit, Effect::Notice(Box::new(notice))])
    }
}

/// How much an order of this side can sell, or buy back, before it opens the other way.
fn closable(entry: &OrderEntry, position: Decimal) -> Decimal {
    match entry.order.terms().side {
        Side::Sell => position.max(Decimal::ZERO),
        Side::Buy => (-position).max(Decimal::ZERO),
    }
}

/// What may still fill, by what the broker shows of it.
fn unfilled(entry: &OrderEntry) -> Decimal {
    let whole = entry.order.terms().quantity.get();
    let shown = entry.incarnations.iter().filter_map(|one| one.order.quantity).max();
    shown.unwrap_or(whole).saturating_sub(entry.filled.unwrap_or_default())
}

/// Whether the broker has it, so that it may fill.
const fn works(state: OrderState) -> bool {
    match state {
        OrderState::Working | OrderState::Held | OrderState::PendingCancel => true,
        OrderState::Intended
        | OrderState::Question
        | OrderState::Unknown
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Expired
        | OrderState::Rejected
        | OrderState::NotSent => false,
    }
}
