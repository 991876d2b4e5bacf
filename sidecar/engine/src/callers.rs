//! Callers with tokens that an operator admitted to writes, and the end of that.
//!
//! Admitting loosens and is signed; revoking tightens, needs no key and works at once: the caller
//! is out before the log has it, and what it asked for and nobody has spent is denied with it.

use crate::{
    Admitted, After, Answer, ApprovalEntry, ApprovalStatus, Effect, Engine, Now, Payload, Refusal,
    Row, Standing, Ticket, Work, record_of, refuse,
};
use ibkr_agent_domain::{
    Actor, ApprovalId, Decision, ErrorCode, OperatorKeyId, RecordKind, Reference, Untrusted,
};
use ibkr_agent_gates::Requester;

/// Longest label of a caller, in characters.
const MAX_LABEL: usize = 2048;

/// Calls of one caller in its current minute, and how many it may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The kind of work; asks and submissions share one budget.
    pub work: Work,
    /// Calls made.
    pub used: u32,
    /// Calls a minute.
    pub per_minute: u32,
}

impl Engine {
    /// Whether a caller of this label was admitted to writes.
    #[must_use]
    pub fn is_admitted(&self, caller: &str) -> bool {
        self.admitted.contains_key(caller)
    }

    /// Every admitted caller.
    pub fn admitted(&self) -> impl Iterator<Item = &Admitted> {
        self.admitted.values()
    }

    /// What a caller has used of its budgets.
    #[must_use]
    pub fn spent(&self, caller: &str, now: Now) -> [Spent; 4] {
        let budget = self.config.budget;
        [Work::Read, Work::Preview, Work::Ask, Work::Cancel].map(|work| Spent {
            work,
            used: self.budgets.used(caller, work, now.monotonic),
            per_minute: budget.of(work),
        })
    }

    /// A caller with a token may write only once an operator admitted it.
    pub(super) fn check_admitted(
        &self,
        standing: Standing,
        requester: &Requester,
    ) -> Result<(), Refusal> {
        let by_token = matches!(standing, Standing::Token { .. });
        if by_token && !self.is_admitted(&requester.actor.label()) {
            let message = "this client may only read until an operator admits it";
            return Err(Refusal::new(ErrorCode::AuthNotAdmitted, message));
        }
        Ok(())
    }

    pub(super) fn admit_caller(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        caller: &str,
        now: Now,
    ) -> Effect {
        let admitted = Admitted {
            caller: caller.to_owned(),
            admitted_at: Some(now.wall),
            admitted_by: key_of(requester),
        };
        self.admitted.insert(caller.to_owned(), admitted.clone());
        let mut record = record_of(requester, RecordKind::Admitted, Decision::Permitted);
        record.references.push(Reference::Caller(Untrusted::bounded(caller, MAX_LABEL)));
        let after = After::Reply(ticket, Answer::Done, None);
        self.commit(Vec::new(), vec![Row::Admitted(admitted)], Payload::Record(record), after, now)
    }

    /// Takes a caller's admission back. The denials come first: whoever is told that it is done
    /// knows that they are.
    pub(super) fn revoke_caller(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        caller: &str,
        now: Now,
    ) -> Vec<Effect> {
        if self.admitted.remove(caller).is_none() {
            let message = "no such caller is admitted";
            return vec![refuse(ticket, ErrorCode::InputInvalid, message)];
        }
        let unspent: Vec<ApprovalId> =
            self.unspent_of(caller, now).map(|entry| entry.id.clone()).collect();
        let denials = unspent.iter().map(|id| self.deny(Ticket(0), requester, id, now));
        let mut effects: Vec<Effect> = denials.collect();
        let mut record = record_of(requester, RecordKind::CallerRevoked, Decision::Permitted);
        record.references.push(Reference::Caller(Untrusted::bounded(caller, MAX_LABEL)));
        let rows = vec![Row::ForgetAdmitted(caller.to_owned())];
        let after = After::Reply(ticket, Answer::Done, None);
        effects.push(self.commit(Vec::new(), rows, Payload::Record(record), after, now));
        effects
    }

    /// What a caller asked for and can still be decided or spent.
    pub fn unspent_of(&self, caller: &str, now: Now) -> impl Iterator<Item = &ApprovalEntry> {
        let open = move |entry: &&ApprovalEntry| match entry.status {
            ApprovalStatus::Pending | ApprovalStatus::Approved => !self.is_over(entry, now),
            ApprovalStatus::Denied | ApprovalStatus::Consumed | ApprovalStatus::Void => false,
        };
        self.approvals.values().filter(open).filter(move |entry| entry.asked_by == caller)
    }
}

fn key_of(requester: &Requester) -> Option<OperatorKeyId> {
    match &requester.actor {
        Actor::Operator { key } => key.clone(),
        Actor::Local { .. }
        | Actor::Token { .. }
        | Actor::Unauthenticated { .. }
        | Actor::System => None,
    }
}
