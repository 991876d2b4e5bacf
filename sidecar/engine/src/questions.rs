//! The broker's questions: kept until a human or a known template answers them, once.
//!
//! The driver holds the permit that waits; here is who may answer, and what the log says of it.

use crate::{After, Answer, Effect, Engine, Now, Payload, Precondition, Ticket, refuse};
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    ClientOrderId, Digest, ErrorCode, NotSent, OrderEvent, OrderState, Reason,
};
use ibkr_agent_gates::{Permit, Question, Reply, ReplyRequest, Requester, decide_reply};

impl Engine {
    /// An answer to a question that never left us or was turned away: the question still stands at
    /// the broker, but the permit is spent, so what becomes of the order must be seen.
    pub(super) fn answer_not_sent(
        &mut self,
        order: &ClientOrderId,
        why: NotSent,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
            entry.explain(Reason::Unanswered(why));
        });
        effects.extend(self.seek(order));
        effects
    }

    pub(super) fn asked(
        &mut self,
        order: &ClientOrderId,
        question: Question,
        now: Now,
    ) -> Vec<Effect> {
        let known = self.orders.get(order).is_some_and(|entry| {
            let policy = self.config.policies.of(entry.account(), entry.order.mode());
            policy.knows(&question, &entry.order)
        });
        let copy = question.clone();
        let mut effects = self.transition(order, OrderEvent::Asked, now, |entry| {
            "the broker asks a question that a human must answer".clone_into(&mut entry.message);
            entry.question = Some(copy);
        });
        self.question_waits(order, now);
        if known && !self.halt.halted {
            // The driver holds the order's permit; the answer is decided and recorded like any.
            let requester = system_requester("known_question");
            let reply = self.reply_request(order, question, true, false, requester);
            effects.extend(reply.and_then(|request| self.commit_reply(None, request, now).ok()));
        }
        effects
    }

    pub(super) fn reply_request(
        &self,
        order: &ClientOrderId,
        question: Question,
        confirmed: bool,
        is_operator: bool,
        requester: Requester,
    ) -> Option<ReplyRequest> {
        let entry = self.orders.get(order)?;
        Some(ReplyRequest {
            broker: entry.broker().clone(),
            account: entry.account().clone(),
            client_order_id: order.clone(),
            order: entry.order.clone(),
            question,
            confirmed,
            is_operator,
            requester,
        })
    }

    pub(super) fn commit_reply(
        &mut self,
        ticket: Option<Ticket>,
        request: ReplyRequest,
        now: Now,
    ) -> Result<Effect, ErrorCode> {
        let order = request.client_order_id.clone();
        let question = Box::new(request.question.clone());
        let policy = self.policy_of(&order);
        let permit = decide_reply(policy, self.switches(), request, now.wall)?;
        // One question gets one answer: taken out with the permit, so that a second answer finds
        // none, and nothing is made unknown by an answer that has nothing to send.
        self.orders.update(&order, |entry| entry.question = None);
        let ticket = ticket.unwrap_or(Ticket(0));
        let after = After::SendReply { ticket, order: order.clone(), question };
        let preconditions = vec![Precondition::OrderIs(order, OrderState::Question)];
        Ok(self.commit(preconditions, Vec::new(), Payload::Reply(permit), after, now))
    }

    /// The answer couldn't be recorded, so none was sent: the question still waits.
    pub(super) fn ask_again(&mut self, order: &ClientOrderId, question: Question) {
        self.orders.update(order, |entry| {
            if entry.state == OrderState::Question {
                entry.question.get_or_insert(question);
            }
        });
    }

    /// The answer is durable. What became of the order meanwhile may be a human's statement that it
    /// never was: then nothing is answered any more.
    pub(super) fn send_answer(
        &self,
        ticket: Ticket,
        order: &ClientOrderId,
        permit: Recorded<Permit<Reply>>,
        event: Option<String>,
    ) -> Vec<Effect> {
        let entry = self.orders.get(order);
        if entry.is_none_or(|entry| entry.state != OrderState::Question) {
            let words = "no question waits for this order any more: nothing was answered";
            return vec![refuse(ticket, ErrorCode::OrderNotFound, words)];
        }
        let reply = Effect::Reply { ticket, answer: Answer::Done, event };
        vec![reply, Effect::SendReply(permit)]
    }

    /// A human answers the broker's question. What was shown must be what is asked.
    pub(super) fn answer_question(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        order: &ClientOrderId,
        text: Digest,
        confirmed: bool,
        now: Now,
    ) -> Effect {
        let question = self.orders.get(order).and_then(|entry| entry.question.clone());
        let Some(question) = question else {
            return refuse(ticket, ErrorCode::OrderNotFound, "no question waits for this order");
        };
        if question.text_digest() != text {
            return refuse(ticket, ErrorCode::SignatureInvalid, "the broker asks something else");
        }
        let Some(request) = self.reply_request(order, question, confirmed, true, requester) else {
            return refuse(ticket, ErrorCode::OrderNotFound, "no such order");
        };
        match self.commit_reply(Some(ticket), request, now) {
            Ok(effect) => effect,
            Err(code) => refuse(ticket, code, "the answer isn't permitted now"),
        }
    }
}

pub(super) fn system_requester(tool: &'static str) -> Requester {
    Requester {
        call: match ibkr_agent_domain::CallId::parse("system") {
            Ok(call) => call,
            Err(_) => unreachable!("a fixed plain word is a call id"),
        },
        actor: ibkr_agent_domain::Actor::System,
        door: ibkr_agent_domain::Door::Internal,
        tool,
    }
}
