//! What the engine holds in memory and the store keeps: previews, approvals, keys, orders, halt.
//!
//! Plain values; the store writes them down and reads them back at start.

use crate::sends::REFUSALS_VOID;
use crate::truth::{Fill, Finding, Incarnation};
use crate::{Asked, Now, Owner, Signed};
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerName, BrokerOrderId, CallId, CanonicalOrder, ClientOrderId,
    Digest, ErrorCode, Form, IdempotencyKey, Leg, OnApproval, OperatorKeyId, OrderEvent, OrderPlan,
    OrderState, PreviewId, Reason, Timestamp, next,
};
use ibkr_agent_gates::Question;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A stored preview. It can't be executed; it is what an approval refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its id.
    pub id: PreviewId,
    /// Whose it is.
    pub owner: Owner,
    /// The orders as shown.
    pub plan: OrderPlan,
    /// The market price as shown.
    pub reference_price: Option<Decimal>,
    /// When that price was read.
    pub reference_time: Option<Timestamp>,
    /// The position as shown.
    pub position: Decimal,
    /// Whether every gate passed.
    pub would_pass: bool,
    /// Warnings that the human must see.
    pub warnings: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when an approval can be asked for.
    pub expires_at: Timestamp,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApprovalStatus {
    /// Waits for a human.
    Pending,
    /// A human said yes; it can be spent once.
    Approved,
    /// A human said no, or took the yes back.
    Denied,
    /// It was spent.
    Consumed,
    /// It was asked for before an upgrade changed the bytes that an approval covers, or its sending
    /// was refused too often.
    Void,
}

impl ApprovalStatus {
    /// Our name, in snake case. Expiry isn't stored: it follows from the clock.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Consumed => "consumed",
            Self::Void => "void",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Denied, Self::Consumed, Self::Void]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// A request for approval and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalEntry {
    /// Its id.
    pub id: ApprovalId,
    /// Whose it is.
    pub owner: Owner,
    /// Who asked, as the log names it.
    pub asked_by: String,
    /// The preview that it refers to.
    pub preview: PreviewId,
    /// The orders as shown.
    pub plan: OrderPlan,
    /// The market price as shown.
    pub reference_price: Option<Decimal>,
    /// The position as shown.
    pub position: Decimal,
    /// Warnings that the human must see.
    pub warnings: Vec<String>,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// What else its bytes hold; `None` from before signatures were kept.
    pub asked: Option<Asked>,
    /// The key that approved it.
    pub approved_by: Option<OperatorKeyId>,
    /// That key's signature.
    pub signed: Option<Signed>,
    /// How often sending it was refused after the yes.
    pub refusals: u8,
    /// The last of those refusals.
    pub refused: Option<LastRefusal>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Until when it can be spent.
    pub expires_at: Timestamp,
}

/// Why an order wasn't sent although the operator said yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRefusal {
    /// Why, as a code.
    pub code: ErrorCode,
    /// Why, in one sentence.
    pub message: String,
    /// Every check that refused.
    pub details: Vec<String>,
    /// When.
    pub at: Timestamp,
}

impl ApprovalEntry {
    /// What follows a yes.
    #[must_use]
    pub fn on_approval(&self) -> OnApproval {
        self.asked.as_ref().map(|asked| asked.on_approval).unwrap_or_default()
    }

    /// Why it can't be used any more, where it is void.
    pub(crate) const fn why_void(&self) -> &'static str {
        if self.refusals >= REFUSALS_VOID {
            "sending it was refused too often after the yes: preview again and ask anew"
        } else {
            "the approval was asked for before an upgrade changed what an approval covers: preview \
             again and ask anew"
        }
    }

    /// What it becomes when nothing was sent under it: an older form is approved no more.
    #[must_use]
    pub const fn given_back(&self) -> ApprovalStatus {
        match self.plan.form() {
            Form::V2 => ApprovalStatus::Approved,
            Form::V1 => ApprovalStatus::Void,
        }
    }
}

