//! What others may look at in the engine. Nothing here changes it.

use crate::{ApprovalEntry, Engine, HaltEntry, OperatorKeyEntry, OrderEntry, owner_of};
use ibkr_agent_domain::{AccountId, BrokerOrderId};
use ibkr_agent_gates::Requester;
use ibkr_agent_protocol::catalogue::resources::Resource;
use std::collections::BTreeSet;

impl Engine {
    /// Why trading is or isn't halted.
    #[must_use]
    pub const fn halt_entry(&self) -> &HaltEntry {
        &self.halt
    }

    /// The enrolled operator keys.
    pub fn operator_keys(&self) -> impl Iterator<Item = &OperatorKeyEntry> {
        self.operator_keys.values()
    }

    /// Every recorded order.
    pub fn orders(&self) -> impl Iterator<Item = &OrderEntry> {
        self.orders.values()
    }

    /// The order that the broker knows by an id of its own.
    #[must_use]
    pub fn order_at_broker(
        &self,
        account: &AccountId,
        order: &BrokerOrderId,
    ) -> Option<&OrderEntry> {
        self.orders.at_broker(account, order)
    }

    /// Every approval.
    pub fn approvals(&self) -> impl Iterator<Item = &ApprovalEntry> {
        self.approvals.values()
    }

    /// Whether the log takes writes, as far as the engine has seen.
    #[must_use]
    pub const fn is_audit_writable(&self) -> bool {
        self.audit_writable
    }

    /// Accounts that have an order whose state can still change.
    #[must_use]
    pub fn accounts_to_watch(&self) -> BTreeSet<AccountId> {
        self.orders.open().map(|order| order.account().clone()).collect()
    }

    /// Whether an approval or an order is a requester's own; of other resources nobody is.
    #[must_use]
    pub fn is_owner(&self, requester: &Requester, resource: &Resource) -> bool {
        let owner = owner_of(requester);
        match resource {
            Resource::Approval(id) => self.approvals.get(id).is_some_and(|a| a.owner == owner),
            Resource::Order(id) => self.orders.get(id).is_some_and(|o| o.owner == owner),
            Resource::Positions(_)
            | Resource::Orders(_)
            | Resource::ProfitAndLoss(_)
            | Resource::Quote(_) => false,
        }
    }
}
