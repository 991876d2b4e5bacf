//! The decisions. Each evaluates every gate and reports them all.

use crate::case::Case;
use crate::exposure::positive;
use crate::gate;
use crate::{
    Approval, Cancel, CancelFacts, Check, Denials, Facts, Halt, Permit, Place, Policy, Question,
    Reply, Requester, Switches, TakeOver,
};
use ibkr_agent_domain::{
    AccountId, BrokerName, CanonicalOrder, ClientOrderId, ErrorCode, OrderPlan, Quote, Timestamp,
};
use rust_decimal::Decimal;

/// A wish to place an order under an approval.
#[derive(Debug)]
pub struct PlaceIntent {
    /// The plan, rebuilt from the sidecar's own stored preview.
    pub plan: OrderPlan,
    /// Our references, one for each order of it.
    pub references: Vec<ClientOrderId>,
    /// The approval that it spends.
    pub approval: Approval,
    /// Who asks.
    pub requester: Requester,
}

/// The gates that need no broker traffic: switches, lists, size.
///
/// # Errors
/// [`Denials`] with every gate that denies.
pub fn screen_place(
    policy: &Policy,
    plan: &OrderPlan,
    switches: Switches,
) -> Result<Vec<Check>, Denials> {
    let each = plan.orders().iter().flat_map(|order| gate::standing(policy, order, switches));
    Denials::from_checks(each.chain(gate::relation(plan)).collect())
}

/// Every gate but the approval's, for each order of a plan, as a preview shows them.
#[must_use]
pub fn check_plan(policy: &Policy, facts: &Facts, plan: &OrderPlan, now: Timestamp) -> Vec<Check> {
    let judge = |order| gate::every(&Case::new(policy, facts, order, now));
    plan.orders().iter().flat_map(judge).chain(gate::relation(plan)).collect()
}

/// Decides on placing an order: every gate, with the approval and the drift since it.
///
/// # Errors
/// [`Denials`] with every gate that denies.
pub fn decide_place(
    policy: &Policy,
    facts: &Facts,
    intent: PlaceIntent,
    now: Timestamp,
) -> Result<Permit<Place>, Denials> {
    let mut checks = check_plan(policy, facts, &intent.plan, now);
    checks.push(gate::approval(&intent, now));
    checks.push(gate::drift(policy, facts, &intent.approval));
    Denials::from_checks(checks)?;
    let place =
        Place { plan: intent.plan, references: intent.references, approval: intent.approval.id };
    Ok(Permit::new(place, intent.requester, policy.hash(), now))
}

/// The price that an approval remembers: the middle of the market, else the last trade.
#[must_use]
pub fn mid_price(quote: &Quote) -> Option<Decimal> {
    // The broker writes a side without a price as zero or below: there is no middle then.
    let (bid, ask) = (positive(quote.bid), positive(quote.ask));
    let middle = || bid?.checked_add(ask?)?.checked_div(Decimal::TWO);
    middle().or_else(|| positive(quote.last))
}

/// A wish to cancel an order.
#[derive(Debug)]
pub struct CancelRequest {
    /// The order.
    pub facts: CancelFacts,
    /// The account that the caller named; `None` for an operator who named only the order.
    pub named_account: Option<AccountId>,
    /// Whether an operator asks: an operator's cancel is never refused.
    pub is_operator: bool,
    /// Who asks.
    pub requester: Requester,
}

/// Decides on a cancel: bound to the account named and to orders of this gateway; never refused for
/// halt, limits or doubt.
///
/// # Errors
/// The code that says why not.
pub fn decide_cancel(
    policy: &Policy,
    request: CancelRequest,
    now: Timestamp,
) -> Result<Permit<Cancel>, ErrorCode> {
    let names_other =
        request.named_account.as_ref().is_some_and(|named| *named != request.facts.account);
    if names_other {
        return Err(ErrorCode::OrderNotFound);
    }
    if !request.is_operator {
        if !policy.limits().accounts.contains(&request.facts.account) {
            return Err(ErrorCode::InputUnauthorizedAccount);
        }
        if request.facts.ours.is_none() {
            return Err(ErrorCode::OrderNotOurs);
        }
    }
    let cancel = Cancel { facts: request.facts };
    Ok(Permit::new(cancel, request.requester, policy.hash(), now))
}

/// An answer to a broker's question.
#[derive(Debug)]
pub struct ReplyRequest {
    /// The broker login.
    pub broker: BrokerName,
    /// The account.
    pub account: AccountId,
    /// Our reference of the order.
    pub client_order_id: ClientOrderId,
    /// The order, as it was approved.
    pub order: CanonicalOrder,
    /// The question, exactly as asked.
    pub question: Question,
    /// Yes or no.
    pub confirmed: bool,
    /// Whether a human answers; else only a known question is answered.
    pub is_operator: bool,
    /// Who asks.
    pub requester: Requester,
}

/// Decides on answering a question: a human may; the gateway itself says yes only where message id
/// and text are known, and no when a question's time is over. A yes adds risk, so it needs open
/// switches; a no doesn't.
///
/// # Errors
/// The code that says why not.
pub fn decide_reply(
    policy: &Policy,
    switches: Switches,
    request: ReplyRequest,
    now: Timestamp,
) -> Result<Permit<Reply>, ErrorCode> {
    if request.confirmed && switches.halted {
        return Err(ErrorCode::KillSwitchClosed);
    }
    let known = policy.knows(&request.question, &request.order);
    let may_answer = request.is_operator || known || !request.confirmed;
    if !may_answer {
        return Err(ErrorCode::OperatorOnly);
    }
    let reply = Reply {
        broker: request.broker,
        account: request.account,
        client_order_id: request.client_order_id,
        question: request.question,
        confirmed: request.confirmed,
    };
    Ok(Permit::new(reply, request.requester, policy.hash(), now))
}

/// Permits a halt: always.
pub fn permit_halt(
    policy: &Policy,
    reason: &'static str,
    requester: Requester,
    now: Timestamp,
) -> Permit<Halt> {
    Permit::new(Halt { reason }, requester, policy.hash(), now)
}

/// Permits taking the brokerage session from another platform: an operator's signed choice, which
/// the caller of this has checked.
pub fn permit_take_over(
    policy: &Policy,
    broker: BrokerName,
    requester: Requester,
    now: Timestamp,
) -> Permit<TakeOver> {
    Permit::new(TakeOver { broker }, requester, policy.hash(), now)
}
