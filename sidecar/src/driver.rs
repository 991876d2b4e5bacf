//! The dull part: one task owns the engine, performs its effects and feeds back what came of them.
//!
//! Bounds act at admission ([`EngineHandle::enter`]); a completion always has room. Commits enter
//! the ledger's queue in the order in which the engine made them. Nothing here decides.

mod looks;
mod report;
mod watch;

use crate::brokers::Brokers;
use crate::changes::Changes;
use crate::clock::Clock;
use crate::engine::store;
use crate::engine::{
    Answer, BrokerFacts, CancelReport, Change, CommitError, CommitJob, Durable, Effect, Engine,
    Input, JobId, Now, Pending, PlaceReport, Refusal, Ticket,
};
use crate::facts;
use crate::marker::Marker;
use crate::notices::NoticeSender;
use ibkr_agent_audit::{Emergency, Ledger, Recorded};
use ibkr_agent_broker::{Asked, CancelOutcome, Errand, HaltLatch, PlaceOutcome, Urgency};
use ibkr_agent_domain::{
    AccountId, ClientOrderId, ErrorCode, NotSent, OrderPlan, Position, UnknownBecause,
};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply, TakeOver};
use looks::Looks;
use report::{BROKE, cancel_report, seen_through};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watch::{CheckedAccounts, LookEnd, Moment};

/// Calls that may be in flight at once, over all doors.
const MAX_CALLS: usize = 512;
/// Changes that a slow listener may lag behind before it misses some.
const CHANGE_QUEUE: usize = 256;
/// The turn at the broker of reads that a decision waits for.
const DECISIONS: u64 = 1;
/// How often the halt's file is looked for; an order looks for it itself.
const HALT_INTERVAL: Duration = Duration::from_millis(200);
/// How long the driver waits for effects in flight when it stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What the driver needs.
#[derive(Debug)]
pub(crate) struct DriverParts {
    pub(crate) ledger: Ledger,
    pub(crate) emergency: Option<Emergency>,
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) latch: HaltLatch,
    pub(crate) marker: Marker,
    pub(crate) clock: Clock,
    /// How often open orders are looked up at the broker.
    pub(crate) watch_interval: Duration,
    /// How often all accounts are looked up, for orders that aren't ours.
    pub(crate) survey_interval: Duration,
    pub(crate) notices: NoticeSender,
    pub(crate) resources: Arc<Changes>,
}

/// A cheap handle of the engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    inbox: mpsc::UnboundedSender<Message>,
    slots: Arc<Semaphore>,
    next_ticket: Arc<AtomicU64>,
    changes: broadcast::Sender<Change>,
    checked: tokio::sync::watch::Receiver<CheckedAccounts>,
    latch: HaltLatch,
    clock: Clock,
}

/// The engine's answer with the audit record behind it.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// The audit record's id.
    pub event: Option<String>,
}

type Look = Box<dyn FnOnce(&Engine, Now) + Send>;

enum Message {
    Ask {
        ticket: Ticket,
        input: Box<Input>,
        told: oneshot::Sender<Told>,
    },
    Input(Box<Input>),
    Placed {
        order: ClientOrderId,
        outcome: PlaceOutcome,
    },
    /// A look at an account ended.
    Sought {
        account: AccountId,
        urgency: Urgency,
        end: LookEnd,
    },
    /// What a look that began then read.
    Evidence {
        begun: Moment,
        evidence: Box<Input>,
        positions: Option<Vec<Position>>,
    },
    Seek(AccountId),
    Look(Look),
}

