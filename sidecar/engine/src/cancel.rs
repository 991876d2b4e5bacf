//! Cancels: bound to scope, account and orders of this gateway; never refused for halt, limits or
//! doubt; and when the log can't be written they go on through the emergency file.

use crate::{
    After, Answer, Caller, CancelReport, Cancellation, Effect, Engine, Now, Payload, Refusal,
    Standing, Ticket, Whose, owner_of, refuse, system_record,
};
use ibkr_agent_domain::{
    BrokerName, BrokerOrderId, ClientOrderId, ErrorCode, OrderState, Reason, RecordKind, Reference,
};
use ibkr_agent_gates::{CancelFacts, CancelRequest, decide_cancel};

/// A cancel whose answers aren't all there: one wish, one request for each order at the broker.
#[derive(Debug)]
pub(super) struct Flight {
    order: Option<ClientOrderId>,
    sent: usize,
    left: usize,
    refused: Option<Refusal>,
    failed: Option<Reason>,
    message: String,
}

impl Engine {
    /// Cancels everything that may trade under the reference of the order that is named: a change
    /// while a connection was lost can leave two.
    pub(super) fn cancel(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        cancellation: &Cancellation,
        now: Now,
    ) -> Vec<Effect> {
        let (order, wishes) = match self.wishes(caller, cancellation) {
            Ok(wishes) => wishes,
            Err(refusal) => {
                return vec![self.refuse_recorded(ticket, &caller.requester, refusal, now)];
            }
        };
        let sent = wishes.len();
        let flight =
            Flight { order, sent, left: sent, refused: None, failed: None, message: String::new() };
        self.cancels.insert(ticket, flight);
        let mut effects = Vec::new();
        for facts in wishes {
            effects.extend(self.send_cancel(ticket, caller, cancellation, &facts, now));
        }
        effects
    }

    fn send_cancel(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        cancellation: &Cancellation,
        facts: &CancelFacts,
        now: Now,
    ) -> Option<Effect> {
        let request = || CancelRequest {
            facts: facts.clone(),
            named_account: Some(cancellation.account.clone()),
            is_operator: caller.standing == Standing::Operator,
            requester: caller.requester.clone(),
        };
        if !self.audit_writable {
            return self.emergency_cancel(ticket, request(), now);
        }
        let policies = &self.config.policies;
        match decide_cancel(policies.of_account(&facts.account), request(), now.wall) {
            Ok(permit) => {
                let after = After::SendCancel { ticket, request: Box::new(request()) };
                Some(self.commit(Vec::new(), Vec::new(), Payload::Cancel(permit), after, now))
            }
            Err(code) => {
                // The same reasons hold for every order of the reference.
                self.cancels.remove(&ticket)?;
                let refusal = Refusal::new(code, "this order can't be cancelled from here");
                Some(self.refuse_recorded(ticket, &caller.requester, refusal, now))
            }
        }
    }

    /// What must be cancelled at the broker, and the order of ours that it belongs to.
    fn wishes(
        &self,
        caller: &Caller,
        cancellation: &Cancellation,
    ) -> Result<(Option<ClientOrderId>, Vec<CancelFacts>), Refusal> {
        let facts = |broker: &BrokerName, order_id: BrokerOrderId, ours| CancelFacts {
            broker: broker.clone(),
            account: cancellation.account.clone(),
            order_id,
            ours,
        };
        let is_operator = caller.standing == Standing::Operator;
        match self.named(cancellation) {
            Whose::Ours(entry) if is_operator || entry.owner == owner_of(&caller.requester) => {
                let mut ids = entry.cancellable();
                if !ids.contains(&cancellation.order) {
                    ids.push(cancellation.order.clone());
                }
                let id = || Some(entry.id.clone());
                let all = ids.into_iter().map(|order| facts(entry.broker(), order, id()));
                Ok((id(), all.collect()))
            }
            // Another caller's order is told like one that doesn't exist.
            Whose::Ours(_) | Whose::Unsure | Whose::Foreign if !is_operator => {
                let message = "no order of this gateway has that id";
                Err(Refusal::new(ErrorCode::OrderNotOurs, message))
            }
            Whose::Ours(_) | Whose::Unsure | Whose::Foreign => {
                let broker = self.login_of(cancellation)?;
                Ok((None, vec![facts(&broker, cancellation.order.clone(), None)]))
            }
        }
    }

