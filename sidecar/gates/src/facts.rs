//! What a decision may use: read at that moment, each with its source.

use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerName, BrokerOrder, BrokerOrderId, CallId, CanonicalOrder,
    ClientOrderId, Conid, ContractRules, Currency, Digest, Door, LedgerLine, Listed, Money,
    OrderState, OrderTerms, Position, Quote, SessionState, Timestamp, TradingHours, WhatIf,
};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

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

/// What the broker tells, read at the decision. What isn't told is absent, and the gate that needs
/// it says what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Whether the broker reports the account as tradable through this login.
    pub account_reported: bool,
    /// The session.
    pub session: SessionState,
    /// Broker's clock minus ours, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// The quote.
    pub quote: Option<Quote>,
    /// The signed position in the instrument.
    pub position: Decimal,
    /// What is left of the open orders on the order's own side of the instrument, anybody's.
    pub working_same_side: Decimal,
    /// The account as a whole.
    pub account: AccountFacts,
    /// What an order on the instrument may look like, for the order's side.
    pub rules: Option<ContractRules>,
    /// When the instrument trades.
    pub hours: Option<TradingHours>,
    /// The broker's own preview of the order.
    pub what_if: Option<WhatIf>,
    /// When the contract's trading session ends: until then an order counts.
    pub session_ends: Option<Timestamp>,
    /// Units of the policy's currency per unit of the order's; `None` when unknown.
    pub policy_currency_rate: Option<Decimal>,
    /// When the oldest of them was asked for, where that was before their reading began.
    pub as_of: Option<Timestamp>,
}

impl Default for BrokerFacts {
    /// A broker that tells nothing: no order passes.
    fn default() -> Self {
        Self {
            account_reported: false,
            session: SessionState::Unreachable,
            clock_skew_ms: None,
            quote: None,
            position: Decimal::ZERO,
            working_same_side: Decimal::ZERO,
            account: AccountFacts::default(),
            rules: None,
            hours: None,
            what_if: None,
            session_ends: None,
            policy_currency_rate: None,
            as_of: None,
        }
    }
}

impl BrokerFacts {
    /// From when on our own orders may have changed without these facts showing it, if they were
    /// read from `begun` on.
    #[must_use]
    pub fn blind_from(&self, begun: Timestamp) -> Timestamp {
        self.as_of.map_or(begun, |as_of| as_of.min(begun))
    }
}

/// An account as the broker tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountFacts {
    /// All positions.
    pub positions: Vec<Position>,
    /// All orders that may still trade, ours and others'.
    pub orders: Vec<BrokerOrder>,
    /// Cash by currency; `None` when it couldn't be read.
    pub cash: Option<Vec<LedgerLine>>,
    /// The base currency.
    pub base: Option<Currency>,
    /// Whether the account can't borrow, as far as the broker tells its kind.
    pub is_cash_account: Option<bool>,
    /// Net liquidation value.
    pub net_liquidation: Option<Money>,
    /// Available funds, before the order.
    pub available_funds: Option<Money>,
    /// Profit of the day; a loss is below zero.
    pub daily_profit: Option<Money>,
    /// Units of the policy's currency per unit, for each currency that is known.
    pub rates: BTreeMap<Currency, Decimal>,
}

impl AccountFacts {
    /// An amount in the policy's currency; `None` without a rate above zero.
    #[must_use]
    pub fn in_policy(&self, money: Money) -> Option<Decimal> {
        let rate = self.rates.get(&money.currency).filter(|rate| **rate > Decimal::ZERO)?;
        money.amount.checked_mul(*rate)
    }
}

/// An order of ours that counts today or may still trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnOrder {
    /// Our reference.
    pub id: ClientOrderId,
    /// IBKR's id.
    pub order_id: Option<BrokerOrderId>,
    /// The contract.
    pub conid: Conid,
    /// Side, quantity, price and duration.
    pub terms: OrderTerms,
    /// Where it stands.
    pub state: OrderState,
    /// When it was decided.
    pub created_at: Timestamp,
}

impl OwnOrder {
    /// How people name it at the broker, else by our reference.
    #[must_use]
    pub fn name(&self) -> &str {
        self.order_id.as_ref().map_or_else(|| self.id.as_str(), BrokerOrderId::as_str)
    }
}

/// What the sidecar itself knows at the decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnFacts {
    /// The switches.
    pub switches: Switches,
    /// Whether an order on this account and instrument is in doubt.
    pub in_doubt: bool,
    /// Quantity of our own on the order's side that the broker's facts may not show yet.
    pub under_way: Decimal,
    /// Orders in the last minute.
    pub orders_last_minute: u32,
    /// Requests to place, cancel and answer in the last minute.
    pub messages_last_minute: u32,
    /// Orders this trading day.
    pub orders_today: u32,
    /// Value this trading day, in the policy's currency.
    pub notional_today: Decimal,
    /// Our orders in the account that count today or may still trade, but those of the plan.
    pub orders: Vec<OwnOrder>,
}

/// The state of the world at the decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the broker tells.
    pub broker: BrokerFacts,
    /// What the sidecar knows.
    pub own: OwnFacts,
}

impl Facts {
    /// Everything on the order's own side that may fill before it and that the position doesn't
    /// show yet.
    #[must_use]
    pub fn committed(&self) -> Decimal {
        self.broker.working_same_side.saturating_add(self.own.under_way)
    }
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