impl EngineHandle {
    /// A place among the calls in flight; held until the call is answered.
    ///
    /// # Errors
    /// A refusal with `SIDECAR_BUSY` when too many calls are in flight.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = |_| Refusal::new(ErrorCode::SidecarBusy, "too many calls are in flight");
        Arc::clone(&self.slots).try_acquire_owned().map_err(busy)
    }

    /// Asks the engine and waits for its answer. Dropping the future changes nothing.
    pub async fn ask(&self, input: impl FnOnce(Ticket) -> Input) -> Told {
        let (_, told) = self.begin(input);
        told.await.unwrap_or_else(|_| stopped())
    }

    /// Asks the engine and gives the ticket, with which the call can be withdrawn.
    pub fn begin(&self, input: impl FnOnce(Ticket) -> Input) -> (Ticket, oneshot::Receiver<Told>) {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (told, receiver) = oneshot::channel();
        let input = Box::new(input(ticket));
        // A stopped driver drops the sender, which the receiver sees.
        drop(self.inbox.send(Message::Ask { ticket, input, told }));
        (ticket, receiver)
    }

    /// Tells the engine something that nobody waits for.
    pub(crate) fn tell(&self, input: Input) {
        // A stopped driver needs to know nothing.
        drop(self.inbox.send(Message::Input(Box::new(input))));
    }

    /// Halts because a signal came: at once, then durably.
    pub fn halt_by_signal(&self, name: &str) {
        self.latch.halt();
        self.tell(report::halted_by("signal", vec![report::signalled(name)]));
    }

    /// Asks to read orders and trades of an account soon.
    pub(crate) fn seek(&self, account: AccountId) {
        drop(self.inbox.send(Message::Seek(account)));
    }

    /// Takes a call back; what it started goes on.
    pub fn withdraw(&self, ticket: Ticket) {
        drop(self.inbox.send(Message::Input(Box::new(Input::Withdrawn { ticket }))));
    }

    /// Looks into the engine.
    ///
    /// # Errors
    /// A refusal when the sidecar is stopping.
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Now) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |engine, now| drop(sender.send(look(engine, now))));
        drop(self.inbox.send(Message::Look(look)));
        let stopping = |_| Refusal::new(ErrorCode::SidecarUnavailable, "the sidecar is stopping");
        receiver.await.map_err(stopping)
    }

    /// Approvals and orders that change.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The clock that the engine sees.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// What a caller is told when the driver is gone.
pub(crate) fn stopped() -> Told {
    let refusal = Refusal::new(ErrorCode::SidecarUnavailable, "the sidecar is stopping");
    Told { answer: Answer::Refused(refusal), event: None }
}

/// Starts the task that owns the engine. It ends after `shutdown`, when effects in flight are done.
pub(crate) fn spawn(
    engine: Engine,
    first: Vec<Effect>,
    parts: DriverParts,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) -> EngineHandle {
    let (inbox, messages) = mpsc::unbounded_channel();
    let (changes, _) = broadcast::channel(CHANGE_QUEUE);
    let checked = tokio::sync::watch::Sender::new(CheckedAccounts::new());
    let handle = EngineHandle {
        inbox: inbox.clone(),
        slots: Arc::new(Semaphore::new(MAX_CALLS)),
        next_ticket: Arc::new(AtomicU64::new(1)),
        changes: changes.clone(),
        checked: checked.subscribe(),
        latch: parts.latch.clone(),
        clock: parts.clock.clone(),
    };
    let driver = Driver {
        engine,
        ledger: parts.ledger,
        emergency: parts.emergency,
        brokers: parts.brokers,
        latch: parts.latch,
        marker: parts.marker,
        clock: parts.clock,
        watch_interval: parts.watch_interval,
        survey_interval: parts.survey_interval,
        notices: parts.notices,
        resources: parts.resources,
        inbox,
        changes,
        checked,
        waiting: BTreeMap::new(),
        asked: BTreeMap::new(),
        due: BTreeSet::new(),
        surveyed_at: None,
        looks: Looks::default(),
        surveys: CancellationToken::new(),
        effects: TaskTracker::new(),
    };
    tracker.spawn(driver.run(first, messages, shutdown));
    handle
}

struct Driver {
    engine: Engine,
    ledger: Ledger,
    emergency: Option<Emergency>,
    brokers: Arc<Brokers>,
    latch: HaltLatch,
    marker: Marker,
    clock: Clock,
    watch_interval: Duration,
    survey_interval: Duration,
    notices: NoticeSender,
    inbox: mpsc::UnboundedSender<Message>,
    changes: broadcast::Sender<Change>,
    checked: tokio::sync::watch::Sender<CheckedAccounts>,
    resources: Arc<Changes>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Told>>,
    asked: BTreeMap<ClientOrderId, Asked>,
    /// Accounts that the survey still has to look at.
    due: BTreeSet<AccountId>,
    surveyed_at: Option<tokio::time::Instant>,
    looks: Looks,
    /// Ends looks around when the driver stops.
    surveys: CancellationToken,
    effects: TaskTracker,
}

