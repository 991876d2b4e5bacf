//! What goes in and what comes out. Effects carry permits and aren't `Clone`.

use crate::act::OperatorAct;
use crate::evidence::Sought;
use crate::foreign::ForeignEntry;
use crate::holdings::HoldingsEntry;
use crate::notice::Notice;
use crate::outcomes::OutcomeQuery;
use crate::owner::Owner;
use crate::pending::{Durable, Payload, Pending};
use crate::refusal::Refusal;
use crate::reports::{CancelReport, PlaceReport};
use crate::sends::Followed;
use crate::state::{
    Admitted, ApprovalEntry, ApprovalStatus, Change, HaltEntry, KeyEntry, OperatorKeyEntry,
    OrderEntry, Preview,
};
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerName, BrokerOrder, BrokerOrderId, ClientOrderId, Execution,
    IdempotencyKey, Listed, OnApproval, OrderPlan, OrderState, Position, PreviewId, Record,
    ScopeSet, Timestamp, Untrusted,
};
use ibkr_agent_gates::{
    BrokerFacts, Cancel, Check, Halt, Permit, Place, Reply, Requester, TakeOver,
};
use std::time::Duration;

/// The present, as the driver reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since start, for deadlines.
    pub monotonic: Duration,
    /// Wall clock, for expiry and records.
    pub wall: Timestamp,
    /// The exchange's date as a day number, for the day's limits.
    pub trading_day: i64,
}

/// The driver's handle of a call that waits for an answer. The upper half of the numbers is the
/// engine's own, for work that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    const FIRST_OWN: u64 = 1 << 63;

    /// A ticket of the engine's own.
    pub(crate) const fn own(number: u64) -> Self {
        Self(number | Self::FIRST_OWN)
    }

    /// Whether it is the engine's own: no answer to it leaves the engine.
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.0 >= Self::FIRST_OWN
    }
}

/// The engine's handle of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A process of the local user.
    Local,
    /// A token that the sidecar verified, issued then.
    Token {
        /// When it was issued.
        issued_at: Timestamp,
    },
    /// An operator on the operator socket.
    Operator,
}

/// Who asks, and what it may ask for: scopes after every ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For the record.
    pub requester: Requester,
    /// Token scopes ∩ ceiling.
    pub scopes: ScopeSet,
    /// How it proved itself.
    pub standing: Standing,
}

/// What kind of work a call is, for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// A read.
    Read,
    /// A preview: broker traffic, but nothing executable.
    Preview,
    /// Asking for an approval: a human's signature decides, and makes it fresh.
    Ask,
    /// Submitting: the only work for which an agent's own token must be young.
    Submit,
    /// Cancelling: a write with a budget of its own, which no token's age stops.
    Cancel,
}

/// A preview with the facts it was checked against.
#[derive(Debug, Clone)]
pub struct PreviewDraft {
    /// The orders.
    pub plan: OrderPlan,
    /// The facts that the driver read.
    pub facts: BrokerFacts,
}

/// A wish for an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The account that the caller names; must be the preview's.
    pub account: AccountId,
    /// The preview.
    pub preview: PreviewId,
    /// How long the approval should live.
    pub ttl: Option<Duration>,
    /// What follows a yes.
    pub on_approval: OnApproval,
    /// Why, in the caller's words.
    pub reason: Option<Untrusted>,
}

/// A wish to submit under an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The account that the caller names; must be the approval's.
    pub account: AccountId,
    /// The approval.
    pub approval: ApprovalId,
    /// The caller's idempotency key.
    pub key: IdempotencyKey,
}

