//! Orders as the broker lists them, and one order's status.
//!
//! A `price` means what the order's kind makes of it: IBKR's text gives the list one price for
//! every kind and the ticket's says that a stop's price is its trigger. A row that can't be read
//! costs itself only and is told, never left out.

use super::many::Row;
use super::{Many, Scalar};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, BrokerTimeInForce,
    ClientOrderId, Conid, Listed, Side, Trailing, TrailingUnit, UnreadRow,
};
use rust_decimal::Decimal;
use serde::Deserialize;

/// GET `/iserver/account/orders`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Orders {
    orders: Many<Row<OrderRow>>,
}

/// One order. `auxPrice`, `parentId`, `ocaGroupId` and `outsideRTH` were recorded and aren't in
/// IBKR's text of the list; `trailingAmt` and `trailingType` are a ticket's names, read in case.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OrderRow {
    order_id: Scalar,
    account: Scalar,
    acct: Scalar,
    conid: Scalar,
    conidex: Scalar,
    ticker: Scalar,
    description1: Scalar,
    side: Scalar,
    total_size: Scalar,
    filled_quantity: Scalar,
    remaining_quantity: Scalar,
    price: Scalar,
    aux_price: Scalar,
    trailing_amt: Scalar,
    trailing_type: Scalar,
    avg_price: Scalar,
    order_type: Scalar,
    orig_order_type: Scalar,
    time_in_force: Scalar,
    #[serde(rename = "outsideRTH")]
    outside_hours: Scalar,
    parent_id: Scalar,
    oca_group_id: Scalar,
    status: Scalar,
    order_desc: Scalar,
    #[serde(rename = "order_cancellation_by_system_reason")]
    cancel_reason: Scalar,
    #[serde(rename = "order_ref")]
    reference: Scalar,
    #[serde(rename = "lastExecutionTime_r")]
    updated: Scalar,
}

impl OrderRow {
    /// The order and the account that a row of the stream is of, if it says.
    pub(crate) fn names(&self) -> Option<(BrokerOrderId, AccountId)> {
        Some((self.order_id.order_id()?, self.told_account()?))
    }

    fn told_account(&self) -> Option<AccountId> {
        self.account.account().or_else(|| self.acct.account())
    }

    /// Whether the row tells more than that something changed.
    pub(crate) fn has_status(&self) -> bool {
        self.status.as_str().is_some()
    }

    /// Lays what this row tells over what is known of the order.
    pub(crate) fn onto(self, known: &mut BrokerOrder) {
        let status = self.status.as_str().map(BrokerOrderStatus::parse).unwrap_or(known.status);
        let mut told = BrokerOrder::of(known.order_id.clone(), known.account.clone(), known.conid);
        told.symbol = known.symbol.clone();
        self.fill(&mut told, known.order_type);
        told.status = status;
        *known = told.over(known);
    }

    /// What isn't an order, with what of it can be read.
    pub(crate) fn into_order(self, asked: &AccountId) -> Result<BrokerOrder, UnreadRow> {
        let Some(order_id) = self.order_id.order_id() else {
            return Err(self.unread("id of an order"));
        };
        let Some(conid) = contract(&self.conid, &self.conidex) else {
            return Err(self.unread("contract id of an order"));
        };
        let account = self.told_account().unwrap_or_else(|| asked.clone());
        let mut order = BrokerOrder::of(order_id, account, conid);
        order.symbol = self.ticker.untrusted().unwrap_or_else(|| self.description1.shown());
        order.status = BrokerOrderStatus::parse(self.status.as_str().unwrap_or_default());
        self.fill(&mut order, BrokerOrderType::Other);
        Ok(order)
    }

