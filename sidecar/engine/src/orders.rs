//! Every order in retention, found by index: nothing here is scanned as a whole on a call's way.
//!
//! Invariant: an order changes only through [`Orders::insert`] and [`Orders::update`], which keep
//! the indexes true. What has ended is kept for a while, since a late fill beats any ending, and
//! then forgotten; the log keeps what happened.

use crate::{OrderEntry, Owner};
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerOrderId, CallId, ClientOrderId, Conid, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long an ended order is kept: the broker shows trades of seven trading days.
pub(super) const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most ended orders that are kept, whatever their age; those that still count are. A start reads
/// them all.
const MOST_ENDED: usize = 500;

/// The orders and their indexes.
#[derive(Debug, Default)]
pub(super) struct Orders {
    all: BTreeMap<ClientOrderId, Arc<OrderEntry>>,
    /// Those whose state can still change by itself, by account and contract.
    open: BTreeMap<(AccountId, Conid), BTreeSet<ClientOrderId>>,
    /// Those that have ended, by when we last learned something of them.
    ended: BTreeSet<(Timestamp, ClientOrderId)>,
    /// Those that count against a limit of a session that may still go on. Each decision looks at
    /// all of them, so they are here and not looked up.
    counting: BTreeMap<ClientOrderId, Arc<OrderEntry>>,
    by_broker_id: BTreeMap<(AccountId, BrokerOrderId), ClientOrderId>,
    /// The orders of one plan, of which a call and an approval have one.
    by_call: BTreeMap<(Owner, CallId), Vec<ClientOrderId>>,
    by_approval: BTreeMap<ApprovalId, Vec<ClientOrderId>>,
}

impl Orders {
    pub(super) fn restore(entries: Vec<OrderEntry>) -> Self {
        let mut orders = Self::default();
        for entry in entries {
            orders.insert(entry);
        }
        orders
    }

    pub(super) fn get(&self, id: &ClientOrderId) -> Option<&OrderEntry> {
        self.all.get(id).map(Arc::as_ref)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &OrderEntry> {
        self.all.values().map(Arc::as_ref)
    }

    /// Takes an order in; gives what stood under its reference before.
    pub(super) fn insert(&mut self, entry: OrderEntry) -> Option<OrderEntry> {
        let before = self.remove(&entry.id);
        let entry = Arc::new(entry);
        self.index(&entry);
        self.all.insert(entry.id.clone(), entry);
        before
    }

    /// Takes an order out.
    pub(super) fn remove(&mut self, id: &ClientOrderId) -> Option<OrderEntry> {
        let entry = self.all.remove(id)?;
        self.unindex(&entry);
        Some(Arc::unwrap_or_clone(entry))
    }

    /// Changes an order.
    pub(super) fn update<R>(
        &mut self,
        id: &ClientOrderId,
        change: impl FnOnce(&mut OrderEntry) -> R,
    ) -> Option<R> {
        let mut entry = self.remove(id)?;
        let result = change(&mut entry);
        self.insert(entry);
        Some(result)
    }

    /// Orders that can still change, on any account.
    pub(super) fn open(&self) -> impl Iterator<Item = &OrderEntry> {
        self.open.values().flatten().filter_map(|id| self.get(id))
    }

    /// Orders of an account that can still change.
    pub(super) fn open_of<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> impl Iterator<Item = &'a OrderEntry> {
        let of_account = self.open.iter().filter(move |((owner, _), _)| owner == account);
        of_account.flat_map(|(_, ids)| ids).filter_map(|id| self.get(id))
    }

    /// Orders of an account and contract that can still change.
    pub(super) fn open_on(
        &self,
        account: &AccountId,
        conid: Conid,
    ) -> impl Iterator<Item = &OrderEntry> {
        let ids = self.open.get(&(account.clone(), conid)).into_iter().flatten();
        ids.filter_map(|id| self.get(id))
    }

