//! Cancels: bound to scope, account and orders of this gateway; never refused for halt, limits or
//! doubt; and when the log can't be written they go on through the emergency file.

use crate::{
    After, Answer, Caller, CancelReport, Cancellation, Effect, Engine, Now, Payload, Refusal,
    Standing, Ticket, owner_of, refuse, system_record,
};
use ibkr_agent_domain::{ErrorCode, OrderState, RecordKind, Reference};
use ibkr_agent_gates::{CancelFacts, CancelRequest, decide_cancel};

impl Engine {
    pub(super) fn cancel(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        cancellation: &Cancellation,
        now: Now,
    ) -> Effect {
        let request = match self.cancel_request(caller, cancellation) {
            Ok(request) => request,
            Err(refusal) => return self.refuse_recorded(ticket, &caller.requester, refusal, now),
        };
        if !self.audit_writable {
            return first(self.emergency_cancel(ticket, request, now), ticket);
        }
        let again = copy(&request);
        match decide_cancel(&self.config.policy, request, now.wall) {
            Ok(permit) => {
                let after = After::SendCancel { ticket, facts: Box::new(again) };
                self.commit(Vec::new(), Vec::new(), Payload::Cancel(permit), after, now)
            }
            Err(code) => {
                let refusal = Refusal::new(code, "this order can't be cancelled from here");
                self.refuse_recorded(ticket, &caller.requester, refusal, now)
            }
        }
    }

    fn cancel_request(
        &self,
        caller: &Caller,
        cancellation: &Cancellation,
    ) -> Result<CancelRequest, Refusal> {
        let is_operator = caller.standing == Standing::Operator;
        let owner = owner_of(&caller.requester);
        // Order ids are a login's own: the same one may stand for another account's order.
        let ours = self.orders.values().find(|entry| {
            entry.broker_order_id.as_ref() == Some(&cancellation.order)
                && *entry.account() == cancellation.account
                && (is_operator || entry.owner == owner)
        });
        let facts = match ours {
            Some(entry) => CancelFacts {
                broker: entry.broker().clone(),
                account: entry.account().clone(),
                order_id: cancellation.order.clone(),
                ours: Some(entry.id.clone()),
            },
            None if !is_operator => {
                let message = "no order of this gateway has that id";
                return Err(Refusal::new(ErrorCode::OrderNotOurs, message));
            }
            None => CancelFacts {
                broker: self.login_of(cancellation)?,
                account: cancellation.account.clone(),
                order_id: cancellation.order.clone(),
                ours: None,
            },
        };
        Ok(CancelRequest {
            facts,
            named_account: Some(cancellation.account.clone()),
            is_operator,
            requester: caller.requester.clone(),
        })
    }

    /// The broker through which an operator's cancel of a foreign order goes: the one that shows
    /// the account, else the one that orders of that account went through, else the only one.
    fn login_of(
        &self,
        cancellation: &Cancellation,
    ) -> Result<ibkr_agent_domain::BrokerName, Refusal> {
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
    ) -> Vec<Effect> {
        match decide_cancel(&self.config.policy, request, now.wall) {
            Ok(permit) => vec![Effect::EmergencyCancel { ticket, permit }],
            Err(code) => vec![refuse(ticket, code, "this order can't be cancelled from here")],
        }
    }

    pub(super) fn cancel_done(&mut self, ticket: Ticket, report: CancelReport, now: Now) -> Effect {
        let mut record = system_record(RecordKind::Outcome);
        let answer = match report {
            CancelReport::Requested { message } => {
                record.references.push(Reference::Outcome("cancel_requested"));
                Answer::CancelRequested { order: None, message }
            }
            CancelReport::Failed { code, message } => {
                record.codes.push(code);
                record.references.push(Reference::Outcome("cancel_failed"));
                Answer::Refused(Refusal::new(code, message))
            }
        };
        if !self.audit_writable {
            return Effect::Reply { ticket, answer, event: None };
        }
        let after = After::Tell(ticket, answer);
        self.commit(Vec::new(), Vec::new(), Payload::Record(record), after, now)
    }

    /// Orders of an account that may still trade, for a cancel of everything.
    #[must_use]
    pub fn open_orders(&self) -> Vec<&crate::OrderEntry> {
        let open = |state| matches!(state, OrderState::Working | OrderState::Unknown);
        self.orders.values().filter(|entry| open(entry.state)).collect()
    }
}

fn first(effects: Vec<Effect>, ticket: Ticket) -> Effect {
    let missing = || refuse(ticket, ErrorCode::InternalError, "the cancel had no effect");
    effects.into_iter().next().unwrap_or_else(missing)
}

fn copy(request: &CancelRequest) -> CancelRequest {
    CancelRequest {
        facts: request.facts.clone(),
        named_account: request.named_account.clone(),
        is_operator: request.is_operator,
        requester: request.requester.clone(),
    }
}