    /// All but what names the order and its status. A thin row leaves the kind out: then its prices
    /// mean what they mean for the kind that is known.
    fn fill(self, order: &mut BrokerOrder, known: BrokerOrderType) {
        let kind = self.order_type.untrusted().or_else(|| self.orig_order_type.untrusted());
        order.order_type =
            kind.as_ref().map_or(known, |kind| BrokerOrderType::parse(kind.as_str()));
        order.kind = kind.unwrap_or_default();
        let prices = Prices::of(order.order_type, &self.price, &self.aux_price);
        order.limit_price = prices.limit;
        order.trigger_price = prices.trigger;
        order.other_price = prices.other;
        order.trailing = trailing(&self.trailing_amt, &self.trailing_type);
        let (filled, rest) = (self.filled_quantity.decimal(), self.remaining_quantity.decimal());
        let sum = || filled.and_then(|filled| filled.checked_add(rest?));
        order.reference = reference(&self.reference);
        order.side = side(&self.side);
        order.quantity = self.total_size.decimal().or_else(sum);
        order.filled = filled;
        order.remaining = rest;
        order.average_price = self.avg_price.decimal();
        order.time_in_force = self.time_in_force.as_str().map(BrokerTimeInForce::parse);
        order.outside_hours = self.outside_hours.is_true();
        order.parent = self.parent_id.order_id();
        order.oca_group = self.oca_group_id.untrusted();
        order.cancel_reason = self.cancel_reason.untrusted();
        order.description = self.order_desc.untrusted();
        order.updated = self.updated.millis();
    }

    fn unread(&self, why: &'static str) -> UnreadRow {
        UnreadRow {
            order_id: self.order_id.order_id(),
            reference: reference(&self.reference),
            account: self.told_account(),
            conid: contract(&self.conid, &self.conidex),
            contract: self.conidex.untrusted(),
            status: self.status.as_str().map(BrokerOrderStatus::parse),
            why,
        }
    }
}

/// Prices by what they do.
struct Prices {
    limit: Option<Decimal>,
    trigger: Option<Decimal>,
    other: Option<Decimal>,
}

impl Prices {
    /// A price of no known meaning for the kind is neither limit nor trigger. An order at the
    /// market has none, which some answers write as zero.
    fn of(kind: BrokerOrderType, price: &Scalar, auxiliary: &Scalar) -> Self {
        use BrokerOrderType as Kind;
        let (price, aux) = (price.decimal(), auxiliary.decimal());
        let (limit, trigger, rest) = match kind {
            Kind::Limit | Kind::LimitOnClose => (price, None, aux),
            Kind::StopLimit | Kind::TrailingLimit => (price, aux, None),
            Kind::Stop | Kind::Trailing => {
                (None, aux.or(price), price.filter(|price| aux.is_some_and(|aux| aux != *price)))
            }
            Kind::Market
            | Kind::MarketOnClose
            | Kind::MarketIfTouched
            | Kind::LimitIfTouched
            | Kind::MidPrice
            | Kind::Relative
            | Kind::Other => (None, None, price.or(aux)),
        };
        Self { limit, trigger, other: rest.filter(|price| !price.is_zero()) }
    }
}

fn trailing(amount: &Scalar, unit: &Scalar) -> Option<Trailing> {
    let unit = match unit.as_str() {
        Some("%") => Some(TrailingUnit::Percent),
        Some("amt") => Some(TrailingUnit::Amount),
        Some(_) | None => None,
    };
    amount.decimal().filter(|by| !by.is_zero()).map(|by| Trailing { by, unit })
}

/// A contract by its id, or by a `conidex` that is one id and perhaps a venue. A combination's
/// names several and is none.
pub(super) fn contract(conid: &Scalar, conidex: &Scalar) -> Option<Conid> {
    let alone = || {
        let (id, venue) = conidex.as_str()?.split_once('@').unwrap_or((conidex.as_str()?, ""));
        let is_plain = !venue.contains([';', ',']) && id.bytes().all(|byte| byte.is_ascii_digit());
        Conid::new(id.parse().ok().filter(|_| is_plain)?).ok()
    };
    conid.conid().or_else(alone)
}

/// GET `/iserver/account/order/status/{id}`. IBKR's text and the recordings differ in the names of
/// account, fills and prices: either is read.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct OrderStatus {
    order_id: Scalar,
    account: Scalar,
    order_clearing_account: Scalar,
    conid: Scalar,
    conidex: Scalar,
    symbol: Scalar,
    side: Scalar,
    total_size: Scalar,
    cum_fill: Scalar,
    filled_quantity: Scalar,
    remaining_quantity: Scalar,
    size: Scalar,
    limit_price: Scalar,
    stop_price: Scalar,
    price: Scalar,
    average_price: Scalar,
    avg_fill_price: Scalar,
    order_type: Scalar,
    order_status: Scalar,
    order_ref: Scalar,
    tif: Scalar,
    outside_rth: Scalar,
    parent_order_id: Scalar,
    oca_group_id: Scalar,
    order_description: Scalar,
    order_cancellation_by_system_reason: Scalar,
}

