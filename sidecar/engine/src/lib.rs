//! The sans-IO core: `handle(input, now) -> effects`. It owns admission, approvals and the order
//! path; it reads no clock, does no I/O and never waits.
//!
//! | file | owns |
//! |---|---|
//! | `act.rs`, `effect.rs`, `reports.rs`, `state.rs` | what comes in, goes out and is kept |
//! | `admission.rs` | who may call what, and how often |
//! | `authority.rs` | what counts as an operator's yes, checked again before an order is sent |
//! | `approvals.rs` | previews, asking, the operator's yes and no |
//! | `submit.rs` | the order's way: screen, facts, decide, commit, place, commit |
//! | `sends.rs` | what a signature sends, at once or never |
//! | `outcomes.rs` | what the broker answered, what an operator states, what is told of an order |
//! | `questions.rs` | the broker's questions and their one answer |
//! | `evidence.rs` | what the broker's orders and trades show of ours |
//! | `cancel.rs` | cancels, which nothing refuses for risk |
//! | `halt.rs` | the kill switch |
//! | `limits.rs` | what the limits have used |
//! | `takeover.rs` | taking the brokerage session, by an operator's choice |
//! | `owner.rs` | whose an approval or an order is |
//! | `unsaid.rs` | rows of ours that can't be read, fills that were taken back |
//! | `foreign.rs` | orders at the broker that aren't ours |
//! | `holdings.rs` | positions that moved by more than trades explain |
//! | `notice.rs` | what a human must hear of |
//! | `pending.rs` | what a commit records, before, in and after it |
//! | `view.rs` | what others may look at |
//! | `store.rs` | its journal: what is written in the ledger's one transaction, and read back |
//!
//! Invariants: an approval is reserved in the same step that makes the permit, and only if an
//! enrolled key's signature covers exactly what it says; nothing is placed
//! without a [`Recorded`](ibkr_agent_audit::Recorded) permit, which only a commit makes; an order
//! whose answer was lost is unknown until evidence or an operator settles it; a reply leaves after
//! its record is durable. The store is the journal: [`Engine::restore`] rebuilds everything.

mod act;
mod admission;
mod approvals;
mod authority;
mod callers;
mod cancel;
mod conversation;
mod effect;
mod evidence;
mod foreign;
mod halt;
mod holdings;
mod left;
mod limits;
mod notice;
mod orders;
mod outcomes;
mod own;
mod owner;
mod pending;
mod plan;
mod questions;
mod refusal;
mod reports;
mod retention;
mod sends;
mod state;
pub mod store;
mod submit;
mod takeover;
mod truth;
mod unsaid;
mod view;

pub use act::OperatorAct;
pub use authority::{Asked, Authority, Signed, Unsigned, VerifySignature};
pub use callers::Spent;
pub use effect::{
    Answer, Asking, Caller, Cancellation, CommitError, CommitJob, Effect, Expired, FoundHalt,
    Input, JobId, Now, Precondition, PreviewDraft, Row, Standing, Submission, Ticket, Work,
};
pub use evidence::Sought;
pub use foreign::ForeignEntry;
pub use holdings::{Base, Counted, HoldingsEntry, Jump};
pub use ibkr_agent_gates::BrokerFacts;
pub use limits::{CallBudget, Scope, Used};
pub use notice::Notice;
pub use outcomes::{OutcomeQuery, refusal_of};
pub use owner::{Owner, Whose, owner_of};
pub use pending::{Batched, Durable, Payload, Pending, Proposed, Stage};
pub use refusal::Refusal;
pub use reports::{CancelReport, PlaceReport};
pub use sends::{Followed, REFUSALS_VOID, Sending};
pub use state::{
    Admitted, ApprovalEntry, ApprovalStatus, Change, HaltEntry, KeyEntry, LastRefusal, LaterHalt,
    OperatorKeyEntry, OrderEntry, Preview, Restored, Speaker,
};
pub use truth::{Fill, Finding, Incarnation};

