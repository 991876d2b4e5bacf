//! The facts of a decision, read now: quote, position, working orders, session, exchange rate.

use crate::brokers::{Brokers, error_body};
use crate::engine::{BrokerFacts, Refusal};
use ibkr_agent_broker::BrokerError;
use ibkr_agent_domain::{BrokerOrder, CanonicalOrder, Currency, ErrorCode, Position};
use rust_decimal::Decimal;
use std::time::Duration;

/// Longest time to read all facts of one decision.
const FACTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Reads everything that the gates need for an order.
///
/// # Errors
/// A [`Refusal`] when a part can't be read: a decision is never made on missing facts.
pub async fn read(
    brokers: &Brokers,
    order: &CanonicalOrder,
    policy_currency: Currency,
) -> Result<BrokerFacts, Refusal> {
    let read = read_all(brokers, order, policy_currency);
    let late = || Refusal::new(ErrorCode::BrokerBackendUnavailable, "the broker is too slow");
    tokio::time::timeout(FACTS_TIMEOUT, read).await.map_err(|_| late())?
}

async fn read_all(
    brokers: &Brokers,
    order: &CanonicalOrder,
    policy_currency: Currency,
) -> Result<BrokerFacts, Refusal> {
    let Some(broker) = brokers.named(order.broker()) else {
        let message = "the broker login of this order is not configured";
        return Err(Refusal::new(ErrorCode::BrokerBackendUnavailable, message));
    };
    let account = order.account();
    let conids = [order.conid()];
    let rate = async {
        if order.currency() == policy_currency {
            return Ok(Decimal::ONE);
        }
        broker.exchange_rate(order.currency(), policy_currency).await
    };
    let (accounts, quotes, positions, orders, rate) = tokio::join!(
        brokers.accounts(),
        broker.quotes_for_decision(&conids),
        broker.positions(account),
        broker.orders(account),
        rate,
    );
    let accounts = accounts.map_err(|error| refusal(error.error_code(), error.message))?;
    let account_reported = accounts.iter().any(|routed| {
        routed.info.id == *account
            && routed.info.can_trade
            && routed.broker.name() == order.broker()
            && crate::brokers::account_mode(routed) == order.mode()
    });
    let quotes = quotes.map_err(|error| from_broker(&error))?;
    let positions = positions.map_err(|error| from_broker(&error))?;
    let orders = orders.map_err(|error| from_broker(&error))?;
    let health = broker.health();
    Ok(BrokerFacts {
        account_reported,
        session: health.state,
        clock_skew_ms: health.clock_skew_ms,
        quote: quotes.into_iter().find(|quote| quote.conid == order.conid()),
        position: position_of(&positions, order)?,
        working_same_side: working(&orders, order)?,
        // An unknown rate isn't an error here: the gate that needs it denies.
        policy_currency_rate: rate.ok(),
    })
}

fn position_of(positions: &[Position], order: &CanonicalOrder) -> Result<Decimal, Refusal> {
    let mut own = positions.iter().filter(|position| position.conid == order.conid());
    own.try_fold(Decimal::ZERO, |sum, position| sum.checked_add(position.quantity))
        .ok_or_else(|| Refusal::new(ErrorCode::BrokerResponseInvalid, "the position is too large"))
}

fn working(orders: &[BrokerOrder], order: &CanonicalOrder) -> Result<Decimal, Refusal> {
    let same = orders.iter().filter(|open| {
        open.conid == order.conid()
            && open.status.is_open()
            && open.side.is_none_or(|side| side == order.terms().side)
    });
    let mut sum = Decimal::ZERO;
    for open in same {
        let Some(quantity) = open.quantity else {
            let message = "an open order's quantity is unknown";
            return Err(Refusal::new(ErrorCode::BrokerResponseInvalid, message));
        };
        let left = quantity.checked_sub(open.filled.unwrap_or_default());
        let total = left.and_then(|left| sum.checked_add(left.max(Decimal::ZERO)));
        sum = total.ok_or_else(|| {
            Refusal::new(ErrorCode::BrokerResponseInvalid, "open orders are too large")
        })?;
    }
    Ok(sum)
}

fn from_broker(error: &BrokerError) -> Refusal {
    let body = error_body(error);
    refusal(body.error_code(), body.message)
}

fn refusal(code: Option<ErrorCode>, message: String) -> Refusal {
    Refusal::new(code.unwrap_or(ErrorCode::BrokerBackendUnavailable), message)
}
