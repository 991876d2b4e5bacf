//! One order's status, and orders as broker and ledger know them together.
//!
//! The ledger's part is the caller's own only: what others asked for isn't told here.

use super::account::page;
use super::orders::unread_part;
use super::{Asked, Done, refusal_body};
use crate::brokers::{account_mode, error_body};
use crate::engine::{OrderEntry, Owner, Whose, owner_of};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, ClientOrderId, ErrorCode, Listed, SignedPrice, Untrusted,
};
use ibkr_agent_protocol::catalogue::order_history::{
    DEFAULT_HISTORY, HistoricOrder, HistoricOrderOutput, KnownTo, OrderStatus, OrderStatusOutput,
    OrdersHistory, OrdersHistoryOutput, RequestOutput, history_table,
};
use ibkr_agent_protocol::catalogue::orders::BrokerOrderOutput;
use ibkr_agent_protocol::catalogue::{
    BrokerText, Detail, MAX_ROWS, PartFailure, Wire, count, offset,
};
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::{BTreeMap, BTreeSet};

impl Asked<'_> {
    /// Whose approvals and requests this caller may see.
    pub(super) fn owner(&self) -> Owner {
        owner_of(&self.caller.requester)
    }

    pub(super) async fn order_status(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OrderStatus>()?;
        let id = input.broker_order_id.0;
        let routed = self.routed(input.account_id.as_ref()).await?;
        let account = &routed.info.id;
        let order = routed.broker.order(&id).await.map_err(|error| error_body(&error))?;
        if order.account != *account {
            let message = format!("{account} has no order {id}");
            return Err(ErrorBody::new(ErrorCode::OrderNotFound, message));
        }
        let own = self.own_orders(account, vec![order.clone()]).await?;
        let request = own.of(&order).map(request_output);
        let output = OrderStatusOutput {
            account_id: Wire(account.clone()),
            backend: Wire(self.core.backend),
            mode: Wire(account_mode(&routed)),
            as_of: Wire(self.now()),
            is_open: order.status.is_open(),
            order: BrokerOrderOutput::from(&order),
            request,
        };
        Done::read(&output, Some(account.clone()))
    }

    pub(super) async fn orders_history(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OrdersHistory>()?;
        input.check_range()?;
        let limit = count("limit", input.limit, DEFAULT_HISTORY, MAX_ROWS)?;
        let start = offset(input.cursor.as_ref())?;
        let routed = self.routed(input.account_id.as_ref()).await?;
        let account = &routed.info.id;
        let mut missing = Vec::new();
        let listed = match routed.broker.orders(account).await {
            Ok(orders) => orders,
            Err(error) => {
                missing.push(PartFailure::new("orders at the broker", error_body(&error)));
                Listed::default()
            }
        };
        missing.extend(unread_part("orders at the broker", &listed.unread));
        let own = self.own_orders(account, listed.rows.clone()).await?;
        let mut wanted = merged(&listed.rows, &own);
        wanted.retain(|order| input.admits(order));
        let full = input.detail == Some(Wire(Detail::Full));
        let as_of = self.now();
        Done::fitting(limit, Some(account.clone()), |limit| {
            let (shown, next_cursor) = page(&wanted, start, limit);
            OrdersHistoryOutput {
                account_id: Wire(account.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(as_of),
                total: wanted.len(),
                table: (!full).then(|| history_table(shown)),
                orders: full.then(|| shown.iter().map(HistoricOrderOutput::from).collect()),
                missing: missing.clone(),
                next_cursor,
            }
        })
    }

    /// The caller's own orders of an account, and which of the broker's orders they are.
    async fn own_orders(
        &self,
        account: &AccountId,
        listed: Vec<BrokerOrder>,
    ) -> Result<Own, ErrorBody> {
        let (owner, account) = (self.owner(), account.clone());
        let look = self.core.engine.look(move |engine, _| {
            let own = engine.orders().filter(|o| o.owner == owner && *o.account() == account);
            let ours = |row: &BrokerOrder| match engine.whose_order(row) {
                Whose::Ours(entry) if entry.owner == owner => {
                    Some((row.order_id.clone(), entry.id.clone()))
                }
                Whose::Ours(_) | Whose::Unsure | Whose::Foreign => None,
            };
            Own { orders: own.cloned().collect(), listed: listed.iter().filter_map(ours).collect() }
        });
        look.await.map_err(refusal_body)
    }
}

