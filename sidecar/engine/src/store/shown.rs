//! The stored form of what the broker showed of an order: its rows and its fills.

use super::rows::{damaged, decimal, decimal_option};
use crate::{Fill, Incarnation};
use ibkr_agent_audit::StoreFailure;
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, BrokerTimeInForce,
    Conid, Side, Timestamp, Untrusted,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// One order at the broker under our reference. The reference, account and contract are the
/// order's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    order_id: String,
    first_seen: i64,
    side: Option<String>,
    quantity: Option<String>,
    filled: Option<String>,
    kind: String,
    limit_price: Option<String>,
    trigger_price: Option<String>,
    average_price: Option<String>,
    time_in_force: Option<String>,
    status: String,
    cancel_reason: Option<String>,
}

impl From<&Incarnation> for Shown {
    fn from(one: &Incarnation) -> Self {
        let row = &one.order;
        let text = |value: Option<Decimal>| value.map(|value| value.to_string());
        Self {
            order_id: row.order_id.to_string(),
            first_seen: one.first_seen.as_millis(),
            side: row.side.map(|side| side.to_string()),
            quantity: text(row.quantity),
            filled: text(row.filled),
            kind: row.kind.as_str().to_owned(),
            limit_price: text(row.limit_price),
            trigger_price: text(row.trigger_price),
            average_price: text(row.average_price),
            time_in_force: row.time_in_force.as_ref().map(|told| told.as_str().to_owned()),
            status: row.status.as_str().to_owned(),
            cancel_reason: row.cancel_reason.as_ref().map(|told| told.as_str().to_owned()),
        }
    }
}

impl Shown {
    pub(super) fn read(
        self,
        account: &AccountId,
        conid: Conid,
    ) -> Result<Incarnation, StoreFailure> {
        let side = match self.side.as_deref() {
            Some("buy") => Some(Side::Buy),
            Some("sell") => Some(Side::Sell),
            None => None,
            Some(_) => return Err(StoreFailure::Damaged),
        };
        let id = BrokerOrderId::parse(&self.order_id).map_err(damaged)?;
        let order = BrokerOrder {
            side,
            quantity: decimal_option(self.quantity.as_ref())?,
            filled: decimal_option(self.filled.as_ref())?,
            order_type: BrokerOrderType::parse(&self.kind),
            kind: Untrusted::new(&self.kind),
            limit_price: decimal_option(self.limit_price.as_ref())?,
            trigger_price: decimal_option(self.trigger_price.as_ref())?,
            average_price: decimal_option(self.average_price.as_ref())?,
            time_in_force: self.time_in_force.as_deref().map(BrokerTimeInForce::parse),
            status: BrokerOrderStatus::parse(&self.status),
            cancel_reason: self.cancel_reason.as_deref().map(Untrusted::new),
            ..BrokerOrder::of(id, account.clone(), conid)
        };
        Ok(Incarnation { first_seen: Timestamp::from_millis(self.first_seen), order })
    }
}

/// One fill.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredFill {
    id: String,
    order: Option<String>,
    revision: u32,
    quantity: String,
    price: String,
}

impl StoredFill {
    pub(super) fn of((id, fill): (&String, &Fill)) -> Self {
        Self {
            id: id.clone(),
            order: fill.order.as_ref().map(BrokerOrderId::to_string),
            revision: fill.revision,
            quantity: fill.quantity.to_string(),
            price: fill.price.to_string(),
        }
    }

    pub(super) fn read(self) -> Result<(String, Fill), StoreFailure> {
        let order = self.order.map(|id| BrokerOrderId::parse(&id)).transpose().map_err(damaged)?;
        let fill = Fill {
            order,
            revision: self.revision,
            quantity: decimal(&self.quantity)?,
            price: decimal(&self.price)?,
        };
        Ok((self.id, fill))
    }
}
