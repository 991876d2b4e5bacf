//! The facts of a decision: quote, position, orders, cash, rules and hours of the contract, the
//! broker's own preview, session, exchange rates.
//!
//! They are read now, before what anybody merely asked for and before looks around; only the list
//! of orders, which the broker serves once in five seconds, may be as old as the policy lets a
//! decision's facts be, and then they say so.

use crate::brokers::Routed;
use crate::brokers::{Brokers, error_body};
use crate::engine::{BrokerFacts, Refusal};
use ibkr_agent_broker::{Broker, BrokerError, Errand, Urgency};
use ibkr_agent_domain::{
    AccountInfo, CanonicalOrder, Currency, ErrorCode, LedgerLine, Money, OrderPlan, Position, Shape,
};
use ibkr_agent_gates::{AccountFacts, Policy, Untold, position_in, working_in};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest time to read all facts of one decision: three turns of a path that takes one request in
/// five seconds, and an answer.
const FACTS_TIMEOUT: Duration = Duration::from_secs(18);
/// How old a list of orders may be at most, however old the policy lets facts be.
const MAX_ORDERS_AGE: Duration = Duration::from_secs(10);

/// How long a decision waits for the day's profit, which the broker tells once in five seconds
/// where no stream does.
const PROFIT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Most currencies of positions for which a rate is asked that the ledger doesn't tell.
const MOST_RATES: usize = 8;

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
        Self { currency: policy.currency(), orders_age: limits.max_quote_age.min(MAX_ORDERS_AGE) }
    }
}

/// What was read for a decision.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The facts.
    pub(crate) facts: BrokerFacts,
    /// Why the broker gave no preview of its own.
    pub(crate) what_if_error: Option<BrokerError>,
}

/// The one order of a plan: the facts of several at once aren't read yet.
///
/// # Errors
/// A [`Refusal`] for orders that belong together.
pub(crate) fn sole(plan: &OrderPlan) -> Result<&CanonicalOrder, Refusal> {
    match plan.shape() {
        Shape::Single(order) => Ok(order),
        Shape::Bracket { .. } | Shape::OneCancelsAll(_) => {
            let message = "orders that belong together aren't offered yet";
            Err(Refusal::new(ErrorCode::OrderPolicyRefused, message))
        }
    }
}

/// Reads everything that the gates need for an order.
///
/// # Errors
/// A [`Refusal`] when quote, position or orders can't be read: a decision is never made without
/// them. What else can't be read is absent, and its gate says what follows.
pub(crate) async fn read(
    brokers: &Brokers,
    order: &CanonicalOrder,
    wanted: Wanted,
) -> Result<Gathered, Refusal> {
    let errand = Errand::current().urgency(Urgency::Decision).within(FACTS_TIMEOUT);
    let read = errand.run(read_all(brokers, order, wanted));
    let late = || Refusal::new(ErrorCode::BrokerBackendUnavailable, "the broker is too slow");
    tokio::time::timeout(FACTS_TIMEOUT, read).await.map_err(|_| late())?
}

