//! Orders and trades as the broker lists them, and the what-if answer.

use super::{Scalar, unreadable, utc_time};
use crate::{BrokerError, WhatIf};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, Execution, Side,
};
use serde::Deserialize;

/// GET `/iserver/account/orders`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Orders {
    pub(crate) orders: Option<Vec<OrderRow>>,
}

/// One order.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OrderRow {
    order_id: Scalar,
    account: Scalar,
    acct: Scalar,
    conid: Scalar,
    ticker: Scalar,
    description1: Scalar,
    side: Scalar,
    total_size: Scalar,
    filled_quantity: Scalar,
    remaining_quantity: Scalar,
    price: Scalar,
    avg_price: Scalar,
    order_type: Scalar,
    status: Scalar,
    #[serde(rename = "order_ref")]
    reference: Scalar,
    #[serde(rename = "lastExecutionTime_r")]
    updated: Scalar,
}

impl OrderRow {
    pub(crate) fn has_reference(&self) -> bool {
        self.reference.as_str().is_some()
    }

    /// The order and the account that a row of the stream is of, if it says.
    pub(crate) fn names(&self) -> Option<(BrokerOrderId, AccountId)> {
        let account = self.account.account().or_else(|| self.acct.account())?;
        Some((self.order_id.order_id()?, account))
    }

    /// Whether the row tells more than that something changed.
    pub(crate) fn has_status(&self) -> bool {
        self.status.as_str().is_some()
    }

    /// Lays what this row tells over what is known of the order.
    pub(crate) fn onto(&self, known: &mut BrokerOrder) {
        if let Some(status) = self.status.as_str() {
            known.status = BrokerOrderStatus::parse(status);
        }
        if let Some(kind) = self.order_type.untrusted() {
            known.kind = kind;
        }
        known.reference = reference(&self.reference).or(known.reference.take());
        known.side = side(&self.side).or(known.side);
        known.quantity = self.total_size.decimal().or(known.quantity);
        known.filled = self.filled_quantity.decimal().or(known.filled);
        known.limit_price = self.price.decimal().or(known.limit_price);
        known.average_price = self.avg_price.decimal().or(known.average_price);
        known.updated = self.updated.millis().or(known.updated);
    }

    pub(crate) fn into_order(self, asked: &AccountId) -> Result<BrokerOrder, BrokerError> {
        let told = self.account.account().or_else(|| self.acct.account());
        let filled = self.filled_quantity.decimal();
        let rest = self.remaining_quantity.decimal();
        let sum = || filled.and_then(|filled| filled.checked_add(rest?));
        Ok(BrokerOrder {
            order_id: self.order_id.order_id().ok_or(unreadable("id of an order"))?,
            reference: reference(&self.reference),
            account: told.unwrap_or_else(|| asked.clone()),
            conid: self.conid.conid().ok_or(unreadable("contract id of an order"))?,
            symbol: self.ticker.untrusted().unwrap_or_else(|| self.description1.shown()),
            side: side(&self.side),
            quantity: self.total_size.decimal().or_else(sum),
            filled,
            limit_price: self.price.decimal(),
            average_price: self.avg_price.decimal(),
            kind: self.order_type.shown(),
            status: BrokerOrderStatus::parse(self.status.as_str().unwrap_or_default()),
            updated: self.updated.millis(),
        })
    }
}

/// GET `/iserver/account/order/status/{id}`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct OrderStatus {
    order_id: Scalar,
    account: Scalar,
    conid: Scalar,
    symbol: Scalar,
    side: Scalar,
    total_size: Scalar,
    cum_fill: Scalar,
    limit_price: Scalar,
    average_price: Scalar,
    order_type: Scalar,
    order_status: Scalar,
    order_ref: Scalar,
}

impl TryFrom<OrderStatus> for BrokerOrder {
    type Error = BrokerError;

