//! What the broker's orders and trades show of the orders that this gateway recorded.
//!
//! Rows are matched by reference or broker id, account, contract and side; then their terms are
//! compared with what was approved (`truth.rs`). What can't be read or was taken back is told too
//! (`unsaid.rs`). Absence from a list proves nothing by itself: an
//! order that leaves it is asked for singly, and ends by time in force and the end of its day, or
//! is in doubt.

use crate::{
    After, ApprovalStatus, Effect, Engine, Finding, Notice, Now, OrderEntry, Payload, Row,
};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, ClientOrderId, Execution, Listed, OrderEvent,
    OrderState, Reason, TimeInForce, UnknownBecause,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whole looks without an order before it is asked for singly.
const LOOKS: u32 = 2;
/// Shortest time between two questions for one order.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long an order counts that grew after its session.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Answers that the broker knows no such order before it counts as gone.
const GONE: u32 = 2;

/// An order that the broker's list should hold and doesn't.
#[derive(Debug, Default)]
pub(super) struct Absence {
    looks: u32,
    asked_at: Option<Duration>,
    gone: u32,
}

/// What the broker said of an order that was asked for singly.
#[derive(Debug)]
pub enum Sought {
    /// It knows it.
    Found(Box<BrokerOrder>),
    /// It says that it knows no such order.
    Gone,
    /// Nothing that says either.
    Unclear,
}

impl Engine {
    /// Orders and trades as the broker shows them.
    pub(super) fn evidence(
        &mut self,
        account: &AccountId,
        orders: &Listed<BrokerOrder>,
        executions: &Listed<Execution>,
        now: Now,
    ) -> Vec<Effect> {
        self.holdings.count(account, executions, now.wall);
        let mut shown: BTreeSet<ClientOrderId> = BTreeSet::new();
        let mut touched: Vec<OrderEntry> = Vec::new();
        for row in orders.rows.iter().filter(|row| row.account == *account) {
            let Some(id) = self.ours(row.into()).map(|entry| entry.id.clone()) else {
                continue;
            };
            shown.insert(id.clone());
            self.absent.remove(&(id.clone(), Some(row.order_id.clone())));
            self.absent.remove(&(id.clone(), None));
            if let Some(entry) = entry_of(&mut touched, &id, self) {
                entry.show(row, now.wall);
            }
        }
        for fill in executions.rows.iter().filter(|fill| fill.account == *account) {
            let id = self.ours(fill.into()).map(|entry| entry.id.clone());
            if let Some(entry) = id.and_then(|id| entry_of(&mut touched, &id, self)) {
                entry.fill(fill, now.wall);
            }
        }
        self.less.retain(|id, _| self.orders.get(id).is_some());
        self.unended.retain(|id| self.orders.get(id).is_some());
        self.absent.retain(|(id, _), _| {
            let known = self.orders.get(id);
            known.is_some_and(|e| !e.state.is_final()) || self.unended.contains(id)
        });
        let unread = self.unread_of(account, orders, executions);
        let readable = self.readable_again(account, &unread);
        shown.extend(unread.keys().cloned());
        let mut effects = Vec::new();
        for mut entry in touched {
            self.take_back(&mut entry, orders, executions);
            let was_unread = readable.contains(&entry.id);
            effects.extend(self.believe(entry, was_unread, now));
        }
        effects.extend(self.tell_unread(unread, now));
        if orders.is_whole() {
            let listed = orders.rows.iter().map(|row| &row.order_id).collect();
            effects.extend(self.missed(account, &shown, &listed, now));
        }
        effects.extend(self.find_foreign(account, &orders.rows, &executions.rows, now));
        effects
    }

