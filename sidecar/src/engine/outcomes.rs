//! What the broker answered, what it shows, and what an operator states.
//!
//! A lost answer is unknown. Unknown ends by evidence that matches account, contract, side and
//! reference, or by a named operator's signed statement; never by time.

use crate::engine::{
    After, Answer, Caller, Change, Effect, Engine, Notice, Now, OrderEntry, OutcomeQuery, Payload,
    PlaceReport, Precondition, Refusal, Row, Speaker, Ticket, owner_of, record_of, refuse,
    system_record,
};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderStatus, ClientOrderId, Decision, Digest, ErrorCode,
    Execution, OrderEvent, OrderState, Record, RecordKind, Reference,
};
use ibkr_agent_gates::{Question, ReplyRequest, Requester, decide_reply};
use rust_decimal::Decimal;

impl Engine {
    /// At start: an intent without an outcome, or a question whose permit is gone, is unknown.
    pub(super) fn doubt_unfinished(&mut self, now: Now) -> Vec<Effect> {
        let unfinished: Vec<ClientOrderId> = self
            .orders
            .values()
            .filter(|order| matches!(order.state, OrderState::Intended | OrderState::Question))
            .map(|order| order.id.clone())
            .collect();
        let mut effects = Vec::new();
        for order in unfinished {
            let why = "the gateway stopped before the broker's answer was recorded";
            effects.extend(self.place_done(&order, PlaceReport::Unknown { why }, now));
        }
        let accounts = self.accounts_to_watch();
        effects.extend(accounts.into_iter().map(|account| Effect::SeekEvidence { account }));
        effects
    }

