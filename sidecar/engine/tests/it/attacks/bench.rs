//! What the attacks are tried on: an engine, a ledger in memory, and every effect kept.

use crate::signing;
use ibkr_agent_audit::{Entry, Ledger, LedgerConfig, TailQuery, TransactError};
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, AssetClass, BrokerName, BrokerOrderId, CallId, CanonicalOrder,
    ClientOrderId, Conid, Contract, Currency, DataStatus, Door, ErrorCode, IdempotencyKey, Mode,
    Money, OnApproval, OrderState, OrderTarget, OrderTerms, PreviewId, Price, Pricing, Quantity,
    Quote, Record, ScopeSet, SessionState, Side, SidecarId, TimeInForce, Timestamp, Untrusted,
};
use ibkr_agent_engine::store;
use ibkr_agent_engine::{
    Answer, ApprovalEntry, Asking, BrokerFacts, CallBudget, Caller, Cancellation, CommitError,
    CommitJob, Effect, Engine, EngineConfig, Input, Now, OperatorAct, OrderEntry, PreviewDraft,
    Row, Sending, Standing, Submission, Ticket,
};
use ibkr_agent_gates::{AccountFacts, Guard, Policy, PolicyLimits, Requester};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Who acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Local,
    Operator,
}

pub(super) const LOCAL: Who = Who::Local;
pub(super) const OPERATOR: Who = Who::Operator;

pub(super) fn account(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

/// Ten shares at most in one order, whatever reduces aside.
fn policy() -> Policy {
    let money = |amount| Money::new(Decimal::from(amount), Currency::USD);
    let limits = PolicyLimits {
        id: "attacks".to_owned(),
        accounts: BTreeSet::from([account("DU1"), account("DU2")]),
        max_quantity: Decimal::TEN,
        max_notional: money(10_000),
        collar_percent: Decimal::ONE,
        passive_warning_percent: Decimal::TEN,
        max_quote_age: Duration::from_secs(60),
        max_drift_percent: Decimal::ONE,
        max_orders_per_minute: 20,
        max_orders_per_day: 20,
        max_notional_per_day: money(100_000),
        delayed_data_modes: BTreeSet::new(),
        // The attacks repeat orders and sell what they don't hold: gates are tested elsewhere.
        same_order_window: Duration::ZERO,
        same_execution_limit: u32::MAX,
        max_messages_per_minute: u32::MAX,
        max_open_orders: u32::MAX,
        shorts: Guard::Warn,
        margin_loan: Guard::Warn,
        ..PolicyLimits::tight(BTreeSet::from([Mode::Paper]))
    };
    Policy::new(limits).unwrap()
}

pub(super) fn config(default_broker: Option<&str>) -> EngineConfig {
    EngineConfig {
        sidecar: SidecarId::parse("attacked-sidecar").unwrap(),
        policies: policy().into(),
        default_broker: default_broker.map(|name| BrokerName::parse(name).unwrap()),
        preview_ttl: Duration::from_secs(15 * 60),
        approval_ttl: Duration::from_secs(10 * 60),
        max_open_approvals: 10,
        max_submit_token_age: Duration::from_secs(15 * 60),
        question_timeout: Duration::from_secs(60),
        budget: CallBudget::default(),
        authority: signing::authority(),
        sending: Sending::On,
    }
}

/// A limit order at the market.
pub(super) fn order_of(name: &str, side: Side, quantity: i64) -> CanonicalOrder {
    let contract = Contract {
        conid: Conid::new(265_598).unwrap(),
        symbol: Untrusted::new("AAPL"),
        name: Untrusted::new("Apple"),
        class: AssetClass::Stock,
        exchange: "SMART".to_owned(),
        listing_exchange: Untrusted::new("NASDAQ"),
        currency: Currency::USD,
        multiplier: Decimal::ONE,
        price_increment: None,
    };
    let terms = OrderTerms {
        side,
        quantity: Quantity::new(Decimal::from(quantity)).unwrap(),
        pricing: Pricing::Limit { limit: Price::new(Decimal::ONE_HUNDRED).unwrap().into() },
        time_in_force: TimeInForce::Day,
        outside_rth: false,
    };
    let broker = BrokerName::parse("paper").unwrap();
    let target = OrderTarget { broker, mode: Mode::Paper, account: account(name) };
    CanonicalOrder::new(target, &contract, terms).unwrap()
}

pub(super) fn refusal_of(bench: &Bench, ticket: Ticket) -> Option<ErrorCode> {
    match bench.answer(ticket) {
        Some(Answer::Refused(refusal)) => Some(refusal.code),
        Some(_) | None => None,
    }
}

pub(super) fn approval_of(bench: &Bench, id: &ApprovalId) -> ApprovalEntry {
    bench.engine.approvals().find(|entry| entry.id == *id).unwrap().clone()
}

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) ledger: Ledger,
    pub(super) wall: i64,
    pub(super) monotonic: Duration,
    pub(super) day: i64,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) jobs: Vec<CommitJob>,
    effects: Vec<Effect>,
    answers: BTreeMap<Ticket, Answer>,
    next: u64,
}

