//! What a decision may use: read at that moment, each with its source.

use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerName, BrokerOrder, BrokerOrderId, CallId, CanonicalOrder,
    ClientOrderId, Digest, Door, Listed, Position, Quote, SessionState, Timestamp,
};
use rust_decimal::Decimal;

/// Who asks, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The call.
    pub call: CallId,
    /// Who.
    pub actor: Actor,
    /// Through which door.
    pub door: Door,
    /// The tool or operator verb.
    pub tool: &'static str,
}

/// The switches that are in memory. The default is everything shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Trading is halted.
    pub halted: bool,
    /// The audit log takes writes.
    pub audit_writable: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { halted: true, audit_writable: false }
    }
}

/// An approval as the engine holds it when it reserves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The digest of the plan that was shown and signed.
    pub plan: Digest,
    /// Until when it can be spent.
    pub expires_at: Timestamp,
    /// The market price that was shown, if there was one.
    pub reference_price: Option<Decimal>,
    /// The position that was shown.
    pub position: Decimal,
}

/// The state of the world at the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The switches.
    pub switches: Switches,
    /// Whether the broker reports the account as tradable through this login.
    pub account_reported: bool,
    /// Whether an order on this account and instrument is in doubt.
    pub in_doubt: bool,
    /// The session.
    pub session: SessionState,
    /// Broker's clock minus ours, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// The quote.
    pub quote: Option<Quote>,
    /// The signed position in the instrument.
    pub position: Decimal,
    /// Quantity on the order's own side that works, or that may: everything that could fill before
    /// this order does and that `position` may not show yet.
    pub working_same_side: Decimal,
    /// Units of the policy's currency per unit of the order's; `None` when unknown.
    pub policy_currency_rate: Option<Decimal>,
    /// Orders in the last minute.
    pub orders_last_minute: u32,
    /// Orders this trading day.
    pub orders_today: u32,
    /// Value this trading day, in the policy's currency.
    pub notional_today: Decimal,
}

/// What is known of an order that somebody wants cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelFacts {
    /// The broker login that reports it.
    pub broker: BrokerName,
    /// The account that it belongs to.
    pub account: AccountId,
    /// IBKR's id.
    pub order_id: BrokerOrderId,
    /// Our reference, when this gateway placed it.
    pub ours: Option<ClientOrderId>,
}

/// A broker's question about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// IBKR's id of the question.
    pub reply_id: String,
    /// IBKR's message ids, such as `o163`.
    pub message_ids: Vec<String>,
    /// The exact texts, unescaped.
    pub messages: Vec<String>,
}

impl Question {
    /// SHA-256 of the exact texts, joined by line feeds.
    #[must_use]
    pub fn text_digest(&self) -> Digest {
        Digest::of(self.messages.join("\n").as_bytes())
    }
}

/// Why a fact doesn't follow from what the broker lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// The position is no number that we can hold.
    #[error("the position is too large")]
    Position,
    /// A row of the list of orders may be of the contract, and can't be read.
    #[error("an order at the broker that may be of this contract can't be read")]
    Unread,
    /// An open order shows no quantity.
    #[error("an open order's quantity is unknown")]
    Quantity,
    /// The open orders are no number that we can hold.
    #[error("open orders are too large")]
    Orders,
}

/// The signed position in an order's contract.
///
/// # Errors
/// [`Untold`].
pub fn position_in(positions: &[Position], order: &CanonicalOrder) -> Result<Decimal, Untold> {
    let mut own = positions.iter().filter(|position| position.conid == order.conid());
    let sum = own.try_fold(Decimal::ZERO, |sum, position| sum.checked_add(position.quantity));
    sum.ok_or(Untold::Position)
}

/// What is left of the open orders at the broker that are of an order's contract and side, ours and
/// others'; an order whose side isn't told counts on both.
///
/// # Errors
/// [`Untold`].
pub fn working_in(orders: &Listed<BrokerOrder>, order: &CanonicalOrder) -> Result<Decimal, Untold> {
    if orders.unread.iter().any(|row| row.may_work_on(order.conid())) {
        return Err(Untold::Unread);
    }
    let same = orders.rows.iter().filter(|open| {
        open.conid == order.conid()
            && open.status.is_open()
            && open.side.is_none_or(|side| side == order.terms().side)
    });
    let mut sum = Decimal::ZERO;
    for open in same {
        let quantity = open.quantity.ok_or(Untold::Quantity)?;
        let left = quantity.checked_sub(open.filled.unwrap_or_default());
        let total = left.and_then(|left| sum.checked_add(left.max(Decimal::ZERO)));
        sum = total.ok_or(Untold::Orders)?;
    }
    Ok(sum)
}
