//! The order's way: screen, facts, decide, commit, re-check, place.
//!
//! The approval, the key and the limits are reserved in the step that makes the permit, so of any
//! number of racing submissions one gets it. Until that step nothing has changed.

use crate::sends::{Party, change_of};
use crate::{
    After, Answer, ApprovalEntry, ApprovalStatus, Caller, Effect, Engine, KeyEntry, Now,
    OrderEntry, Payload, Precondition, Refusal, Row, Speaker, Submission, Ticket, refuse,
};
use ibkr_agent_domain::{
    ApprovalId, CanonicalOrder, ClientOrderId, Digest, ErrorCode, NotSent, OrderEvent, OrderPlan,
    OrderState, Reason, RecordKind, Reference, Timestamp,
};
use ibkr_agent_gates::{
    Approval, BrokerFacts, Denials, Permit, Place, PlaceIntent, Requester, decide_place, exposure,
    screen_place,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

/// A submission on its way.
#[derive(Debug)]
pub(super) enum Flight {
    /// Waits for the broker's facts.
    ReadingFacts {
        /// Who sends, and for whom.
        party: Box<Party>,
        /// What.
        submission: Box<Submission>,
        /// Since when the facts are read.
        since: Timestamp,
        /// How often trading was halted by then: what was asked before a halt isn't sent after it.
        halts: u64,
    },
    /// Waits for the order's outcome.
    Waiting(ClientOrderId),
}

impl Engine {
    pub(super) fn submit(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        submission: Submission,
        now: Now,
    ) -> Vec<Effect> {
        self.send(ticket, Party::of(caller), submission, now)
    }

    /// The one way on which an order is sent, whoever began it.
    pub(super) fn send(
        &mut self,
        ticket: Ticket,
        party: Party,
        submission: Submission,
        now: Now,
    ) -> Vec<Effect> {
        match self.begin(&party, &submission, now) {
            Ok(Begin::Replay(order)) => {
                self.end_if_left(&submission.approval, &order);
                self.replay(ticket, &order)
            }
            Ok(Begin::Read(plan)) => {
                let flight = Flight::ReadingFacts {
                    party: Box::new(party),
                    submission: Box::new(submission),
                    since: now.wall,
                    halts: self.halt_generation,
                };
                self.submissions.insert(ticket, flight);
                vec![Effect::ReadFacts { ticket, plan }]
            }
            Err(refusal) => vec![self.refuse_send(ticket, &party, &submission, refusal, now)],
        }
    }

    /// A signature's time runs until its order has left: who asks after it doesn't end it.
    fn end_if_left(&mut self, approval: &ApprovalId, order: &ClientOrderId) {
        let waits = |entry: &OrderEntry| entry.state == OrderState::Intended;
        if !self.orders.get(order).is_some_and(waits) {
            self.sends.end(approval);
        }
    }

    /// What can be said without broker traffic.
    fn begin(&self, party: &Party, submission: &Submission, now: Now) -> Result<Begin, Refusal> {
        if let Some(order) = self.sent_before(party, submission)? {
            return Ok(Begin::Replay(order));
        }
        let approval = self.spendable(party, submission, now)?;
        self.at_once(party, &approval.id, now)?;
        self.not_while_asked(&approval.plan)?;
        let policy = self.config.policies.of_plan(&approval.plan);
        screen_place(policy, &approval.plan, self.switches()).map_err(|d| denied(&d))?;
        Ok(Begin::Read(Box::new(approval.plan.clone())))
    }

    /// The order that the same request made before under the same key, or that the operator's
    /// signature sent under the same approval.
    fn sent_before(
        &self,
        party: &Party,
        submission: &Submission,
    ) -> Result<Option<ClientOrderId>, Refusal> {
        let key = (party.owner.clone(), submission.key.clone());
        let Some(entry) = self.keys.get(&key) else {
            return Ok(self.sent_by_signature(party, submission).map(|order| order.id.clone()));
        };
        if entry.request != request_digest(submission) {
            let message = "this idempotency key was used for a different request";
            return Err(Refusal::new(ErrorCode::PaperIdempotencyConflict, message));
        }
        Ok(Some(entry.order.clone()))
    }

    fn spendable(
        &self,
        party: &Party,
        submission: &Submission,
        now: Now,
    ) -> Result<&ApprovalEntry, Refusal> {
        self.check_admitted(party.standing, &party.requester)?;
        let found = self.approvals.get(&submission.approval);
        let found = found.filter(|entry| entry.owner == party.owner);
        let not_found = || Refusal::new(ErrorCode::ApprovalNotFound, "no such approval");
        let entry = found.ok_or_else(not_found)?;
        if *entry.plan.account() != submission.account {
            let message = "the approval is for another account";
            return Err(Refusal::new(ErrorCode::ApprovalPreviewMismatch, message));
        }
        let (code, message) = match entry.status {
            ApprovalStatus::Approved if !self.is_over(entry, now) => {
                self.check_authority(entry)?;
                return Ok(entry);
            }
            ApprovalStatus::Approved => (ErrorCode::ApprovalExpired, "the approval has expired"),
            ApprovalStatus::Pending if !self.is_over(entry, now) => {
                (ErrorCode::ApprovalPending, "no human has decided yet")
            }
            ApprovalStatus::Pending => (ErrorCode::ApprovalExpired, "nobody decided in time"),
            ApprovalStatus::Denied => (ErrorCode::ApprovalDenied, "the operator said no"),
            ApprovalStatus::Consumed => (ErrorCode::ApprovalConsumed, "the approval was spent"),
            ApprovalStatus::Void => (ErrorCode::ApprovalExpired, entry.why_void()),
        };
        Err(Refusal::new(code, message))
    }

    fn replay(&mut self, ticket: Ticket, order: &ClientOrderId) -> Vec<Effect> {
        let Some(entry) = self.orders.get(order) else {
            return vec![refuse(ticket, ErrorCode::InternalError, "the order is missing")];
        };
        if entry.state == OrderState::Intended {
            self.submissions.insert(ticket, Flight::Waiting(order.clone()));
            return Vec::new();
        }
        let answer = Answer::Order(Box::new(entry.clone()));
        vec![Effect::Reply { ticket, answer, event: None }]
    }

    pub(super) fn facts_read(
        &mut self,
        ticket: Ticket,
        facts: Result<Box<BrokerFacts>, Refusal>,
        now: Now,
    ) -> Vec<Effect> {
        let Some(flight) = self.submissions.remove(&ticket) else {
            return Vec::new();
        };
        let Flight::ReadingFacts { party, submission, since, halts } = flight else {
            self.submissions.insert(ticket, flight);
            return Vec::new();
        };
        let decided = match facts {
            Ok(_) if halts != self.halt_generation => Err(halted_since()),
            Ok(facts) => self.decide(ticket, &party, &submission, (*facts, since), now),
            Err(refusal) => Err(refusal),
        };
        match decided {
            Ok(effects) => effects,
            Err(refusal) => vec![self.refuse_send(ticket, &party, &submission, refusal, now)],
        }
    }

    /// The one step: everything is checked again, and the approval, the key and the limits are
    /// reserved together with making the permit.
    fn decide(
        &mut self,
        ticket: Ticket,
        party: &Party,
        submission: &Submission,
        (facts, since): (BrokerFacts, Timestamp),
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        if let Some(order) = self.sent_before(party, submission)? {
            self.end_if_left(&submission.approval, &order);
            return Ok(self.replay(ticket, &order));
        }
        let approval = self.spendable(party, submission, now)?.clone();
        self.at_once(party, &approval.id, now)?;
        let plan = approval.plan.clone();
        self.not_while_asked(&plan)?;
        let references = self.references(&plan, &approval.id)?;
        // An order that was given back unsent may be tried again under the same approval; any
        // other one is the approval's one order.
        let spent = |before: &OrderEntry| before.state != OrderState::NotSent;
        if references.iter().filter_map(|id| self.orders.get(id)).any(spent) {
            let message = "the approval has already made an order";
            return Err(Refusal::new(ErrorCode::ApprovalConsumed, message));
        }
        let session_ends = facts.session_ends;
        let rate = facts.policy_currency_rate.filter(|rate| *rate > Decimal::ZERO);
        let slippage = self.config.policies.of_plan(&plan).slippage_percent();
        let counts = |order: &CanonicalOrder| {
            let counted = exposure(order, facts.quote.as_ref(), slippage).bound();
            let value = counted.and_then(|money| money.amount.checked_mul(rate?));
            Counts { value: value.unwrap_or_default(), rate, until: session_ends }
        };
        let counts: Vec<Counts> = plan.orders().iter().map(counts).collect();
        let facts = self.complete_facts(facts, &plan, &references, since, now);
        let intent = PlaceIntent {
            plan,
            references: references.clone(),
            approval: Approval {
                id: approval.id.clone(),
                plan: approval.plan.digest(),
                expires_at: approval.expires_at,
                reference_price: approval.reference_price,
                position: approval.position,
            },
            requester: party.requester.clone(),
        };
        let policy = self.config.policies.of_plan(&approval.plan);
        let permit =
            decide_place(policy, &facts, intent, now.wall).map_err(|denials| denied(&denials))?;
        let entries = new_orders(&party.requester, submission, &approval, references, counts, now);
        Ok(self.reserve(ticket, submission, approval, entries, permit, now))
    }

    fn reserve(
        &mut self,
        ticket: Ticket,
        submission: &Submission,
        mut approval: ApprovalEntry,
        orders: Vec<OrderEntry>,
        permit: Permit<Place>,
        now: Now,
    ) -> Vec<Effect> {
        let Some(first) = orders.first().map(|order| order.id.clone()) else {
            return vec![refuse(ticket, ErrorCode::InternalError, "a plan without an order")];
        };
        approval.status = ApprovalStatus::Consumed;
        let key = KeyEntry {
            owner: approval.owner.clone(),
            key: submission.key.clone(),
            request: request_digest(submission),
            order: first.clone(),
            created_at: now.wall,
        };
        let mut preconditions = vec![
            Precondition::ApprovalIs(approval.id.clone(), ApprovalStatus::Approved),
            Precondition::KeyUnused(key.owner.clone(), key.key.clone()),
        ];
        self.approvals.insert(approval.id.clone(), approval.clone());
        self.keys.insert((key.owner.clone(), key.key.clone()), key.clone());
        self.submissions.insert(ticket, Flight::Waiting(first));
        let mut rows = vec![Row::Approval(Box::new(approval)), Row::Key(key)];
        let mut legs = Vec::new();
        for order in orders {
            let id = order.id.clone();
            let before = self.orders.insert(order.clone());
            preconditions.push(match &before {
                Some(_) => Precondition::OrderIs(id.clone(), OrderState::NotSent),
                None => Precondition::OrderUnknown(id.clone()),
            });
            rows.push(Row::Order(Box::new(order)));
            legs.push((id, before.map(Box::new)));
        }
        let after = After::Place { ticket, legs, halts: self.halt_generation };
        vec![self.commit(preconditions, rows, Payload::Place(permit), after, now)]
    }

    /// Records that nothing was sent and gives approval and key back.
    pub(super) fn hold_back(
        &mut self,
        orders: &[ClientOrderId],
        why: NotSent,
        now: Now,
    ) -> Vec<Effect> {
        let mut held: Vec<OrderEntry> = Vec::new();
        for order in orders {
            let entry = self.orders.update(order, |entry| {
                let held = entry.apply(OrderEvent::HeldBack, now);
                if held {
                    entry.explain(Reason::NotSent(why));
                }
                held.then(|| entry.clone())
            });
            held.extend(entry.flatten());
        }
        let Some(first) = held.first().cloned() else {
            return Vec::new();
        };
        let mut rows = vec![Row::ForgetKey(first.owner.clone(), first.key.clone())];
        self.keys.remove(&(first.owner.clone(), first.key.clone()));
        self.sends.end(&first.approval);
        let record = self.return_approval(&first.approval, &mut rows);
        let mut record =
            record.unwrap_or_else(|| super::system_record(RecordKind::ApprovalReturned));
        let mut tickets = Vec::new();
        for entry in held {
            record.references.push(Reference::ClientOrder(entry.id.clone()));
            tickets.extend(self.waiting_for(&entry.id));
            rows.push(Row::Order(Box::new(entry)));
        }
        record.references.push(Reference::Outcome("not_sent"));
        record.details.push(why.as_str());
        record.codes.push(why.code());
        let after = After::HeldBack { entry: Box::new(first), tickets };
        vec![self.commit(Vec::new(), rows, Payload::Record(record), after, now)]
    }

    /// The intent couldn't be written: nothing was sent, nothing is durable.
    pub(super) fn place_not_recorded(
        &mut self,
        ticket: Ticket,
        legs: Vec<(ClientOrderId, Option<Box<OrderEntry>>)>,
        code: ErrorCode,
    ) -> Vec<Effect> {
        let (mut tickets, mut effects) = (Vec::new(), Vec::new());
        for (order, before) in legs {
            let reserved = self.orders.remove(&order);
            if let Some(before) = before {
                self.orders.insert(*before);
            }
            if let Some(entry) = reserved {
                self.sends.end(&entry.approval);
                self.keys.remove(&(entry.owner.clone(), entry.key.clone()));
                if let Some(approval) = self.approvals.get_mut(&entry.approval) {
                    approval.status = approval.given_back();
                    effects.push(Effect::Changed(change_of(approval)));
                    self.ages.approvals.insert((approval.created_at, approval.id.clone()));
                }
            }
            tickets.extend(self.waiting_for(&order));
        }
        if !tickets.contains(&ticket) {
            tickets.push(ticket);
        }
        let refusal = |ticket| refuse(ticket, code, "nothing was sent: no record could be written");
        effects.extend(tickets.into_iter().map(refusal));
        effects
    }

    /// At start: an approval under which an order was sent, or may have been, is spent, whatever
    /// its own row says. An order that was given back has no key; one that an operator stated never
    /// to have been has, and stays what its approval was spent on.
    pub(super) fn spend_what_was_sent(&mut self) {
        let keeps_key = |order: &OrderEntry| {
            let key = self.keys.get(&(order.owner.clone(), order.key.clone()));
            key.is_some_and(|key| key.order == order.id)
        };
        let sent = |order: &&OrderEntry| order.state != OrderState::NotSent || keeps_key(order);
        for order in self.orders.values().filter(sent) {
            if let Some(approval) = self.approvals.get_mut(&order.approval) {
                approval.status = ApprovalStatus::Consumed;
            }
        }
    }

    /// Takes out everyone who waits for an order's outcome.
    pub(super) fn waiting_for(&mut self, order: &ClientOrderId) -> Vec<Ticket> {
        let waits = |flight: &Flight| matches!(flight, Flight::Waiting(id) if id == order);
        let tickets: Vec<Ticket> =
            self.submissions.iter().filter(|(_, f)| waits(f)).map(|(t, _)| *t).collect();
        for ticket in &tickets {
            self.submissions.remove(ticket);
        }
        tickets
    }

    /// A caller no longer waits. What it started goes on; before the decision nothing was started.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        self.submissions.remove(&ticket);
    }
}

