//! What a look shows without saying it plainly: a row of ours that can't be read, and a fill that
//! is no longer there.
//!
//! No text or recording shows how IBKR tells on this API that a fill was taken back. A correction
//! of its id is believed at once (`truth.rs`). A row that tells a smaller filled quantity is
//! believed when two whole looks, one after the other, say the same: a single one may be an older
//! answer.

use crate::{After, Effect, Engine, Finding, Notice, Now, OrderEntry, Payload, Row};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, Execution, Listed,
    OrderEvent, OrderState, UnreadRow,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

/// Whole looks that must show the same smaller quantity before it is believed.
const LOOKS: u32 = 2;

/// Looks that showed less of an order as filled than was known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Less {
    filled: Decimal,
    looks: u32,
}

/// A row of ours that can't be read.
#[derive(Debug)]
pub(super) struct Unread {
    why: &'static str,
    order: Option<BrokerOrderId>,
    /// An order's status; `None` for a fill too.
    status: Option<BrokerOrderStatus>,
    what: &'static str,
}

impl Engine {
    /// Takes fills back that the broker no longer shows, once that is sure.
    pub(super) fn take_back(
        &mut self,
        entry: &mut OrderEntry,
        orders: &Listed<BrokerOrder>,
        executions: &Listed<Execution>,
    ) {
        if !orders.is_whole() || !executions.is_whole() {
            return;
        }
        let Some((fills, filled)) = seen_now(entry, orders, executions) else {
            return;
        };
        let mut left = entry.clone();
        left.take_back(&fills, &filled);
        let now = left.seen_filled();
        if now >= entry.seen_filled() {
            self.less.remove(&entry.id);
            return;
        }
        let less = self.less.entry(entry.id.clone()).or_insert(Less { filled: now, looks: 0 });
        let same = less.filled == now;
        *less = Less { filled: now, looks: if same { less.looks.saturating_add(1) } else { 1 } };
        if less.looks >= LOOKS {
            self.less.remove(&entry.id);
            for id in entry.fills.keys().filter(|id| !left.fills.contains_key(*id)) {
                self.holdings.uncount(entry.account(), id);
            }
            *entry = left;
        }
    }

    /// The rows that can't be read and are about orders of ours.
    pub(super) fn unread_of(
        &self,
        account: &AccountId,
        orders: &Listed<BrokerOrder>,
        executions: &Listed<Execution>,
    ) -> BTreeMap<ClientOrderId, Unread> {
        let mut found = BTreeMap::new();
        let fills = executions.unread.iter().map(|row| (row, None, "a fill of it"));
        let rows = orders.unread.iter().map(|row| (row, row.status, "a row of it"));
        // An order's own row says more than a fill's.
        for (row, status, what) in fills.chain(rows) {
            if let Some(id) = self.ours_unread(account, row) {
                let order = row.order_id.clone();
                found.insert(id, Unread { why: row.why, order, status, what });
            }
        }
        found
    }

    /// By our reference; by the broker's id alone only while the order can still change, since
    /// those are used again.
    fn ours_unread(&self, account: &AccountId, row: &UnreadRow) -> Option<ClientOrderId> {
        let by_id = || {
            let entry = self.orders.at_broker(account, row.order_id.as_ref()?)?;
            (!entry.state.is_final()).then_some(entry)
        };
        let named = match &row.reference {
            Some(reference) => self.orders.get(reference),
            None => by_id(),
        };
        let same = |entry: &&OrderEntry| {
            entry.account() == account
                && row.account.as_ref().is_none_or(|told| told == account)
                && row.conid.is_none_or(|conid| conid == entry.order.conid())
        };
        named.filter(same).map(|entry| entry.id.clone())
    }