    fn try_from(raw: OrderStatus) -> Result<Self, BrokerError> {
        Ok(Self {
            order_id: raw.order_id.order_id().ok_or(unreadable("id of an order"))?,
            reference: reference(&raw.order_ref),
            account: raw.account.account().ok_or(unreadable("account of an order"))?,
            conid: raw.conid.conid().ok_or(unreadable("contract id of an order"))?,
            symbol: raw.symbol.shown(),
            side: side(&raw.side),
            quantity: raw.total_size.decimal(),
            filled: raw.cum_fill.decimal(),
            limit_price: raw.limit_price.decimal(),
            average_price: raw.average_price.decimal(),
            kind: raw.order_type.shown(),
            status: BrokerOrderStatus::parse(raw.order_status.as_str().unwrap_or_default()),
            updated: None,
        })
    }
}

/// A row of `/iserver/account/trades`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TradeRow {
    execution_id: Scalar,
    order_id: Scalar,
    order_ref: Scalar,
    account: Scalar,
    #[serde(rename = "accountCode")]
    account_code: Scalar,
    conid: Scalar,
    symbol: Scalar,
    side: Scalar,
    size: Scalar,
    price: Scalar,
    commission: Scalar,
    exchange: Scalar,
    trade_time: Scalar,
    trade_time_r: Scalar,
}

impl TradeRow {
    /// Whether the fill is another account's.
    pub(crate) fn is_of_another(&self, account: &AccountId) -> bool {
        self.told_account().is_some_and(|told| told != *account)
    }

    fn has_reference(&self) -> bool {
        self.order_ref.as_str().is_some()
    }

    pub(crate) fn told_account(&self) -> Option<AccountId> {
        self.account.account().or_else(|| self.account_code.account())
    }

    pub(crate) fn into_execution(self, asked: &AccountId) -> Result<Execution, BrokerError> {
        let time = self.trade_time_r.millis().or_else(|| utc_time(self.trade_time.as_str()?));
        Ok(Execution {
            id: self.execution_id.untrusted().ok_or(unreadable("id of a trade"))?,
            order_id: self.order_id.order_id(),
            reference: reference(&self.order_ref),
            account: self.told_account().unwrap_or_else(|| asked.clone()),
            conid: self.conid.conid().ok_or(unreadable("contract id of a trade"))?,
            symbol: self.symbol.shown(),
            side: side(&self.side),
            quantity: self.size.decimal().ok_or(unreadable("size of a trade"))?,
            price: self.price.decimal().ok_or(unreadable("price of a trade"))?,
            commission: self.commission.decimal(),
            exchange: self.exchange.shown(),
            time: time.ok_or(unreadable("time of a trade"))?,
        })
    }
}

fn reference(scalar: &Scalar) -> Option<ClientOrderId> {
    ClientOrderId::parse(scalar.as_str()?).ok()
}

/// `BUY`, `B`, `SELL`, `S` and the like.
fn side(scalar: &Scalar) -> Option<Side> {
    match scalar.as_str()?.chars().next()? {
        'B' | 'b' => Some(Side::Buy),
        'S' | 's' => Some(Side::Sell),
        _ => None,
    }
}

