//! The kill switch: the latch first, the record after; only an operator resumes.

use crate::engine::{After, Effect, Engine, HaltEntry, Now, Payload, Row, Ticket, record_of};
use ibkr_agent_domain::{Decision, RecordKind};
use ibkr_agent_gates::{Requester, permit_halt};

impl Engine {
    /// Stops trading: at once in memory, then durably. Cancels nothing.
    pub(super) fn stop(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        reason: String,
        now: Now,
    ) -> Vec<Effect> {
        self.halt_generation = self.halt_generation.saturating_add(1);
        self.halt = HaltEntry {
            halted: true,
            since: now.wall,
            by: requester.actor.label(),
            reason,
            audit_event_id: None,
        };
        let row = Row::Halt(self.halt.clone());
        let permit = permit_halt(&self.config.policy, "kill_switch", requester, now.wall);
        let commit =
            self.commit(Vec::new(), vec![row], Payload::Halt(permit), After::Halt(ticket), now);
        vec![Effect::SetLatch { halted: true }, commit]
    }

    /// Allows trading again; the latch opens only after the record is durable, and not at all when
    /// somebody halted meanwhile.
    pub(super) fn resume(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        reason: String,
        now: Now,
    ) -> Effect {
        let entry = HaltEntry {
            halted: false,
            since: now.wall,
            by: requester.actor.label(),
            reason,
            audit_event_id: None,
        };
        let row = Row::Halt(entry.clone());
        let record = record_of(requester, RecordKind::Resumed, Decision::Permitted);
        let after =
            After::Resume { ticket, entry: Box::new(entry), generation: self.halt_generation };
        self.commit(Vec::new(), vec![row], Payload::Record(record), after, now)
    }
}