/// A wish to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The account that the caller names.
    pub account: AccountId,
    /// IBKR's id of the order.
    pub order: BrokerOrderId,
}

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// May this call proceed?
    Admit {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// What kind of work.
        work: Work,
    },
    /// Write a record (a read was answered, a request was refused) and release the answer.
    Record {
        /// Who waits.
        ticket: Ticket,
        /// The record.
        record: Record,
    },
    /// The driver has the facts for a preview.
    Preview {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// The order and the facts.
        draft: Box<PreviewDraft>,
    },
    /// Ask a human.
    AskApproval {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// For what.
        asking: Asking,
    },
    /// Where does an approval stand?
    ApprovalStatus {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// The approval.
        approval: ApprovalId,
    },
    /// Spend an approval.
    Submit {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// What.
        submission: Submission,
    },
    /// The facts for a submission.
    FactsRead {
        /// Who waits.
        ticket: Ticket,
        /// The facts, or why they can't be had.
        facts: Result<Box<BrokerFacts>, Refusal>,
    },
    /// Cancel.
    Cancel {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// What.
        cancellation: Cancellation,
    },
    /// A broker login shows an account: a cancel of an order that others placed goes there.
    AccountSeen {
        /// The account.
        account: AccountId,
        /// The login.
        broker: BrokerName,
    },
    /// What became of an order?
    Outcome {
        /// Who waits.
        ticket: Ticket,
        /// Who asks.
        caller: Caller,
        /// Which.
        query: OutcomeQuery,
    },
    /// An operator acts.
    Operator {
        /// Who waits.
        ticket: Ticket,
        /// Who acts.
        requester: Requester,
        /// What.
        act: OperatorAct,
    },
    /// A commit is done.
    Committed {
        /// Which.
        job: JobId,
        /// What it gave.
        result: Result<Pending<Durable>, CommitError>,
    },
    /// The broker answered a placement or a reply.
    PlaceDone {
        /// Which order.
        order: ClientOrderId,
        /// What it said.
        report: PlaceReport,
    },
    /// The broker answered a cancel.
    CancelDone {
        /// Who waits.
        ticket: Ticket,
        /// What it said.
        report: CancelReport,
    },
    /// The brokerage session was taken, or why it wasn't.
    TakenOver {
        /// Who waits.
        ticket: Ticket,
        /// Why not.
        refused: Option<Refusal>,
    },
    /// The emergency file was asked to take a halt.
    EmergencyHalted {
        /// Who waits.
        ticket: Ticket,
        /// The record, if it was written.
        event: Option<String>,
    },
    /// Halts were found that nobody asked for here: in the halt's file, or by a signal.
    HaltsFound {
        /// Who is recorded for them.
        requester: Box<Requester>,
        /// Who did it, in words.
        by: String,
        /// What was found.
        found: Vec<FoundHalt>,
    },
    /// The halt's file was taken away, or wasn't.
    Reopened {
        /// Who waits.
        ticket: Ticket,
        /// Who resumes.
        requester: Box<Requester>,
        /// The resume, durable by now.
        entry: Box<HaltEntry>,
        /// Of which halt it is the end.
        generation: u64,
        /// Whether no file halts any more.
        cleared: bool,
    },
    /// The broker's orders and trades of an account were read.
    Evidence {
        /// The account.
        account: AccountId,
        /// Its orders.
        orders: Listed<BrokerOrder>,
        /// Its trades.
        executions: Listed<Execution>,
    },
    /// The positions of an account were read in the same look.
    Held {
        /// The account.
        account: AccountId,
        /// All of its positions.
        positions: Vec<Position>,
    },
    /// Time has passed: what ends by itself ends.
    Tick,
    /// An order that the broker's list lacked was asked for singly.
    OrderSought {
        /// Our reference.
        order: ClientOrderId,
        /// The broker's id that was asked for.
        asked: BrokerOrderId,
        /// What the broker said.
        answer: Sought,
    },
    /// The call's deadline has passed or its caller withdrew it.
    Withdrawn {
        /// Who waited.
        ticket: Ticket,
    },
}

/// Why a commit had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// A precondition no longer held; nothing was written.
    Precondition,
    /// The store failed.
    Failed,
}

/// What must hold in the store at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The approval has this status.
    ApprovalIs(ApprovalId, ApprovalStatus),
    /// The key was never used.
    KeyUnused(Owner, IdempotencyKey),
    /// The order was never recorded.
    OrderUnknown(ClientOrderId),
    /// The order is in this state.
    OrderIs(ClientOrderId, OrderState),
}

/// A row to write.
#[derive(Debug, Clone)]
pub enum Row {
    /// A preview.
    Preview(Box<Preview>),
    /// Remove a preview whose time is over.
    ForgetPreview(PreviewId),
    /// An approval.
    Approval(Box<ApprovalEntry>),
    /// A key.
    Key(KeyEntry),
    /// Remove a key: nothing was sent under it, or its order is forgotten.
    ForgetKey(Owner, IdempotencyKey),
    /// Remove an approval that was over long ago.
    ForgetApproval(ApprovalId),
    /// Remove an order that ended long ago.
    ForgetOrder(ClientOrderId),
    /// An order.
    Order(Box<OrderEntry>),
    /// The halt.
    Halt(HaltEntry),
    /// An admitted caller.
    Admitted(Admitted),
    /// Remove an admitted caller.
    ForgetAdmitted(String),
    /// An enrolled operator key.
    OperatorKey(OperatorKeyEntry),
    /// An order that isn't ours, told of.
    Foreign(ForeignEntry),
    /// Remove one that can't come again.
    ForgetForeign(AccountId, String),
    /// An account's positions as they were explained.
    Holdings(Box<HoldingsEntry>),
}