impl TryFrom<OrderStatus> for BrokerOrder {
    type Error = crate::BrokerError;

    fn try_from(raw: OrderStatus) -> Result<Self, crate::BrokerError> {
        let order_id = raw.order_id.order_id().ok_or(super::unreadable("id of an order"))?;
        let account = raw.account.account().or_else(|| raw.order_clearing_account.account());
        let account = account.ok_or(super::unreadable("account of an order"))?;
        let conid = contract(&raw.conid, &raw.conidex);
        let conid = conid.ok_or(super::unreadable("contract id of an order"))?;
        let mut order = Self::of(order_id, account, conid);
        order.order_type = BrokerOrderType::parse(raw.order_type.as_str().unwrap_or_default());
        let price = if raw.limit_price.decimal().is_some() { &raw.limit_price } else { &raw.price };
        let prices = Prices::of(order.order_type, price, &raw.stop_price);
        order.limit_price = prices.limit;
        order.trigger_price = prices.trigger;
        order.other_price = prices.other;
        order.kind = raw.order_type.shown();
        order.reference = reference(&raw.order_ref);
        order.symbol = raw.symbol.shown();
        order.side = side(&raw.side);
        order.quantity = raw.total_size.decimal();
        order.filled = raw.cum_fill.decimal().or_else(|| raw.filled_quantity.decimal());
        order.status = BrokerOrderStatus::parse(raw.order_status.as_str().unwrap_or_default());
        // `size` is what remains, and zero of an order that ended however little was filled.
        let rest = || raw.size.decimal().filter(|_| order.status.is_open());
        order.remaining = raw.remaining_quantity.decimal().or_else(rest);
        let average = raw.average_price.decimal().or_else(|| raw.avg_fill_price.decimal());
        order.average_price = average.filter(|average| !average.is_zero());
        order.time_in_force = raw.tif.as_str().map(BrokerTimeInForce::parse);
        order.outside_hours = raw.outside_rth.is_true();
        order.parent = raw.parent_order_id.order_id();
        order.oca_group = raw.oca_group_id.untrusted();
        order.description = raw.order_description.untrusted();
        order.cancel_reason = raw.order_cancellation_by_system_reason.untrusted();
        Ok(order)
    }
}

pub(super) fn reference(scalar: &Scalar) -> Option<ClientOrderId> {
    ClientOrderId::parse(scalar.as_str()?).ok()
}

/// `BUY`, `B`, `BOT`, `SELL`, `S`, `SLD` and the like.
pub(super) fn side(scalar: &Scalar) -> Option<Side> {
    match scalar.as_str()?.chars().next()? {
        'B' | 'b' => Some(Side::Buy),
        'S' | 's' => Some(Side::Sell),
        _ => None,
    }
}

/// The orders of an account. Rows of another account are none of its; one that can't be read and
/// doesn't say whose it is counts as its own.
pub(crate) fn orders(list: Orders, account: &AccountId) -> Listed<BrokerOrder> {
    let mut listed = Listed::default();
    for row in list.orders {
        let read = match row.read() {
            Some(row) => row.into_order(account),
            None => Err(OrderRow::default().unread("row of an order")),
        };
        match read {
            Ok(order) if order.account == *account => listed.rows.push(order),
            Ok(_) => {}
            Err(row) => keep_unread(&mut listed.unread, row, account),
        }
    }
    if !listed.is_whole() {
        let count = listed.unread.len();
        tracing::warn!(orders.unread = count, "orders of a form that isn't understood");
    }
    listed
}

/// Keeps a row that can't be read unless it is another account's.
pub(super) fn keep_unread(unread: &mut Vec<UnreadRow>, row: UnreadRow, account: &AccountId) {
    if row.account.as_ref().is_none_or(|told| told == account) {
        unread.push(row);
    }
}

#[cfg(test)]
mod tests;
