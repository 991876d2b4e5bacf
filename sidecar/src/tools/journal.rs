//! What changed between one look at the broker and the next, numbered, for `ibkr_changes_since`.
//!
//! A look reads all orders and fills anew; what differs from the look before gets the next numbers.
//! A cursor names the number up to which its holder was told, the process that counted, and when:
//! within one process nothing is lost or told twice; after a restart, or when the numbers are no
//! longer kept, changes are found by their times, and one that is too old for that is refused.
//!
//! Bounds: [`MAX_KEPT`] numbered changes; of orders and fills only what the broker lists.

use crate::engine::Owner;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerName, BrokerOrder, BrokerOrderId, ClientOrderId, Digest,
    Execution, Listed, OrderState, SessionHealth, SessionState, Timestamp,
};
use ibkr_agent_protocol::catalogue::PartFailure;
use ibkr_agent_protocol::service::fresh_call_id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Numbered changes that are kept.
const MAX_KEPT: usize = 4096;

/// How old a cursor may be when changes must be found by their times: the broker lists the orders
/// of one day.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// How far back before a cursor's time changes are told: the broker's clock isn't ours, and it
/// writes seconds.
const SLACK: Duration = Duration::from_secs(60);

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A fill.
    Fill(Box<Execution>),
    /// An order is new or differs; its present state is in [`Seen`].
    Order(AccountId, BrokerOrderId),
    /// An open order is no longer listed.
    Gone(AccountId, BrokerOrderId),
    /// An approval of this owner.
    Approval(Owner, ApprovalId),
    /// A request of this owner.
    Request(Owner, ClientOrderId),
    /// A broker login's session.
    Session(BrokerName),
    /// Trading was halted or resumed.
    Halt,
}

/// What one look read of an account; `None` where the read failed.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) account: AccountId,
    pub(super) orders: Option<Listed<BrokerOrder>>,
    pub(super) fills: Option<Listed<Execution>>,
}

/// What one look saw of the gateway itself.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// Owner and state of each recent approval.
    pub(super) approvals: BTreeMap<ApprovalId, (Owner, &'static str)>,
    /// Owner and state of each recent request.
    pub(super) requests: BTreeMap<ClientOrderId, (Owner, OrderState)>,
    /// Each login's session.
    pub(super) sessions: BTreeMap<BrokerName, SessionHealth>,
    /// Whether trading is halted, and since when.
    pub(super) halt: Option<(bool, Timestamp)>,
}

/// What is known of an account from the look before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) orders: Option<BTreeMap<BrokerOrderId, BrokerOrder>>,
    /// The fills as last listed.
    pub(super) listed: Vec<Execution>,
    /// Ids of the fills that were ever listed.
    fills: Option<BTreeSet<String>>,
}

/// The numbered changes and what they are measured against.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The newest number.
    newest: u64,
    /// The newest number that is no longer kept.
    dropped: u64,
    kept: VecDeque<(u64, Change)>,
    pub(super) accounts: BTreeMap<AccountId, Seen>,
    approvals: Option<BTreeMap<ApprovalId, (Owner, &'static str)>>,
    requests: Option<BTreeMap<ClientOrderId, (Owner, OrderState)>>,
    sessions: BTreeMap<BrokerName, (SessionState, Timestamp)>,
    halt: Option<(bool, Timestamp)>,
    /// When the first look began, by the wall clock.
    first: Option<Timestamp>,
    /// When the last look began.
    pub(super) began: Option<Instant>,
    /// When the last look began, by the wall clock.
    pub(super) as_of: Option<Timestamp>,
    /// What the last look couldn't read.
    pub(super) missing: Vec<PartFailure>,
}