    pub(super) fn place_done(
        &mut self,
        order: &ClientOrderId,
        report: PlaceReport,
        now: Now,
    ) -> Vec<Effect> {
        let Some(before) = self.orders.get(order).map(|entry| entry.state) else {
            return Vec::new();
        };
        match report {
            PlaceReport::NotSent { why } if before == OrderState::Intended => {
                self.hold_back(order, why, now)
            }
            PlaceReport::NotSent { why } => self.answer_not_sent(order, why, now),
            PlaceReport::Question(question) => self.asked(order, question, now),
            PlaceReport::Placed { order_id, message } => {
                self.transition(order, OrderEvent::Accepted, now, |entry| {
                    entry.broker_order_id = Some(order_id);
                    entry.message = message;
                    entry.said_by = Speaker::Broker;
                })
            }
            PlaceReport::Rejected { message } => {
                self.transition(order, OrderEvent::Refused, now, |entry| {
                    entry.message = message;
                    entry.said_by = Speaker::Broker;
                })
            }
            PlaceReport::Unknown { why } => {
                let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
                    why.clone_into(&mut entry.message);
                });
                effects.extend(self.seek(order));
                effects
            }
        }
    }

    fn seek(&self, order: &ClientOrderId) -> Option<Effect> {
        let account = self.orders.get(order)?.account().clone();
        Some(Effect::SeekEvidence { account })
    }

    /// An answer to a question that never left us: the question still stands at the broker, but the
    /// permit is spent, so what becomes of the order must be seen.
    fn answer_not_sent(
        &mut self,
        order: &ClientOrderId,
        why: &'static str,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
            entry.message = format!("the answer to the broker's question was not sent: {why}");
        });
        effects.extend(self.seek(order));
        effects
    }

    fn asked(&mut self, order: &ClientOrderId, question: Question, now: Now) -> Vec<Effect> {
        let known = {
            let limits = self.config.policy.limits();
            let text = question.text_digest();
            let is_known = |id: &String| {
                limits.known_questions.iter().any(|k| k.message_id == *id && k.text == text)
            };
            !question.message_ids.is_empty() && question.message_ids.iter().all(is_known)
        };
        let copy = question.clone();
        let mut effects = self.transition(order, OrderEvent::Asked, now, |entry| {
            "the broker asks a question that a human must answer".clone_into(&mut entry.message);
            entry.question = Some(copy);
        });
        if known && !self.halt.halted {
            // The driver holds the order's permit; the answer is decided and recorded like any.
            let requester = system_requester();
            let reply = self.reply_request(order, question, true, false, requester);
            effects.extend(reply.and_then(|request| self.commit_reply(None, request, now).ok()));
        }
        effects
    }

    fn reply_request(
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
            question,
            confirmed,
            is_operator,
            requester,
        })
    }

    fn commit_reply(
        &mut self,
        ticket: Option<Ticket>,
        request: ReplyRequest,
        now: Now,
    ) -> Result<Effect, ErrorCode> {
        let order = request.client_order_id.clone();
        let question = Box::new(request.question.clone());
        let permit = decide_reply(&self.config.policy, self.switches(), request, now.wall)?;
        // One question gets one answer: taken out with the permit, so that a second answer finds
        // none, and nothing is made unknown by an answer that has nothing to send.
        if let Some(entry) = self.orders.get_mut(&order) {
            entry.question = None;
        }
        let ticket = ticket.unwrap_or(Ticket(0));
        let after = After::SendReply { ticket, order: order.clone(), question };
        let preconditions = vec![Precondition::OrderIs(order, OrderState::Question)];
        Ok(self.commit(preconditions, Vec::new(), Payload::Reply(permit), after, now))
    }

    /// The answer couldn't be recorded, so none was sent: the question still waits.
    pub(super) fn ask_again(&mut self, order: &ClientOrderId, question: Question) {
        if let Some(entry) = self.orders.get_mut(order)
            && entry.state == OrderState::Question
        {
            entry.question.get_or_insert(question);
        }
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

    /// Applies an event and writes it down; an event that can't happen changes nothing.
    fn transition(
        &mut self,
        order: &ClientOrderId,
        event: OrderEvent,
        now: Now,
        change: impl FnOnce(&mut OrderEntry),
    ) -> Vec<Effect> {
        let Some(entry) = self.orders.get_mut(order) else {
            return Vec::new();
        };
        if !entry.apply(event, now) {
            return Vec::new();
        }
        change(entry);
        let entry = entry.clone();
        let record = outcome_record(&entry);
        let after = After::Settled(entry.id.clone());
        vec![self.commit(Vec::new(), vec![Row::Order(entry)], Payload::Record(record), after, now)]
    }

    /// An outcome is durable: whoever waited for the order is told.
    pub(super) fn settled(&mut self, order: &ClientOrderId, event: Option<&String>) -> Vec<Effect> {
        let Some(entry) = self.orders.get(order).cloned() else {
            return Vec::new();
        };
        if entry.state == OrderState::Intended {
            return Vec::new();
        }
        let mut effects = told(&entry, self.waiting_for(order), event);
        effects.extend(notice_of(&entry).map(|notice| Effect::Notice(Box::new(notice))));
        effects
    }

    /// Orders and trades as the broker shows them.
    pub(super) fn evidence(
        &mut self,
        account: &AccountId,
        orders: &[BrokerOrder],
        executions: &[Execution],
        now: Now,
    ) -> Vec<Effect> {
        let watched: Vec<OrderEntry> = self
            .orders
            .values()
            .filter(|entry| entry.account() == account && !is_settled(entry))
            .cloned()
            .collect();
        let mut effects = Vec::new();
        for entry in watched {
            let seen = sightings(&entry, orders, executions);
            if let Some(sighting) = seen {
                effects.extend(self.seen(&entry, sighting, now));
            }
        }
        effects.extend(self.find_foreign(account, orders, executions, now));
        effects
    }

    fn seen(&mut self, entry: &OrderEntry, sighting: Sighting, now: Now) -> Vec<Effect> {
        let unchanged = entry.filled == sighting.filled
            && (entry.broker_order_id.is_some() || sighting.order_id.is_none())
            && entry.average_price == sighting.average_price;
        let event = match sighting.status {
            Some(BrokerOrderStatus::Filled) => OrderEvent::FillSeen,
            Some(BrokerOrderStatus::Cancelled | BrokerOrderStatus::PreCancelled) => {
                OrderEvent::CancelSeen
            }
            // Inactive is held or rejected at its destination: a held one may work again.
            Some(
                BrokerOrderStatus::Inactive
                | BrokerOrderStatus::PendingSubmit
                | BrokerOrderStatus::PreSubmitted
                | BrokerOrderStatus::Submitted
                | BrokerOrderStatus::PendingCancel
                | BrokerOrderStatus::WarnState
                | BrokerOrderStatus::Other,
            )
            | None => OrderEvent::Accepted,
        };
        let same_state = ibkr_agent_domain::next(entry.state, event) == Ok(entry.state);
        if same_state && unchanged {
            return Vec::new();
        }
        self.transition(&entry.id, event, now, |entry| {
            entry.filled = sighting.filled;
            entry.average_price = sighting.average_price;
            if sighting.order_id.is_some() {
                entry.broker_order_id = sighting.order_id;
            }
            let message = match sighting.status {
                Some(BrokerOrderStatus::Inactive) => {
                    "the broker shows it inactive: held, or rejected at its destination"
                }
                Some(_) | None => "as the broker's orders and trades show",
            };
            message.clone_into(&mut entry.message);
        })
    }

    pub(super) fn outcome(&self, ticket: Ticket, caller: &Caller, query: &OutcomeQuery) -> Effect {
        let owner = owner_of(&caller.requester);
        let found = self.orders.values().find(|entry| {
            entry.owner == owner
                && match query {
                    OutcomeQuery::Call(call) => entry.call.as_str() == call,
                    OutcomeQuery::Approval(approval) => entry.approval == *approval,
                    OutcomeQuery::Key(key) => entry.key == *key,
                    OutcomeQuery::Order(order) => entry.id == *order,
                }
        });
        match found {
            Some(entry) => {
                let answer = Answer::Order(Box::new(entry.clone()));
                Effect::Reply { ticket, answer, event: None }
            }
            None => refuse(ticket, ErrorCode::OrderNotFound, "no order was recorded for this"),
        }
    }

    /// A named operator states what became of an order in doubt.
    pub(super) fn settle_by_statement(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        order: &ClientOrderId,
        exists: bool,
        now: Now,
    ) -> Effect {
        let event = if exists { OrderEvent::Accepted } else { OrderEvent::AbsenceShown };
        let Some(entry) = self.orders.get_mut(order) else {
            return refuse(ticket, ErrorCode::OrderNotFound, "no such order");
        };
        if entry.state != OrderState::Unknown || !entry.apply(event, now) {
            return refuse(ticket, ErrorCode::OrderValidationFailed, "this order isn't in doubt");
        }
        "settled by an operator's statement".clone_into(&mut entry.message);
        let entry = entry.clone();
        let mut record = record_of(requester, RecordKind::Outcome, Decision::Stated);
        describe(&mut record, &entry);
        record.details.push("operator_statement");
        let changed = Some(format!("ibkr://orders/{order}"));
        let after = After::Reply(ticket, Answer::Order(Box::new(entry.clone())), changed);
        self.commit(Vec::new(), vec![Row::Order(entry)], Payload::Record(record), after, now)
    }
}

