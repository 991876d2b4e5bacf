//! The order ticket, made of a canonical order and nothing else.
//!
//! Price and quantity are JSON numbers with the decimal's own digits; they never pass a float.
//! With `conid` the broker routes the order itself (SMART), even beside a `conidex`: an order for
//! one exchange is named by `conidex` alone. `listingExchange` tells where a contract is listed;
//! it is never sent, since IBKR's texts disagree on whether it routes.

use super::routes::SMART;
use ibkr_agent_domain::{
    AssetClass, CanonicalOrder, ClientOrderId, ContractIdentity, OrderPlan, OrderType, Pricing,
    Shape, Side, SignedPrice, TimeInForce,
};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Body<'a> {
    orders: [Ticket<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ticket<'a> {
    acct_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conid: Option<u64>,
    /// `265598@NYSE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    conidex: Option<String>,
    sec_type: String,
    #[serde(rename = "cOID", skip_serializing_if = "Option::is_none")]
    client_order_id: Option<&'a str>,
    order_type: &'static str,
    price: Box<RawValue>,
    side: &'static str,
    quantity: Box<RawValue>,
    tif: &'static str,
    #[serde(rename = "outsideRTH")]
    outside_rth: bool,
}

/// Why an order can't be written as a ticket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritable {
    /// Nobody has built this order type's ticket yet.
    #[error("a {0} order has no ticket yet")]
    OrderType(OrderType),
    /// Nobody has built a ticket for such contracts yet.
    #[error("a ticket for a contract of class {0} isn't built yet")]
    Class(AssetClass),
    /// Nobody has built the ticket of orders that belong together yet.
    #[error("orders that belong together have no ticket yet")]
    Relation,
    /// Not one reference for each order.
    #[error("an order without its reference isn't sent")]
    References,
    /// It can't be written as JSON.
    #[error("the ticket isn't JSON")]
    Json(#[from] serde_json::Error),
}

/// IBKR's name of the order's type, and its price.
fn priced(pricing: &Pricing) -> Result<(&'static str, SignedPrice), Unwritable> {
    match *pricing {
        Pricing::Limit { limit } => Ok(("LMT", limit)),
        Pricing::Market
        | Pricing::Stop { .. }
        | Pricing::StopLimit { .. }
        | Pricing::Trailing { .. }
        | Pricing::TrailingLimit { .. }
        | Pricing::MarketIfTouched { .. }
        | Pricing::LimitIfTouched { .. }
        | Pricing::AtClose { .. }
        | Pricing::AtOpen { .. }
        | Pricing::MidPrice { .. } => Err(Unwritable::OrderType(pricing.order_type())),
    }
}

/// Contract id and IBKR's name of its class.
fn sec_type(order: &CanonicalOrder) -> Result<String, Unwritable> {
    match order.contract().identity() {
        ContractIdentity::Stock => Ok(format!("{}:{}", order.conid(), order.class().broker_name())),
        ContractIdentity::Option { .. }
        | ContractIdentity::Future { .. }
        | ContractIdentity::Pair { .. }
        | ContractIdentity::Combo { .. } => Err(Unwritable::Class(order.class())),
    }
}

/// The body of a placement, and the reference by which its answer is told.
pub(crate) fn placement(
    plan: &OrderPlan,
    references: &[ClientOrderId],
) -> Result<(Vec<u8>, ClientOrderId), Unwritable> {
    match (plan.shape(), references) {
        (Shape::Single(order), [reference]) => {
            Ok((orders(order, Some(reference))?, reference.clone()))
        }
        (Shape::Single(_), _) => Err(Unwritable::References),
        (Shape::Bracket { .. } | Shape::OneCancelsAll(_), _) => Err(Unwritable::Relation),
    }
}

/// The body of one order; with a reference for a real order, without one for a what-if.
pub(crate) fn orders(
    order: &CanonicalOrder,
    reference: Option<&ClientOrderId>,
) -> Result<Vec<u8>, Unwritable> {
    let terms = order.terms();
    let (order_type, price) = priced(&terms.pricing)?;
    let is_smart = order.exchange() == SMART;
    let ticket = Ticket {
        acct_id: order.account().as_str(),
        conid: is_smart.then(|| order.conid().get()),
        conidex: (!is_smart).then(|| format!("{}@{}", order.conid(), order.exchange())),
        sec_type: sec_type(order)?,
        client_order_id: reference.map(ClientOrderId::as_str),
        order_type,
        price: number(price.get())?,
        side: match terms.side {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
        },
        quantity: number(terms.quantity.get())?,
        tif: match terms.time_in_force {
            TimeInForce::Day => "DAY",
            TimeInForce::GoodTillCancelled => "GTC",
        },
        outside_rth: terms.outside_rth,
    };
    Ok(serde_json::to_vec(&Body { orders: [ticket] })?)
}

fn number(value: Decimal) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(value.normalize().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::{
        AccountId, BrokerName, Conid, Contract, Currency, Mode, OrderTarget, OrderTerms, Price,
        Quantity, Untrusted,
    };

    fn order(exchange: &str, price: Decimal) -> CanonicalOrder {
        let contract = Contract {
            conid: Conid::new(265_598).unwrap(),
            symbol: Untrusted::new("AAPL"),
            name: Untrusted::new("APPLE INC"),
            class: AssetClass::Stock,
            exchange: exchange.to_owned(),
            listing_exchange: Untrusted::new("NASDAQ"),
            currency: Currency::USD,
            multiplier: Decimal::ONE,
            price_increment: None,
        };
        let target = OrderTarget {
            broker: BrokerName::parse("paper").unwrap(),
            mode: Mode::Paper,
            account: AccountId::parse("DU1234567").unwrap(),
        };
        let terms = OrderTerms {
            side: Side::Buy,
            quantity: Quantity::new(dec!(3)).unwrap(),
            pricing: Pricing::Limit { limit: Price::new(price).unwrap().into() },
            time_in_force: TimeInForce::Day,
            outside_rth: false,
        };
        CanonicalOrder::new(target, &contract, terms).unwrap()
    }

    #[test]
    fn the_ticket_has_exactly_the_documented_fields() {
        let reference = ClientOrderId::parse("ia0123").unwrap();
        let body = orders(&order("SMART", dec!(0.1)), Some(&reference)).unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            concat!(
                r#"{"orders":[{"acctId":"DU1234567","conid":265598,"secType":"265598:STK","#,
                r#""cOID":"ia0123","orderType":"LMT","price":0.1,"side":"BUY","quantity":3,"#,
                r#""tif":"DAY","outsideRTH":false}]}"#,
            )
        );
    }

    #[test]
    fn numbers_keep_every_digit() {
        let precise = dec!(123456789.123456789);
        let body = String::from_utf8(orders(&order("AEB", precise), None).unwrap()).unwrap();
        assert!(body.contains(r#""price":123456789.123456789,"#), "{body}");
        assert!(!body.contains("cOID"), "{body}");
    }

    #[test]
    fn an_order_for_one_exchange_names_it_and_no_conid_that_would_route_it_elsewhere() {
        let body = String::from_utf8(orders(&order("AEB", dec!(1)), None).unwrap()).unwrap();
        assert!(body.contains(r#""conidex":"265598@AEB","#), "{body}");
        assert!(!body.contains(r#""conid":"#) && !body.contains("listingExchange"), "{body}");
        let body = String::from_utf8(orders(&order("SMART", dec!(1)), None).unwrap()).unwrap();
        assert!(body.contains(r#""conid":265598,"#) && !body.contains("conidex"), "{body}");
    }
}