    /// Orders that ended no earlier than `since`.
    pub(super) fn ended_since(&self, since: Timestamp) -> impl Iterator<Item = &OrderEntry> {
        let late = self.ended.iter().rev().take_while(move |(at, _)| *at >= since);
        late.filter_map(|(_, id)| self.get(id))
    }

    /// Orders that may count against a limit.
    pub(super) fn counting(&self) -> impl Iterator<Item = &OrderEntry> {
        self.counting.values().map(Arc::as_ref)
    }

    /// The order that the broker knows by an id of its own.
    pub(super) fn at_broker(
        &self,
        account: &AccountId,
        order: &BrokerOrderId,
    ) -> Option<&OrderEntry> {
        self.get(self.by_broker_id.get(&(account.clone(), order.clone()))?)
    }

    /// The first order of the plan that a call submitted.
    pub(super) fn of_call(&self, owner: &Owner, call: &CallId) -> Option<&OrderEntry> {
        self.first(self.by_call.get(&(owner.clone(), call.clone()))?)
    }

    /// The first order of the plan that an approval covers.
    pub(super) fn of_approval(&self, approval: &ApprovalId) -> Option<&OrderEntry> {
        self.first(self.by_approval.get(approval)?)
    }

    fn first(&self, ids: &[ClientOrderId]) -> Option<&OrderEntry> {
        ids.iter().filter_map(|id| self.get(id)).min_by_key(|entry| entry.leg)
    }

    /// Takes out of the counting what no longer counts, and forgets, at most `most` at once, what
    /// ended long ago or is more than can be kept.
    pub(super) fn forget(&mut self, now: Timestamp, most: usize) -> Vec<OrderEntry> {
        self.counting.retain(|_, order| order.may_count(now));
        let excess = self.ended.len().saturating_sub(MOST_ENDED);
        let mut gone = Vec::new();
        for (place, (at, id)) in self.ended.iter().enumerate() {
            let is_old = now.since(*at) > KEPT;
            if gone.len() >= most || !(is_old || place < excess) {
                break;
            }
            if !self.counting.contains_key(id) {
                gone.push(id.clone());
            }
        }
        gone.iter().filter_map(|id| self.remove(id)).collect()
    }

    fn index(&mut self, entry: &Arc<OrderEntry>) {
        let id = || entry.id.clone();
        let account = entry.account();
        if entry.state.is_final() {
            self.ended.insert((entry.updated_at, id()));
        } else {
            let place = (account.clone(), entry.order.conid());
            self.open.entry(place).or_default().insert(id());
        }
        self.counting.insert(id(), Arc::clone(entry));
        for order in entry.broker_ids() {
            self.by_broker_id.insert((account.clone(), order.clone()), id());
        }
        let call = (entry.owner.clone(), entry.call.clone());
        self.by_call.entry(call).or_default().push(id());
        self.by_approval.entry(entry.approval.clone()).or_default().push(id());
    }

    fn unindex(&mut self, entry: &OrderEntry) {
        let account = entry.account();
        self.ended.remove(&(entry.updated_at, entry.id.clone()));
        let place = (account.clone(), entry.order.conid());
        if let Some(ids) = self.open.get_mut(&place) {
            ids.remove(&entry.id);
            if ids.is_empty() {
                self.open.remove(&place);
            }
        }
        self.counting.remove(&entry.id);
        for order in entry.broker_ids() {
            self.by_broker_id.remove(&(account.clone(), order.clone()));
        }
        let call = (entry.owner.clone(), entry.call.clone());
        take_out(&mut self.by_call, &call, &entry.id);
        take_out(&mut self.by_approval, &entry.approval, &entry.id);
    }
}

fn take_out<K: Ord>(index: &mut BTreeMap<K, Vec<ClientOrderId>>, key: &K, id: &ClientOrderId) {
    if let Some(ids) = index.get_mut(key) {
        ids.retain(|one| one != id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
