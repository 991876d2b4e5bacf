//! What the engine itself knows at a decision: policies, switches, doubt, counters, its own orders.

use crate::effect::Effect;
use crate::limits::{MINUTE, Scope};
use crate::{Engine, Now};
use ibkr_agent_domain::{ClientOrderId, OrderPlan, OrderState, Timestamp};
use ibkr_agent_gates::{BrokerFacts, Facts, OwnFacts, OwnOrder, Policy, PolicySet};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Most requests of the last minute that are remembered; with more, none of the oldest is forgotten
/// before its minute is over, and the count stays there.
const MOST_MESSAGES: usize = 10_000;

/// When requests to place, cancel and answer went out, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Messages(VecDeque<Duration>);

impl Messages {
    /// Notes those among effects.
    pub(crate) fn note(&mut self, effects: &[Effect], now: Now) {
        let sent = effects.iter().filter(|effect| effect.is_message()).count();
        for _ in 0..sent {
            if self.0.len() < MOST_MESSAGES {
                self.0.push_back(now.monotonic);
            }
        }
        let is_old = |at: &Duration| now.monotonic.saturating_sub(*at) >= MINUTE;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    fn last_minute(&self, now: Now) -> u32 {
        let recent = self.0.iter().filter(|at| now.monotonic.saturating_sub(**at) < MINUTE);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }
}

impl Engine {
    /// The limits in force.
    #[must_use]
    pub const fn policies(&self) -> &PolicySet {
        &self.config.policies
    }

    /// The limits of a recorded order's account; of what isn't bound, if there is no such order.
    pub(crate) fn policy_of(&self, order: &ClientOrderId) -> &Policy {
        let policies = &self.config.policies;
        self.orders
            .get(order)
            .map_or(policies.others(), |entry| policies.of(entry.account(), entry.order.mode()))
    }

    /// The facts of a decision: the broker's part, read since then, and the engine's own. The
    /// plan's own references are left out: what stands under them is what is decided.
    #[must_use]
    pub fn complete_facts(
        &self,
        broker: BrokerFacts,
        plan: &OrderPlan,
        own: &[ClientOrderId],
        since: Timestamp,
        now: Now,
    ) -> Facts {
        let under_way = self.under_way_of(plan, own, broker.blind_from(since));
        let scope = Scope {
            broker: Some(plan.broker().clone()),
            mode: Some(plan.mode()),
            ..Scope::account(plan.account())
        };
        let used = self.used_in(&scope, now);
        let own = OwnFacts {
            switches: self.switches(),
            in_doubt: self.in_doubt(plan),
            under_way,
            orders_last_minute: used.orders_last_minute,
            messages_last_minute: self.messages.last_minute(now),
            orders_today: used.orders_today,
            notional_today: used.notional_today,
            orders: self.own_orders(plan, own),
        };
        Facts { broker, own }
    }

    /// Our orders in the plan's account that count today or may still trade.
    fn own_orders(&self, plan: &OrderPlan, but: &[ClientOrderId]) -> Vec<OwnOrder> {
        let mut seen: BTreeSet<&ClientOrderId> = BTreeSet::new();
        let all = self.orders.counting().chain(self.orders.open());
        let of_account = all.filter(|entry| {
            entry.account() == plan.account()
                && entry.order.mode() == plan.mode()
                && entry.state != OrderState::NotSent
                && !but.contains(&entry.id)
                && seen.insert(&entry.id)
        });
        of_account
            .map(|entry| OwnOrder {
                id: entry.id.clone(),
                order_id: entry.broker_order_id.clone(),
                conid: entry.order.conid(),
                terms: entry.order.terms().clone(),
                state: entry.state,
                created_at: entry.created_at,
            })
            .collect()
    }
}