fn ledger(now: Timestamp) -> Ledger {
    let config = LedgerConfig {
        path: None,
        origin: "ibkr-agent/attacks".to_owned(),
        signing_seed: zeroize::Zeroizing::new([7; 32]),
        account_key: zeroize::Zeroizing::new(vec![9; 32]),
        now,
    };
    Ledger::open(config).unwrap()
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::start(config(Some("paper")))
    }

    /// With more than one broker login.
    pub(super) fn with_brokers() -> Self {
        Self::start(config(None))
    }

    /// Where operators' signatures send nothing.
    pub(super) fn switched_off() -> Self {
        Self::start(EngineConfig { sending: Sending::Off, ..config(Some("paper")) })
    }

    fn start(config: EngineConfig) -> Self {
        let wall = 1_795_000_000_000;
        let now = Now {
            monotonic: Duration::ZERO,
            wall: Timestamp::from_millis(wall),
            trading_day: 20_261_122,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ledger = ledger(now.wall);
        let restored = signing::with_key(&runtime, &ledger, &[]);
        let (engine, _) = Engine::restore(config, restored, now);
        Self {
            engine,
            ledger,
            wall,
            monotonic: Duration::ZERO,
            day: now.trading_day,
            runtime,
            jobs: Vec::new(),
            effects: Vec::new(),
            answers: BTreeMap::new(),
            next: 1,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: self.monotonic,
            wall: Timestamp::from_millis(self.wall),
            trading_day: self.day,
        }
    }

    /// The process starts anew on the same store.
    pub(super) fn restart(&mut self) {
        let restored = store::restore(&self.ledger.snapshot().unwrap()).unwrap();
        self.monotonic = Duration::ZERO;
        let (engine, effects) = Engine::restore(config(Some("paper")), restored, self.now());
        self.engine = engine;
        self.take(effects);
        self.commit();
    }

    /// What the start does with the emergency file's records.
    pub(super) fn take_over(&self, waiting: Vec<Entry>) {
        let done = self.ledger.transact::<(), (), _>(move |batch| {
            store::take_over(batch, waiting)?;
            Ok(())
        });
        self.runtime.block_on(done).unwrap();
    }

    /// Somebody writes rows into the store while nothing runs, and it starts anew.
    pub(super) fn edit(&mut self, rows: Vec<Row>) {
        signing::edit(&self.runtime, &self.ledger, rows);
        self.restart();
    }

    /// Writes a record past the engine.
    pub(super) fn record(&self, record: Record) {
        signing::write(&self.runtime, &self.ledger, Vec::new(), record);
    }

    /// The last record of the log.
    pub(super) fn newest_record(&self) -> Entry {
        let newest = TailQuery { limit: 1, ..TailQuery::default() };
        let page = self.ledger.snapshot().unwrap().tail(&newest).unwrap();
        page.entries.into_iter().next().unwrap()
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    pub(super) fn feed(&mut self, input: Input) {
        let effects = self.engine.handle(input, self.now());
        self.take(effects);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a test picks the effects that it looks at")]
    pub(super) fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit(job) => self.jobs.push(*job),
                Effect::Reply { ticket, answer, .. } => {
                    self.answers.insert(ticket, answer);
                }
                other => self.effects.push(other),
            }
        }
    }

    /// Idempotency keys in the store.
    pub(super) fn kept_keys(&self) -> usize {
        store::restore(&self.ledger.snapshot().unwrap()).unwrap().keys.len()
    }

    /// Commits everything that waits, until nothing does.
    pub(super) fn commit(&mut self) {
        while !self.jobs.is_empty() {
            self.commit_waiting();
        }
    }

    /// Commits what waits now.
    pub(super) fn commit_waiting(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            let id = job.id;
            let done = self.ledger.transact(move |batch| store::apply(batch, job));
            let result = match self.runtime.block_on(done) {
                Ok((pending, commit)) => Ok(pending.redeem(&commit).unwrap()),
                Err(TransactError::Refused(_)) => Err(CommitError::Precondition),
                Err(TransactError::Store(failure)) => panic!("{failure}"),
            };
            self.feed(Input::Committed { job: id, result });
        }
    }

    /// Fails everything that waits to be committed.
    pub(super) fn fail_commits(&mut self, error: &CommitError) {
        for job in std::mem::take(&mut self.jobs) {
            self.feed(Input::Committed { job: job.id, result: Err(error.clone()) });
        }
    }

    pub(super) fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    /// Takes out the effects of a kind.
    pub(super) fn taken(&mut self, kind: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        let (taken, left) = std::mem::take(&mut self.effects).into_iter().partition(|e| kind(e));
        self.effects = left;
        taken
    }

    /// What the cancels that left were for.
    pub(super) fn cancels(&mut self) -> Vec<(BrokerName, AccountId)> {
        let sent = self.taken(|effect| matches!(effect, Effect::SendCancel { .. }));
        let mut facts = Vec::new();
        for effect in sent {
            if let Effect::SendCancel { permit, .. } = effect {
                let cancel = permit.get().action();
                facts.push((cancel.broker().clone(), cancel.account().clone()));
            }
        }
        facts
    }

    pub(super) fn requester(&mut self, who: Who) -> Requester {
        self.next += 1;
        let call = CallId::parse(&format!("call-{}", self.next)).unwrap();
        let client = Untrusted::new("agent");
        let (actor, door) = match who {
            Who::Local => (Actor::Local { client }, Door::Stdio),
            Who::Operator => (Actor::Operator { key: None }, Door::Operator),
        };
        Requester { call, actor, door, tool: "attack" }
    }

    pub(super) fn caller(&mut self, who: Who) -> Caller {
        let standing = match who {
            Who::Local => Standing::Local,
            Who::Operator => Standing::Operator,
        };
        Caller { requester: self.requester(who), scopes: ScopeSet::default(), standing }
    }

    pub(super) fn facts(&self) -> BrokerFacts {
        let now = Timestamp::from_millis(self.wall);
        let hundred = Some(Decimal::ONE_HUNDRED);
        let quote = Quote {
            conid: Conid::new(265_598).unwrap(),
            symbol: None,
            bid: hundred,
            bid_size: None,
            ask: hundred,
            ask_size: None,
            last: hundred,
            close: None,
            change_percent: None,
            volume: None,
            halted: Some(false),
            status: DataStatus::RealTime,
            updated: Some(now),
            as_of: now,
        };
        BrokerFacts {
            account_reported: true,
            session: SessionState::Ready,
            clock_skew_ms: Some(0),
            quote: Some(quote),
            account: AccountFacts {
                net_liquidation: Some(Money::new(Decimal::from(1_000_000), Currency::USD)),
                rates: BTreeMap::from([(Currency::USD, Decimal::ONE)]),
                ..AccountFacts::default()
            },
            policy_currency_rate: Some(Decimal::ONE),
            ..BrokerFacts::default()
        }
    }

    pub(super) fn operate(&mut self, act: OperatorAct) -> Ticket {
        let (ticket, requester) = (self.ticket(), self.requester(OPERATOR));
        self.feed(Input::Operator { ticket, requester, act });
        ticket
    }

    /// Previews an order under a call id, with a position.
    pub(super) fn preview_as(
        &mut self,
        call: &str,
        order: &CanonicalOrder,
        position: i64,
    ) -> PreviewId {
        let mut caller = self.caller(LOCAL);
        caller.requester.call = CallId::parse(call).unwrap();
        let facts = BrokerFacts { position: Decimal::from(position), ..self.facts() };
        let ticket = self.ticket();
        let draft = Box::new(PreviewDraft { plan: order.clone().into(), facts });
        self.feed(Input::Preview { ticket, caller, draft });
        self.commit();
        match self.answer(ticket) {
            Some(Answer::Preview(preview, _)) => preview.id.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ask(&mut self, preview: &PreviewId, account: &AccountId) -> ApprovalId {
        let caller = self.caller(LOCAL);
        self.ask_to(caller, preview, account, OnApproval::Hold)
    }

    /// Asks, and says what shall follow a yes.
    pub(super) fn ask_to(
        &mut self,
        caller: Caller,
        preview: &PreviewId,
        account: &AccountId,
        on_approval: OnApproval,
    ) -> ApprovalId {
        let (account, preview) = (account.clone(), preview.clone());
        let ticket = self.ticket();
        let asking = Asking { account, preview, ttl: None, on_approval, reason: None };
        self.feed(Input::AskApproval { ticket, caller, asking });
        self.commit();
        match self.answer(ticket) {
            Some(Answer::Approval(entry, ..)) => entry.id.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn approve(&mut self, approval: &ApprovalId) -> Ticket {
        let yes = signing::yes_to(&approval_of(self, approval));
        let ticket = self.operate(yes);
        self.commit();
        ticket
    }

    fn asked(&mut self, order: &CanonicalOrder, position: i64) -> ApprovalId {
        self.next += 1;
        let call = format!("preview-{}", self.next);
        let preview = self.preview_as(&call, order, position);
        self.ask(&preview, order.account())
    }

    /// An approval that was asked for at a position.
    pub(super) fn asked_at(&mut self, side: Side, quantity: i64, position: i64) -> ApprovalId {
        self.asked(&order_of("DU1", side, quantity), position)
    }

    /// An approval that was given at a position.
    pub(super) fn approved_at(&mut self, side: Side, quantity: i64, position: i64) -> ApprovalId {
        let approval = self.asked_at(side, quantity, position);
        self.approve(&approval);
        approval
    }

    pub(super) fn submit(&mut self, approval: &ApprovalId) -> Ticket {
        let account = approval_of(self, approval).account().clone();
        let (ticket, caller) = (self.ticket(), self.caller(LOCAL));
        let key = IdempotencyKey::parse(&format!("key-{}", ticket.0)).unwrap();
        let submission = Submission { account, approval: approval.clone(), key };
        self.feed(Input::Submit { ticket, caller, submission });
        ticket
    }

    /// Submits with facts and commits what follows.
    pub(super) fn submit_on(&mut self, approval: &ApprovalId, facts: BrokerFacts) -> Ticket {
        let ticket = self.submit(approval);
        self.feed(Input::FactsRead { ticket, facts: Ok(Box::new(facts)) });
        self.commit();
        ticket
    }

    pub(super) fn only_order(&self, approval: &ApprovalId) -> ClientOrderId {
        self.engine.orders().find(|entry| entry.approval == *approval).unwrap().id.clone()
    }

    /// An order that has left, unanswered.
    pub(super) fn placed(&mut self, side: Side, quantity: i64) -> ClientOrderId {
        self.placed_on(&account("DU1"), side, quantity)
    }

    pub(super) fn placed_on(
        &mut self,
        account: &AccountId,
        side: Side,
        quantity: i64,
    ) -> ClientOrderId {
        let approval = self.asked(&order_of(account.as_str(), side, quantity), 0);
        self.approve(&approval);
        let facts = self.facts();
        self.submit_on(&approval, facts);
        let sent = self.taken(|effect| matches!(effect, Effect::Place(_)));
        assert_eq!(sent.len(), 1);
        self.only_order(&approval)
    }

    pub(super) fn entry(&self, order: &ClientOrderId) -> OrderEntry {
        self.engine.orders().find(|entry| entry.id == *order).unwrap().clone()
    }

    pub(super) fn state(&self, order: &ClientOrderId) -> OrderState {
        self.entry(order).state
    }

    pub(super) fn cancel(&mut self, who: Who, account: &str, order: &str) -> Ticket {
        let (ticket, caller) = (self.ticket(), self.caller(who));
        let order = BrokerOrderId::parse(order).unwrap();
        let cancellation = Cancellation { account: self::account(account), order };
        self.feed(Input::Cancel { ticket, caller, cancellation });
        ticket
    }
}
