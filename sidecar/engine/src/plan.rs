//! The orders of a plan among all orders: their references, which are placed together, and what
//! stands in their way.

use crate::{Engine, OrderEntry, Refusal};
use ibkr_agent_domain::{
    ApprovalId, CanonicalOrder, ClientOrderId, ErrorCode, OrderPlan, OrderState, Timestamp,
    client_order_id,
};
use rust_decimal::Decimal;

impl Engine {
    /// Whether an order in doubt stands on the account and the contract of an order of the plan.
    pub(super) fn in_doubt(&self, plan: &OrderPlan) -> bool {
        plan.orders().iter().any(|order| {
            let mut open = self.orders.open_on(order.account(), order.conid());
            let is_same = |entry: &OrderEntry| {
                entry.account() == order.account() && entry.order.conid() == order.conid()
            };
            open.any(|entry| entry.state.is_in_doubt() || !entry.findings().is_empty())
                || self.unread.keys().any(|id| self.orders.get(id).is_some_and(is_same))
        })
    }

    /// Our references for the orders of a plan under an approval.
    pub(super) fn references(
        &self,
        plan: &OrderPlan,
        approval: &ApprovalId,
    ) -> Result<Vec<ClientOrderId>, Refusal> {
        let (sidecar, account) = (&self.config.sidecar, plan.account());
        let each = plan
            .legs()
            .map(|(leg, _)| client_order_id(sidecar, account, approval.as_str(), leg.number()));
        let all: Result<Vec<_>, _> = each.collect();
        all.map_err(|_| Refusal::new(ErrorCode::InternalError, "no order reference"))
    }

    /// The orders that were placed with one, itself among them.
    pub(super) fn placed_with(&self, entry: &OrderEntry) -> Vec<ClientOrderId> {
        let approval = entry.approval.as_str();
        let (sidecar, account) = (&self.config.sidecar, entry.account());
        let numbers = 0..entry.leg.of().get();
        let each = numbers.map(|leg| client_order_id(sidecar, account, approval, leg));
        let others = each
            .filter_map(Result::ok)
            .filter(|id| *id != entry.id && self.orders.get(id).is_some());
        core::iter::once(entry.id.clone()).chain(others).collect()
    }

    /// What our own orders of the same account, contract and side may add to the position without
    /// the facts showing it: those whose answer isn't there, and those that changed after the
    /// reading of the facts began. Counting one twice only takes an exemption away.
    pub(super) fn under_way_of(
        &self,
        plan: &OrderPlan,
        own: &[ClientOrderId],
        since: Timestamp,
    ) -> Decimal {
        let each = plan.orders().iter().map(|order| self.under_way(order, own, since));
        each.fold(Decimal::ZERO, Decimal::saturating_add)
    }

    fn under_way(
        &self,
        order: &CanonicalOrder,
        own: &[ClientOrderId],
        since: Timestamp,
    ) -> Decimal {
        // Those that can still change, and those that ended after the facts were read.
        let open = self.orders.open_on(order.account(), order.conid());
        let same = open.chain(self.orders.ended_since(since)).filter(|entry| {
            !own.contains(&entry.id)
                && entry.account() == order.account()
                && entry.order.conid() == order.conid()
                && entry.order.terms().side == order.terms().side
        });
        let unseen = same.filter(|entry| match entry.state {
            OrderState::Intended | OrderState::Question | OrderState::Unknown => true,
            OrderState::Working
            | OrderState::Held
            | OrderState::PendingCancel
            | OrderState::Filled
            | OrderState::Cancelled
            | OrderState::Expired => entry.updated_at >= since,
            OrderState::Rejected | OrderState::NotSent => false,
        });
        let quantity = |entry: &OrderEntry| entry.order.terms().quantity.get();
        unseen.fold(Decimal::ZERO, |sum, entry| sum.saturating_add(quantity(entry)))
    }
}