/// What a human must hear of an order.
fn notice_of(entry: &OrderEntry) -> Option<Notice> {
    let (order, account) = (entry.id.clone(), entry.account().clone());
    match entry.state {
        OrderState::Unknown => Some(Notice::OutcomeUnknown { order, account }),
        OrderState::Question => {
            entry.question.is_some().then_some(Notice::QuestionAsked { order, account })
        }
        OrderState::Intended
        | OrderState::Working
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Rejected
        | OrderState::NotSent => None,
    }
}

/// Tells everyone who waited what became of an order.
pub(super) fn told(
    entry: &OrderEntry,
    tickets: Vec<Ticket>,
    event: Option<&String>,
) -> Vec<Effect> {
    let change = Change {
        resource: format!("ibkr://orders/{}", entry.id),
        owner: entry.owner.clone(),
        account: entry.account().clone(),
    };
    let mut effects = vec![Effect::Changed(change)];
    for ticket in tickets {
        let answer = Answer::Order(Box::new(entry.clone()));
        effects.push(Effect::Reply { ticket, answer, event: event.cloned() });
    }
    effects
}

/// What the broker shows of one order.
struct Sighting {
    order_id: Option<ibkr_agent_domain::BrokerOrderId>,
    status: Option<BrokerOrderStatus>,
    filled: Option<Decimal>,
    average_price: Option<Decimal>,
}