/// A caller's own orders of an account.
struct Own {
    orders: Vec<OrderEntry>,
    /// Which of them the broker's orders are.
    listed: BTreeMap<BrokerOrderId, ClientOrderId>,
}

impl Own {
    fn of(&self, order: &BrokerOrder) -> Option<&OrderEntry> {
        let id = self.listed.get(&order.order_id)?;
        self.orders.iter().find(|entry| entry.id == *id)
    }
}

fn request_output(entry: &OrderEntry) -> RequestOutput {
    RequestOutput {
        status: Wire(entry.state),
        client_order_id: Wire(entry.id.clone()),
        approval_id: Wire(entry.approval.clone()),
        order: entry.order.summary(),
        created_at: Wire(entry.created_at),
        updated_at: Wire(entry.updated_at),
        reason: entry.reason.map(Wire),
        message: entry.words(),
        broker_message: entry.broker_words().map(|text| BrokerText::from(Untrusted::new(text))),
    }
}

/// The broker's orders with the caller's own, each once, newest first, those without a time last.
fn merged(listed: &[BrokerOrder], own: &Own) -> Vec<HistoricOrder> {
    let mut matched: BTreeSet<&str> = BTreeSet::new();
    let mut orders: Vec<HistoricOrder> = Vec::with_capacity(listed.len() + own.orders.len());
    for order in listed {
        let entry = own.of(order);
        matched.extend(entry.map(|entry| entry.id.as_str()));
        orders.push(at_broker(order, entry));
    }
    let rest = own.orders.iter().filter(|entry| !matched.contains(entry.id.as_str()));
    orders.extend(rest.map(in_ledger));
    orders.sort_by_key(|order| core::cmp::Reverse(order.time));
    orders
}

fn at_broker(order: &BrokerOrder, entry: Option<&OrderEntry>) -> HistoricOrder {
    HistoricOrder {
        time: order.updated.or_else(|| entry.map(|entry| entry.updated_at)),
        known_to: if entry.is_some() { KnownTo::Both } else { KnownTo::Broker },
        broker_order_id: Some(order.order_id.clone()),
        client_order_id: order.reference.clone().or_else(|| entry.map(|entry| entry.id.clone())),
        symbol: order.symbol.clone(),
        side: order.side,
        quantity: order.quantity,
        filled: order.filled,
        kind: order.kind.clone(),
        limit_price: order.limit_price,
        average_price: order.average_price,
        status: order.status.as_str(),
        is_open: order.status.is_open(),
        at_broker: Some(order.clone()),
    }
}

fn in_ledger(entry: &OrderEntry) -> HistoricOrder {
    let terms = entry.order.terms();
    HistoricOrder {
        time: Some(entry.updated_at),
        known_to: KnownTo::Gateway,
        broker_order_id: entry.broker_order_id.clone(),
        client_order_id: Some(entry.id.clone()),
        symbol: Untrusted::new(entry.order.symbol()),
        side: Some(terms.side),
        quantity: Some(terms.quantity.get()),
        filled: entry.filled,
        kind: Untrusted::new(&terms.pricing.order_type().as_str().to_ascii_uppercase()),
        limit_price: terms.pricing.limit().map(SignedPrice::get),
        average_price: entry.average_price,
        status: entry.state.as_str(),
        is_open: !entry.state.is_final(),
        at_broker: None,
    }
}