/// The journal of one process.
#[derive(Debug)]
pub(crate) struct Journal {
    process: String,
    pub(super) state: Mutex<State>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let random = Digest::of(fresh_call_id().as_str().as_bytes()).to_string();
        let process = random.get(..8).unwrap_or_default().to_owned();
        Self { process, state: Mutex::new(State::default()) }
    }

    /// Where a cursor leads.
    pub(super) fn place(&self, state: &State, mark: &Mark, now: Timestamp) -> Place {
        let counted_here = mark.process == self.process && mark.number <= state.newest;
        if counted_here && mark.skip == 0 && mark.number >= state.dropped {
            return Place::After(mark.number);
        }
        if now.since(mark.time) > MAX_AGE {
            return Place::TooOld;
        }
        let resumes = counted_here && mark.skip > 0;
        let from = Timestamp::from_millis(
            mark.time.as_millis().saturating_sub(i64::try_from(SLACK.as_millis()).unwrap_or(0)),
        );
        let (then, skip) = if resumes { (mark.number, mark.skip) } else { (state.newest, 0) };
        Place::ByTime { from, then, skip }
    }

    /// The mark of a number.
    pub(super) fn mark(&self, number: u64, time: Timestamp, skip: usize) -> Mark {
        Mark { process: self.process.clone(), number, time, skip }
    }
}

/// What a cursor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    process: String,
    number: u64,
    /// When the look was that its holder was told of.
    pub(super) time: Timestamp,
    /// Items of a list by time that were given already.
    skip: usize,
}

impl Mark {
    pub(super) fn to_text(&self) -> String {
        format!("c1.{}.{}.{}.{}", self.process, self.number, self.time.as_millis(), self.skip)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (version, process) = (parts.next()?, parts.next()?);
        let number = parts.next()?.parse().ok()?;
        let millis: i64 = parts.next()?.parse().ok()?;
        let skip = parts.next()?.parse().ok()?;
        let is_ours = version == "c1" && process.len() == 8 && millis >= 0;
        let time = Timestamp::from_millis(millis);
        (is_ours && parts.next().is_none()).then(|| Self {
            process: process.to_owned(),
            number,
            time,
            skip,
        })
    }
}

/// Where a cursor leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Everything after this number.
    After(u64),
    /// What happened from this time on, and after that list everything after `then`.
    ByTime {
        /// The time.
        from: Timestamp,
        /// The number that the list by time is complete up to.
        then: u64,
        /// Items of the list that were given already.
        skip: usize,
    },
    /// Neither can be had.
    TooOld,
}

impl State {
    /// The newest number.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether trading is halted, and since when, as last seen.
    pub(super) fn halt(&self) -> (bool, Timestamp) {
        self.halt.unwrap_or((false, Timestamp::from_millis(0)))
    }

