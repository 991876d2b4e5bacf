//! What must never happen, looked at from outside: what was signed, what is durable, what left us,
//! what the broker has, and what we say.
//!
//! The checker trusts nothing that the engine says of itself; it keeps its own books.

use super::answers::{refuses_for_risk, same_answer};
use super::broker::{Broker, Entry, Fate, Sent, Shown};
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerOrderId, ClientOrderId, Digest, IdempotencyKey, OnApproval,
    OrderState, Timestamp,
};
use ibkr_agent_engine::{
    Answer, ApprovalStatus, CommitJob, Engine, Finding, Followed, OrderEntry, Owner, Payload, Row,
    Ticket,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A rule that was broken, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

pub(super) type Checked = Result<(), Violation>;

/// Breaks with a sentence unless the rule holds.
pub(super) fn rule(holds: bool, sentence: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation(sentence())) }
}

/// What a ticket was for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// Anything without a rule of its own.
    Other,
    Submit {
        owner: Owner,
        key: IdempotencyKey,
        approval: ApprovalId,
        /// The order that had left us under this key when the call came.
        sent_before: Option<(ClientOrderId, ApprovalId)>,
    },
    /// A halt, with the number of resumes asked for before it.
    Halt(u64),
    Cancel,
}

/// What a commit will have made durable.
#[derive(Debug)]
pub(super) struct Summary {
    approvals: Vec<(ApprovalId, ApprovalStatus)>,
    orders: Vec<OrderEntry>,
    intent: Option<ClientOrderId>,
    now: Timestamp,
}

impl Summary {
    pub(super) fn of(job: &CommitJob) -> Self {
        let mut summary =
            Self { approvals: Vec::new(), orders: Vec::new(), intent: None, now: job.now };
        for row in &job.rows {
            match row {
                Row::Approval(entry) => summary.approvals.push((entry.id.clone(), entry.status)),
                Row::Order(entry) => summary.orders.push((**entry).clone()),
                Row::Preview(_)
                | Row::ForgetPreview(_)
                | Row::Key(_)
                | Row::ForgetKey(..)
                | Row::ForgetApproval(_)
                | Row::ForgetOrder(_)
                | Row::Halt(_)
                | Row::Admitted(_)
                | Row::ForgetAdmitted(_)
                | Row::OperatorKey(_)
                | Row::Foreign(_)
                | Row::ForgetForeign(..)
                | Row::Holdings(_) => {}
            }
        }
        if let Payload::Place(permit) = &job.payload {
            summary.intent = permit.action().references().first().cloned();
        }
        summary
    }
}

/// The last signature over an approval that sends by itself.
#[derive(Debug, Clone, Copy)]
struct Signature {
    /// How often the process had started.
    starts: u64,
    /// How often trading had been halted.
    halts: u64,
    /// When, since the start.
    at: Duration,
}

/// Longest from a signature until the engine lets its order go.
const AT_ONCE: Duration = Duration::from_secs(60);

/// The limits that the checker holds the engine to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) per_day: usize,
    pub(super) per_minute: usize,
}

/// An order that left us.
#[derive(Debug)]
struct Left {
    approval: ApprovalId,
    account: AccountId,
    owner: Owner,
    key: IdempotencyKey,
    day: i64,
    decided: Timestamp,
    /// An operator stated, truthfully, that the broker never had it.
    absent: bool,
    /// The store forgot it when an older copy was put back.
    lost: bool,
    /// An older store that was put back knows it under another key: an earlier try was under way
    /// then, which was given back later.
    key_lost: bool,
}

/// What the store holds, as far as this side knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    approvals: BTreeMap<ApprovalId, ApprovalStatus>,
    ever_approved: BTreeSet<ApprovalId>,
    orders: BTreeMap<ClientOrderId, OrderEntry>,
    intents: BTreeSet<ClientOrderId>,
    /// The newest time in a durable record.
    newest_record: Option<Timestamp>,
}

/// The books.
#[derive(Debug)]
pub(super) struct Checker {
    limits: Limits,
    /// Questions that were answered.
    answered: BTreeSet<String>,
    /// What operators signed.
    pub(super) signed: BTreeMap<ApprovalId, Digest>,
    /// The signatures that send, and how often what they began was ended.
    sending: BTreeMap<ApprovalId, Signature>,
    pub(super) halts: u64,
    starts: u64,
    pub(super) books: Books,
    left: BTreeMap<ClientOrderId, Left>,
    /// What the looks that were taken in since the start showed of each order at the broker.
    shown: BTreeMap<BrokerOrderId, Shown>,
    /// An older store was put back and nobody has accepted it since.
    state_doubt: bool,
    /// A halt was confirmed and nobody has asked to resume since.
    halt_confirmed: bool,
    pub(super) resumes: u64,
    open: BTreeMap<Ticket, Asked>,
    withdrawn: BTreeSet<Ticket>,
}