/// One atomic change of the store with its record.
#[derive(Debug)]
pub struct CommitJob {
    /// Its handle.
    pub id: JobId,
    /// What must hold.
    pub preconditions: Vec<Precondition>,
    /// What is written.
    pub rows: Vec<Row>,
    /// What is recorded.
    pub payload: Payload,
    /// The record's time.
    pub now: Timestamp,
}

/// What a ticket's holder is told.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Proceed.
    Admitted,
    /// The record is durable.
    Recorded,
    /// A preview with its checks.
    Preview(Box<Preview>, Vec<Check>),
    /// An approval, whether it has expired, and what followed a yes.
    Approval(Box<ApprovalEntry>, Expired, Followed),
    /// An order.
    Order(Box<OrderEntry>),
    /// The cancel reached the broker, whose words are a hint only: the order's state decides.
    CancelRequested {
        /// The order, when this gateway placed it.
        order: Option<Box<OrderEntry>>,
        /// How many orders at the broker it was for.
        sent: usize,
        /// Why the broker says that it won't, when it says so of one of them.
        refused: Option<Refusal>,
        /// The broker's text, escaped.
        message: String,
    },
    /// An operator's act was done.
    Done,
    /// No.
    Refused(Refusal),
}

/// Whether something's time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// It still counts.
    No,
    /// It no longer does.
    Yes,
}

/// What goes out.
#[derive(Debug)]
pub enum Effect {
    /// Commit this, then say so.
    Commit(Box<CommitJob>),
    /// Answer a ticket.
    Reply {
        /// Which.
        ticket: Ticket,
        /// With what.
        answer: Answer,
        /// The audit record behind it.
        event: Option<String>,
    },
    /// Read quote, position, orders for this order.
    ReadFacts {
        /// For whom.
        ticket: Ticket,
        /// For what order.
        plan: Box<OrderPlan>,
    },
    /// Send the order.
    Place(Recorded<Permit<Place>>),
    /// Answer the broker's question.
    SendReply(Recorded<Permit<Reply>>),
    /// Send the cancel.
    SendCancel {
        /// Who waits.
        ticket: Ticket,
        /// The permit.
        permit: Recorded<Permit<Cancel>>,
    },
    /// Take the brokerage session.
    TakeOver {
        /// Who waits.
        ticket: Ticket,
        /// The permit.
        permit: Recorded<Permit<TakeOver>>,
    },
    /// The log can't be written: record this cancel in the emergency file, then send it.
    EmergencyCancel {
        /// Who waits.
        ticket: Ticket,
        /// The permit.
        permit: Permit<Cancel>,
    },
    /// The log can't be written: record this halt in the emergency file.
    EmergencyHalt {
        /// Who waits.
        ticket: Ticket,
        /// The permit.
        permit: Permit<Halt>,
    },
    /// A resume is durable: take the halt's file away, and say whether none halts any more.
    Reopen {
        /// Who waits.
        ticket: Ticket,
        /// Who resumes.
        requester: Box<Requester>,
        /// The resume.
        entry: Box<HaltEntry>,
        /// Of which halt it is the end.
        generation: u64,
    },
    /// Set the latch that is read last before the socket write.
    SetLatch {
        /// Shut or open.
        halted: bool,
    },
    /// Ask the broker for one order, which its list no longer shows.
    AskOrder {
        /// Its account.
        account: AccountId,
        /// Our reference.
        reference: ClientOrderId,
        /// The broker's id.
        order: BrokerOrderId,
    },
    /// Read orders and trades of this account: an order is open or in doubt.
    SeekEvidence {
        /// The account.
        account: AccountId,
    },
    /// Tell a human.
    Notice(Box<Notice>),
    /// An approval or an order changed: wake whoever waits for it.
    Changed(Change),
}

/// A halt that was found, not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHalt {
    /// When it was made, where that is known.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

impl Effect {
    /// Whether it is a request to place, cancel or answer: the broker counts these.
    pub(crate) const fn is_message(&self) -> bool {
        match self {
            Self::Place(_)
            | Self::SendReply(_)
            | Self::SendCancel { .. }
            | Self::EmergencyCancel { .. } => true,
            Self::Commit(_)
            | Self::Reply { .. }
            | Self::ReadFacts { .. }
            | Self::TakeOver { .. }
            | Self::EmergencyHalt { .. }
            | Self::SetLatch { .. }
            | Self::Reopen { .. }
            | Self::SeekEvidence { .. }
            | Self::AskOrder { .. }
            | Self::Notice(_)
            | Self::Changed(_) => false,
        }
    }
}
