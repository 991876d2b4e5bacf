//! Counting: what the day's and the minute's limits have used, and each caller's budget of calls.
//!
//! Order counts are derived from the recorded orders themselves, so they can't drift from them and
//! survive a restart.

use crate::effect::{Now, Work};
use crate::state::OrderEntry;
use ibkr_agent_domain::OrderState;
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

/// Counts recorded orders that were, or may have been, sent, each until the session that its
/// contract trades in is over: midnight in New York is the middle of a futures session. Orders of a
/// later day than the clock says count too: a clock that goes back a day frees nothing.
pub(crate) fn used<'a>(orders: impl Iterator<Item = &'a OrderEntry>, now: Now) -> Used {
    let mut used = Used::default();
    for order in orders.filter(|order| order.state != OrderState::NotSent) {
        let counts = order.counts_until.map(|end| end > now.wall);
        if counts.unwrap_or(order.trading_day >= now.trading_day) {
            used.orders_today = used.orders_today.saturating_add(1);
            used.notional_today = used.notional_today.saturating_add(order.counted_notional);
        }
        if now.wall.since(order.created_at) < MINUTE {
            used.orders_last_minute = used.orders_last_minute.saturating_add(1);
        }
    }
    used
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
    const fn of(&self, work: Work) -> u32 {
        match work {
            Work::Read => self.reads_per_minute,
            Work::Preview => self.previews_per_minute,
            Work::Ask | Work::Submit | Work::Cancel => self.writes_per_minute,
        }
    }
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
        // Asks and submissions share one.
        let purse = if work == Work::Submit { Work::Ask } else { work };
        let key = (caller.to_owned(), purse);
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

    fn forget_idlest(&mut self) {
        let idlest = self.0.iter().min_by_key(|(_, window)| window.began);
        if let Some(key) = idlest.map(|(key, _)| key.clone()) {
            self.0.remove(&key);
        }
    }
}
