//! Taking the brokerage session from another platform: an operator's signed choice, recorded before
//! it is asked for. Nothing here ever does it by itself.

use crate::{After, Answer, Effect, Engine, Now, Payload, Refusal, Ticket, refuse, system_record};
use ibkr_agent_domain::{BrokerName, RecordKind, Reference};
use ibkr_agent_gates::{Requester, permit_take_over};

impl Engine {
    /// Records the intent; the session is asked for once that is durable.
    pub(super) fn take_over(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        broker: BrokerName,
        now: Now,
    ) -> Effect {
        let permit = permit_take_over(self.config.policies.others(), broker, requester, now.wall);
        let after = After::TakeOver { ticket };
        self.commit(Vec::new(), Vec::new(), Payload::TakeOver(permit), after, now)
    }

    /// The broker answered, or didn't: recorded, then told.
    pub(super) fn taken_over(
        &mut self,
        ticket: Ticket,
        refused: Option<Refusal>,
        now: Now,
    ) -> Effect {
        let mut record = system_record(RecordKind::Outcome);
        record.details.push("session_takeover");
        let outcome = if refused.is_none() { "ready" } else { "not_ready" };
        record.references.push(Reference::Outcome(outcome));
        record.codes.extend(refused.as_ref().map(|refusal| refusal.code));
        let answer = refused.map_or(Answer::Done, Answer::Refused);
        self.commit(
            Vec::new(),
            Vec::new(),
            Payload::Record(record),
            After::Tell(ticket, answer),
            now,
        )
    }

    /// The record couldn't be written: nothing was asked for.
    pub(super) fn not_taken_over(ticket: Ticket) -> Effect {
        let code = ibkr_agent_domain::ErrorCode::AuditWriteFailed;
        refuse(ticket, code, "the log can't be written: the session was not taken")
    }
}