    /// Takes over what was seen of an order: writes it down when it is news, and tells a human of
    /// each way in which it isn't what was approved, once.
    fn believe(&mut self, mut entry: OrderEntry, was_unread: bool, now: Now) -> Vec<Effect> {
        let Some(before) = self.orders.get(&entry.id).cloned() else {
            return Vec::new();
        };
        let event = entry.conclude();
        entry.recount();
        entry.count_again(&before, now);
        let moved = event.is_some_and(|event| entry.apply_seen(event, now));
        let mut fresh: Vec<Finding> =
            entry.findings().into_iter().filter(|finding| !entry.told.contains(finding)).collect();
        // Each time anew, unlike the rest.
        fresh.extend((entry.filled < before.filled).then_some(Finding::TakenBack));
        entry.told.extend(fresh.iter().copied());
        let is_news = moved
            || was_unread
            || !fresh.is_empty()
            || entry.incarnations != before.incarnations
            || entry.fills != before.fills
            || entry.filled != before.filled
            || entry.average_price != before.average_price
            || entry.broker_order_id != before.broker_order_id;
        if !is_news {
            self.orders.update(&entry.id, |kept| kept.seen_at = entry.seen_at);
            return Vec::new();
        }
        entry.said_by = crate::Speaker::Gateway;
        entry.message = entry.difference().unwrap_or_else(|| plain(&entry));
        entry.updated_at = now.wall;
        let was_given_back = before.state == OrderState::NotSent;
        self.orders.insert(entry.clone());
        self.note_end(&entry);
        let mut rows = vec![Row::Order(Box::new(entry.clone()))];
        if was_given_back {
            self.spend_again(&entry, &mut rows);
        }
        let mut record = super::outcomes::outcome_record(&entry);
        record.details.extend(entry.findings().into_iter().map(Finding::as_str));
        let after = After::Settled(entry.id.clone());
        let mut effects = vec![self.commit(Vec::new(), rows, Payload::Record(record), after, now)];
        let notices = fresh.into_iter().map(|finding| Notice::found(finding, &entry));
        effects.extend(notices.map(|notice| Effect::Notice(Box::new(notice))));
        effects.extend(self.newly_held(&entry.id, before.state));
        effects
    }

    /// An order that was told as not sent exists: its approval is spent after all.
    pub(super) fn spend_again(&mut self, entry: &OrderEntry, rows: &mut Vec<Row>) {
        let approval = self.approvals.get_mut(&entry.approval);
        // One that was taken back meanwhile can't be spent anyway, and stays so.
        let unspent = |one: &&mut crate::ApprovalEntry| one.status == ApprovalStatus::Approved;
        if let Some(approval) = approval.filter(unspent) {
            approval.status = ApprovalStatus::Consumed;
            rows.push(Row::Approval(Box::new(approval.clone())));
        }
    }

    /// At start: which orders are still to be asked for.
    pub(super) fn note_ends(&mut self) {
        let unended = self.orders.values().filter(|entry| entry.is_unended());
        self.unended = unended.map(|entry| entry.id.clone()).collect();
    }

    /// Keeps in mind whether an order is still to be asked for though it is over as we see it.
    fn note_end(&mut self, entry: &OrderEntry) {
        if entry.is_unended() {
            self.unended.insert(entry.id.clone());
        } else {
            self.unended.remove(&entry.id);
        }
    }

    /// Orders that a whole list should have shown and didn't: each of those that may trade, where
    /// a reference stands for several.
    fn missed(
        &mut self,
        account: &AccountId,
        shown: &BTreeSet<ClientOrderId>,
        listed: &BTreeSet<&BrokerOrderId>,
        now: Now,
    ) -> Vec<Effect> {
        let expected = self.orders.open_of(account).filter(|entry| {
            matches!(
                entry.state,
                OrderState::Working | OrderState::Held | OrderState::PendingCancel
            )
        });
        let unended = self.unended.iter().filter_map(|id| self.orders.get(id));
        let unended = unended.filter(|entry| entry.account() == account);
        let mut missing: Vec<(ClientOrderId, Option<BrokerOrderId>)> = Vec::new();
        for entry in expected.chain(unended) {
            let ids = entry.cancellable();
            if ids.is_empty() && !shown.contains(&entry.id) {
                missing.push((entry.id.clone(), None));
            }
            let unlisted = ids.into_iter().filter(|id| !listed.contains(id));
            missing.extend(unlisted.map(|id| (entry.id.clone(), Some(id))));
        }
        let mut effects = Vec::new();
        for (id, broker_id) in missing {
            let key = (id.clone(), broker_id.clone());
            let absence = self.absent.entry(key).or_default();
            absence.looks = absence.looks.saturating_add(1);
            let waited = |at: Duration| now.monotonic.saturating_sub(at) >= ASK_AGAIN;
            if absence.looks < LOOKS || !absence.asked_at.is_none_or(waited) {
                continue;
            }
            absence.asked_at = Some(now.monotonic);
            match broker_id {
                Some(order) => effects.push(Effect::AskOrder {
                    account: account.clone(),
                    reference: id,
                    order,
                }),
                // Nothing to ask by: as if the broker had said that it knows none.
                None => effects.extend(self.sought(&id, None, Sought::Gone, now)),
            }
        }
        effects
    }

