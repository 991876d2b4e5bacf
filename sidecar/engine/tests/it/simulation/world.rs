//! The driver's model: performs effects in any order, loses, delays and doubles answers, commits
//! through the real ledger and store, crashes and starts again.
//!
//! Kept from the real driver: commits enter the ledger in the order in which the engine made them;
//! the latch is set at once; replies are given at once. Everything else may be overtaken.

use super::Sabotage;
use super::adversary::Adversary;
use super::broker::{Broker, Said, Sent, Shown};
use super::checker::{Checked, Checker, Limits, Summary, Violation, rule};
use super::disk::Disk;
use super::random::Random;
use super::setting::{self, Who};
use ibkr_agent_audit::{Emergency, Ledger, Recorded, TransactError};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, ErrorCode, Execution,
    Listed, NotSent, PreviewId, Timestamp, UnknownBecause,
};
use ibkr_agent_engine::store;
use ibkr_agent_engine::{
    Answer, BrokerFacts, CancelReport, CommitError, CommitJob, Effect, Engine, FoundHalt, Input,
    Now, PlaceReport, Restored, Sought, Ticket,
};
use ibkr_agent_gates::{Cancel, Halt, Permit, Place, Reply};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What waits to be performed or delivered.
#[derive(Debug)]
pub(super) enum Pending {
    Input(Box<Input>),
    Read(Ticket),
    /// With how often trading had been halted when it was let go.
    Place(Recorded<Permit<Place>>, u64),
    Reply(Recorded<Permit<Reply>>),
    Cancel(Ticket, Permit<Cancel>),
    RecordedCancel(Ticket, Recorded<Permit<Cancel>>),
    Seek(AccountId),
    Look(Box<Look>),
    Ask(ClientOrderId, BrokerOrderId),
    /// A request on the wire whose sender waits no longer.
    Arrive(Sent),
}

/// What a look read, on its way.
#[derive(Debug)]
pub(super) struct Look {
    number: u64,
    account: AccountId,
    orders: Vec<BrokerOrder>,
    executions: Vec<Execution>,
    shown: Vec<Shown>,
}