    /// The changes after a number, oldest first.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Change)> {
        let newer = self.kept.iter().filter(move |(kept, _)| *kept > number);
        newer.map(|(number, change)| (*number, change))
    }

    fn push(&mut self, change: Change) {
        self.newest = self.newest.saturating_add(1);
        self.kept.push_back((self.newest, change));
        while self.kept.len() > MAX_KEPT {
            if let Some((number, _)) = self.kept.pop_front() {
                self.dropped = number;
            }
        }
    }

    /// Takes in a look that began at `as_of`.
    pub(super) fn take(&mut self, looked: Vec<Looked>, inside: Inside, as_of: Timestamp) {
        let first = *self.first.get_or_insert(as_of);
        for look in looked {
            let mut seen = self.accounts.remove(&look.account).unwrap_or_default();
            // An account that couldn't be read at first: what happened since is told by its times.
            let since = (as_of > first).then_some(first);
            if let Some(fills) = look.fills {
                self.take_fills(&mut seen, fills.rows, since);
            }
            if let Some(orders) = look.orders {
                self.take_orders(&look.account, &mut seen, orders, since);
            }
            self.accounts.insert(look.account, seen);
        }
        self.take_inside(inside);
        self.as_of = Some(as_of);
    }

    fn take_fills(&mut self, seen: &mut Seen, fills: Vec<Execution>, since: Option<Timestamp>) {
        let known = seen.fills.take();
        let mut sorted = fills;
        sorted.sort_by_key(|fill| fill.time);
        seen.listed.clone_from(&sorted);
        let mut listed = BTreeSet::new();
        for fill in sorted {
            let is_new = match (&known, since) {
                (Some(known), _) => !known.contains(fill.id.as_str()),
                (None, Some(since)) => fill.time >= since,
                (None, None) => false,
            };
            let id = fill.id.to_string();
            if listed.insert(id) && is_new {
                self.push(Change::Fill(Box::new(fill)));
            }
        }
        // A list that comes back thin must not make old fills new.
        if let Some(known) = known
            && listed.len().saturating_add(known.len()) <= MAX_KEPT.saturating_mul(2)
        {
            listed.extend(known);
        }
        seen.fills = Some(listed);
    }

    fn take_orders(
        &mut self,
        account: &AccountId,
        seen: &mut Seen,
        orders: Listed<BrokerOrder>,
        since: Option<Timestamp>,
    ) {
        let known = seen.orders.take();
        let mut listed = BTreeMap::new();
        let is_whole = orders.is_whole();
        for order in orders.rows {
            let id = order.order_id.clone();
            let before = known.as_ref().and_then(|known| known.get(&id));
            let order = completed(order, before);
            let is_change = match (&known, before, since) {
                (Some(_), Some(before), _) => differs(before, &order),
                (Some(_), None, _) => true,
                (None, _, Some(since)) => order.updated.is_none_or(|updated| updated >= since),
                (None, _, None) => false,
            };
            if is_change {
                self.push(Change::Order(account.clone(), id.clone()));
            }
            listed.insert(id, order);
        }
        let gone = known
            .iter()
            .flatten()
            .filter(|(id, order)| order.status.is_open() && !listed.contains_key(*id));
        let gone: Vec<(BrokerOrderId, BrokerOrder)> =
            gone.map(|(id, order)| (id.clone(), order.clone())).collect();
        for (id, order) in gone {
            if is_whole {
                self.push(Change::Gone(account.clone(), id));
            } else {
                // It may be the one that couldn't be read.
                listed.insert(id, order);
            }
        }
        seen.orders = Some(listed);
    }

    fn take_inside(&mut self, inside: Inside) {
        let Inside { approvals, requests, sessions, halt } = inside;
        if let Some(known) = self.approvals.replace(approvals.clone()) {
            let changed = approvals.into_iter().filter(|(id, now)| known.get(id) != Some(now));
            for (id, (owner, _)) in changed {
                self.push(Change::Approval(owner, id));
            }
        }
        if let Some(known) = self.requests.replace(requests.clone()) {
            let changed = requests.into_iter().filter(|(id, now)| known.get(id) != Some(now));
            for (id, (owner, _)) in changed {
                self.push(Change::Request(owner, id));
            }
        }
        for (name, health) in sessions {
            let now = (health.state, health.since);
            let before = self.sessions.insert(name.clone(), now);
            if before.is_some_and(|before| before != now) {
                self.push(Change::Session(name));
            }
        }
        if self.halt.is_some() && self.halt != halt {
            self.push(Change::Halt);
        }
        self.halt = halt;
    }
}

/// A row with what an earlier one told and this one leaves out.
fn completed(order: BrokerOrder, before: Option<&BrokerOrder>) -> BrokerOrder {
    match before {
        Some(before) => order.over(before),
        None => order,
    }
}

fn differs(before: &BrokerOrder, now: &BrokerOrder) -> bool {
    let parts = |order: &BrokerOrder| {
        let prices = (order.limit_price, order.trigger_price, order.other_price);
        (order.status, order.order_type, order.quantity, order.filled, prices, order.average_price)
    };
    let terms = |order: &BrokerOrder| (order.time_in_force.clone(), order.cancel_reason.clone());
    parts(before) != parts(now) || terms(before) != terms(now)
}

#[cfg(test)]
mod tests;
