//! The kill switch: the latch first, the record after; only an operator resumes.

use crate::{
    After, Answer, Effect, Engine, FoundHalt, HaltEntry, Notice, Now, Payload, Row, Ticket,
    record_of, refuse,
};
use ibkr_agent_domain::{Decision, Digest, ErrorCode, Record, RecordKind, Timestamp};
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
        let by = requester.actor.label();
        self.stop_since(ticket, requester, (now.wall, by, reason), now)
    }

    fn stop_since(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        (since, by, reason): (Timestamp, String, String),
        now: Now,
    ) -> Vec<Effect> {
        self.halt_generation = self.halt_generation.saturating_add(1);
        let halt = HaltEntry {
            halted: true,
            since,
            by: by.clone(),
            reason,
            audit_event_id: None,
            later: Vec::new(),
        };
        self.halt = self.halt.clone().followed_by(halt);
        let row = Row::Halt(self.halt.clone());
        let after = After::Halt { ticket, requester: Box::new(requester.clone()) };
        let permit = permit_halt(self.config.policies.others(), "kill_switch", requester, now.wall);
        let commit = self.commit(Vec::new(), vec![row], Payload::Halt(permit), after, now);
        let notice = Notice::Halted { by, since };
        vec![Effect::SetLatch { halted: true }, Effect::Notice(Box::new(notice)), commit]
    }

    /// Halts that nobody asked for here. One that is known already, which a start finds again until
    /// it is resumed, is none.
    pub(super) fn halts_found(
        &mut self,
        requester: &Requester,
        by: &str,
        found: Vec<FoundHalt>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for FoundHalt { since, reason } in found {
            // While a resume is under way the old halt is no reason to overlook a new one.
            let is_reopening = self.reopening == Some(self.halt_generation);
            if is_reopening || !self.halt.knows(since, &reason) {
                // The clock of who wrote it may be ahead of ours.
                let since = since.unwrap_or(now.wall).min(now.wall);
                let halt = (since, by.to_owned(), reason);
                effects.extend(self.stop_since(Ticket(0), requester.clone(), halt, now));
            }
        }
        effects
    }

    /// The log can't be written: the halt goes to the emergency file, which is read at the start.
    pub(super) fn emergency_halt(
        &self,
        ticket: Ticket,
        requester: Requester,
        now: Now,
    ) -> Vec<Effect> {
        let permit = permit_halt(self.config.policies.others(), "kill_switch", requester, now.wall);
        vec![Effect::EmergencyHalt { ticket, permit }]
    }

    /// The emergency file took the halt, or didn't.
    pub(super) fn emergency_halted(&mut self, ticket: Ticket, event: Option<String>) -> Effect {
        if event.is_some() {
            self.halt.audit_event_id.clone_from(&event);
            return Effect::Reply { ticket, answer: Answer::Done, event };
        }
        let sentence = "trading is halted until the restart, but that could not be recorded: halt \
                        again after it";
        refuse(ticket, ErrorCode::AuditWriteFailed, sentence)
    }

    /// Allows trading again; the latch opens only after the record is durable, and not at all when
    /// somebody halted meanwhile. A halt of the start needs its cause signed.
    pub(super) fn resume(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        reason: String,
        now: Now,
    ) -> Effect {
        if self.halt.is_of_state() {
            let sentence = "the state folder is in doubt: sign its cause with ibkr-agent state \
                            accept";
            return refuse(ticket, ErrorCode::KillSwitchClosed, sentence);
        }
        let record = record_of(requester, RecordKind::Resumed, Decision::Permitted);
        self.reopen(ticket, requester, reason, record, now)
    }

    /// Accepts a state folder in doubt: exactly the cause that was shown and signed.
    pub(super) fn accept_state(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        cause: &str,
        reason: String,
        now: Now,
    ) -> Effect {
        if !self.halt.is_of_state() {
            let sentence = "the state folder is in no doubt";
            return refuse(ticket, ErrorCode::InputInvalid, sentence);
        }
        if self.halt.told() != cause {
            let sentence = "what was signed is not the cause of this halt";
            return refuse(ticket, ErrorCode::SignatureInvalid, sentence);
        }
        let mut record = record_of(requester, RecordKind::StateAccepted, Decision::Permitted);
        record.input = Some(Digest::of(cause.as_bytes()));
        record.codes.extend(cause.split(':').next().and_then(ErrorCode::parse));
        self.reopen(ticket, requester, reason, record, now)
    }

    fn reopen(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        reason: String,
        record: Record,
        now: Now,
    ) -> Effect {
        let entry = HaltEntry {
            halted: false,
            since: now.wall,
            by: requester.actor.label(),
            reason,
            audit_event_id: None,
            later: Vec::new(),
        };
        self.reopening = Some(self.halt_generation);
        let row = Row::Halt(entry.clone());
        let after = After::Resume {
            ticket,
            requester: Box::new(requester.clone()),
            entry: Box::new(entry),
            generation: self.halt_generation,
        };
        self.commit(Vec::new(), vec![row], Payload::Record(record), after, now)
    }

    /// The resume is durable. The latch opens last: when no file halts any more, and nobody has
    /// halted meanwhile. A process that ends before finds the file at its start.
    pub(super) fn reopened(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        entry: HaltEntry,
        (generation, cleared): (u64, bool),
        now: Now,
    ) -> Vec<Effect> {
        if generation != self.halt_generation {
            return vec![halted_again(ticket)];
        }
        if !cleared {
            let reason = "the file halt in the state folder could not be taken away".to_owned();
            let mut effects = self.stop(Ticket(0), requester, reason, now);
            let sentence = "the file halt in the state folder can't be taken away, or was written \
                            anew: look at it, take away what isn't a file, and resume again";
            effects.push(refuse(ticket, ErrorCode::KillSwitchClosed, sentence));
            return effects;
        }
        let event = entry.audit_event_id.clone();
        self.reopening = None;
        self.halt = entry;
        let reply = Effect::Reply { ticket, answer: Answer::Done, event };
        vec![Effect::SetLatch { halted: false }, reply]
    }
}

pub(super) fn halted_again(ticket: Ticket) -> Effect {
    refuse(ticket, ErrorCode::KillSwitchClosed, "trading was halted again")
}
