//! What became of an effect, as far as we know.
//!
//! `Unknown` is an honest answer: the caller reconciles by our reference and never repeats. A
//! request that was turned away before anything was taken is `NotSent` too: its reason tells.

use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{BrokerOrderId, BrokerOrderStatus, NotSent, UnknownBecause, Untrusted};
use ibkr_agent_gates::{Permit, Place, Question};

/// What became of placing an order or of answering a question about it.
#[derive(Debug)]
#[must_use = "an outcome that is dropped is an order that nobody knows of"]
pub enum PlaceOutcome {
    /// The broker has the order.
    Placed {
        /// IBKR's id.
        order_id: BrokerOrderId,
        /// Its first status. An order that is `Inactive` is held at the broker: it doesn't work.
        status: BrokerOrderStatus,
        /// What the broker said with it.
        text: Option<Untrusted>,
    },
    /// The broker asks before it takes the order.
    Question(Asked),
    /// The broker answered with a prompt that no reply of ours settles. It names an order that the
    /// broker may keep: find out by it.
    Prompted(Prompt),
    /// The broker refused the order, or a question was answered with no.
    Rejected {
        /// The broker's own reason, if it gave one.
        message: Option<Untrusted>,
    },
    /// The broker has seen this reference before: find the order by it. Never a rejection.
    AlreadyRegistered,
    /// We don't know whether the broker has the order.
    Unknown {
        /// Why.
        why: UnknownBecause,
    },
    /// Nothing of this request was taken. For a reply: the question stays unanswered.
    NotSent {
        /// Why.
        why: NotSent,
    },
}

/// What the broker asks of whoever placed an order, beside its questions: whether it may manage the
/// order's price, or how a refused order may be sent again. Texts are exact, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The order that it is about.
    pub order_id: Option<BrokerOrderId>,
    /// IBKR's id of the prompt.
    pub request_id: Option<String>,
    /// IBKR's kind of prompt, such as `p12`.
    pub message_id: Option<Untrusted>,
    /// What it says.
    pub text: String,
    /// The answers that it offers.
    pub options: Vec<String>,
}

/// Most questions about one order.
const MAX_ROUNDS: u8 = 20;

/// A broker's question, holding the order's permit until it is answered.
#[derive(Debug)]
#[must_use = "an unanswered question holds an order's permit"]
pub struct Asked(Box<Held>);

#[derive(Debug)]
struct Held {
    question: Question,
    permit: Recorded<Permit<Place>>,
    round: u8,
}

impl Asked {
    /// A question about a permitted order.
    pub fn new(question: Question, permit: Recorded<Permit<Place>>) -> Self {
        Self(Box::new(Held { question, permit, round: 1 }))
    }

    /// The question.
    #[must_use]
    pub const fn question(&self) -> &Question {
        &self.0.question
    }

    /// The permit of the order that it is about.
    pub const fn permit(&self) -> &Recorded<Permit<Place>> {
        &self.0.permit
    }

    /// The number of the question that may follow this one, unless there were too many.
    pub(crate) const fn next_round(&self) -> Option<u8> {
        if self.0.round < MAX_ROUNDS { Some(self.0.round.saturating_add(1)) } else { None }
    }

    /// The next question of the chain, holding the same permit.
    pub(crate) fn followed_by(mut self, question: Question, round: u8) -> Self {
        self.0.question = question;
        self.0.round = round;
        self
    }
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a cancel's outcome says whether the order may still fill"]
pub enum CancelOutcome {
    /// The broker took the request. The order may still fill: confirm by its status.
    Requested {
        /// What the broker said.
        text: Option<Untrusted>,
    },
    /// The broker refused the cancel. Whether the order still works is told by its status only.
    Refused {
        /// What the broker said.
        message: Untrusted,
        /// What its words may mean.
        hint: CancelHint,
    },
    /// We don't know whether the broker got it.
    Unknown {
        /// Why.
        why: UnknownBecause,
    },
    /// Nothing left us, or it was turned away before the order was looked at.
    NotSent {
        /// Why.
        why: NotSent,
    },
}

/// What the words of a refused cancel may mean. Never a fact: an order that is said to be cancelled
/// already may still fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelHint {
    /// The broker may know no such order.
    NoSuchOrder,
    /// The order may have ended, or may be about to.
    MayHaveEnded,
    /// The order may work on and not be cancellable now.
    NotCancellable,
    /// Nothing can be read from them.
    Unclear,
}