/// How a submission begins.
enum Begin {
    /// The same request was made before.
    Replay(ClientOrderId),
    /// Facts are needed for these orders.
    Read(Box<OrderPlan>),
}

/// What a new order counts against the limits, and until when.
struct Counts {
    value: Decimal,
    rate: Option<Decimal>,
    until: Option<Timestamp>,
}

/// An entry for each order of the approval's plan.
fn new_orders(
    requester: &Requester,
    submission: &Submission,
    approval: &ApprovalEntry,
    references: Vec<ClientOrderId>,
    counts: Vec<Counts>,
    now: Now,
) -> Vec<OrderEntry> {
    let each = approval.plan.legs().zip(references).zip(counts);
    each.map(|(((leg, order), id), counts)| OrderEntry {
        id,
        owner: approval.owner.clone(),
        call: requester.call.clone(),
        approval: approval.id.clone(),
        key: submission.key.clone(),
        order: order.clone(),
        leg,
        state: OrderState::Intended,
        broker_order_id: None,
        filled: None,
        average_price: None,
        reason: None,
        message: String::new(),
        said_by: Speaker::Gateway,
        question: None,
        counted_notional: counts.value,
        trading_day: now.trading_day,
        counts_until: counts.until,
        incarnations: Vec::new(),
        fills: BTreeMap::new(),
        told: BTreeSet::new(),
        seen_at: None,
        policy_rate: counts.rate,
        created_at: now.wall,
        updated_at: now.wall,
    })
    .collect()
}

fn request_digest(submission: &Submission) -> Digest {
    let text = format!("submit\n{}\n{}\n", submission.account, submission.approval);
    Digest::of(text.as_bytes())
}

fn halted_since() -> Refusal {
    let message = "trading was halted since this was asked: nothing was sent; ask again";
    Refusal::new(ErrorCode::KillSwitchClosed, message)
}

fn denied(denials: &Denials) -> Refusal {
    let details = denials.denied().map(ibkr_agent_gates::Check::sentence).collect();
    Refusal { code: denials.code(), message: format!("denied: {denials}"), details }
}