use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerName, BrokerOrderId, ClientOrderId, Decision, Digest, Door,
    ErrorCode, IdempotencyKey, OperatorKeyId, PreviewId, Record, RecordKind, Reference, SidecarId,
    Timestamp,
};
use ibkr_agent_gates::{PolicySet, Question, Requester, Switches};
use sends::Party;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest life of an approval: IBKR refuses a repeated order reference for 24 hours only.
pub const MAX_APPROVAL_TTL: Duration = Duration::from_secs(12 * 3600);

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This sidecar; part of every order reference.
    pub sidecar: SidecarId,
    /// The limits, by account and mode.
    pub policies: PolicySet,
    /// The broker login, when only one is configured.
    pub default_broker: Option<BrokerName>,
    /// How long a preview can be asked about.
    pub preview_ttl: Duration,
    /// How long an approval lives when the caller doesn't say; at most [`MAX_APPROVAL_TTL`].
    pub approval_ttl: Duration,
    /// Undecided approvals that may be open at once.
    pub max_open_approvals: usize,
    /// Oldest access token by which an agent may submit; nothing else depends on a token's age.
    pub max_submit_token_age: Duration,
    /// How long a broker's question waits for a human before the answer is no.
    pub question_timeout: Duration,
    /// Calls per minute and caller.
    pub budget: CallBudget,
    /// How operators' signatures are checked.
    pub authority: Authority,
    /// Whether they send.
    pub sending: Sending,
}

/// The core. One owner; see the module documentation.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    previews: BTreeMap<PreviewId, Preview>,
    approvals: BTreeMap<ApprovalId, ApprovalEntry>,
    /// When approvals end by the monotonic clock, whatever the wall clock does meanwhile.
    deadlines: BTreeMap<ApprovalId, Duration>,
    /// The broker login that shows an account.
    logins: BTreeMap<AccountId, BrokerName>,
    keys: BTreeMap<(Owner, IdempotencyKey), KeyEntry>,
    orders: orders::Orders,
    admitted: BTreeMap<String, Admitted>,
    operator_keys: BTreeMap<OperatorKeyId, OperatorKeyEntry>,
    halt: HaltEntry,
    halt_generation: u64,
    /// The number of halts when the last resume began, until it is done.
    reopening: Option<u64>,
    audit_writable: bool,
    budgets: limits::Budgets,
    submissions: BTreeMap<Ticket, submit::Flight>,
    sends: sends::Sends,
    jobs: BTreeMap<JobId, After>,
    next_job: u64,
    high_water: Timestamp,
    foreign: foreign::Foreign,
    holdings: holdings::Holdings,
    /// In which order previews and approvals were made.
    ages: retention::Ages,
    /// Orders that the broker's list should hold and doesn't.
    absent: BTreeMap<(ClientOrderId, Option<BrokerOrderId>), evidence::Absence>,
    /// Orders that are over as we see it, while no row of the broker's said so.
    unended: BTreeSet<ClientOrderId>,
    left: left::Left,
    /// Orders of which the last look showed less as filled than was known.
    less: BTreeMap<ClientOrderId, unsaid::Less>,
    /// Orders that the last look showed in rows that can't be read, and which part can't.
    unread: BTreeMap<ClientOrderId, &'static str>,
    /// Logins that talk with the broker about an order.
    talks: conversation::Talks,
    /// When the broker's questions end by themselves.
    question_ends: BTreeMap<ClientOrderId, Duration>,
    /// Cancels that wait for more than one answer.
    cancels: BTreeMap<Ticket, cancel::Flight>,
    /// Requests to place, cancel and answer of the last minute.
    messages: own::Messages,
}

/// What to do when a commit is done.
#[derive(Debug)]
enum After {
    /// Answer a ticket.
    Reply(Ticket, Answer, Option<String>),
    /// Tell a ticket what happened; it happened whether or not the record could be written.
    Tell(Ticket, Answer),
    /// The yes to an approval that sends by itself is durable: answer, and send.
    Signed(Ticket, Box<ApprovalEntry>),
    /// A refusal to send is durable: answer, and tell who watches the approval.
    SendRefused(Ticket, Refusal, Change),
    /// Place the order; `before` is what it was: nothing, or given back unsent.
    Place { ticket: Ticket, legs: Vec<(ClientOrderId, Option<Box<OrderEntry>>)>, halts: u64 },
    /// Send the answer to a question, which nobody else can answer meanwhile.
    SendReply { ticket: Ticket, order: ClientOrderId, question: Box<Question> },
    /// Send the cancel.
    SendCancel { ticket: Ticket, request: Box<ibkr_agent_gates::CancelRequest> },
    /// Nothing: it was housekeeping.
    Kept,
    /// Some of what is over is forgotten: forget the next.
    Forgotten,
    /// The order's outcome is durable: answer whoever waits for it.
    Settled(ClientOrderId),
    /// It is durable that the order wasn't sent: tell those who waited for this attempt. Another
    /// attempt may be under way by then.
    HeldBack { entry: Box<OrderEntry>, tickets: Vec<Ticket> },
    /// Tell a human, whether or not it could be recorded.
    Notice(Box<Notice>),
    /// The wish to take the session is durable.
    TakeOver { ticket: Ticket },
    /// The halt is durable.
    Halt { ticket: Ticket, requester: Box<Requester> },
    /// The resume is durable: take the halt's file away, then open the latch.
    Resume { ticket: Ticket, requester: Box<Requester>, entry: Box<HaltEntry>, generation: u64 },
}

