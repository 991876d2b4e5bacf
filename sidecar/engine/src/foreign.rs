//! Orders and trades at the broker that this gateway didn't make: seen once, recorded, told.
//!
//! Evidence of an account is compared with the ledger's orders, by broker id and by reference. What
//! fits none is somebody else's: a platform, a phone, or whoever reached the broker's gateway past
//! us. Nothing is done to it. What was told is remembered in the store, so that a restart tells
//! nothing twice; the oldest are forgotten, since the broker shows a week at most.

use crate::owner::Whose;
use crate::{After, Effect, Engine, Notice, Now, Payload, Row, system_record};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, Execution, RecordKind, Reference, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ids that one record and one notice name; the rest is counted.
const NAMED: usize = 5;
/// The broker shows trades of seven days: what is older can't come again.
const REMEMBERED: Duration = Duration::from_secs(9 * 24 * 3600);
/// Most ids that are remembered; more in nine days is told as it comes.
const MOST: usize = 20_000;

/// What was told of already: an account's order, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEntry {
    /// The account.
    pub account: AccountId,
    /// IBKR's id of the order, or of the order that a trade filled, or of the trade itself.
    pub order: String,
    /// When it was told.
    pub seen_at: Timestamp,
}

/// What was told of, by account and id.
#[derive(Debug, Default)]
pub(super) struct Foreign(BTreeMap<(AccountId, String), Timestamp>);

impl Foreign {
    pub(super) fn restore(entries: Vec<ForeignEntry>) -> Self {
        let entries = entries.into_iter();
        Self(entries.map(|entry| ((entry.account, entry.order), entry.seen_at)).collect())
    }

    fn knows(&self, account: &AccountId, id: &str) -> bool {
        self.0.contains_key(&(account.clone(), id.to_owned()))
    }

    /// Forgets what can't come again; gives what it forgot.
    fn prune(&mut self, now: Timestamp) -> Vec<Row> {
        let mut old: Vec<(AccountId, String)> = Vec::new();
        for (key, seen_at) in &self.0 {
            if now.since(*seen_at) > REMEMBERED {
                old.push(key.clone());
            }
        }
        for key in &old {
            self.0.remove(key);
        }
        old.into_iter().map(|(account, order)| Row::ForgetForeign(account, order)).collect()
    }
}

impl Engine {
    /// Tells what the broker shows and no record of ours explains.
    pub(super) fn find_foreign(
        &mut self,
        account: &AccountId,
        orders: &[BrokerOrder],
        executions: &[Execution],
        now: Now,
    ) -> Option<Effect> {
        let mut fresh: BTreeSet<String> = BTreeSet::new();
        for order in orders.iter().filter(|order| order.account == *account) {
            if let Whose::Foreign = self.whose(order.into()) {
                fresh.insert(order.order_id.to_string());
            }
        }
        for fill in executions.iter().filter(|fill| fill.account == *account) {
            if let Whose::Foreign = self.whose(fill.into()) {
                let trade = || format!("trade:{}", fill.id);
                fresh.insert(fill.order_id.as_ref().map_or_else(trade, ToString::to_string));
            }
        }
        fresh.retain(|id| !self.foreign.knows(account, id));
        if fresh.is_empty() {
            return None;
        }
        let mut rows = self.foreign.prune(now.wall);
        for id in &fresh {
            if self.foreign.0.len() < MOST {
                self.foreign.0.insert((account.clone(), id.clone()), now.wall);
                rows.push(Row::Foreign(ForeignEntry {
                    account: account.clone(),
                    order: id.clone(),
                    seen_at: now.wall,
                }));
            }
        }
        let mut record = system_record(RecordKind::Notice);
        record.account = Some(account.clone());
        record.details.push("foreign_order");
        let named = fresh.iter().take(NAMED).filter_map(|id| BrokerOrderId::parse(id).ok());
        record.references.extend(named.map(Reference::BrokerOrder));
        let count = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        record.references.push(Reference::Count(count));
        let notice = Notice::ForeignOrders {
            account: account.clone(),
            orders: fresh.into_iter().take(NAMED).collect(),
            count,
        };
        let after = After::Notice(Box::new(notice));
        Some(self.commit(Vec::new(), rows, Payload::Record(record), after, now))
    }
}
