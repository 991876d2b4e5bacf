//! One write conversation per broker login: place, questions, last answer; nothing else is placed
//! meanwhile.
//!
//! IBKR answers a reply with an error, and may revive the first order, when another order is posted
//! while a question waits. So a placement that finds its login talking waits its turn, unsent; when
//! the talk turns into a question, which takes a human's time, those that wait are given back.
//! A question ends by itself: after the policy's time the answer is no, recorded like any answer.
//! Where it can't be recorded nothing is answered, and the order is in doubt. Cancels never wait.

use crate::questions::system_requester;
use crate::{Effect, Engine, Now, Refusal};
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    BrokerName, ClientOrderId, ErrorCode, NotSent, OrderEvent, OrderPlan, OrderState, Reason,
    UnknownBecause,
};
use ibkr_agent_gates::{Permit, Place};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A login that talks with the broker.
#[derive(Debug, Default)]
struct Talk {
    /// The orders that are talked about: those of one plan.
    about: Vec<ClientOrderId>,
    waiting: VecDeque<Placeable>,
}

/// A permit, and how often trading was halted when it was made.
type Placeable = (Recorded<Permit<Place>>, u64);

/// The logins that talk. What waits is bounded by the calls that may be in flight.
#[derive(Debug, Default)]
pub(super) struct Talks(BTreeMap<BrokerName, Talk>);

impl Engine {
    /// The intent is durable: the order is sent when its login has done talking.
    pub(super) fn placeable(&mut self, placeable: Placeable, now: Now) -> Vec<Effect> {
        let broker = placeable.0.get().action().plan().broker().clone();
        self.talks.0.entry(broker.clone()).or_default().waiting.push_back(placeable);
        self.take_turn(&broker, now)
    }

    /// Whether the broker waits for the answer to a question on this login.
    fn is_asked(&self, broker: &BrokerName) -> bool {
        self.talks.0.get(broker).is_some_and(|talk| self.is_any(talk, OrderState::Question))
    }

    fn is_any(&self, talk: &Talk, state: OrderState) -> bool {
        let mut entries = talk.about.iter().filter_map(|id| self.orders.get(id));
        entries.any(|entry| entry.state == state)
    }

    /// Refuses what can't be decided on now, because the broker waits for an answer on its login.
    pub(super) fn not_while_asked(&self, plan: &OrderPlan) -> Result<(), Refusal> {
        if self.is_asked(plan.broker()) {
            let message = "the broker asks about another order of this login";
            return Err(Refusal::new(ErrorCode::OrderQuestionPending, message));
        }
        Ok(())
    }

    /// Moves on wherever a talk has ended.
    pub(super) fn take_turns(&mut self, now: Now) -> Vec<Effect> {
        let brokers: Vec<BrokerName> = self.talks.0.keys().cloned().collect();
        brokers.iter().flat_map(|broker| self.take_turn(broker, now)).collect()
    }

    /// Lets the next one speak when a login has done talking; gives back what waits behind a
    /// question.
    fn take_turn(&mut self, broker: &BrokerName, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        loop {
            let asked = self.is_asked(broker);
            let Some(talk) = self.talks.0.get(broker) else {
                return effects;
            };
            if self.is_any(talk, OrderState::Intended) {
                return effects;
            }
            let Some(talk) = self.talks.0.get_mut(broker) else {
                return effects;
            };
            if !asked {
                talk.about.clear();
            }
            let Some((permit, halts)) = talk.waiting.pop_front() else {
                if !asked {
                    self.talks.0.remove(broker);
                }
                return effects;
            };
            // Time may have passed since it was decided: the last checks are made now.
            let why = match asked {
                true => Some(NotSent::AnotherAsks),
                false => self.held_back_for(&permit, halts, now),
            };
            match why {
                Some(why) => {
                    effects.extend(self.hold_back(permit.get().action().references(), why, now));
                }
                None => {
                    self.sends.end(permit.get().action().approval());
                    if let Some(talk) = self.talks.0.get_mut(broker) {
                        talk.about = permit.get().action().references().to_vec();
                    }
                    effects.push(Effect::Place(permit));
                }
            }
        }
    }

    /// Why an order that is about to be sent isn't: halted or expired meanwhile.
    fn held_back_for(
        &self,
        permit: &Recorded<Permit<Place>>,
        halts: u64,
        now: Now,
    ) -> Option<NotSent> {
        let approval = self.approvals.get(permit.get().action().approval());
        if self.halt.halted || halts != self.halt_generation {
            return Some(NotSent::Halted);
        }
        if approval.is_none_or(|approval| self.is_over(approval, now)) {
            return Some(NotSent::ApprovalExpired);
        }
        if let Some(why) = self.too_late(permit.get().action().approval(), now) {
            return Some(why);
        }
        let signed = approval.is_some_and(|approval| self.check_authority(approval).is_ok());
        (!signed).then_some(NotSent::ApprovalUnsigned)
    }

    /// A question begins to wait, or the broker asks again: its time runs anew.
    pub(super) fn question_waits(&mut self, order: &ClientOrderId, now: Now) {
        let end = now.monotonic.saturating_add(self.config.question_timeout);
        self.question_ends.insert(order.clone(), end);
    }

    /// Answers no where a question's time is over, and everywhere once trading is halted.
    pub(super) fn end_questions(&mut self, now: Now) -> Vec<Effect> {
        let orders = &self.orders;
        let is_open = |id: &ClientOrderId| {
            orders.get(id).is_some_and(|entry| entry.state == OrderState::Question)
        };
        self.question_ends.retain(|id, _| is_open(id));
        let over = |end: &Duration| self.halt.halted || *end <= now.monotonic;
        let due: Vec<ClientOrderId> = self
            .question_ends
            .iter()
            .filter(|(_, end)| over(end))
            .map(|(id, _)| id.clone())
            .collect();
        due.iter().flat_map(|order| self.say_no(order, now)).collect()
    }

    fn say_no(&mut self, order: &ClientOrderId, now: Now) -> Vec<Effect> {
        // None: an answer is on its way.
        let question = self.orders.get(order).and_then(|entry| entry.question.clone());
        let Some(question) = question else {
            return Vec::new();
        };
        if !self.audit_writable {
            let why = Reason::Unknown(UnknownBecause::AnswerNotRecorded);
            let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
                entry.explain(why);
            });
            effects.extend(self.seek(order));
            return effects;
        }
        let requester = system_requester("question_deadline");
        let request = self.reply_request(order, question, false, false, requester);
        request.and_then(|request| self.commit_reply(None, request, now).ok()).into_iter().collect()
    }
}
