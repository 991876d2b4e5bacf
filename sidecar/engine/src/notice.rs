//! What a human must hear of without asking. Telling is the driver's; a notice acts on nothing.

use crate::{ApprovalEntry, ApprovalStatus, Finding, Jump, OrderEntry};
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, ClientOrderId, Digest, OnApproval, Timestamp, Untrusted,
};

/// Something that an operator must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A caller asks for an approval.
    ApprovalAsked {
        /// Which.
        approval: ApprovalId,
        /// The account that it would trade on.
        account: AccountId,
        /// The digest of the order, which the approval screen shows too.
        order: Digest,
        /// Who asks, as the log names it.
        asked_by: String,
        /// When the question ends by itself.
        expires_at: Timestamp,
        /// What follows a yes.
        on_approval: OnApproval,
        /// Why, in the caller's words.
        reason: Option<Untrusted>,
    },
    /// The broker asks something about an order, and a human must answer.
    QuestionAsked {
        /// The order.
        order: ClientOrderId,
        /// Its account.
        account: AccountId,
    },
    /// It isn't known what became of an order.
    OutcomeUnknown {
        /// The order.
        order: ClientOrderId,
        /// Its account.
        account: AccountId,
    },
    /// An order of ours isn't what was approved.
    Differs {
        /// In which way.
        finding: Finding,
        /// The order.
        order: ClientOrderId,
        /// Its account.
        account: AccountId,
        /// What was approved and what is so now.
        difference: String,
    },
    /// The broker shows an order of ours inactive: held, or rejected at its destination.
    Held {
        /// The order.
        order: ClientOrderId,
        /// Its account.
        account: AccountId,
        /// The order in one line.
        summary: String,
    },
    /// An order of ours is no longer at the broker, its day is over, and nothing says how it ended.
    Vanished {
        /// The order.
        order: ClientOrderId,
        /// Its account.
        account: AccountId,
    },
    /// Trading was halted.
    Halted {
        /// By whom, as the log names it.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// The broker shows orders or trades that this gateway didn't make.
    ForeignOrders {
        /// The account.
        account: AccountId,
        /// Some of their ids.
        orders: Vec<String>,
        /// How many there are.
        count: u64,
    },
    /// Positions moved by more than the broker's trades explain.
    PositionJumped {
        /// The account.
        account: AccountId,
        /// Some of the moves.
        jumps: Vec<Jump>,
        /// How many there are.
        count: u64,
    },
}

impl Notice {
    /// An order that isn't what was approved.
    pub(super) fn found(finding: Finding, entry: &OrderEntry) -> Self {
        Self::Differs {
            finding,
            order: entry.id.clone(),
            account: entry.account().clone(),
            difference: entry.difference().unwrap_or_default(),
        }
    }

    /// An order that is held at the broker.
    pub(super) fn held(entry: &OrderEntry) -> Self {
        Self::Held {
            order: entry.id.clone(),
            account: entry.account().clone(),
            summary: entry.order.summary(),
        }
    }

    /// An approval that waits for a human; one that an operator took himself needs no telling.
    pub(super) fn asked(entry: &ApprovalEntry) -> Option<Self> {
        let requester = entry.asked.as_ref().map(|asked| &asked.requester);
        let is_own = matches!(requester, Some(Actor::Operator { .. }));
        (entry.status == ApprovalStatus::Pending && !is_own).then(|| Self::ApprovalAsked {
            approval: entry.id.clone(),
            account: entry.account().clone(),
            order: entry.plan.digest(),
            asked_by: entry.asked_by.clone(),
            expires_at: entry.expires_at,
            on_approval: entry.on_approval(),
            reason: entry.asked.as_ref().and_then(|asked| asked.reason.clone()),
        })
    }
}