    /// The account's orders that no look shows unreadable any more; they are forgotten as such.
    pub(super) fn readable_again(
        &mut self,
        account: &AccountId,
        unread: &BTreeMap<ClientOrderId, Unread>,
    ) -> BTreeSet<ClientOrderId> {
        let of_account =
            |id: &ClientOrderId| self.orders.get(id).is_none_or(|entry| entry.account() == account);
        let is_over = |id: &&ClientOrderId| of_account(id) && !unread.contains_key(*id);
        let over: BTreeSet<ClientOrderId> = self.unread.keys().filter(is_over).cloned().collect();
        for id in &over {
            self.unread.remove(id);
        }
        over
    }

    /// Says of an order that the broker shows it and that it can't be read; a human hears it once.
    pub(super) fn tell_unread(
        &mut self,
        unread: BTreeMap<ClientOrderId, Unread>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, row) in unread {
            let Some(mut entry) = self.orders.get(&id).cloned() else {
                continue;
            };
            let before = entry.state;
            let moved = row.event_for(&entry).is_some_and(|event| entry.apply_seen(event, now));
            let is_fresh = entry.told.insert(Finding::Unreadable);
            let is_other = self.unread.insert(id.clone(), row.why) != Some(row.why);
            entry.seen_at = Some(now.wall);
            if !(moved || is_fresh || is_other) {
                self.orders.update(&id, |kept| kept.seen_at = Some(now.wall));
                continue;
            }
            let message = format!("the broker shows {} that can't be read: {}", row.what, row.why);
            entry.message.clone_from(&message);
            entry.said_by = crate::Speaker::Gateway;
            entry.updated_at = now.wall;
            self.orders.insert(entry.clone());
            let mut rows = vec![Row::Order(Box::new(entry.clone()))];
            if before == OrderState::NotSent && entry.state != before {
                self.spend_again(&entry, &mut rows);
            }
            let mut record = super::outcomes::outcome_record(&entry);
            record.details.push(Finding::Unreadable.as_str());
            let after = After::Settled(id);
            effects.push(self.commit(Vec::new(), rows, Payload::Record(record), after, now));
            if is_fresh {
                let notice = Notice::Differs {
                    finding: Finding::Unreadable,
                    order: entry.id.clone(),
                    account: entry.account().clone(),
                    difference: format!("{}: {message}", entry.order.summary()),
                };
                effects.push(Effect::Notice(Box::new(notice)));
            }
            effects.extend(self.newly_held(&entry.id, before));
        }
        effects
    }
}

impl Unread {
    /// What its status shows. How one ended that can't be read isn't said, and none works again
    /// that was seen to end.
    fn event_for(&self, entry: &OrderEntry) -> Option<OrderEvent> {
        use BrokerOrderStatus as B;
        let is_another = self.order.as_ref().is_some_and(|id| entry.broker_ids().all(|i| i != id));
        if matches!(entry.state, OrderState::Filled | OrderState::Cancelled) && !is_another {
            return None;
        }
        match self.status? {
            B::PendingCancel => Some(OrderEvent::CancelPendingSeen),
            B::Inactive => Some(OrderEvent::HeldSeen),
            B::PendingSubmit | B::PreSubmitted | B::Submitted | B::WarnState | B::Other => {
                Some(OrderEvent::WorkingSeen)
            }
            B::Filled | B::PreCancelled | B::Cancelled => None,
        }
    }
}

/// The fills of an order that a look shows, and how much each of its broker orders filled. `None`
/// unless a row tells it of each of them.
fn seen_now(
    entry: &OrderEntry,
    orders: &Listed<BrokerOrder>,
    executions: &Listed<Execution>,
) -> Option<(BTreeSet<String>, BTreeMap<BrokerOrderId, Decimal>)> {
    let mut filled = BTreeMap::new();
    for one in &entry.incarnations {
        let id = &one.order.order_id;
        let row = orders.rows.iter().find(|row| row.order_id == *id)?;
        filled.insert(id.clone(), row.filled?);
    }
    let listed = |fill: &&Execution| fill.account == *entry.account();
    let ids = executions.rows.iter().filter(listed).map(|fill| {
        let (id, _) = fill.revision().unwrap_or_else(|| (fill.id.as_str(), 0));
        id.to_owned()
    });
    (!filled.is_empty()).then(|| (ids.collect(), filled))
}
