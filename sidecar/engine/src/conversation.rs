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
    BrokerName, CanonicalOrder, ClientOrderId, ErrorCode, NotSent, OrderEvent, OrderState, Reason,
    UnknownBecause,
};
use ibkr_agent_gates::{Permit, Place};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A login that talks with the broker.
#[derive(Debug)]
struct Talk {
    /// The order that is talked about.
    holder: Option<ClientOrderId>,
    waiting: VecDeque<(ClientOrderId, Recorded<Permit<Place>>)>,
}

/// The logins that talk. What waits is bounded by the calls that may be in flight.
#[derive(Debug, Default)]
pub(super) struct Talks(BTreeMap<BrokerName, Talk>);

impl Engine {
    /// The intent is durable: the order is sent when its login has done talking.
    pub(super) fn placeable(
        &mut self,
        order: &ClientOrderId,
        permit: Recorded<Permit<Place>>,
        now: Now,
    ) -> Vec<Effect> {
        let broker = permit.get().action().order().broker().clone();
        let new = || Talk { holder: None, waiting: VecDeque::new() };
        let talk = self.talks.0.entry(broker.clone()).or_insert_with(new);
        talk.waiting.push_back((order.clone(), permit));
        self.take_turn(&broker, now)
    }

    /// Whether the broker waits for the answer to a question on this login.
    fn is_asked(&self, broker: &BrokerName) -> bool {
        let holder = self.talks.0.get(broker).and_then(|talk| talk.holder.as_ref());
        let entry = holder.and_then(|holder| self.orders.get(holder));
        entry.is_some_and(|entry| entry.state == OrderState::Question)
    }

    /// Refuses what can't be decided on now, because the broker waits for an answer on its login.
    pub(super) fn not_while_asked(&self, order: &CanonicalOrder) -> Result<(), Refusal> {
        if self.is_asked(order.broker()) {
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
            let Some(talk) = self.talks.0.get_mut(broker) else {
                return effects;
            };
            let holder = talk.holder.as_ref().and_then(|holder| self.orders.get(holder));
            if holder.is_some_and(|entry| entry.state == OrderState::Intended) {
                return effects;
            }
            if !asked {
                talk.holder = None;
            }
            let Some((order, permit)) = talk.waiting.pop_front() else {
                if !asked {
                    self.talks.0.remove(broker);
                }
                return effects;
            };
            // Time may have passed since it was decided: the last checks are made now.
            let why =
                if asked { Some(NotSent::AnotherAsks) } else { self.held_back_for(&permit, now) };
            match why {
                Some(why) => effects.extend(self.hold_back(&order, why, now)),
                None => {
                    if let Some(talk) = self.talks.0.get_mut(broker) {
                        talk.holder = Some(order);
                    }
                    effects.push(Effect::Place(permit));
                }
            }
        }
    }

    /// Why an order that is about to be sent isn't: halted or expired meanwhile.
    fn held_back_for(&self, permit: &Recorded<Permit<Place>>, now: Now) -> Option<NotSent> {
        let approval = self.approvals.get(permit.get().action().approval());
        if self.halt.halted {
            return Some(NotSent::Halted);
        }
        if approval.is_none_or(|approval| self.is_over(approval, now)) {
            return Some(NotSent::ApprovalExpired);
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
