//! The facts of a decision: quote, position, working orders, session, exchange rate.
//!
//! They are read now, before what anybody merely asked for and before looks around; only the list
//! of orders, which the broker serves once in five seconds, may be as old as the policy lets a
//! decision's facts be, and then they say so.

use crate::brokers::{Brokers, error_body};
use crate::engine::{BrokerFacts, Refusal};
use ibkr_agent_broker::{BrokerError, Errand, Urgency};
use ibkr_agent_domain::{CanonicalOrder, Currency, ErrorCode, OrderPlan, Shape};
use ibkr_agent_gates::{Policy, Untold, position_in, working_in};
use rust_decimal::Decimal;
use std::time::Duration;

/// Longest time to read all facts of one decision: three turns of a path that takes one request in
/// five seconds, and an answer.
const FACTS_TIMEOUT: Duration = Duration::from_secs(18);
/// How old a list of orders may be at most, however old the policy lets facts be.
const MAX_ORDERS_AGE: Duration = Duration::from_secs(10);

/// What a policy wants of the facts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its currency.
    currency: Currency,
    /// How old the list of orders may be.
    orders_age: Duration,
}

impl Wanted {
    pub(crate) fn by(policy: &Policy) -> Self {
        let limits = policy.limits();
        Self {
            currency: limits.max_notional.currency,
            orders_age: limits.max_quote_age.min(MAX_ORDERS_AGE),
        }
    }
}

/// Reads everything that the gates need for an order.
///
/// # Errors
/// A [`Refusal`] when a part can't be read: a decision is never made on missing facts.
/// The one order of a plan: the facts of several at once aren't read yet.
pub(crate) fn sole(plan: &OrderPlan) -> Result<&CanonicalOrder, Refusal> {
    match plan.shape() {
        Shape::Single(order) => Ok(order),
        Shape::Bracket { .. } | Shape::OneCancelsAll(_) => {
            let message = "orders that belong together aren't offered yet";
            Err(Refusal::new(ErrorCode::OrderPolicyRefused, message))
        }
    }
}

pub(crate) async fn read(
    brokers: &Brokers,
    order: &CanonicalOrder,
    wanted: Wanted,
) -> Result<BrokerFacts, Refusal> {
    let errand = Errand::current().urgency(Urgency::Decision).within(FACTS_TIMEOUT);
    let read = errand.run(read_all(brokers, order, wanted));
    let late = || Refusal::new(ErrorCode::BrokerBackendUnavailable, "the broker is too slow");
    tokio::time::timeout(FACTS_TIMEOUT, read).await.map_err(|_| late())?
}

async fn read_all(
    brokers: &Brokers,
    order: &CanonicalOrder,
    wanted: Wanted,
) -> Result<BrokerFacts, Refusal> {
    let Some(broker) = brokers.named(order.broker()) else {
        let message = "the broker login of this order is not configured";
        return Err(Refusal::new(ErrorCode::BrokerBackendUnavailable, message));
    };
    let account = order.account();
    let conids = [order.conid()];
    let rate = async {
        if order.currency() == wanted.currency {
            return Ok(Decimal::ONE);
        }
        broker.exchange_rate(order.currency(), wanted.currency).await
    };
    let (accounts, quotes, positions, orders, rate) = tokio::join!(
        brokers.accounts(),
        broker.quotes_for_decision(&conids),
        broker.positions(account),
        broker.orders_within(account, wanted.orders_age),
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
        position: position_in(&positions, order).map_err(untold)?,
        working_same_side: working_in(&orders.value, order).map_err(untold)?,
        session_ends: None,
        // An unknown rate isn't an error here: the gate that needs it denies.
        policy_currency_rate: rate.ok(),
        as_of: orders.as_of,
    })
}

fn untold(why: Untold) -> Refusal {
    Refusal::new(ErrorCode::BrokerResponseInvalid, why.to_string())
}

fn from_broker(error: &BrokerError) -> Refusal {
    let body = error_body(error);
    refusal(body.error_code(), body.message)
}

fn refusal(code: Option<ErrorCode>, message: String) -> Refusal {
    Refusal::new(code.unwrap_or(ErrorCode::BrokerBackendUnavailable), message)
}