impl Checker {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            answered: BTreeSet::new(),
            signed: BTreeMap::new(),
            sending: BTreeMap::new(),
            halts: 0,
            starts: 0,
            books: Books::default(),
            left: BTreeMap::new(),
            shown: BTreeMap::new(),
            state_doubt: false,
            halt_confirmed: false,
            resumes: 0,
            open: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
        }
    }

    pub(super) fn asked(&mut self, ticket: Ticket, asked: Asked) {
        self.open.insert(ticket, asked);
    }

    pub(super) fn withdrew(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
        self.withdrawn.insert(ticket);
    }

    pub(super) fn open_tickets(&self) -> Vec<Ticket> {
        self.open.keys().copied().collect()
    }

    /// The order that left us under a key.
    pub(super) fn left_under(
        &self,
        owner: &Owner,
        key: &IdempotencyKey,
    ) -> Option<(ClientOrderId, ApprovalId)> {
        let same =
            |left: &Left| !(left.lost || left.key_lost) && left.owner == *owner && left.key == *key;
        let (id, left) = self.left.iter().find(|(_, left)| same(left))?;
        Some((id.clone(), left.approval.clone()))
    }

    /// A batch is durable.
    pub(super) fn durable(&mut self, summary: Summary) -> Checked {
        if let Some(id) = &summary.intent {
            self.nothing_in_doubt(id, &summary.orders)?;
        }
        for (approval, status) in summary.approvals {
            if status == ApprovalStatus::Approved {
                self.books.ever_approved.insert(approval.clone());
            }
            self.books.approvals.insert(approval, status);
        }
        for order in summary.orders {
            self.books.orders.insert(order.id.clone(), order);
        }
        self.books.intents.extend(summary.intent);
        self.books.newest_record = self.books.newest_record.max(Some(summary.now));
        Ok(())
    }

    /// An intent becomes durable: no other order of its instrument is durable as unknown, whatever
    /// the engine remembers.
    fn nothing_in_doubt(&self, id: &ClientOrderId, orders: &[OrderEntry]) -> Checked {
        let same = |other: &OrderEntry, order: &OrderEntry| {
            other.account() == order.account() && other.order.conid() == order.order.conid()
        };
        let mut others = self.books.orders.values().filter(|other| {
            other.state == OrderState::Unknown && orders.iter().all(|order| order.id != other.id)
        });
        let doubtful = others.find(|other| orders.iter().any(|order| same(other, order)));
        rule(doubtful.is_none(), || {
            format!(
                "{id} was permitted while another order of its instrument is durable as unknown"
            )
        })
    }

    /// A question is answered at the broker.
    pub(super) fn answering(&mut self, reply_id: &str) -> Checked {
        let is_first = self.answered.insert(reply_id.to_owned());
        rule(is_first, || format!("a question got two answers: {reply_id}"))
    }

    /// A permit is about to be committed: nothing on its instrument may be in doubt.
    pub(super) fn reserving(job: &CommitJob, engine: &Engine) -> Checked {
        let Payload::Place(permit) = &job.payload else {
            return Ok(());
        };
        let place = permit.action();
        let doubtful = engine.orders().find(|other| {
            !place.is_of(&other.id)
                && place.plan().orders().iter().any(|order| {
                    other.account() == order.account() && other.order.conid() == order.conid()
                })
                && other.state == OrderState::Unknown
        });
        rule(doubtful.is_none(), || {
            let id = &place.references()[0];
            format!("{id} was permitted while another order of its instrument was in doubt")
        })
    }

    /// An operator signs.
    pub(super) fn signs(&mut self, approval: &ApprovalId, sends: OnApproval, at: Duration) {
        if sends == OnApproval::Submit {
            let (starts, halts) = (self.starts, self.halts);
            self.sending.insert(approval.clone(), Signature { starts, halts, at });
        }
    }

    /// What a signature sends goes out at once or never.
    fn at_once(&self, sent: &Sent) -> Result<Option<Signature>, Violation> {
        if !sent.by_signature {
            return Ok(None);
        }
        let id = &sent.reference;
        let Some(signature) = self.sending.get(&sent.approval) else {
            return Err(Violation(format!("{id} was sent by a signature that sends nothing")));
        };
        let before = |what| format!("{id} was sent by a signature from before {what}");
        rule(signature.starts == self.starts, || before("a restart"))?;
        rule(signature.halts == self.halts, || before("a halt"))?;
        Ok(Some(*signature))
    }

    /// The engine lets an order go.
    pub(super) fn releasing(&self, sent: &Sent, engine: &Engine, now: Duration) -> Checked {
        let signature = self.at_once(sent)?;
        rule(signature.is_none_or(|one| now.saturating_sub(one.at) <= AT_ONCE), || {
            format!("{} was sent long after its signature", sent.reference)
        })?;
        let approval = engine.approvals().find(|entry| entry.id == sent.approval);
        let expires = approval.map(|entry| entry.expires_at);
        rule(expires > self.books.newest_record, || {
            format!("{} was released after its approval's end {expires:?}", sent.reference)
        })
    }

    /// An order goes out on the wire.
    pub(super) fn leaving(&mut self, sent: &Sent, engine: &Engine) -> Checked {
        let id = &sent.reference;
        self.at_once(sent)?;
        rule(!engine.halt_entry().halted, || format!("{id} left although trading is halted"))?;
        rule(!self.state_doubt, || format!("{id} left although the state folder is in doubt"))?;
        rule(self.signed.get(&sent.approval) == Some(&sent.order.digest()), || {
            format!("{id} is not what an operator signed")
        })?;
        rule(self.books.ever_approved.contains(&sent.approval), || {
            format!("{id} left although no approval is durable")
        })?;
        rule(self.books.intents.contains(id), || format!("{id} left without a durable intent"))?;
        let status = self.books.approvals.get(&sent.approval);
        rule(status == Some(&ApprovalStatus::Consumed), || {
            format!("{id} left with its approval {status:?} in the store")
        })?;
        // What an older store forgot may go out again, under the same reference, which the
        // broker refuses.
        let same = |(other, left): (&ClientOrderId, &Left)| {
            left.approval != sent.approval || (left.lost && other == id)
        };
        let once = self.left.iter().all(same);
        rule(once, || format!("a second order left under {}", sent.approval))?;
        let Some(entry) = self.books.orders.get(id) else {
            return Err(Violation(format!("{id} left without a row in the store")));
        };
        let left = Left {
            approval: sent.approval.clone(),
            account: sent.order.account().clone(),
            owner: entry.owner.clone(),
            key: entry.key.clone(),
            day: entry.trading_day,
            decided: entry.created_at,
            absent: false,
            lost: false,
            key_lost: false,
        };
        self.within_limits(&left)?;
        self.left.insert(id.clone(), left);
        Ok(())
    }

    fn within_limits(&self, new: &Left) -> Checked {
        // Each account has limits of its own.
        // What an older store forgot isn't counted: its operator accepted that.
        let counts = |left: &&Left| left.account == new.account && !left.lost;
        let same = || self.left.values().filter(counts);
        let today = same().filter(|left| left.day == new.day && !left.absent);
        rule(today.count() < self.limits.per_day, || {
            "more orders left in a day than the policy permits".to_owned()
        })?;
        let minute = Duration::from_secs(60);
        let near = |left: &&Left| {
            !left.absent && left.decided <= new.decided && new.decided.since(left.decided) < minute
        };
        let lately = same().filter(near).count();
        rule(lately < self.limits.per_minute, || {
            "more orders left in a minute than the policy permits".to_owned()
        })
    }

    /// An operator states that the broker never had an order.
    pub(super) fn stated_absent(&mut self, order: &ClientOrderId) {
        if let Some(left) = self.left.get_mut(order) {
            left.absent = true;
        }
    }

    /// An operator asks to resume: from here on both states are right until the next halt.
    pub(super) fn resuming(&mut self) {
        self.halt_confirmed = false;
        self.resumes += 1;
    }

    /// An older copy of the store was put back.
    pub(super) fn put_back(&mut self, books: Books) {
        for (id, left) in &mut self.left {
            let spent = books.approvals.get(&left.approval) == Some(&ApprovalStatus::Consumed);
            left.lost |= !spent || !books.intents.contains(id);
            let known = books.orders.get(id);
            left.key_lost |= known.is_none_or(|entry| entry.key != left.key);
        }
        self.books = books;
        self.state_doubt = true;
        self.halt_confirmed = false;
    }

    /// An operator signs that an older store is accepted.
    pub(super) fn accepting(&mut self) {
        self.state_doubt = false;
        self.resuming();
    }

    /// A look is taken in.
    pub(super) fn shown(&mut self, orders: Vec<Shown>) {
        self.shown.extend(orders.into_iter().map(|one| (one.id.clone(), one)));
    }

    fn was_shown(&self, held: &Entry) -> bool {
        !held.hidden && self.shown.get(&held.id) == Some(&held.shown())
    }

    fn was_lost(&self, id: &ClientOrderId) -> bool {
        self.left.get(id).is_some_and(|left| left.lost)
    }

    /// A ticket was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: &Answer) -> Checked {
        // The engine's own replies to known questions have no caller.
        if ticket == Ticket(0) || self.withdrawn.remove(&ticket) {
            return Ok(());
        }
        let Some(asked) = self.open.remove(&ticket) else {
            return Err(Violation(format!("{ticket:?} was answered twice")));
        };
        match asked {
            Asked::Submit { owner, key, approval, sent_before } => {
                let sends = self.sending.contains_key(&approval);
                same_answer(&owner, &key, (&approval, sends), sent_before, answer)
            }
            Asked::Halt(resumes) => {
                if matches!(answer, Answer::Done) && resumes == self.resumes {
                    self.halt_confirmed = true;
                }
                Ok(())
            }
            Asked::Cancel => rule(!refuses_for_risk(answer), || {
                format!("a cancel was refused for risk: {answer:?}")
            }),
            Asked::Other => Ok(()),
        }
    }

    /// What we say against what the broker has.
    pub(super) fn truthful(
        &self,
        engine: &Engine,
        broker: &Broker,
        on_the_wire: &[Sent],
    ) -> Checked {
        for held in broker.orders.values() {
            let id = &held.sent.reference;
            let Some(entry) = engine.orders().find(|entry| entry.id == *id) else {
                rule(self.was_lost(id), || format!("the broker has {id}, the engine doesn't"))?;
                continue;
            };
            self.says_no_end(entry, held)?;
            let full = entry.state == OrderState::Filled;
            let all = || broker.orders.values().filter(|other| other.sent.reference == *id);
            let filled: Decimal = all().map(|one| one.filled).sum();
            let whole = entry.order.terms().quantity.get();
            let doubted = all().any(|one| one.busted > Decimal::ZERO);
            let doubted = doubted && entry.filled > Some(filled);
            let holds = filled >= whole || doubted || all().any(|one| one.fate == Fate::Filled);
            rule(!full || holds, || {
                format!("{id} is called filled, the broker has it {:?}", held.fate)
            })?;
        }
        for sent in on_the_wire.iter().filter(|sent| !self.was_lost(&sent.reference)) {
            let entry = engine.orders().find(|entry| entry.id == sent.reference);
            let final_already = entry.is_none_or(|entry| entry.state == OrderState::NotSent);
            rule(!final_already, || {
                format!("{} is on the wire and called not sent", sent.reference)
            })?;
        }
        Ok(())
    }

    /// No order is said to be over, or never to have been, while it works or after it filled. What
    /// happened to it without us may be unknown until a look shows it.
    fn says_no_end(&self, entry: &OrderEntry, held: &Entry) -> Checked {
        let (id, state) = (&entry.id, entry.state);
        let seen = self.was_shown(held);
        let denied = matches!(state, OrderState::Rejected | OrderState::NotSent);
        // An order that was rejected may stand in the list as inactive.
        let is_inactive = state == OrderState::Rejected && held.fate == Fate::Held;
        rule(!(denied && held.late && seen), || {
            format!("{id} is called {state:?}, and its late fill was shown")
        })?;
        let is_news = held.late || self.was_lost(id) || held.is_twin;
        rule(!(denied && held.counts()) || (is_news && !seen) || (is_inactive && seen), || {
            format!("{id} is called {state:?}, the broker has it {:?}", held.fate)
        })?;
        // A fill that was taken back counts until a second look says so too.
        let doubted = held.busted > Decimal::ZERO && entry.filled > Some(held.filled);
        let live = matches!(held.fate, Fate::Working | Fate::Held) && !is_inactive && !doubted;
        rule(!(state.is_final() && live && seen), || {
            format!("{id} is called {state:?}, and was shown {:?}", held.fate)
        })
    }

    /// The engine was rebuilt from the store.
    pub(super) fn restored(&mut self, engine: &Engine) -> Checked {
        self.starts += 1;
        self.open.clear();
        self.withdrawn.clear();
        // What a look showed may not have been written down.
        self.shown.clear();
        rule(!self.halt_confirmed || engine.halt_entry().halted, || {
            "a confirmed halt was forgotten by a restart".to_owned()
        })
    }

    /// What we say of an order's terms, fills and count is what the broker has, once it was seen.
    fn terms_told(entry: &OrderEntry, all: &[&Entry]) -> Checked {
        let id = &entry.id;
        let told = |finding| entry.told.contains(&finding);
        rule(!all.iter().any(|one| one.is_changed()) || told(Finding::Changed), || {
            format!("{id} was changed at the broker and nobody was told")
        })?;
        let filled: Decimal = all.iter().map(|one| one.filled).sum();
        rule(entry.filled.unwrap_or_default() == filled, || {
            format!("{id} filled {filled} and is told as {:?}", entry.filled)
        })?;
        let approved = entry.order.terms().quantity.get();
        rule(filled <= approved || told(Finding::Overfilled), || {
            format!("{id} filled {filled} of {approved} and nobody was told")
        })?;
        // One whose fills were all taken back before anybody saw it is none.
        let traded = |one: &Entry| one.filled > Decimal::ZERO || one.fate != Fate::Filled;
        let alive =
            all.iter().filter(|one| one.counts() && traded(one) && one.fate != Fate::Cancelled);
        rule(alive.count() < 2 || told(Finding::Twin), || {
            format!("{id} is at the broker twice and nobody was told")
        })?;
        let value: Decimal = all.iter().map(|one| one.value()).sum();
        rule(entry.counted_notional >= value, || {
            format!("{id} counts {} of the {value} at the broker", entry.counted_notional)
        })
    }

    /// Nothing is in flight any more and the broker's orders and trades were read.
    pub(super) fn at_rest(&self, engine: &Engine, broker: &Broker) -> Checked {
        rule(self.open.is_empty(), || format!("nobody answered {:?}", self.open))?;
        let mut approvals = engine.approvals();
        let sending = approvals.find(|entry| engine.followed(entry) == Followed::Sending);
        rule(sending.is_none(), || format!("{sending:?} is told as being sent at rest"))?;
        let references = broker.orders.keys().map(|(reference, _)| reference);
        let references: BTreeSet<&ClientOrderId> = references.collect();
        for id in references {
            let all: Vec<_> =
                broker.orders.values().filter(|one| one.sent.reference == *id).collect();
            let has = |fate: Fate| all.iter().any(|one| one.fate == fate);
            let expected = match () {
                () if has(Fate::Working) => OrderState::Working,
                () if has(Fate::Filled) || filled_up(&all) => OrderState::Filled,
                () if has(Fate::Held) => OrderState::Held,
                () if has(Fate::Cancelled) => OrderState::Cancelled,
                () => continue,
            };
            let Some(entry) = engine.orders().find(|entry| entry.id == *id) else {
                rule(self.was_lost(id), || format!("the broker has {id}, the engine doesn't"))?;
                continue;
            };
            if all.iter().any(|one| one.hidden) {
                left_the_list(entry, &all, expected)?;
                continue;
            }
            rule(entry.state == expected, || {
                format!("{id} is {:?} at rest, the broker has it {expected:?}", entry.state)
            })?;
            Self::terms_told(entry, &all)?;
        }
        Ok(())
    }
}

