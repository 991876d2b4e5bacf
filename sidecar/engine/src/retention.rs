//! What is forgotten: previews whose time is over, approvals and orders that ended long ago, and
//! the idempotency keys of those orders. The log keeps what happened; this is what is searched.

use crate::orders::KEPT;
use crate::{After, ApprovalStatus, Effect, Engine, Now, Payload, Row, system_record};
use ibkr_agent_domain::{ApprovalId, PreviewId, RecordKind, Reference, Timestamp};
use std::collections::BTreeSet;

/// Previews kept in memory; the oldest is dropped beyond it.
const MAX_PREVIEWS: usize = 1000;
/// Approvals kept once they are decided and over.
const MAX_APPROVALS: usize = 2000;
/// Most orders, and most approvals, that one step forgets: no call pays for a long sleep.
const STEP: usize = 32;

/// Previews and approvals in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Ages {
    pub(super) previews: BTreeSet<(Timestamp, PreviewId)>,
    pub(super) approvals: BTreeSet<(Timestamp, ApprovalId)>,
}

impl Engine {
    /// Forgets a little of what is over, in memory; gives the rows that forget it in the store.
    pub(super) fn forget(&mut self, now: Now) -> Vec<Row> {
        self.forget_up_to(STEP, now)
    }

    /// At start everything that is over goes at once.
    pub(super) fn forget_at_start(&mut self, now: Now) -> Option<Effect> {
        let rows = self.forget_up_to(usize::MAX, now);
        if rows.is_empty() {
            return None;
        }
        let mut record = system_record(RecordKind::Forgotten);
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        record.references.push(Reference::Count(count));
        Some(self.commit(Vec::new(), rows, Payload::Record(record), After::Kept, now))
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

    fn forget_orders(&mut self, most: usize, now: Now) -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in self.orders.forget(now.wall, most) {
            let key = (entry.owner, entry.key);
            if self.keys.get(&key).is_some_and(|kept| kept.order == entry.id) {
                self.keys.remove(&key);
                rows.push(Row::ForgetKey(key.0, key.1));
            }
            rows.push(Row::ForgetOrder(entry.id));
        }
        rows
    }

    /// An approval lives twelve hours at most, so the oldest are over; one whose order is still
    /// kept is kept with it.
    fn forget_approvals(&mut self, most: usize, now: Now) -> Vec<Row> {
        let mut rows = Vec::new();
        let excess = self.approvals.len().saturating_sub(MAX_APPROVALS);
        let mut gone = Vec::new();
        for (place, (at, id)) in self.ages.approvals.iter().enumerate() {
            let is_old = now.wall.since(*at) > KEPT;
            if gone.len() >= most || !(is_old || place < excess) {
                break;
            }
            let entry = self.approvals.get(id);
            let undecided =
                |status| matches!(status, ApprovalStatus::Pending | ApprovalStatus::Approved);
            let open = entry.is_some_and(|one| undecided(one.status) && !self.is_over(one, now));
            if !open && self.orders.of_approval(id).is_none() {
                gone.push((*at, id.clone()));
            }
        }
        for (at, id) in gone {
            self.approvals.remove(&id);
            self.deadlines.remove(&id);
            self.ages.approvals.remove(&(at, id.clone()));
            rows.push(Row::ForgetApproval(id));
        }
        rows
    }
}