async fn read_all(
    brokers: &Brokers,
    order: &CanonicalOrder,
    wanted: Wanted,
) -> Result<Gathered, Refusal> {
    let Some(broker) = brokers.named(order.broker()) else {
        let message = "the broker login of this order is not configured";
        return Err(Refusal::new(ErrorCode::BrokerBackendUnavailable, message));
    };
    let account = order.account();
    let conids = [order.conid()];
    let (accounts, quotes, positions, orders) = tokio::join!(
        brokers.accounts(),
        broker.quotes_for_decision(&conids),
        broker.positions(account),
        broker.orders_within(account, wanted.orders_age),
    );
    // The broker wants a quote of the contract before it previews an order on it.
    let side = order.terms().side;
    let profit = tokio::time::timeout(PROFIT_TIMEOUT, broker.profit_and_loss(account));
    let (rules, hours, what_if, ledger, summary, profit) = tokio::join!(
        broker.contract_rules(order.conid(), side),
        broker.trading_hours(order.conid()),
        broker.what_if(order),
        broker.ledger(account),
        broker.summary(account),
        profit,
    );
    let accounts = accounts.map_err(|error| refusal(error.error_code(), error.message))?;
    let routed = accounts.iter().find(|routed| routed.info.id == *account);
    let quotes = quotes.map_err(|error| from_broker(&error))?;
    let positions = positions.map_err(|error| from_broker(&error))?;
    let orders = orders.map_err(|error| from_broker(&error))?;
    let cash = ledger.ok();
    let base = routed.and_then(|routed| routed.info.currency);
    let rates = rates(broker, order, (cash.as_deref(), base), &positions, wanted.currency).await;
    let summary = summary.ok();
    let daily = profit.ok().and_then(Result::ok).and_then(|told| told.daily);
    let health = broker.health();
    let (what_if, what_if_error) = match what_if {
        Ok(told) => (Some(told), None),
        Err(error) => (None, Some(error)),
    };
    let facts = BrokerFacts {
        account_reported: routed.is_some_and(|routed| is_tradable(routed, order)),
        session: health.state,
        clock_skew_ms: health.clock_skew_ms,
        quote: quotes.into_iter().find(|quote| quote.conid == order.conid()),
        position: position_in(&positions, order).map_err(untold)?,
        working_same_side: working_in(&orders.value, order).map_err(untold)?,
        rules: rules.ok(),
        hours: hours.ok(),
        what_if,
        session_ends: None,
        // An unknown rate isn't an error here: the gate that needs it denies.
        policy_currency_rate: rates.get(&order.currency()).copied(),
        as_of: orders.as_of,
        account: AccountFacts {
            orders: orders.value.rows.into_iter().filter(|open| open.status.is_open()).collect(),
            positions,
            cash,
            base,
            is_cash_account: routed.and_then(|routed| is_cash_account(&routed.info)),
            net_liquidation: summary.as_ref().and_then(|told| told.net_liquidation),
            available_funds: summary.as_ref().and_then(|told| told.available_funds),
            daily_profit: daily.zip(base).map(|(daily, base)| Money::new(daily, base)),
            rates,
        },
    };
    Ok(Gathered { facts, what_if_error })
}

fn is_tradable(routed: &Routed, order: &CanonicalOrder) -> bool {
    routed.info.can_trade
        && routed.broker.name() == order.broker()
        && crate::brokers::account_mode(routed) == order.mode()
}

/// IBKR's trading types end in the kind of account: `STKCASH`, `STKMRGN`, `PMRGN`.
fn is_cash_account(info: &AccountInfo) -> Option<bool> {
    let kind = info.trading_type.as_str();
    match (kind.ends_with("CASH"), kind.ends_with("MRGN")) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Units of the policy's currency per unit of each currency that a gate may ask for. What the
/// ledger doesn't tell is asked for; what isn't known is left out.
async fn rates(
    broker: &Arc<dyn Broker>,
    order: &CanonicalOrder,
    (cash, base): (Option<&[LedgerLine]>, Option<Currency>),
    positions: &[Position],
    wanted: Currency,
) -> BTreeMap<Currency, Decimal> {
    let mut rates = BTreeMap::from([(wanted, Decimal::ONE)]);
    if let Some(base) = base {
        // The broker rates its ledger in the account's base currency.
        let line = cash.unwrap_or_default().iter().find(|line| line.currency == wanted);
        let told = line.and_then(|line| line.exchange_rate);
        let told = told.filter(|rate| *rate > Decimal::ZERO);
        let to_policy = match told.and_then(|rate| Decimal::ONE.checked_div(rate)) {
            _ if base == wanted => Some(Decimal::ONE),
            Some(told) => Some(told),
            None => broker.exchange_rate(base, wanted).await.ok(),
        };
        if let Some(to_policy) = to_policy {
            rates.entry(base).or_insert(to_policy);
            for line in cash.unwrap_or_default() {
                let rate = line.exchange_rate.and_then(|rate| rate.checked_mul(to_policy));
                if let Some(rate) = rate.filter(|_| line.currency != Currency::BASE) {
                    rates.entry(line.currency).or_insert(rate);
                }
            }
        }
    }
    let mut asked = 0_usize;
    let held = positions.iter().filter(|held| !held.quantity.is_zero()).map(|held| held.currency);
    for currency in [order.currency()].into_iter().chain(held) {
        if asked < MOST_RATES && !rates.contains_key(&currency) {
            asked = asked.saturating_add(1);
            if let Ok(rate) = broker.exchange_rate(currency, wanted).await {
                rates.insert(currency, rate);
            }
        }
    }
    rates
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
