//! Looks at the broker's orders and trades: at accounts whose orders can still change, at all of
//! them in turn, and where something presses. What they show is the engine's to judge; a look that
//! fails shows nothing, and no stream's event stands for one.

use super::looks::Again;
use super::report::{note_unread, sought};
use super::{Driver, EngineHandle, Message};
use crate::brokers::Brokers;
use crate::clock::Clock;
use crate::engine::{Effect, Input, Now, Sought};
use ibkr_agent_broker::{BrokerError, Errand, Urgency};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, ClientOrderId, Digest, Execution, Listed, Position,
    SessionState, Timestamp,
};
use ibkr_agent_protocol::catalogue::resources::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Shortest time between two accounts of a survey: IBKR takes one list of orders in 5 seconds, and
/// a decision must not find the survey in its way.
const SURVEY_PAUSE: Duration = Duration::from_secs(8);
/// How long a look waits for its turns and answers; another is made later.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// The turn of looks at the broker.
const LOOKS: u64 = 0;

impl Driver {
    /// Looks at every account that has an order whose state can still change, and at the next one
    /// of the survey.
    pub(super) fn watch(&mut self) {
        let ended = self.engine.handle(Input::Tick, self.clock.now());
        self.perform(ended);
        let mut accounts = self.engine.accounts_to_watch();
        accounts.extend(self.resources.followed_accounts());
        let now = Instant::now();
        let pause = SURVEY_PAUSE.min(self.survey_interval);
        let is_paused = self.surveyed_at.is_some_and(|at| now.duration_since(at) < pause);
        if !is_paused && self.is_any_ready() {
            let next = self.looks.in_turn(self.due.clone()).into_iter().next();
            self.surveyed_at = next.is_some().then_some(now).or(self.surveyed_at);
            accounts.extend(next);
        }
        for account in self.looks.in_turn(accounts) {
            self.seek(account, Urgency::Survey);
        }
    }

    fn is_any_ready(&self) -> bool {
        self.brokers.all().iter().any(|broker| broker.health().state == SessionState::Ready)
    }

    /// Whoever follows an account learns that its lists aren't what they were.
    pub(super) fn compare(
        &self,
        account: &AccountId,
        orders: &Listed<BrokerOrder>,
        executions: &Listed<Execution>,
    ) {
        let orders = Digest::of(format!("{orders:?}").as_bytes());
        let executions = Digest::of(format!("{executions:?}").as_bytes());
        let filled = self.resources.seen(account, "executions", executions);
        if self.resources.seen(account, "orders", orders) || filled {
            self.resources.bump(&Resource::Orders(account.clone()));
        }
        if filled {
            self.resources.bump(&Resource::Positions(account.clone()));
        }
    }

    /// Looks at every account that may be seen: an order that isn't ours must not go unnoticed.
    pub(super) fn survey(&mut self) {
        if self.is_any_ready() {
            self.due.extend(self.brokers.allowed().iter().cloned());
            self.watch();
        }
    }

    /// Takes in what a look read. Two may cross: what was asked for earlier must not undo what was
    /// asked for later.
    pub(super) fn take_in(
        &mut self,
        begun: Moment,
        evidence: Input,
        positions: Option<Vec<Position>>,
        now: Now,
    ) -> Vec<Effect> {
        let Input::Evidence { account, orders, executions } = &evidence else {
            return Vec::new();
        };
        if !self.looks.is_newest(account, begun.mono) {
            return Vec::new();
        }
        self.compare(account, orders, executions);
        let account = account.clone();
        let mut effects = self.engine.handle(evidence, now);
        if let Some(positions) = positions {
            let held = Input::Held { account: account.clone(), positions };
            effects.extend(self.engine.handle(held, now));
        }
        self.checked.send_modify(|checked| {
            checked.entry(account).or_default().asked_at = Some(begun.wall);
        });
        effects
    }

    /// A look ended.
    pub(super) fn sought(&mut self, account: AccountId, urgency: Urgency, end: LookEnd) {
        let had_turn = end != LookEnd::NoTurn;
        let again = self.looks.end(&account, urgency, had_turn);
        if had_turn {
            self.due.remove(&account);
        }
        if end != LookEnd::Read {
            self.checked.send_modify(|checked| {
                let checked = checked.entry(account.clone()).or_default();
                checked.failed = checked.failed.saturating_add(1);
            });
        }
        if again == Again::Yes {
            self.seek(account, urgency);
        }
    }

    /// Reads orders and trades of an account, once at a time. A look that something pressed shares
    /// what a look around still waits for, and goes ahead.
    pub(super) fn seek(&mut self, account: AccountId, urgency: Urgency) {
        if self.effects.is_closed() || !self.looks.begin(&account, urgency) {
            return;
        }
        let look = self.look_up(account.clone(), urgency);
        let inbox = self.inbox.clone();
        let stop = self.surveys.clone();
        self.effects.spawn(async move {
            let end = match urgency {
                // Nobody misses it at a stop; the next start looks anew.
                Urgency::Survey => stop.run_until_cancelled(look).await.unwrap_or(LookEnd::NoTurn),
                Urgency::Asked | Urgency::Decision => look.await,
            };
            drop(inbox.send(Message::Sought { account, urgency, end }));
        });
    }