    /// The broker's answer about one order that its list no longer shows.
    pub(super) fn sought(
        &mut self,
        id: &ClientOrderId,
        asked: Option<BrokerOrderId>,
        answer: Sought,
        now: Now,
    ) -> Vec<Effect> {
        let Some(entry) = self.orders.get(id).cloned() else {
            return Vec::new();
        };
        let key = (id.clone(), asked);
        let Some(absence) = self.absent.get_mut(&key) else {
            return Vec::new();
        };
        match answer {
            Sought::Unclear => return Vec::new(),
            Sought::Found(row) => {
                if self.ours(row.as_ref().into()).is_none_or(|ours| ours.id != *id) {
                    return Vec::new();
                }
                self.absent.remove(&key);
                let mut entry = entry;
                entry.show(&row, now.wall);
                return self.believe(entry, false, now);
            }
            Sought::Gone => absence.gone = absence.gone.saturating_add(1),
        }
        // While another one under its reference may trade, the order hasn't ended.
        let another = entry.cancellable().iter().any(|other| key.1.as_ref() != Some(other));
        if absence.gone < GONE || another {
            return Vec::new();
        }
        self.absent.remove(&key);
        self.unended.remove(id);
        let is_over = entry.order.terms().time_in_force == TimeInForce::Day
            && entry
                .counts_until
                .map_or(entry.trading_day < now.trading_day, |end| end <= now.wall);
        if is_over {
            let message = "the broker no longer shows it, its day is over, no fill was seen";
            return self.transition(id, OrderEvent::DayOver, now, |entry| {
                message.clone_into(&mut entry.message);
            });
        }
        let why = Reason::Unknown(UnknownBecause::Vanished);
        self.transition(id, OrderEvent::Vanished, now, |entry| entry.explain(why))
    }
}

/// The working copy of an order among those that were touched.
fn entry_of<'a>(
    touched: &'a mut Vec<OrderEntry>,
    id: &ClientOrderId,
    engine: &Engine,
) -> Option<&'a mut OrderEntry> {
    if let Some(place) = touched.iter().position(|entry| entry.id == *id) {
        return touched.get_mut(place);
    }
    touched.push(engine.orders.get(id)?.clone());
    touched.last_mut()
}

/// What is said of an order that is as it was approved.
fn plain(entry: &OrderEntry) -> String {
    let reason = entry.incarnations.iter().rev().find_map(|one| one.order.cancel_reason.as_ref());
    let text = match entry.state {
        OrderState::Held => "the broker shows it inactive: held, or rejected at its destination",
        OrderState::PendingCancel => "a cancel is under way; until it is done it may fill",
        OrderState::Intended
        | OrderState::Question
        | OrderState::Working
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Expired
        | OrderState::Rejected
        | OrderState::NotSent
        | OrderState::Unknown => "as the broker's orders and trades show",
    };
    reason.map_or_else(|| text.to_owned(), |reason| format!("{text}; the broker says: {reason}"))
}

impl OrderEntry {
    /// What grew at the broker after the session that it counted in counts for another day.
    fn count_again(&mut self, before: &Self, now: Now) {
        if self.counted_notional > before.counted_notional && !self.counts(now) {
            self.counts_until = Some(now.wall.plus(DAY));
        }
    }

    /// Applies what was seen; whether the state changed.
    pub(crate) fn apply_seen(&mut self, event: OrderEvent, now: Now) -> bool {
        let before = self.state;
        self.apply(event, now) && self.state != before
    }
}