/// What the list leaves out is asked for singly, by the id that it was known by. One of which
/// nobody ever heard is in doubt at most, unless another one speaks for it.
fn left_the_list(entry: &OrderEntry, all: &[&Entry], expected: OrderState) -> Checked {
    let (id, state) = (&entry.id, entry.state);
    let known = |one: &&&Entry| entry.broker_ids().any(|broker_id| *broker_id == one.id);
    // How much of one filled is told by its row; a fill that was taken back of one that isn't
    // listed is seen in the position only.
    if all.iter().any(|one| one.busted > Decimal::ZERO) {
        return Ok(());
    }
    let heard = all.iter().filter(known).count();
    if heard == all.len() {
        return rule(state == expected, || {
            format!("{id} left the list and is {state:?} at rest, the broker has it {expected:?}")
        });
    }
    let counts = all.iter().any(|one| one.counts());
    rule(heard > 0 || !counts || !state.is_final() || state == expected, || {
        format!("{id} left the list unseen and is {state:?} at rest")
    })
}

/// Whether several broker orders together filled what was approved.
fn filled_up(all: &[&Entry]) -> bool {
    let filled: Decimal = all.iter().map(|one| one.filled).sum();
    all.first().is_some_and(|one| filled >= one.sent.order.terms().quantity.get())
}