/// An idempotency key in retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Whose key it is.
    pub owner: Owner,
    /// The key.
    pub key: IdempotencyKey,
    /// Digest of what was asked under it.
    pub request: Digest,
    /// The order that it made.
    pub order: ClientOrderId,
    /// When it was first used.
    pub created_at: Timestamp,
}

/// Whose word a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// Ours.
    Gateway,
    /// The broker's: data, never an instruction.
    Broker,
}

/// An order that this gateway recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEntry {
    /// Our reference.
    pub id: ClientOrderId,
    /// Whose it is.
    pub owner: Owner,
    /// The call that made it.
    pub call: CallId,
    /// The approval that it spent.
    pub approval: ApprovalId,
    /// The idempotency key that made it.
    pub key: IdempotencyKey,
    /// The order.
    pub order: CanonicalOrder,
    /// Its place in the plan that its approval covers.
    pub leg: Leg,
    /// What we know of it.
    pub state: OrderState,
    /// IBKR's id, once known.
    pub broker_order_id: Option<BrokerOrderId>,
    /// Filled quantity, as last seen.
    pub filled: Option<Decimal>,
    /// Average fill price, as last seen.
    pub average_price: Option<Decimal>,
    /// Why it wasn't sent or its outcome is unknown; of every other state there is none.
    pub reason: Option<Reason>,
    /// The last word on it beside that, escaped.
    pub message: String,
    /// Whose word the message is.
    pub said_by: Speaker,
    /// The broker's question, while it waits for a human.
    pub question: Option<Question>,
    /// What the broker has shown under our reference, oldest first: a change while a connection
    /// was lost can leave several.
    pub incarnations: Vec<Incarnation>,
    /// Its fills by execution id, corrections in place of what they correct.
    pub fills: BTreeMap<String, Fill>,
    /// What a human was told of already.
    pub told: BTreeSet<Finding>,
    /// When the broker last showed it.
    pub seen_at: Option<Timestamp>,
    /// Value in the policy's currency, counted against the day's limit: the larger of what was
    /// approved and what the broker showed.
    pub counted_notional: Decimal,
    /// Units of the policy's currency for one of the order's, when it was decided.
    pub policy_rate: Option<Decimal>,
    /// The trading day that it counts for.
    pub trading_day: i64,
    /// Until when it counts: the end of its contract's trading session.
    pub counts_until: Option<Timestamp>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When our knowledge last changed.
    pub updated_at: Timestamp,
}

impl ApprovalEntry {
    /// The account that it is for.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        self.plan.account()
    }
}

