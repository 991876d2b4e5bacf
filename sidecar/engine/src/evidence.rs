//! What the broker's orders and trades show of the orders that this gateway recorded.

use crate::{Effect, Engine, Now, OrderEntry};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderStatus, Execution, OrderEvent, OrderState,
};
use rust_decimal::Decimal;

impl Engine {
    /// Orders and trades as the broker shows them.
    pub(super) fn evidence(
        &mut self,
        account: &AccountId,
        orders: &[BrokerOrder],
        executions: &[Execution],
        now: Now,
    ) -> Vec<Effect> {
        let watched: Vec<OrderEntry> = self
            .orders
            .values()
            .filter(|entry| entry.account() == account && !is_settled(entry))
            .cloned()
            .collect();
        let mut effects = Vec::new();
        for entry in watched {
            let seen = sightings(&entry, orders, executions);
            if let Some(sighting) = seen {
                effects.extend(self.seen(&entry, sighting, now));
            }
        }
        effects.extend(self.find_foreign(account, orders, executions, now));
        effects
    }

    fn seen(&mut self, entry: &OrderEntry, sighting: Sighting, now: Now) -> Vec<Effect> {
        let unchanged = entry.filled == sighting.filled
            && (entry.broker_order_id.is_some() || sighting.order_id.is_none())
            && entry.average_price == sighting.average_price;
        let event = match sighting.status {
            Some(BrokerOrderStatus::Filled) => OrderEvent::FillSeen,
            Some(BrokerOrderStatus::Cancelled | BrokerOrderStatus::PreCancelled) => {
                OrderEvent::CancelSeen
            }
            // Inactive is held or rejected at its destination: a held one may work again.
            Some(
                BrokerOrderStatus::Inactive
                | BrokerOrderStatus::PendingSubmit
                | BrokerOrderStatus::PreSubmitted
                | BrokerOrderStatus::Submitted
                | BrokerOrderStatus::PendingCancel
                | BrokerOrderStatus::WarnState
                | BrokerOrderStatus::Other,
            )
            | None => OrderEvent::Accepted,
        };
        let same_state = ibkr_agent_domain::next(entry.state, event) == Ok(entry.state);
        if same_state && unchanged {
            return Vec::new();
        }
        self.transition(&entry.id, event, now, |entry| {
            entry.filled = sighting.filled;
            entry.average_price = sighting.average_price;
            if sighting.order_id.is_some() {
                entry.broker_order_id = sighting.order_id;
            }
            let message = match sighting.status {
                Some(BrokerOrderStatus::Inactive) => {
                    "the broker shows it inactive: held, or rejected at its destination"
                }
                Some(_) | None => "as the broker's orders and trades show",
            };
            message.clone_into(&mut entry.message);
        })
    }
}

/// What the broker shows of one order.
struct Sighting {
    order_id: Option<ibkr_agent_domain::BrokerOrderId>,
    status: Option<BrokerOrderStatus>,
    filled: Option<Decimal>,
    average_price: Option<Decimal>,
}

/// Finds an order among the broker's orders and trades: by reference, account and contract. One
/// reference may show up as several orders; the one that traded or is open counts.
fn sightings(
    entry: &OrderEntry,
    orders: &[BrokerOrder],
    executions: &[Execution],
) -> Option<Sighting> {
    let order = &entry.order;
    let same_order = |o: &&BrokerOrder| {
        o.reference.as_ref() == Some(&entry.id)
            && o.account == *order.account()
            && o.conid == order.conid()
            && o.side.is_none_or(|side| side == order.terms().side)
            && o.quantity.is_none_or(|quantity| quantity == order.terms().quantity.get())
    };
    let mut candidates: Vec<&BrokerOrder> = orders.iter().filter(same_order).collect();
    candidates.sort_by_key(|o| {
        (o.status == BrokerOrderStatus::Filled, o.status.is_open(), o.filled.unwrap_or_default())
    });
    let fills: Vec<&Execution> = executions
        .iter()
        .filter(|e| {
            e.reference.as_ref() == Some(&entry.id)
                && e.account == *order.account()
                && e.conid == order.conid()
                && e.side.is_none_or(|side| side == order.terms().side)
        })
        .collect();
    let filled = fills.iter().try_fold(Decimal::ZERO, |sum, e| sum.checked_add(e.quantity))?;
    let spent = fills
        .iter()
        .try_fold(Decimal::ZERO, |sum, e| sum.checked_add(e.quantity.checked_mul(e.price)?))?;
    let average = spent.checked_div(filled);
    let all_filled = filled >= order.terms().quantity.get();
    match (candidates.last(), fills.first()) {
        (None, None) => None,
        (None, Some(fill)) => Some(Sighting {
            order_id: fill.order_id.clone(),
            status: all_filled.then_some(BrokerOrderStatus::Filled),
            filled: Some(filled),
            average_price: average,
        }),
        (Some(seen), _) => Some(Sighting {
            order_id: Some(seen.order_id.clone()),
            status: Some(if all_filled { BrokerOrderStatus::Filled } else { seen.status }),
            filled: seen.filled.max((!fills.is_empty()).then_some(filled)),
            average_price: seen.average_price.or(average),
        }),
    }
}

/// Whether evidence can no longer change an order. A cancelled one may still turn out filled.
fn is_settled(entry: &OrderEntry) -> bool {
    matches!(entry.state, OrderState::Filled | OrderState::Rejected | OrderState::NotSent)
}