/// Finds an order among the broker's orders and trades: by reference, account and contract. One
/// reference may show up as several orders; the one that traded or is open counts.
fn sightings(
    entry: &OrderEntry,
    orders: &[BrokerOrder],
    executions: &[Execution],
) -> Option<Sighting> {
    let order = &entry.order;
    let same_order = |o: &&BrokerOrder| {
        o.reference.as_ref() == Some(&entry.id)
            && o.account == *order.account()
            && o.conid == order.conid()
            && o.side.is_none_or(|side| side == order.terms().side)
            && o.quantity.is_none_or(|quantity| quantity == order.terms().quantity.get())
    };
    let mut candidates: Vec<&BrokerOrder> = orders.iter().filter(same_order).collect();
    candidates.sort_by_key(|o| {
        (o.status == BrokerOrderStatus::Filled, o.status.is_open(), o.filled.unwrap_or_default())
    });
    let fills: Vec<&Execution> = executions
        .iter()
        .filter(|e| {
            e.reference.as_ref() == Some(&entry.id)
                && e.account == *order.account()
                && e.conid == order.conid()
                && e.side.is_none_or(|side| side == order.terms().side)
        })
        .collect();
    let filled = fills.iter().try_fold(Decimal::ZERO, |sum, e| sum.checked_add(e.quantity))?;
    let spent = fills
        .iter()
        .try_fold(Decimal::ZERO, |sum, e| sum.checked_add(e.quantity.checked_mul(e.price)?))?;
    let average = spent.checked_div(filled);
    let all_filled = filled >= order.terms().quantity.get();
    match (candidates.last(), fills.first()) {
        (None, None) => None,
        (None, Some(fill)) => Some(Sighting {
            order_id: fill.order_id.clone(),
            status: all_filled.then_some(BrokerOrderStatus::Filled),
            filled: Some(filled),
            average_price: average,
        }),
        (Some(seen), _) => Some(Sighting {
            order_id: Some(seen.order_id.clone()),
            status: Some(if all_filled { BrokerOrderStatus::Filled } else { seen.status }),
            filled: seen.filled.max((!fills.is_empty()).then_some(filled)),
            average_price: seen.average_price.or(average),
        }),
    }
}

/// Whether evidence can no longer change an order. A cancelled one may still turn out filled.
fn is_settled(entry: &OrderEntry) -> bool {
    matches!(entry.state, OrderState::Filled | OrderState::Rejected | OrderState::NotSent)
}

fn outcome_record(entry: &OrderEntry) -> Record {
    let mut record = system_record(RecordKind::Outcome);
    describe(&mut record, entry);
    record
}

fn describe(record: &mut Record, entry: &OrderEntry) {
    record.account = Some(entry.account().clone());
    record.references.push(Reference::ClientOrder(entry.id.clone()));
    record.references.extend(entry.broker_order_id.clone().map(Reference::BrokerOrder));
    record.references.push(Reference::Outcome(entry.state.as_str()));
}

fn system_requester() -> Requester {
    Requester {
        call: match ibkr_agent_domain::CallId::parse("system") {
            Ok(call) => call,
            Err(_) => unreachable!("a fixed plain word is a call id"),
        },
        actor: ibkr_agent_domain::Actor::System,
        door: ibkr_agent_domain::Door::Internal,
        tool: "known_question",
    }
}

/// Why a submission that ended badly is an error for its caller.
#[must_use]
pub fn refusal_of(entry: &OrderEntry) -> Option<Refusal> {
    let code = match entry.state {
        OrderState::Rejected => ErrorCode::BrokerRejected,
        OrderState::NotSent => ErrorCode::OrderNotSent,
        OrderState::Unknown => ErrorCode::OrderOutcomeUnknown,
        OrderState::Intended
        | OrderState::Question
        | OrderState::Working
        | OrderState::Filled
        | OrderState::Cancelled => return None,
    };
    let mut refusal = Refusal::new(code, entry.message.clone());
    refusal.details.push(format!("client_order_id={}", entry.id));
    refusal.details.push(format!("approval_id={}", entry.approval));
    Some(refusal)
}