    /// Reads the evidence and sends it to the driver.
    pub(super) fn look_up(
        &self,
        account: AccountId,
        urgency: Urgency,
    ) -> impl Future<Output = LookEnd> + Send + 'static {
        let (brokers, inbox) = (Arc::clone(&self.brokers), self.inbox.clone());
        let clock = self.clock.clone();
        let errand = Errand::of(LOOKS).urgency(urgency);
        async move {
            let errand = errand.within(LOOK_TIMEOUT);
            errand.run(read_evidence(&brokers, account, urgency, &clock, &inbox)).await
        }
    }
}

impl Driver {
    /// Asks for one order that the account's list no longer shows.
    pub(super) fn ask_order(
        &self,
        account: AccountId,
        reference: ClientOrderId,
        order: BrokerOrderId,
    ) {
        if self.effects.is_closed() {
            return;
        }
        let (brokers, inbox) = (Arc::clone(&self.brokers), self.inbox.clone());
        self.effects.spawn(async move {
            let ask = async {
                match brokers.account(Some(&account)).await {
                    Ok(routed) => sought(&routed.broker, &order).await,
                    Err(_) => Sought::Unclear,
                }
            };
            let errand = Errand::of(LOOKS).urgency(Urgency::Survey).within(LOOK_TIMEOUT);
            let answer = errand.run(ask).await;
            Self::feed(&inbox, Input::OrderSought { order: reference, asked: order, answer });
        });
    }
}

async fn read_evidence(
    brokers: &Brokers,
    account: AccountId,
    urgency: Urgency,
    clock: &Clock,
    inbox: &mpsc::UnboundedSender<Message>,
) -> LookEnd {
    let begun = Moment { mono: Instant::now(), wall: clock.now().wall };
    let Ok(routed) = brokers.account(Some(&account)).await else { return LookEnd::Failed };
    // Only a look around has the time to compare positions.
    let positions = async {
        let is_around = urgency == Urgency::Survey;
        if is_around { routed.broker.positions(&account).await.ok() } else { None }
    };
    let (orders, executions, positions) =
        tokio::join!(routed.broker.orders(&account), routed.broker.executions(&account), positions);
    // Half the evidence is no evidence: the next look reads both again.
    match (orders, executions) {
        (Ok(orders), Ok(executions)) => {
            note_unread(&account, "orders", &orders.unread);
            note_unread(&account, "executions", &executions.unread);
            let evidence = Box::new(Input::Evidence { account, orders, executions });
            drop(inbox.send(Message::Evidence { begun, evidence, positions }));
            LookEnd::Read
        }
        (Err(BrokerError::RateLimited { .. }), _) | (_, Err(BrokerError::RateLimited { .. })) => {
            LookEnd::NoTurn
        }
        (_, _) => LookEnd::Failed,
    }
}

/// When a look began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    mono: Instant,
    wall: Timestamp,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookEnd {
    /// Its evidence was sent.
    Read,
    /// The broker couldn't be asked, or its answer wasn't understood.
    Failed,
    /// The broker's limits left no turn for it.
    NoTurn,
}

/// What looks at an account gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checked {
    /// When the newest evidence was asked for.
    asked_at: Option<Timestamp>,
    /// Looks that gave none.
    failed: u64,
}

/// By account.
pub(super) type CheckedAccounts = BTreeMap<AccountId, Checked>;

impl EngineHandle {
    /// When the newest evidence of an account was asked for.
    pub(crate) fn checked_at(&self, account: &AccountId) -> Option<Timestamp> {
        self.checked.borrow().get(account).and_then(|checked| checked.asked_at)
    }

    /// Looks at an account's orders and trades at the broker, unless what was asked for since then
    /// is there already, and waits for it. Gives when the newest evidence was asked for: before
    /// `since`, or never, when the look failed or had no turn in time.
    pub(crate) async fn check(
        &self,
        account: &AccountId,
        since: Timestamp,
        wait: Duration,
    ) -> Option<Timestamp> {
        let mut checked = self.checked.clone();
        let of = |all: &CheckedAccounts| all.get(account).copied().unwrap_or_default();
        let is_new = |checked: Checked| checked.asked_at.is_some_and(|at| at >= since);
        let before = of(&checked.borrow());
        if !is_new(before) {
            self.seek(account.clone());
            let ended = checked.wait_for(|all| is_new(of(all)) || of(all).failed > before.failed);
            // What came of it is told below, in time or not.
            drop(tokio::time::timeout(wait, ended).await.map(|seen| seen.map(drop)));
        }
        self.checked_at(account)
    }
}