impl OrderEntry {
    /// The broker login that it went through.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        self.order.broker()
    }

    /// The account that it belongs to.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        self.order.account()
    }

    /// Applies an event to what we know; `false` when it can't happen.
    pub(crate) fn apply(&mut self, event: OrderEvent, now: Now) -> bool {
        match next(self.state, event) {
            Ok(state) => {
                if self.state != state {
                    self.reason = None;
                }
                self.state = state;
                self.said_by = Speaker::Gateway;
                self.updated_at = now.wall;
                if state != OrderState::Question {
                    self.question = None;
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Says why it is in the state that it came to.
    pub(crate) fn explain(&mut self, why: Reason) {
        self.reason = Some(why);
        self.message = String::new();
        self.said_by = Speaker::Gateway;
    }

    /// The last word on it, in ours.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let is_said = self.said_by == Speaker::Gateway && !self.message.is_empty();
        // A message is later than the reason, or another version's own words for it.
        let said = is_said.then(|| self.message.clone());
        said.or_else(|| self.reason.map(Reason::sentence))
    }

    /// The last word on it, in the broker's.
    #[must_use]
    pub fn broker_words(&self) -> Option<&str> {
        (self.said_by == Speaker::Broker && !self.message.is_empty())
            .then_some(self.message.as_str())
    }
}

/// Why and since when trading is halted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaltEntry {
    /// Whether it is halted.
    pub halted: bool,
    /// Since when it is so.
    pub since: Timestamp,
    /// Who did it, as the log names it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The audit record.
    pub audit_event_id: Option<String>,
    /// Halts that came on top of it, oldest first.
    pub later: Vec<LaterHalt>,
}

/// A halt on top of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterHalt {
    /// When.
    pub since: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Most later halts that are kept; the log keeps every one.
const MAX_LATER: usize = 20;
/// Halts for the same reason within this time are one act that was told in two ways.
const SAME_ACT: Duration = Duration::from_secs(60);

impl HaltEntry {
    /// Nobody ever halted.
    #[must_use]
    pub fn never(since: Timestamp) -> Self {
        let (by, reason) = ("system".to_owned(), "never halted".to_owned());
        Self { halted: false, since, by, reason, audit_event_id: None, later: Vec::new() }
    }

    /// Whether the start halted, because the files of the state folder don't fit each other.
    #[must_use]
    pub fn is_of_state(&self) -> bool {
        self.halted && self.by == "system" && self.reason.starts_with("STATE_")
    }

    /// The first halt and those on top of it, as one sentence: what an operator signs to accept a
    /// state folder, so that nothing that came later is accepted unseen.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told = self.reason.clone();
        for later in &self.later {
            told.push_str(&format!("; halted by {}: {}", later.by, later.reason));
        }
        told
    }

    /// A halt on top of this one: the first one stays the first, and both are kept.
    #[must_use]
    pub fn followed_by(mut self, next: Self) -> Self {
        if !self.halted {
            return next;
        }
        let Self { since, by, reason, later, .. } = next;
        for note in core::iter::once(LaterHalt { since, by, reason }).chain(later) {
            self.since = self.since.min(note.since);
            if !self.knows(Some(note.since), &note.reason) {
                if self.later.len() >= MAX_LATER {
                    self.later.remove(0);
                }
                self.later.push(note);
            }
        }
        self
    }

    /// Whether it holds a halt for this reason, of the same time where a time is given.
    #[must_use]
    pub fn knows(&self, since: Option<Timestamp>, reason: &str) -> bool {
        let same = |when: Timestamp, why: &str| {
            let apart = |since: Timestamp| when.since(since).max(since.since(when));
            why == reason && since.is_none_or(|since| apart(since) < SAME_ACT)
        };
        let later = || self.later.iter().any(|later| same(later.since, &later.reason));
        self.halted && (same(self.since, &self.reason) || later())
    }
}

/// A caller that an operator admitted to writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Admitted {
    /// `token:issuer|subject|client`, as the log names the caller.
    pub caller: String,
    /// When; nothing in rows from before that was kept.
    pub admitted_at: Option<Timestamp>,
    /// By which operator's key; likewise.
    pub admitted_by: Option<OperatorKeyId>,
}

/// An enrolled operator key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKeyEntry {
    /// Its id.
    pub id: OperatorKeyId,
    /// Hexadecimal Ed25519 public key.
    pub public_key: String,
    /// Its holder's name for it.
    pub label: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
}

/// An approval or an order that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `ibkr://approvals/<id>` or `ibkr://orders/<id>`.
    pub resource: String,
    /// Whose it is.
    pub owner: Owner,
    /// The account that it is about.
    pub account: AccountId,
}

/// Everything that is read back at start.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Previews.
    pub previews: Vec<Preview>,
    /// Approvals.
    pub approvals: Vec<ApprovalEntry>,
    /// Idempotency keys.
    pub keys: Vec<KeyEntry>,
    /// Orders.
    pub orders: Vec<OrderEntry>,
    /// The halt, if one was ever written.
    pub halt: Option<HaltEntry>,
    /// Admitted callers.
    pub admitted: Vec<Admitted>,
    /// Enrolled operator keys that the log knows.
    pub operator_keys: Vec<OperatorKeyEntry>,
    /// Rows of operator keys that no record of the log enrolled: they may approve nothing.
    pub unknown_keys: Vec<OperatorKeyId>,
    /// Orders that aren't ours and were told of.
    pub foreign: Vec<crate::ForeignEntry>,
    /// Accounts' positions as they were explained.
    pub holdings: Vec<crate::HoldingsEntry>,
    /// The time of the newest record: the clock never counts as earlier than this.
    pub newest_record: Option<Timestamp>,
}