/// How often what happened, to show that the seeds reach it.
pub(super) type Tally = BTreeMap<&'static str, u64>;

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) engine: Engine,
    pub(super) broker: Broker,
    pub(super) checker: Checker,
    pub(super) tally: Tally,
    pub(super) pending: Vec<Pending>,
    pub(super) previews: Vec<(PreviewId, AccountId, Who)>,
    pub(super) askings: Vec<(String, PreviewId, AccountId, Who)>,
    pub(super) next: u64,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) ledger: Ledger,
    pub(super) commits: VecDeque<CommitJob>,
    pub(super) waiting: BTreeMap<ClientOrderId, String>,
    latch: bool,
    /// The halt's file, which lies beside the store and survives every crash.
    pub(super) file: Option<FoundHalt>,
    /// How often the latch was shut.
    halts: u64,
    pub(super) store_failed: bool,
    pub(super) monotonic: Duration,
    pub(super) wall: i64,
    pub(super) sabotage: Sabotage,
    /// Whether this run crashes before its end.
    crashes: bool,
    pub(super) stale: Option<Restored>,
    /// Where the emergency file is, once something was written into it.
    pub(super) emergency: Option<tempfile::TempDir>,
    pub(super) disk: Disk,
    pub(super) adversary: Adversary,
    /// The number of the last look, and of the newest that was taken in, by account.
    looks: (u64, BTreeMap<AccountId, u64>),
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let wall = 1_795_000_000_000;
        let disk = Disk::default();
        let ledger = setting::ledger(disk.clone(), Timestamp::from_millis(wall));
        let now = now_of(Duration::ZERO, wall);
        let admitted = setting::requester(Who::Token, "admitted").actor.label();
        let restored = crate::signing::with_key(&runtime, &ledger, &[admitted]);
        // One that only reduces a position is free of the day's limit.
        let per_day = usize::try_from(setting::orders_a_day(sabotage)).expect("small") + 1;
        let limits = Limits { per_day, per_minute: 2 };
        let (engine, effects) = Engine::restore(setting::config(sabotage), restored, now);
        assert!(matches!(effects.as_slice(), [Effect::SetLatch { halted: false }]));
        Self {
            random: Random::new(seed),
            engine,
            // A world that is broken on purpose is otherwise a quiet one.
            broker: Broker { is_still: sabotage.is_quiet(), ..Broker::default() },
            checker: Checker::new(limits),
            tally: Tally::new(),
            pending: Vec::new(),
            previews: Vec::new(),
            askings: Vec::new(),
            next: 0,
            runtime,
            ledger,
            commits: VecDeque::new(),
            waiting: BTreeMap::new(),
            latch: false,
            file: None,
            halts: 0,
            store_failed: false,
            monotonic: Duration::ZERO,
            wall,
            sabotage,
            crashes: !seed.is_multiple_of(5),
            stale: None,
            emergency: None,
            disk,
            adversary: Adversary::default(),
            looks: (0, BTreeMap::new()),
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(super) fn now(&self) -> Now {
        now_of(self.monotonic, self.wall)
    }

    /// Requests whose sender waits no longer.
    pub(super) fn on_the_wire(&self) -> Vec<Sent> {
        let sent = |pending: &Pending| match pending {
            Pending::Arrive(sent) => Some(sent.clone()),
            Pending::Input(_)
            | Pending::Read(_)
            | Pending::Place(..)
            | Pending::Reply(_)
            | Pending::Cancel(..)
            | Pending::RecordedCancel(..)
            | Pending::Seek(_)
            | Pending::Look(_)
            | Pending::Ask(..) => None,
        };
        self.pending.iter().filter_map(sent).collect()
    }

    /// Now and then the process dies.
    pub(super) fn may_crash(&mut self) -> Checked {
        // What a start forgets shows only after several.
        let forgets = self.sabotage == Sabotage::ForgottenCounts;
        let chance = if self.store_failed || forgets { 10 } else { 2 };
        if self.crashes && self.random.percent(chance) { self.crash() } else { Ok(()) }
    }

    /// Time passes; now and then it jumps.
    pub(super) fn pass_time(&mut self) {
        let small = self.random.below(2_000);
        self.monotonic += Duration::from_millis(small);
        self.wall += i64::try_from(small).expect("small");
        if self.random.percent(2) {
            let jump = i64::try_from(self.random.below(20 * 60 * 1000)).expect("small");
            match self.random.below(5) {
                0 => self.wall -= jump,
                1 => self.wall += 86_400_000,
                _ => self.wall += jump,
            }
            self.count("clock jumps");
        }
    }

    /// Gives the engine an input and takes what follows; it may crash after any of the effects.
    pub(super) fn feed(&mut self, input: Input) -> Checked {
        let effects = self.engine.handle(input, self.now());
        let survivors =
            if self.random.percent(1) { self.random.index(effects.len() + 1) } else { usize::MAX };
        for (index, effect) in effects.into_iter().enumerate() {
            if index >= survivors {
                return self.crash();
            }
            self.take(effect)?;
        }
        rule(!self.engine.halt_entry().halted || self.latch, || {
            "halted with an open latch".to_owned()
        })?;
        self.truthful()
    }

    /// What is read last before an order is written.
    const fn is_stopped(&self) -> bool {
        self.latch || self.file.is_some()
    }

    /// Writes a halt into the emergency file, unless that fails too.
    fn emergency_halt(&mut self, permit: Permit<Halt>) -> Option<String> {
        self.count("emergency halts");
        if self.random.percent(30) {
            return None;
        }
        let now = self.now().wall;
        let folder = self.emergency.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let path = folder.path().join("emergency.log");
        let (mut file, _) = Emergency::open(&path, &[9; 32]).expect("the file");
        let recorded = file.record(permit, now).expect("room");
        Some(recorded.event().to_string())
    }

    pub(super) fn truthful(&self) -> Checked {
        if self.sabotage == Sabotage::StaleStore {
            // An order that the engine forgot would be seen here before it is sent again.
            return Ok(());
        }
        let wire = self.on_the_wire();
        self.checker.truthful(&self.engine, &self.broker, &wire)
    }

    pub(super) fn take(&mut self, effect: Effect) -> Checked {
        let pending = match effect {
            Effect::Commit(job) => {
                Checker::reserving(&job, &self.engine)?;
                self.commits.push_back(*job);
                return Ok(());
            }
            Effect::Reply { ticket, answer, .. } => return self.reply(ticket, &answer),
            Effect::SetLatch { halted } => {
                self.latch = halted;
                self.halts += u64::from(halted);
                return Ok(());
            }
            Effect::Changed(_) | Effect::Notice(_) => return Ok(()),
            Effect::ReadFacts { ticket, .. } => Pending::Read(ticket),
            Effect::Place(permit) => {
                let sent = Sent::of(permit.get());
                self.checker.releasing(&sent, &self.engine, self.monotonic)?;
                Pending::Place(permit, self.halts)
            }
            Effect::SendReply(permit) => Pending::Reply(permit),
            Effect::SendCancel { .. } if self.sabotage == Sabotage::DroppedCancels => return Ok(()),
            Effect::SendCancel { ticket, permit } => Pending::RecordedCancel(ticket, permit),
            // No operator of the simulation takes a session; if one did, it would be answered.
            Effect::TakeOver { ticket, .. } => {
                Pending::Input(Box::new(Input::TakenOver { ticket, refused: None }))
            }
            Effect::EmergencyCancel { ticket, permit } => {
                self.count("emergency cancels");
                Pending::Cancel(ticket, permit)
            }
            Effect::Reopen { ticket, requester, entry, generation } => {
                let cleared = self.take_file_away();
                let input = Input::Reopened { ticket, requester, entry, generation, cleared };
                Pending::Input(Box::new(input))
            }
            Effect::EmergencyHalt { ticket, permit } => {
                let event = self.emergency_halt(permit);
                Pending::Input(Box::new(Input::EmergencyHalted { ticket, event }))
            }
            Effect::SeekEvidence { account } => Pending::Seek(account),
            Effect::AskOrder { reference, order, .. } => Pending::Ask(reference, order),
        };
        self.pending.push(pending);
        Ok(())
    }

    fn reply(&mut self, ticket: Ticket, answer: &Answer) -> Checked {
        if let Answer::Preview(preview, _) = answer {
            let account = preview.plan.account().clone();
            let known = (preview.id.clone(), account, Who::of(&preview.owner));
            self.previews.push(known);
        }
        if let Answer::Refused(refusal) = answer {
            self.count(refusal.code.as_str());
        }
        self.checker.answered(ticket, answer)
    }

    /// Performs or delivers one thing, or commits what waits. `false` when there is nothing.
    pub(super) fn step(&mut self) -> Result<bool, Violation> {
        let choices = self.pending.len() + self.commits.len().min(2);
        if choices == 0 {
            return Ok(false);
        }
        let chosen = self.random.index(choices);
        if chosen >= self.pending.len() {
            self.commit()?;
            return Ok(true);
        }
        match self.pending.swap_remove(chosen) {
            Pending::Input(input) => self.feed(*input)?,
            Pending::Read(ticket) => {
                let facts = Ok(Box::new(self.facts()));
                self.deliver(Input::FactsRead { ticket, facts });
            }
            Pending::Place(permit, halts) => self.place(permit.get(), halts)?,
            Pending::Reply(permit) => {
                self.answer_question(permit.get())?;
                if self.sabotage == Sabotage::TwoAnswers {
                    self.answer_question(permit.get())?;
                }
            }
            Pending::Cancel(ticket, permit) => self.cancel(ticket, &permit),
            Pending::RecordedCancel(ticket, permit) => self.cancel(ticket, permit.get()),
            Pending::Seek(account) => self.seek(account),
            Pending::Look(look) => self.look(*look)?,
            Pending::Ask(reference, order) => {
                let found = self.broker.one(&order);
                let answer = match found {
                    _ if self.sabotage == Sabotage::DeafToAnswers => Sought::Unclear,
                    Some(row) => Sought::Found(Box::new(row)),
                    None => Sought::Gone,
                };
                self.deliver(Input::OrderSought { order: reference, asked: order, answer });
            }
            Pending::Arrive(sent) => drop(self.broker.place(sent, &mut self.random)),
        }
        Ok(true)
    }

    pub(super) fn deliver(&mut self, input: Input) {
        self.pending.push(Pending::Input(Box::new(input)));
    }

    pub(super) fn facts(&self) -> BrokerFacts {
        setting::facts(Timestamp::from_millis(self.wall))
    }

    fn commit(&mut self) -> Checked {
        let size = (1 + self.random.index(3)).min(self.commits.len());
        if !self.store_failed && self.random.below(300) == 0 {
            self.store_failed = true;
            self.count("store failures");
            if self.random.percent(50) {
                // Durable, but nobody is told so.
                let jobs: Vec<CommitJob> = self.commits.drain(..size).collect();
                let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
                drop(self.apply(jobs)?);
                for job in ids {
                    let result = Err(CommitError::Failed);
                    self.deliver(Input::Committed { job, result });
                }
                return Ok(());
            }
        }
        let jobs: Vec<CommitJob> = self.commits.drain(..size).collect();
        if self.store_failed {
            for job in jobs {
                let (job, result) = (job.id, Err(CommitError::Failed));
                self.deliver(Input::Committed { job, result });
            }
            return Ok(());
        }
        for input in self.apply(jobs)? {
            self.deliver(input);
        }
        Ok(())
    }

    /// Runs jobs in the real ledger, in one group commit if the writer takes them together.
    fn apply(&mut self, jobs: Vec<CommitJob>) -> Result<Vec<Input>, Violation> {
        let (mut ids, mut summaries, mut futures) = (Vec::new(), Vec::new(), Vec::new());
        for mut job in jobs {
            if self.sabotage == Sabotage::StaleStore {
                job.preconditions.clear();
            }
            ids.push(job.id);
            summaries.push(Summary::of(&job));
            let apply = self.ledger.transact(move |batch| store::apply(batch, job));
            futures.push(apply);
        }
        let results = self.runtime.block_on(futures_util::future::join_all(futures));
        let mut inputs = Vec::new();
        for ((job, summary), result) in ids.into_iter().zip(summaries).zip(results) {
            let result = match result {
                Ok((slot, commit)) => {
                    self.checker.durable(summary)?;
                    Ok(slot.redeem(&commit).expect("a slot of this batch"))
                }
                Err(TransactError::Refused(_)) => {
                    self.count("preconditions refused");
                    Err(CommitError::Precondition)
                }
                Err(TransactError::Store(failure)) => panic!("the store in memory: {failure}"),
            };
            inputs.push(Input::Committed { job, result });
        }
        Ok(inputs)
    }

    fn place(&mut self, permit: &Permit<Place>, halts: u64) -> Checked {
        let (sent, order) = (Sent::of(permit), permit.action().references()[0].clone());
        self.perhaps_write_file();
        // Shut meanwhile, it stays shut for what was let go before.
        let was_shut = halts != self.halts && self.sabotage != Sabotage::ReopenedLatch;
        if (self.is_stopped() || was_shut) && self.sabotage != Sabotage::OpenLatch {
            let by_latch = self.latch || !self.is_stopped();
            self.count(if by_latch { "stopped by the latch" } else { "stopped by the file" });
            if self.is_stopped() {
                self.latch = true;
            }
            self.look_for_file();
            let why = NotSent::Halted;
            self.report(&order, PlaceReport::NotSent { why });
            return Ok(());
        }
        self.checker.leaving(&sent, &self.engine)?;
        self.count("orders sent");
        if sent.by_signature {
            self.count("sent by a signature");
        }
        match self.random.below(10) {
            0 => {
                drop(self.broker.place(sent, &mut self.random));
                self.lost(&order);
            }
            1 => self.lost(&order),
            2 => {
                self.pending.push(Pending::Arrive(sent));
                self.lost(&order);
            }
            _ => {
                let said = self.broker.place(sent, &mut self.random);
                self.said(&order, said);
            }
        }
        Ok(())
    }

    fn lost(&mut self, order: &ClientOrderId) {
        self.count("answers lost");
        let report = match self.sabotage {
            Sabotage::LossIsRefusal => PlaceReport::Rejected { message: "no answer".to_owned() },
            Sabotage::None
            | Sabotage::StaleStore
            | Sabotage::OpenLatch
            | Sabotage::ForgottenHalt
            | Sabotage::ForgottenCounts
            | Sabotage::BlindToTerms
            | Sabotage::BlindToTwins
            | Sabotage::BlindToBusts
            | Sabotage::BlindToLateFills
            | Sabotage::EarlyEnds
            | Sabotage::DeafToAnswers
            | Sabotage::TrustedRows
            | Sabotage::BlindChain
            | Sabotage::AcceptedByItself
            | Sabotage::ForgottenDoubt
            | Sabotage::TwoAnswers
            | Sabotage::DroppedCancels
            | Sabotage::ReopenedLatch
            | Sabotage::RepeatedSignatures => {
                PlaceReport::Unknown { why: UnknownBecause::TimedOut }
            }
        };
        self.report(order, report);
    }

    fn said(&mut self, order: &ClientOrderId, said: Said) {
        let report = match said {
            Said::Placed(order_id) => PlaceReport::Placed {
                order_id,
                status: BrokerOrderStatus::Submitted,
                message: "submitted".to_owned(),
            },
            Said::Asks(question) => {
                self.count("questions");
                self.waiting.insert(order.clone(), question.reply_id.clone());
                PlaceReport::Question(question)
            }
            Said::Refused => PlaceReport::Rejected { message: "refused".to_owned() },
            Said::Senseless => PlaceReport::Unknown { why: UnknownBecause::AnswerNotUnderstood },
        };
        if self.random.percent(15) {
            self.report(order, report.clone());
        }
        self.report(order, report);
    }

    fn report(&mut self, order: &ClientOrderId, report: PlaceReport) {
        let order = order.clone();
        self.deliver(Input::PlaceDone { order, report });
    }

    fn answer_question(&mut self, permit: &Permit<Reply>) -> Checked {
        let reply = permit.action();
        let order = reply.client_order_id().clone();
        let stopped = reply.confirmed() && self.is_stopped();
        let held = self.waiting.get(&order).map(String::as_str) == Some(reply.reply_id());
        if stopped || !held {
            let why = if stopped { NotSent::Halted } else { NotSent::AnotherQuestion };
            self.report(&order, PlaceReport::NotSent { why });
            return Ok(());
        }
        if self.sabotage != Sabotage::TwoAnswers {
            self.waiting.remove(&order);
        }
        self.checker.answering(reply.reply_id())?;
        self.count("questions answered");
        if self.random.percent(10) {
            self.lost(&order);
            return Ok(());
        }
        let said = self.broker.reply(reply.reply_id(), reply.confirmed(), &mut self.random);
        if self.random.percent(10) {
            self.lost(&order);
            return Ok(());
        }
        self.said(&order, said);
        Ok(())
    }

    fn cancel(&mut self, ticket: Ticket, permit: &Permit<Cancel>) {
        self.count("cancels sent");
        let report = if self.broker.cancel(permit.action().order_id()) {
            CancelReport::Requested { message: "requested".to_owned() }
        } else {
            CancelReport::Refused {
                code: ErrorCode::OrderNotFound,
                message: "no such order".to_owned(),
            }
        };
        self.deliver(Input::CancelDone { ticket, report });
    }

    pub(super) fn seek(&mut self, account: AccountId) {
        let now = Timestamp::from_millis(self.wall);
        let (mut orders, mut executions) = self.broker.show(&account, now);
        let shown = self.broker.shown(&account);
        match self.sabotage {
            Sabotage::BlindToTerms => self.broker.as_approved(&mut orders),
            Sabotage::BlindToTwins => {
                let mut seen = std::collections::BTreeSet::new();
                orders.retain(|row| seen.insert(row.reference.clone()));
            }
            Sabotage::BlindToBusts => self.broker.as_if_never_busted(&mut orders),
            Sabotage::BlindToLateFills => {
                orders.retain(|row| !self.broker.is_late(&row.order_id));
                executions.retain(|fill| {
                    !fill.order_id.as_ref().is_some_and(|id| self.broker.is_late(id))
                });
            }
            Sabotage::EarlyEnds => {
                for row in orders.iter_mut().filter(|row| row.status.is_open()) {
                    row.status = BrokerOrderStatus::Cancelled;
                }
            }
            Sabotage::None
            | Sabotage::StaleStore
            | Sabotage::OpenLatch
            | Sabotage::LossIsRefusal
            | Sabotage::ForgottenHalt
            | Sabotage::ForgottenCounts
            | Sabotage::DeafToAnswers
            | Sabotage::TrustedRows
            | Sabotage::BlindChain
            | Sabotage::AcceptedByItself
            | Sabotage::ForgottenDoubt
            | Sabotage::TwoAnswers
            | Sabotage::DroppedCancels
            | Sabotage::ReopenedLatch
            | Sabotage::RepeatedSignatures => {}
        }
        self.looks.0 += 1;
        let number = self.looks.0;
        let look = Look { number, account, orders, executions, shown };
        self.pending.push(Pending::Look(Box::new(look)));
    }

    /// Two looks may cross: the driver takes in no older one after a newer one.
    fn look(&mut self, look: Look) -> Checked {
        let Look { number, account, orders, executions, shown } = look;
        let newest = self.looks.1.entry(account.clone()).or_default();
        if number < *newest {
            return Ok(());
        }
        *newest = number;
        self.checker.shown(shown);
        let (orders, executions) = (Listed::of(orders), Listed::of(executions));
        self.feed(Input::Evidence { account, orders, executions })
    }
}

pub(super) fn now_of(monotonic: Duration, wall: i64) -> Now {
    let wall = Timestamp::from_millis(wall);
    Now { monotonic, wall, trading_day: wall.utc_day() }
}
