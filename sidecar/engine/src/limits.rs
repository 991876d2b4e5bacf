//! Counting: what the day's and the minute's limits have used, and each caller's budget of calls.
//!
//! Order counts are derived from the recorded orders themselves, so they can't drift from them and
//! survive a restart.

use crate::Engine;
use crate::effect::{Now, Work};
use crate::owner::Owner;
use crate::state::OrderEntry;
use ibkr_agent_domain::{AccountId, BrokerName, Mode, OrderState};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Callers whose budgets are kept; the one idle longest is forgotten beyond it.
const MAX_CALLERS: usize = 4096;

/// What the limits have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Orders in the last 60 seconds.
    pub orders_last_minute: u32,
    /// Orders this trading day.
    pub orders_today: u32,
    /// Their value in the policy's currency.
    pub notional_today: Decimal,
}

impl Used {
    /// Counts an order until the session that its contract trades in is over: midnight in New York
    /// is the middle of a futures session. One of a later day than the clock says counts too: a
    /// clock that goes back a day frees nothing.
    fn add(&mut self, order: &OrderEntry, now: Now) {
        if order.counts(now) {
            self.orders_today = self.orders_today.saturating_add(1);
            self.notional_today = self.notional_today.saturating_add(order.counted_notional);
        }
        if now.wall.since(order.created_at) < MINUTE {
            self.orders_last_minute = self.orders_last_minute.saturating_add(1);
        }
    }
}

impl OrderEntry {
    /// Whether it counts against the limits of a day.
    pub(crate) fn counts(&self, now: Now) -> bool {
        let is_within = self.counts_until.map(|end| end > now.wall);
        is_within.unwrap_or(self.trading_day >= now.trading_day)
    }
}

/// Which orders a counter is of. What isn't named is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The broker login that they went through.
    pub broker: Option<BrokerName>,
    /// Whether they are real.
    pub mode: Option<Mode>,
    /// The account.
    pub account: Option<AccountId>,
    /// Whose they are.
    pub owner: Option<Owner>,
    /// What they trade, as the policy names it.
    pub symbol: Option<String>,
}

impl Scope {
    /// One account's.
    #[must_use]
    pub fn account(account: &AccountId) -> Self {
        Self { account: Some(account.clone()), ..Self::default() }
    }

    /// The narrowest one that an order counts in.
    fn of(order: &OrderEntry) -> Self {
        Self {
            broker: Some(order.broker().clone()),
            mode: Some(order.order.mode()),
            account: Some(order.account().clone()),
            owner: Some(order.owner.clone()),
            symbol: Some(order.order.symbol().to_owned()),
        }
    }

    fn holds(&self, order: &OrderEntry) -> bool {
        self.broker.as_ref().is_none_or(|name| name == order.broker())
            && self.mode.is_none_or(|mode| mode == order.order.mode())
            && self.account.as_ref().is_none_or(|account| account == order.account())
            && self.owner.as_ref().is_none_or(|owner| *owner == order.owner)
            && self.symbol.as_ref().is_none_or(|symbol| symbol == order.order.symbol())
    }
}

/// Orders that were, or may have been, sent.
fn sent<'a>(orders: impl Iterator<Item = &'a OrderEntry>) -> impl Iterator<Item = &'a OrderEntry> {
    orders.filter(|order| order.state != OrderState::NotSent)
}

impl Engine {
    /// What the limits have used on an account; on all of them when none is named.
    #[must_use]
    pub fn used(&self, account: Option<&AccountId>, now: Now) -> Used {
        self.used_in(&account.map(Scope::account).unwrap_or_default(), now)
    }

    /// What the limits have used in a scope.
    #[must_use]
    pub fn used_in(&self, scope: &Scope, now: Now) -> Used {
        let mut used = Used::default();
        for order in sent(self.orders.counting()).filter(|order| scope.holds(order)) {
            used.add(order, now);
        }
        used
    }

    /// What the limits have used in each of the narrowest scopes that still count something.
    #[must_use]
    pub fn used_by_scope(&self, now: Now) -> BTreeMap<Scope, Used> {
        let mut scopes: BTreeMap<Scope, Used> = BTreeMap::new();
        for order in sent(self.orders.counting()) {
            scopes.entry(Scope::of(order)).or_default().add(order, now);
        }
        scopes.retain(|_, used| *used != Used::default());
        scopes
    }
}

/// Calls per minute that one caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBudget {
    /// Reads.
    pub reads_per_minute: u32,
    /// Previews (each costs broker traffic).
    pub previews_per_minute: u32,
    /// Asks and submissions; and as many cancels again, which no other write can use up.
    pub writes_per_minute: u32,
}

impl Default for CallBudget {
    fn default() -> Self {
        Self { reads_per_minute: 600, previews_per_minute: 60, writes_per_minute: 60 }
    }
}

impl CallBudget {
    pub(crate) const fn of(&self, work: Work) -> u32 {
        match work {
            Work::Read => self.reads_per_minute,
            Work::Preview => self.previews_per_minute,
            Work::Ask | Work::Submit | Work::Cancel => self.writes_per_minute,
        }
    }
}

/// Asks and submissions share one budget.
fn key_of(caller: &str, work: Work) -> (String, Work) {
    let purse = if work == Work::Submit { Work::Ask } else { work };
    (caller.to_owned(), purse)
}

/// Fixed one-minute windows per caller and kind of work.
#[derive(Debug, Default)]
pub(crate) struct Budgets(BTreeMap<(String, Work), Window>);

#[derive(Debug)]
struct Window {
    began: Duration,
    used: u32,
}

impl Budgets {
    /// Takes one call from a caller's budget; gives the time to wait when it is spent.
    pub(crate) fn take(
        &mut self,
        budget: CallBudget,
        caller: &str,
        work: Work,
        now: Duration,
    ) -> Result<(), Duration> {
        let key = key_of(caller, work);
        if !self.0.contains_key(&key) && self.0.len() >= MAX_CALLERS {
            self.forget_idlest();
        }
        let window = self.0.entry(key).or_insert(Window { began: now, used: 0 });
        let age = now.saturating_sub(window.began);
        if age >= MINUTE {
            *window = Window { began: now, used: 0 };
        }
        if window.used >= budget.of(work) {
            return Err(MINUTE.saturating_sub(age));
        }
        window.used = window.used.saturating_add(1);
        Ok(())
    }

    /// Calls that a caller made in the current minute.
    pub(crate) fn used(&self, caller: &str, work: Work, now: Duration) -> u32 {
        let window = self.0.get(&key_of(caller, work));
        let current = window.filter(|window| now.saturating_sub(window.began) < MINUTE);
        current.map_or(0, |window| window.used)
    }

    fn forget_idlest(&mut self) {
        let idlest = self.0.iter().min_by_key(|(_, window)| window.began);
        if let Some(key) = idlest.map(|(key, _)| key.clone()) {
            self.0.remove(&key);
        }
    }
}