/// POST `…/orders/whatif`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct WhatIfAnswer {
    amount: WhatIfAmount,
    equity: WhatIfChange,
    initial: WhatIfChange,
    maintenance: WhatIfChange,
    warn: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WhatIfAmount {
    commission: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WhatIfChange {
    after: Scalar,
}

impl From<WhatIfAnswer> for WhatIf {
    fn from(raw: WhatIfAnswer) -> Self {
        Self {
            commission: raw.amount.commission.untrusted(),
            initial_margin_after: raw.initial.after.untrusted(),
            maintenance_margin_after: raw.maintenance.after.untrusted(),
            equity_after: raw.equity.after.untrusted(),
            warning: raw.warn.untrusted(),
        }
    }
}

/// What keeps a listed order from being lost: its reference must be readable, the rest of a foreign
/// row need not be.
pub(crate) fn orders(
    rows: Vec<OrderRow>,
    account: &AccountId,
) -> Result<Vec<BrokerOrder>, BrokerError> {
    let mut orders = Vec::with_capacity(rows.len());
    let mut skipped = 0_usize;
    for row in rows {
        let is_referenced = row.has_reference();
        match row.into_order(account) {
            Ok(order) if order.account == *account => orders.push(order),
            Ok(_) => {}
            Err(error) if is_referenced => return Err(error),
            Err(_) => skipped = skipped.saturating_add(1),
        }
    }
    if skipped > 0 {
        tracing::warn!(orders.skipped = skipped, "orders of a form that isn't understood");
    }
    Ok(orders)
}

/// The same of trades: one foreign row of another form mustn't hide what became of our orders.
pub(crate) fn executions(
    rows: Vec<TradeRow>,
    account: &AccountId,
) -> Result<Vec<Execution>, BrokerError> {
    let mut executions = Vec::with_capacity(rows.len());
    let mut skipped = 0_usize;
    for row in rows.into_iter().filter(|row| !row.is_of_another(account)) {
        let is_referenced = row.has_reference();
        match row.into_execution(account) {
            Ok(execution) => executions.push(execution),
            Err(error) if is_referenced => return Err(error),
            Err(_) => skipped = skipped.saturating_add(1),
        }
    }
    if skipped > 0 {
        tracing::warn!(trades.skipped = skipped, "trades of a form that isn't understood");
    }
    Ok(executions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::parse("DU1").unwrap()
    }

    #[test]
    fn a_row_with_our_reference_must_be_readable_and_a_foreign_one_may_be_skipped() {
        let good = r#"{"orderId":7,"conid":265598,"order_ref":"ia1","status":"Submitted",
            "side":"BUY","totalSize":5.0,"filledQuantity":0.0,"price":"230.10","acct":"DU1"}"#;
        let combo = r#"{"orderId":8,"conidex":"28812380;;;1/1,2/-1","acct":"DU1"}"#;
        let broken = r#"{"orderId":"-1","conid":1,"order_ref":"ia2","acct":"DU1"}"#;
        let rows = |texts: &[&str]| -> Vec<OrderRow> {
            texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
        };
        let read = orders(rows(&[good, combo]), &account()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].status, BrokerOrderStatus::Submitted);
        assert_eq!(read[0].limit_price.unwrap().to_string(), "230.1");
        assert!(orders(rows(&[good, broken]), &account()).is_err());
    }

    #[test]
    fn a_foreign_trade_of_another_form_hides_no_trade_of_ours() {
        let ours = r#"{"execution_id":"e1","order_id":7,"order_ref":"ia1","account":"DU1",
            "conid":1,"size":5,"price":"10","trade_time_r":1702317649000}"#;
        let foreign = r#"{"execution_id":"e2","account":"DU1","conidEx":"1;;;2/1,3/-1","size":1}"#;
        let broken = r#"{"execution_id":"e3","account":"DU1","order_ref":"ia2","size":1}"#;
        let rows = |texts: &[&str]| -> Vec<TradeRow> {
            texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
        };
        let read = executions(rows(&[ours, foreign]), &account()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].id.to_string(), "e1");
        assert!(executions(rows(&[ours, broken]), &account()).is_err());
    }

    #[test]
    fn another_accounts_order_is_left_out() {
        let row = r#"{"orderId":7,"conid":1,"acct":"DU2","order_ref":"x"}"#;
        let rows = vec![serde_json::from_str(row).unwrap()];
        assert_eq!(orders(rows, &account()), Ok(Vec::new()));
    }

    #[test]
    fn trade_times_are_utc() {
        let time = utc_time("20231211-18:00:49").unwrap();
        assert_eq!(time.to_string(), "2023-12-11T18:00:49.000Z");
        assert_eq!(utc_time("today"), None);
    }
}