impl Engine {
    /// Rebuilds the core from what the store kept. Every intent without an outcome is unknown now,
    /// and so is every question, because the permit that waited for its answer is gone.
    #[must_use]
    pub fn restore(config: EngineConfig, restored: Restored, now: Now) -> (Self, Vec<Effect>) {
        let mut high_water = now.wall.max(restored.newest_record.unwrap_or(now.wall));
        for order in &restored.orders {
            high_water = high_water.max(order.updated_at);
        }
        for approval in &restored.approvals {
            high_water = high_water.max(approval.created_at);
        }
        let deadlines = restored.approvals.iter().map(|approval| {
            let left = approval.expires_at.since(high_water);
            (approval.id.clone(), now.monotonic.saturating_add(left))
        });
        let mut engine = Self {
            config,
            deadlines: deadlines.collect(),
            logins: BTreeMap::new(),
            previews: restored.previews.into_iter().map(|p| (p.id.clone(), p)).collect(),
            approvals: restored.approvals.into_iter().map(|a| (a.id.clone(), a)).collect(),
            keys: restored
                .keys
                .into_iter()
                .map(|k| ((k.owner.clone(), k.key.clone()), k))
                .collect(),
            orders: orders::Orders::restore(restored.orders),
            operator_keys: restored.operator_keys.into_iter().map(|k| (k.id.clone(), k)).collect(),
            admitted: restored.admitted.into_iter().map(|a| (a.caller.clone(), a)).collect(),
            halt: restored.halt.unwrap_or_else(|| HaltEntry::never(now.wall)),
            halt_generation: 0,
            reopening: None,
            audit_writable: true,
            budgets: limits::Budgets::default(),
            submissions: BTreeMap::new(),
            sends: sends::Sends::default(),
            jobs: BTreeMap::new(),
            next_job: 1,
            high_water,
            foreign: foreign::Foreign::restore(restored.foreign),
            holdings: holdings::Holdings::restore(restored.holdings),
            ages: retention::Ages::default(),
            absent: BTreeMap::new(),
            unended: BTreeSet::new(),
            left: left::Left::default(),
            less: BTreeMap::new(),
            unread: BTreeMap::new(),
            talks: conversation::Talks::default(),
            question_ends: BTreeMap::new(),
            cancels: BTreeMap::new(),
            messages: own::Messages::default(),
        };
        engine.spend_what_was_sent();
        engine.note_ends();
        let previews = engine.previews.values();
        engine.ages.previews = previews.map(|one| (one.created_at, one.id.clone())).collect();
        let approvals = engine.approvals.values();
        let approvals = approvals.filter(|one| engine.orders.of_approval(&one.id).is_none());
        engine.ages.approvals = approvals.map(|one| (one.created_at, one.id.clone())).collect();
        let mut effects = vec![Effect::SetLatch { halted: engine.halt.halted }];
        effects.extend(engine.doubt_unfinished(now));
        effects.extend(engine.forget_at_start(now));
        (engine, effects)
    }

