//! What the broker answered, what it shows, and what an operator states.
//!
//! A lost answer is unknown. Unknown ends by evidence that matches account, contract, side and
//! reference, or by a named operator's signed statement; never by time.

use crate::{
    After, Answer, Caller, Change, Effect, Engine, Notice, Now, OrderEntry, Payload, PlaceReport,
    Refusal, Row, Speaker, Ticket, owner_of, record_of, refuse, system_record,
};
use ibkr_agent_domain::{
    ApprovalId, BrokerOrderStatus, CallId, ClientOrderId, Decision, ErrorCode, IdempotencyKey,
    NotSent, OrderEvent, OrderState, PreviewId, Reason, Record, RecordKind, Reference,
    UnknownBecause,
};
use ibkr_agent_gates::Requester;

/// How to find an order's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeQuery {
    /// By the call that submitted it.
    Call(String),
    /// By the approval that it spent.
    Approval(ApprovalId),
    /// By the caller's key.
    Key(IdempotencyKey),
    /// By our reference.
    Order(ClientOrderId),
    /// By the preview that an approval was made of.
    Preview(PreviewId),
}

impl Engine {
    /// At start: an intent without an outcome, or a question whose permit is gone, is unknown.
    pub(super) fn doubt_unfinished(&mut self, now: Now) -> Vec<Effect> {
        let unfinished: Vec<ClientOrderId> = self
            .orders
            .open()
            .filter(|order| matches!(order.state, OrderState::Intended | OrderState::Question))
            .map(|order| order.id.clone())
            .collect();
        let mut effects = Vec::new();
        for order in unfinished {
            let why = UnknownBecause::GatewayStopped;
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
                let placed = self.orders.get(order).map(|entry| self.placed_with(entry));
                self.hold_back(&placed.unwrap_or_default(), why, now)
            }
            PlaceReport::NotSent { why } => self.answer_not_sent(order, why, now),
            PlaceReport::Question(question) => self.asked(order, question, now),
            PlaceReport::Placed { order_id, status, message } => {
                // Taken, but inactive: held, or rejected at its destination.
                let is_held = status == BrokerOrderStatus::Inactive && !before.is_final();
                let event = if is_held { OrderEvent::HeldSeen } else { OrderEvent::Accepted };
                let mut effects = self.transition(order, event, now, |entry| {
                    entry.broker_order_id = Some(order_id);
                    // A look may have overtaken the answer; then only words are news.
                    if !message.is_empty() || entry.seen_at.is_none() {
                        entry.message = message;
                        entry.said_by = Speaker::Broker;
                    }
                });
                effects.extend(self.newly_held(order, before));
                effects
            }
            PlaceReport::Prompted { order_id, message } => {
                let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
                    entry.broker_order_id = order_id.or(entry.broker_order_id.take());
                    entry.explain(Reason::Unknown(UnknownBecause::Prompted));
                    entry.message = message;
                    entry.said_by = Speaker::Broker;
                });
                effects.extend(self.seek(order));
                effects
            }
            PlaceReport::Rejected { message } => {
                self.transition(order, OrderEvent::Refused, now, |entry| {
                    entry.said_by = if message.is_empty() {
                        "the broker refused the order and gave no reason"
                            .clone_into(&mut entry.message);
                        Speaker::Gateway
                    } else {
                        entry.message = message;
                        Speaker::Broker
                    };
                })
            }
            PlaceReport::Unknown { why } => {
                let mut effects = self.transition(order, OrderEvent::Lost, now, |entry| {
                    entry.explain(Reason::Unknown(why));
                });
                effects.extend(self.seek(order));
                effects
            }
        }
    }

    /// What a human must hear when an order came to be held.
    pub(super) fn newly_held(&self, order: &ClientOrderId, before: OrderState) -> Option<Effect> {
        let entry = self.orders.get(order)?;
        let is_new = entry.state == OrderState::Held && before != OrderState::Held;
        is_new.then(|| Effect::Notice(Box::new(Notice::held(entry))))
    }

    pub(super) fn seek(&self, order: &ClientOrderId) -> Option<Effect> {
        let account = self.orders.get(order)?.account().clone();
        Some(Effect::SeekEvidence { account })
    }

    /// Applies an event and writes it down; an event that can't happen changes nothing.
    pub(super) fn transition(
        &mut self,
        order: &ClientOrderId,
        event: OrderEvent,
        now: Now,
        change: impl FnOnce(&mut OrderEntry),
    ) -> Vec<Effect> {
        let changed = self.orders.update(order, |entry| {
            let applied = entry.apply(event, now);
            if applied {
                change(entry);
            }
            applied.then(|| entry.clone())
        });
        let Some(entry) = changed.flatten() else {
            return Vec::new();
        };
        let record = outcome_record(&entry);
        let after = After::Settled(entry.id.clone());
        vec![self.commit(
            Vec::new(),
            vec![Row::Order(Box::new(entry))],
            Payload::Record(record),
            after,
            now,
        )]
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

    pub(super) fn outcome(&self, ticket: Ticket, caller: &Caller, query: &OutcomeQuery) -> Effect {
        let owner = owner_of(&caller.requester);
        let found = match query {
            OutcomeQuery::Call(call) => {
                let call = CallId::parse(call).ok();
                call.and_then(|call| self.orders.of_call(&owner, &call))
            }
            OutcomeQuery::Approval(approval) => self.orders.of_approval(approval),
            OutcomeQuery::Key(key) => {
                let kept = self.keys.get(&(owner.clone(), key.clone()));
                kept.and_then(|kept| self.orders.get(&kept.order))
            }
            OutcomeQuery::Order(order) => self.orders.get(order),
            OutcomeQuery::Preview(preview) => {
                let made = self.approvals.values().filter(|one| one.preview == *preview);
                let orders = made.filter_map(|one| self.orders.of_approval(&one.id));
                orders.max_by_key(|order| order.created_at)
            }
        };
        match found.filter(|entry| entry.owner == owner) {
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
        let settled = self.orders.update(order, |entry| {
            let settled = entry.state == OrderState::Unknown && entry.apply(event, now);
            if settled && exists {
                "settled by an operator's statement".clone_into(&mut entry.message);
            } else if settled {
                entry.explain(Reason::NotSent(NotSent::AbsenceStated));
            }
            settled.then(|| entry.clone())
        });
        let entry = match settled {
            None => return refuse(ticket, ErrorCode::OrderNotFound, "no such order"),
            Some(None) => {
                let message = "this order isn't in doubt";
                return refuse(ticket, ErrorCode::OrderValidationFailed, message);
            }
            Some(Some(entry)) => entry,
        };
        let mut record = record_of(requester, RecordKind::Outcome, Decision::Stated);
        describe(&mut record, &entry);
        record.details.push("operator_statement");
        let changed = Some(format!("ibkr://orders/{order}"));
        let after = After::Reply(ticket, Answer::Order(Box::new(entry.clone())), changed);
        self.commit(
            Vec::new(),
            vec![Row::Order(Box::new(entry))],
            Payload::Record(record),
            after,
            now,
        )
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
        OrderState::Expired => Some(Notice::Vanished { order, account }),
        OrderState::Intended
        | OrderState::Working
        | OrderState::Held
        | OrderState::PendingCancel
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

pub(super) fn outcome_record(entry: &OrderEntry) -> Record {
    let mut record = system_record(RecordKind::Outcome);
    describe(&mut record, entry);
    record
}

fn describe(record: &mut Record, entry: &OrderEntry) {
    record.account = Some(entry.account().clone());
    record.references.push(Reference::ClientOrder(entry.id.clone()));
    record.references.extend(entry.broker_order_id.clone().map(Reference::BrokerOrder));
    record.references.push(Reference::Outcome(entry.state.as_str()));
    record.details.extend(entry.reason.map(Reason::words).unwrap_or_default());
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
        | OrderState::Held
        | OrderState::PendingCancel
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Expired => return None,
    };
    let message = match (entry.words(), entry.broker_words()) {
        (Some(ours), Some(theirs)) => format!("{ours}; the broker says: {theirs}"),
        (Some(words), None) => words,
        (None, theirs) => theirs.unwrap_or_default().to_owned(),
    };
    let mut refusal = Refusal::new(code, message);
    if let Some(reason) = entry.reason {
        refusal.details.push(format!("reason={}", reason.text()));
        refusal.details.push(format!("cause={}", reason.code()));
    }
    refusal.details.push(format!("client_order_id={}", entry.id));
    refusal.details.push(format!("approval_id={}", entry.approval));
    Some(refusal)
}