    /// Whose the order is that a cancel names. Order ids are a login's own: the same one may stand
    /// for another account's order.
    fn named(&self, cancellation: &Cancellation) -> Whose<'_> {
        let found = self.orders.at_broker(&cancellation.account, &cancellation.order);
        found.map_or(Whose::Foreign, Whose::Ours)
    }

    /// The broker through which an operator's cancel of a foreign order goes: the one that shows
    /// the account, else the one that orders of that account went through, else the only one.
    fn login_of(&self, cancellation: &Cancellation) -> Result<BrokerName, Refusal> {
        let used = || {
            let mut orders = self.orders.values();
            let known = orders.find(|entry| *entry.account() == cancellation.account);
            known.map(|entry| entry.broker().clone())
        };
        let shown = self.logins.get(&cancellation.account).cloned();
        let broker = shown.or_else(used).or_else(|| self.config.default_broker.clone());
        broker.ok_or_else(|| {
            let message = "no broker login shows this account now";
            Refusal::new(ErrorCode::BrokerBackendUnavailable, message)
        })
    }

    pub(super) fn emergency_cancel(
        &mut self,
        ticket: Ticket,
        request: CancelRequest,
        now: Now,
    ) -> Option<Effect> {
        let policy = self.config.policies.of_account(&request.facts.account);
        match decide_cancel(policy, request, now.wall) {
            Ok(permit) => Some(Effect::EmergencyCancel { ticket, permit }),
            Err(code) => {
                self.cancels.remove(&ticket)?;
                Some(refuse(ticket, code, "this order can't be cancelled from here"))
            }
        }
    }

    /// One of a cancel's requests was answered. Words that refuse are a hint: the order's state
    /// decides, and the answer carries both.
    pub(super) fn cancel_done(
        &mut self,
        ticket: Ticket,
        report: CancelReport,
        now: Now,
    ) -> Option<Effect> {
        let flight = self.cancels.get_mut(&ticket)?;
        flight.left = flight.left.saturating_sub(1);
        match report {
            CancelReport::Requested { message } => flight.message = message,
            CancelReport::Refused { code, message } => {
                flight.refused = Some(Refusal::new(code, message));
            }
            CancelReport::NotSent { why } => flight.failed = Some(Reason::NotSent(why)),
            CancelReport::Unknown { why } => flight.failed = Some(Reason::Unknown(why)),
        }
        if flight.left > 0 {
            return None;
        }
        let flight = self.cancels.remove(&ticket)?;
        Some(self.tell_cancel(ticket, flight, now))
    }

    fn tell_cancel(&mut self, ticket: Ticket, flight: Flight, now: Now) -> Effect {
        let mut record = system_record(RecordKind::Outcome);
        record.references.extend(flight.order.clone().map(Reference::ClientOrder));
        let refused = flight.refused.as_ref().map(|refusal| refusal.code);
        let code = flight.failed.map(Reason::code).or(refused);
        record.codes.extend(code);
        record.details.extend(flight.failed.map(Reason::words).unwrap_or_default());
        let word = if code.is_some() { "cancel_failed" } else { "cancel_requested" };
        record.references.push(Reference::Outcome(word));
        let order = flight.order.and_then(|id| self.orders.get(&id)).cloned().map(Box::new);
        let answer = match flight.failed {
            Some(reason) => Answer::Refused(cancel_failed(reason)),
            None => Answer::CancelRequested {
                order,
                sent: flight.sent,
                refused: flight.refused,
                message: flight.message,
            },
        };
        if !self.audit_writable {
            return Effect::Reply { ticket, answer, event: None };
        }
        let after = After::Tell(ticket, answer);
        self.commit(Vec::new(), Vec::new(), Payload::Record(record), after, now)
    }

    /// Orders that may still trade, for a cancel of everything.
    #[must_use]
    pub fn open_orders(&self) -> Vec<&crate::OrderEntry> {
        let open = |state| {
            matches!(
                state,
                OrderState::Working
                    | OrderState::Held
                    | OrderState::PendingCancel
                    | OrderState::Unknown
            )
        };
        self.orders.open().filter(|entry| open(entry.state)).collect()
    }
}

/// Why a cancel isn't known to have reached the broker. The order may work on.
fn cancel_failed(reason: Reason) -> Refusal {
    let sentence = reason.sentence();
    let message = match reason {
        Reason::NotSent(_) | Reason::Unanswered(_) => format!("no cancel was taken: {sentence}"),
        Reason::Unknown(_) => format!("the cancel may not have arrived: {sentence}"),
    };
    let mut refusal = Refusal::new(reason.code(), message);
    refusal.details.push(format!("reason={}", reason.text()));
    refusal
}