impl Driver {
    async fn run(
        mut self,
        first: Vec<Effect>,
        mut messages: mpsc::UnboundedReceiver<Message>,
        shutdown: CancellationToken,
    ) {
        self.perform(first);
        // Before anything is taken in: a start beside the halt's file is halted.
        self.look_for_halts();
        let mut halts = tokio::time::interval(HALT_INTERVAL);
        halts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watch = tokio::time::interval(self.watch_interval);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let first = tokio::time::Instant::now() + self.survey_interval;
        let mut survey = tokio::time::interval_at(first, self.survey_interval);
        survey.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                _ = halts.tick() => self.look_for_halts(),
                _ = watch.tick() => self.watch(),
                _ = survey.tick() => self.survey(),
                () = shutdown.cancelled() => break,
            }
        }
        self.drain(messages).await;
    }

    /// Finishes what is in flight: an effect that has begun is seen through.
    async fn drain(&mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        self.effects.close();
        self.surveys.cancel();
        let deadline = tokio::time::sleep(DRAIN_TIMEOUT);
        tokio::pin!(deadline);
        loop {
            // Looked at before the messages: what an effect said before it ended is in them.
            let idle = self.effects.is_empty();
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            if idle && self.effects.is_empty() {
                return;
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = self.effects.wait() => {}
                () = &mut deadline => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        let effects = match message {
            Message::Ask { ticket, input, told } => {
                if report::minds_halts(&input) {
                    self.look_for_halts();
                }
                self.waiting.insert(ticket, told);
                self.engine.handle(*input, now)
            }
            Message::Input(input) => {
                if let Input::Withdrawn { ticket } = *input {
                    self.waiting.remove(&ticket);
                }
                self.engine.handle(*input, now)
            }
            Message::Evidence { begun, evidence, positions } => {
                self.take_in(begun, *evidence, positions, now)
            }
            Message::Placed { order, outcome } => {
                if matches!(outcome, PlaceOutcome::NotSent { why: NotSent::Halted }) {
                    self.look_for_halts();
                }
                let report = self.report(&order, outcome);
                self.engine.handle(Input::PlaceDone { order, report }, now)
            }
            Message::Sought { account, urgency, end } => {
                self.sought(account, urgency, end);
                Vec::new()
            }
            Message::Seek(account) => {
                self.seek(account, Urgency::Asked);
                Vec::new()
            }
            Message::Look(look) => {
                look(&self.engine, now);
                Vec::new()
            }
        };
        self.perform(effects);
    }

    /// Takes in what the halt's file says.
    fn look_for_halts(&mut self) {
        let found = self.marker.news(self.latch.take_seen());
        if found.is_empty() {
            return;
        }
        self.latch.halt();
        let effects = self.engine.handle(report::halted_by("file", found), self.clock.now());
        self.perform(effects);
    }

    /// Translates the broker's outcome; a question keeps its order's permit here.
    fn report(&mut self, order: &ClientOrderId, outcome: PlaceOutcome) -> PlaceReport {
        match outcome {
            PlaceOutcome::Placed { order_id, status, text } => {
                PlaceReport::Placed { order_id, status, message: report::placed(status, text) }
            }
            PlaceOutcome::Prompted(prompt) => {
                let message = report::prompted(&prompt);
                PlaceReport::Prompted { order_id: prompt.order_id, message }
            }
            PlaceOutcome::Question(asked) => {
                let question = asked.question().clone();
                self.asked.insert(order.clone(), asked);
                PlaceReport::Question(question)
            }
            PlaceOutcome::Rejected { message } => {
                PlaceReport::Rejected { message: report::shown(message) }
            }
            PlaceOutcome::AlreadyRegistered => {
                PlaceReport::Unknown { why: UnknownBecause::AlreadyRegistered }
            }
            PlaceOutcome::Unknown { why } => PlaceReport::Unknown { why },
            PlaceOutcome::NotSent { why } => PlaceReport::NotSent { why },
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit(job) => self.commit(*job),
                Effect::Reply { ticket, answer, event } => {
                    if let Some(told) = self.waiting.remove(&ticket) {
                        // A caller that no longer waits finds the outcome in the ledger.
                        drop(told.send(Told { answer, event }));
                    }
                }
                Effect::ReadFacts { ticket, plan } => self.read_facts(ticket, plan),
                Effect::Place(permit) => self.place(permit),
                Effect::SendReply(permit) => self.reply(permit),
                Effect::SendCancel { ticket, permit } => self.cancel(ticket, permit),
                Effect::TakeOver { ticket, permit } => self.take_over(ticket, permit),
                Effect::EmergencyCancel { ticket, permit } => self.emergency(ticket, permit),
                Effect::EmergencyHalt { ticket, permit } => {
                    let now = self.clock.now().wall;
                    let recorded = self.emergency.as_mut().map(|file| file.record(permit, now));
                    let event = recorded.and_then(Result::ok).map(|r| r.event().to_string());
                    Self::feed(&self.inbox, Input::EmergencyHalted { ticket, event });
                }
                Effect::Reopen { ticket, requester, entry, generation } => {
                    let cleared = self.marker.take_away();
                    let end = Input::Reopened { ticket, requester, entry, generation, cleared };
                    Self::feed(&self.inbox, end);
                }
                Effect::SetLatch { halted: true } => self.latch.halt(),
                Effect::SetLatch { halted: false } => self.latch.resume(),
                Effect::SeekEvidence { account } => self.seek(account, Urgency::Asked),
                Effect::AskOrder { account, reference, order } => {
                    self.ask_order(account, reference, order);
                }
                Effect::Notice(notice) => self.notices.tell(*notice),
                Effect::Changed(change) => drop(self.changes.send(change)),
            }
        }
    }

    fn feed(inbox: &mpsc::UnboundedSender<Message>, input: Input) {
        drop(inbox.send(Message::Input(Box::new(input))));
    }

    fn commit(&self, job: CommitJob) {
        let id = job.id;
        let committed = self.ledger.transact(move |batch| store::apply(batch, job));
        let inbox = self.inbox.clone();
        self.effects.spawn(async move {
            let result = match committed.await {
                Ok((pending, commit)) => pending.redeem(&commit).map_err(|_| CommitError::Failed),
                Err(ibkr_agent_audit::TransactError::Refused(_)) => Err(CommitError::Precondition),
                Err(ibkr_agent_audit::TransactError::Store(failure)) => {
                    tracing::error!(error = %failure, "engine.commit_failed");
                    Err(CommitError::Failed)
                }
            };
            Self::committed(&inbox, id, result);
        });
    }

    fn committed(
        inbox: &mpsc::UnboundedSender<Message>,
        job: JobId,
        result: Result<Pending<Durable>, CommitError>,
    ) {
        Self::feed(inbox, Input::Committed { job, result });
    }

    fn read_facts(&self, ticket: Ticket, plan: Box<OrderPlan>) {
        let brokers = Arc::clone(&self.brokers);
        let wanted = facts::Wanted::by(self.engine.policies().of_plan(&plan));
        let inbox = self.inbox.clone();
        let clock = self.clock.clone();
        self.effects.spawn(async move {
            let read = async move {
                let order = facts::sole(&plan)?;
                let session_ends = clock.session_end(order.exchange(), order.currency());
                let gathered = facts::read(&brokers, order, wanted).await?;
                Ok(BrokerFacts { session_ends, ..gathered.facts })
            };
            let read = Errand::of(DECISIONS).run(read);
            let broke = || Err(Refusal::new(ErrorCode::InternalError, BROKE.sentence()));
            let facts = seen_through(read).await.unwrap_or_else(broke).map(Box::new);
            Self::feed(&inbox, Input::FactsRead { ticket, facts });
        });
    }

    fn place(&self, permit: Recorded<Permit<Place>>) {
        let references = permit.get().action().references().to_vec();
        let broker = self.brokers.named(permit.get().action().plan().broker()).cloned();
        let inbox = self.inbox.clone();
        let [order] = references.as_slice() else {
            for order in references {
                let outcome = PlaceOutcome::NotSent { why: NotSent::OrderNotWritable };
                drop(inbox.send(Message::Placed { order, outcome }));
            }
            return;
        };
        let order = order.clone();
        let latch = self.latch.clone();
        self.effects.spawn(async move {
            let outcome = match broker {
                // A broker of somebody's own may know no latch.
                Some(_) if latch.is_halted() => PlaceOutcome::NotSent { why: NotSent::Halted },
                Some(broker) => {
                    let sent = seen_through(async move { broker.place(permit).await });
                    sent.await.unwrap_or(PlaceOutcome::Unknown { why: BROKE })
                }
                None => PlaceOutcome::NotSent { why: NotSent::LoginNotConfigured },
            };
            drop(inbox.send(Message::Placed { order, outcome }));
        });
    }

    fn reply(&mut self, permit: Recorded<Permit<Reply>>) {
        let order = permit.get().action().client_order_id().clone();
        let broker = self.brokers.named(permit.get().action().broker()).cloned();
        let asked = self.asked.remove(&order);
        let inbox = self.inbox.clone();
        self.effects.spawn(async move {
            let outcome = match (broker, asked) {
                (Some(broker), Some(asked)) => {
                    let sent = seen_through(async move { broker.reply(asked, permit).await });
                    sent.await.unwrap_or(PlaceOutcome::Unknown { why: BROKE })
                }
                (_, None) => PlaceOutcome::Unknown { why: UnknownBecause::QuestionPermitGone },
                (None, Some(_)) => PlaceOutcome::NotSent { why: NotSent::LoginNotConfigured },
            };
            drop(inbox.send(Message::Placed { order, outcome }));
        });
    }

    fn cancel(&self, ticket: Ticket, permit: Recorded<Permit<Cancel>>) {
        let broker = self.brokers.named(permit.get().action().broker()).cloned();
        let account = permit.get().action().account().clone();
        let inbox = self.inbox.clone();
        let look = self.look_up(account, Urgency::Asked);
        self.effects.spawn(async move {
            let report = match broker {
                Some(broker) => {
                    // What it asks for first, if anything, goes ahead of every other read.
                    let errand = Errand::of(DECISIONS).urgency(Urgency::Decision);
                    let sent = async move { broker.cancel(permit).await };
                    let sent = seen_through(errand.run(sent));
                    cancel_report(sent.await.unwrap_or(CancelOutcome::Unknown { why: BROKE }))
                }
                None => CancelReport::NotSent { why: NotSent::LoginNotConfigured },
            };
            Self::feed(&inbox, Input::CancelDone { ticket, report });
            // What the cancel did is seen at once, not only at the next look.
            look.await;
        });
    }

    fn take_over(&self, ticket: Ticket, permit: Recorded<Permit<TakeOver>>) {
        let broker = self.brokers.named(permit.get().action().broker()).cloned();
        let inbox = self.inbox.clone();
        self.effects.spawn(async move {
            let refused = match broker {
                Some(broker) => {
                    let asked = seen_through(async move { broker.take_over(permit).await });
                    report::not_taken(asked.await)
                }
                None => Some(report::no_such_broker()),
            };
            Self::feed(&inbox, Input::TakenOver { ticket, refused });
        });
    }

    fn emergency(&mut self, ticket: Ticket, permit: Permit<Cancel>) {
        let now = self.clock.now().wall;
        let recorded = self.emergency.as_mut().map(|emergency| emergency.record(permit, now));
        match recorded {
            Some(Ok(permit)) => self.cancel(ticket, permit),
            Some(Err(_)) | None => {
                let report = CancelReport::NotSent { why: NotSent::NotRecorded };
                Self::feed(&self.inbox, Input::CancelDone { ticket, report });
            }
        }
    }
}