    /// Takes an input, gives the effects that follow from it.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let now = self.settle_clock(now);
        let mut effects = self.step(input, now);
        effects.extend(self.end_questions(now));
        effects.extend(self.take_turns(now));
        effects.retain(|one| !matches!(one, Effect::Reply { ticket, .. } if ticket.is_own()));
        self.messages.note(&effects, now);
        effects
    }

    fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        match input {
            Input::Admit { ticket, caller, work } => vec![self.admit(ticket, &caller, work, now)],
            Input::Record { ticket, record } => {
                let after = After::Reply(ticket, Answer::Recorded, None);
                vec![self.commit(Vec::new(), Vec::new(), Payload::Record(record), after, now)]
            }
            Input::Preview { ticket, caller, draft } => {
                vec![self.preview(ticket, &caller, *draft, now)]
            }
            Input::AskApproval { ticket, caller, asking } => {
                vec![self.ask_approval(ticket, &Party::of(&caller), &asking, now)]
            }
            Input::ApprovalStatus { ticket, caller, approval } => {
                vec![self.approval_status(ticket, &caller, &approval, now)]
            }
            Input::Submit { ticket, caller, submission } => {
                self.submit(ticket, &caller, submission, now)
            }
            Input::FactsRead { ticket, facts } => self.facts_read(ticket, facts, now),
            Input::Cancel { ticket, caller, cancellation } => {
                self.cancel(ticket, &caller, &cancellation, now)
            }
            Input::AccountSeen { account, broker } => {
                self.logins.insert(account, broker);
                Vec::new()
            }
            Input::Outcome { ticket, caller, query } => {
                vec![self.outcome(ticket, &caller, &query)]
            }
            Input::Operator { ticket, requester, act } => {
                self.operator(ticket, requester, act, now)
            }
            Input::Committed { job, result } => self.committed(job, result, now),
            Input::PlaceDone { order, report } => self.place_done(&order, report, now),
            Input::CancelDone { ticket, report } => {
                self.cancel_done(ticket, report, now).into_iter().collect()
            }
            Input::Tick => Vec::new(),
            Input::OrderSought { order, asked, answer } => {
                self.sought(&order, Some(asked), answer, now)
            }
            Input::TakenOver { ticket, refused } => vec![self.taken_over(ticket, refused, now)],
            Input::EmergencyHalted { ticket, event } => {
                vec![self.emergency_halted(ticket, event)]
            }
            Input::HaltsFound { requester, by, found } => {
                self.halts_found(&requester, &by, found, now)
            }
            Input::Reopened { ticket, requester, entry, generation, cleared } => {
                self.reopened(ticket, *requester, *entry, (generation, cleared), now)
            }
            Input::Evidence { account, orders, executions } => {
                self.evidence(&account, &orders, &executions, now)
            }
            Input::Held { account, positions } => {
                let mut effects: Vec<Effect> =
                    self.held(&account, &positions, now).into_iter().collect();
                effects.extend(self.left_behind(&account, &positions, now));
                effects
            }
            Input::Withdrawn { ticket } => {
                self.withdraw(ticket);
                Vec::new()
            }
        }
    }

    /// The wall clock going back never revives anything.
    fn settle_clock(&mut self, mut now: Now) -> Now {
        self.high_water = self.high_water.max(now.wall);
        now.wall = self.high_water;
        now
    }

    fn switches(&self) -> Switches {
        Switches { halted: self.halt.halted, audit_writable: self.audit_writable }
    }

    /// Makes a commit and remembers what follows it.
    fn commit(
        &mut self,
        preconditions: Vec<Precondition>,
        rows: Vec<Row>,
        payload: Payload,
        after: After,
        now: Now,
    ) -> Effect {
        let id = JobId(self.next_job);
        self.next_job = self.next_job.saturating_add(1);
        self.jobs.insert(id, after);
        let job = CommitJob { id, preconditions, rows, payload, now: now.wall };
        Effect::Commit(Box::new(job))
    }

    fn committed(
        &mut self,
        job: JobId,
        result: Result<Pending<Durable>, CommitError>,
        now: Now,
    ) -> Vec<Effect> {
        let Some(after) = self.jobs.remove(&job) else {
            return Vec::new();
        };
        match result {
            Ok(recorded) => self.after_commit(after, recorded, now),
            Err(error) => {
                if error == CommitError::Failed {
                    self.audit_writable = false;
                }
                self.after_failure(after, &error, now)
            }
        }
    }

    fn after_commit(&mut self, after: After, recorded: Pending<Durable>, now: Now) -> Vec<Effect> {
        let event = Some(recorded.event().to_string());
        match (after, recorded) {
            (After::Reply(ticket, answer, changed), _) => {
                let mut effects = Vec::new();
                if let (Answer::Approval(entry, ..), Some(_)) = (&answer, &changed) {
                    effects.extend(Notice::asked(entry).map(|one| Effect::Notice(Box::new(one))));
                }
                let whose = match &answer {
                    Answer::Approval(entry, ..) => Some((&entry.owner, entry.account())),
                    Answer::Order(entry) => Some((&entry.owner, entry.account())),
                    Answer::Admitted
                    | Answer::Recorded
                    | Answer::Preview(..)
                    | Answer::CancelRequested { .. }
                    | Answer::Done
                    | Answer::Refused(_) => None,
                };
                let change = changed.zip(whose).map(|(resource, (owner, account))| Change {
                    resource,
                    owner: owner.clone(),
                    account: account.clone(),
                });
                effects.push(Effect::Reply { ticket, answer, event });
                effects.extend(change.map(Effect::Changed));
                effects
            }
            (After::Signed(ticket, entry), _) => self.signed(ticket, entry, event, now),
            (After::SendRefused(ticket, refusal, change), _) => {
                let answer = Answer::Refused(refusal);
                vec![Effect::Reply { ticket, answer, event }, Effect::Changed(change)]
            }
            (After::Kept, _) => Vec::new(),
            (After::Forgotten, _) => self.forget_at_start(now).into_iter().collect(),
            (After::Tell(ticket, answer), _) => vec![Effect::Reply { ticket, answer, event }],
            (After::Place { halts, .. }, Pending::Place(permit)) => {
                self.placeable((permit, halts), now)
            }
            (After::SendReply { ticket, order, .. }, Pending::Reply(permit)) => {
                self.send_answer(ticket, &order, permit, event)
            }
            (After::TakeOver { ticket }, Pending::TakeOver(permit)) => {
                vec![Effect::TakeOver { ticket, permit }]
            }
            (After::SendCancel { ticket, .. }, Pending::Cancel(permit)) => {
                vec![Effect::SendCancel { ticket, permit }]
            }
            (After::Settled(order), _) => self.settled(&order, event.as_ref()),
            (After::Notice(notice), _) => vec![Effect::Notice(notice)],
            (After::HeldBack { entry, tickets }, _) => {
                outcomes::told(&entry, tickets, event.as_ref())
            }
            (After::Halt { ticket, .. }, _) => {
                self.halt.audit_event_id.clone_from(&event);
                vec![Effect::Reply { ticket, answer: Answer::Done, event }]
            }
            (After::Resume { ticket, generation, .. }, _) if generation != self.halt_generation => {
                vec![halt::halted_again(ticket)]
            }
            (After::Resume { ticket, requester, mut entry, generation }, _) => {
                entry.audit_event_id = event;
                vec![Effect::Reopen { ticket, requester, entry, generation }]
            }
            // A commit gives the permit that it carried; anything else is a defect, and
            // nothing is sent.
            (
                After::Place { ticket, .. }
                | After::SendReply { ticket, .. }
                | After::TakeOver { ticket }
                | After::SendCancel { ticket, .. },
                _,
            ) => vec![refuse(ticket, ErrorCode::InternalError, "the permit was not recorded")],
        }
    }

    fn after_failure(&mut self, after: After, error: &CommitError, now: Now) -> Vec<Effect> {
        let code = match error {
            CommitError::Precondition => ErrorCode::InternalError,
            CommitError::Failed => ErrorCode::AuditWriteFailed,
        };
        let sentence = "nothing was done: the record could not be written";
        match after {
            After::Tell(ticket, answer) => vec![Effect::Reply { ticket, answer, event: None }],
            After::Halt { ticket, requester } => self.emergency_halt(ticket, *requester, now),
            After::Reply(ticket, _, _) | After::Resume { ticket, .. } => {
                vec![refuse(ticket, code, sentence)]
            }
            After::Signed(ticket, entry) => {
                self.sends.end(&entry.id);
                vec![refuse(ticket, code, sentence)]
            }
            After::SendRefused(ticket, _, change) => {
                vec![refuse(ticket, code, sentence), Effect::Changed(change)]
            }
            After::SendReply { ticket, order, question } => {
                self.ask_again(&order, *question);
                vec![refuse(ticket, code, sentence)]
            }
            After::Place { ticket, legs, .. } => self.place_not_recorded(ticket, legs, code),
            After::TakeOver { ticket } => vec![Self::not_taken_over(ticket)],
            After::SendCancel { ticket, request } => {
                self.emergency_cancel(ticket, *request, now).into_iter().collect()
            }
            After::Kept | After::Forgotten => Vec::new(),
            After::Settled(order) => self.settled(&order, None),
            After::Notice(notice) => vec![Effect::Notice(notice)],
            After::HeldBack { entry, tickets } => outcomes::told(&entry, tickets, None),
        }
    }
}

fn refuse(ticket: Ticket, code: ErrorCode, message: &str) -> Effect {
    let answer = Answer::Refused(Refusal::new(code, message));
    Effect::Reply { ticket, answer, event: None }
}

/// A record of what a requester did, with its call.
fn record_of(requester: &Requester, kind: RecordKind, decision: Decision) -> Record {
    let mut record = Record::new(kind, requester.actor.clone(), requester.door, decision);
    record.tool = Some(requester.tool);
    record.references.push(Reference::Call(requester.call.clone()));
    record
}

/// A record of the gateway's own.
fn system_record(kind: RecordKind) -> Record {
    Record::new(kind, Actor::System, Door::Internal, Decision::Stated)
}

/// Ids that follow from what they name, so that a replayed simulation makes the same ones.
fn derived_id(prefix: &str, parts: &[&str]) -> String {
    let digest = Digest::of(parts.join("\n").as_bytes()).to_string();
    format!("{prefix}-{}", digest.get(..24).unwrap_or_default())
}
