//! What is forgotten: previews whose time is over, approvals and orders that ended long ago, and
//! the idempotency keys of those orders. The log keeps what happened; this is what is searched.

use crate::orders::KEPT;
use crate::{
    After, ApprovalEntry, ApprovalStatus, Effect, Engine, Now, Payload, Row, system_record,
};
use ibkr_agent_domain::{ApprovalId, PreviewId, RecordKind, Reference, Timestamp};
use std::collections::BTreeSet;

/// Previews kept in memory; the oldest is dropped beyond it.
const MAX_PREVIEWS: usize = 1000;
/// Approvals kept once they are decided and over.
const MAX_APPROVALS: usize = 2000;
/// Most orders, and most approvals, that one step forgets: no call pays for a long sleep.
const STEP: usize = 32;
/// The same for a step after the start, which no call waits for: a transaction stays short.
const STEP_AT_START: usize = 256;

/// Previews and approvals in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Ages {
    pub(super) previews: BTreeSet<(Timestamp, PreviewId)>,
    /// Those that no order was made of, at least: one with an order goes when that goes.
    pub(super) approvals: BTreeSet<(Timestamp, ApprovalId)>,
}

impl Engine {
    /// Forgets a little of what is over, in memory; gives the rows that forget it in the store.
    pub(super) fn forget(&mut self, now: Now) -> Vec<Row> {
        self.forget_up_to(STEP, now)
    }

    /// From the start on, what is over goes one step after the other: each is a transaction of its
    /// own, which brings the next, so that a halt and every call get in between.
    pub(super) fn forget_at_start(&mut self, now: Now) -> Option<Effect> {
        let rows = self.forget_up_to(STEP_AT_START, now);
        if rows.is_empty() {
            return None;
        }
        let mut record = system_record(RecordKind::Forgotten);
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        record.references.push(Reference::Count(count));
        Some(self.commit(Vec::new(), rows, Payload::Record(record), After::Forgotten, now))
    }

    fn forget_up_to(&mut self, most: usize, now: Now) -> Vec<Row> {
        let mut rows = self.forget_previews(now);
        rows.extend(self.forget_orders(most, now));
        rows.extend(self.forget_approvals(most, now));
        rows
    }

    /// Previews all live equally long, so the oldest expires first.
    fn forget_previews(&mut self, now: Now) -> Vec<Row> {
        let mut rows = Vec::new();
        while let Some((_, id)) = self.ages.previews.first() {
            let expired = self.previews.get(id).is_none_or(|one| one.expires_at <= now.wall);
            if !expired && self.previews.len() < MAX_PREVIEWS {
                break;
            }
            let Some((_, id)) = self.ages.previews.pop_first() else { break };
            self.previews.remove(&id);
            rows.push(Row::ForgetPreview(id));
        }
        rows
    }

    /// An order takes its key and its approval with it.
    fn forget_orders(&mut self, most: usize, now: Now) -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in self.orders.forget(now.wall, most) {
            let key = (entry.owner, entry.key);
            if self.keys.get(&key).is_some_and(|kept| kept.order == entry.id) {
                self.keys.remove(&key);
                rows.push(Row::ForgetKey(key.0, key.1));
            }
            rows.push(Row::ForgetOrder(entry.id));
            if self.orders.of_approval(&entry.approval).is_some() {
                continue;
            }
            let Some(approval) = self.approvals.get(&entry.approval) else { continue };
            let place = (approval.created_at, approval.id.clone());
            if self.is_open(approval, now) {
                // Given back unsent, so that it can be spent yet.
                self.ages.approvals.insert(place);
            } else {
                rows.push(self.forget_approval(&place));
            }
        }
        rows
    }

    /// An approval lives twelve hours at most, so the oldest are over.
    fn forget_approvals(&mut self, most: usize, now: Now) -> Vec<Row> {
        let mut excess = self.ages.approvals.len().saturating_sub(MAX_APPROVALS);
        let (mut gone, mut of_orders) = (Vec::new(), Vec::new());
        for place in &self.ages.approvals {
            let is_old = now.wall.since(place.0) > KEPT;
            if gone.len() >= most || !(is_old || excess > 0) {
                break;
            }
            excess = excess.saturating_sub(1);
            let entry = self.approvals.get(&place.1);
            if self.orders.of_approval(&place.1).is_some() {
                of_orders.push(place.clone());
            } else if !entry.is_some_and(|one| self.is_open(one, now)) {
                gone.push(place.clone());
            }
        }
        for place in of_orders {
            self.ages.approvals.remove(&place);
        }
        gone.iter().map(|place| self.forget_approval(place)).collect()
    }

    fn forget_approval(&mut self, place: &(Timestamp, ApprovalId)) -> Row {
        self.approvals.remove(&place.1);
        self.deadlines.remove(&place.1);
        self.ages.approvals.remove(place);
        Row::ForgetApproval(place.1.clone())
    }

    /// Whether an approval can still be decided or spent.
    fn is_open(&self, entry: &ApprovalEntry, now: Now) -> bool {
        let undecided = matches!(entry.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
        undecided && !self.is_over(entry, now)
    }
}
