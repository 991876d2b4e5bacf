//! What an operator's signature sends: one fresh run of facts and gates and one order, at once or
//! never.
//!
//! An approval that says `submit` is sent when its yes is durable: the engine begins a submission
//! of its own on the one way in `submit.rs`, for the approval's owner, in the operator's name. What
//! is under way is in memory only, so a restart begins nothing; a halt ends it, whoever resumes;
//! and time ends it. What wasn't sent then needs another signature, or a submission. A refusal
//! stands with the approval; the last of a few makes it void.

use crate::{
    After, Answer, ApprovalEntry, ApprovalStatus, Caller, Change, Effect, Engine, Expired,
    LastRefusal, Now, OrderEntry, Owner, Payload, Precondition, Refusal, Row, Standing, Submission,
    Ticket, owner_of, record_of,
};
use ibkr_agent_domain::{
    ApprovalId, Decision, ErrorCode, IdempotencyKey, NotSent, OnApproval, OrderState, RecordKind,
    Reference, Timestamp,
};
use ibkr_agent_gates::Requester;
use std::collections::BTreeMap;
use std::time::Duration;

/// Refusals after a yes that make an approval void.
pub const REFUSALS_VOID: u8 = 3;

/// What the record of a refusal says that counts, and what of the last one.
pub(crate) const REFUSED_AFTER_YES: &str = "refused_after_yes";
pub(crate) const VOID_AFTER_REFUSALS: &str = "approval_void_after_refusals";

/// Longest between a signature and the moment at which its order leaves.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What followed an operator's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// Nothing was sent.
    Nothing,
    /// The signature's order is on its way out.
    Sending,
    /// Its order, as it stands.
    Order(Box<OrderEntry>),
}

impl Followed {
    /// Whether more is about to follow: it hasn't left, or the broker hasn't answered.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Sending => true,
            Self::Order(order) => order.state == OrderState::Intended,
        }
    }
}

/// Whether operators' signatures send anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sending {
    /// They don't: orders are switched off.
    #[default]
    Off,
    /// They do, where the approval says so.
    On,
}

/// Who acts, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Party {
    /// Whose the approval or the order is.
    pub(super) owner: Owner,
    /// Who acts, for the record.
    pub(super) requester: Requester,
    /// How it proved itself.
    pub(super) standing: Standing,
    /// By what right.
    pub(super) by: By,
}

/// By what right somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A caller, for itself.
    Caller,
    /// An operator, whose signature sends.
    Operator,
}

impl Party {
    /// A caller.
    pub(super) fn of(caller: &Caller) -> Self {
        let requester = caller.requester.clone();
        let standing = caller.standing;
        Self { owner: owner_of(&requester), requester, standing, by: By::Caller }
    }
}

/// A send that a signature began.
#[derive(Debug)]
struct Send {
    requester: Requester,
    /// How often trading had been halted when it was signed.
    halts: u64,
    signed_at: Timestamp,
    /// The same by the monotonic clock.
    begun: Duration,
}

/// The sends that are under way: none has left yet.
#[derive(Debug, Default)]
pub(super) struct Sends {
    under_way: BTreeMap<ApprovalId, Send>,
    tickets: u64,
}

impl Sends {
    /// Whatever was under way for an approval is no more.
    pub(super) fn end(&mut self, approval: &ApprovalId) {
        self.under_way.remove(approval);
    }
}

impl Engine {
    /// A signature over an approval that sends by itself: from here on time runs, and a halt ends
    /// it.
    pub(super) fn signing(&mut self, approval: &ApprovalId, requester: &Requester, now: Now) {
        let send = Send {
            requester: requester.clone(),
            halts: self.halt_generation,
            signed_at: now.wall,
            begun: now.monotonic,
        };
        self.sends.under_way.insert(approval.clone(), send);
    }

    /// Whether an approval's send is under way.
    pub(super) fn is_sending(&self, approval: &ApprovalId) -> bool {
        self.sends.under_way.contains_key(approval)
    }

    /// What followed an approval's yes.
    #[must_use]
    pub fn followed(&self, entry: &ApprovalEntry) -> Followed {
        let order = self.orders.of_approval(&entry.id);
        match order {
            _ if entry.status == ApprovalStatus::Approved && self.is_sending(&entry.id) => {
                Followed::Sending
            }
            Some(order) => Followed::Order(Box::new(order.clone())),
            None => Followed::Nothing,
        }
    }

    /// The yes is durable: the operator is told so, and the order is sent.
    pub(super) fn signed(
        &mut self,
        ticket: Ticket,
        entry: Box<ApprovalEntry>,
        event: Option<String>,
        now: Now,
    ) -> Vec<Effect> {
        let (id, change) = (entry.id.clone(), change_of(&entry));
        let begun = self.send_signed(&id, now);
        let followed = self.followed(&entry);
        let answer = Answer::Approval(entry, Expired::No, followed);
        let mut effects = vec![Effect::Reply { ticket, answer, event }, Effect::Changed(change)];
        effects.extend(begun);
        effects
    }

    fn send_signed(&mut self, id: &ApprovalId, now: Now) -> Vec<Effect> {
        let (Some(send), Some(entry)) = (self.sends.under_way.get(id), self.approvals.get(id))
        else {
            return Vec::new();
        };
        // What a caller's own submission uses where it names no key: each finds the other's order.
        let Ok(key) = IdempotencyKey::parse(&format!("approval:{id}")) else {
            return Vec::new();
        };
        let party = Party {
            owner: entry.owner.clone(),
            requester: send.requester.clone(),
            standing: Standing::Operator,
            by: By::Operator,
        };
        let account = entry.account().clone();
        let submission = Submission { account, approval: id.clone(), key };
        self.sends.tickets = self.sends.tickets.saturating_add(1);
        self.send(Ticket::own(self.sends.tickets), party, submission, now)
    }

    /// Refuses what a signature sends when its moment is over.
    pub(super) fn at_once(&self, party: &Party, id: &ApprovalId, now: Now) -> Result<(), Refusal> {
        match party.by {
            By::Caller => Ok(()),
            By::Operator if self.config.sending == Sending::Off => {
                let message = "paper trading is switched off";
                Err(Refusal::new(ErrorCode::PaperTradingDisabled, message))
            }
            By::Operator => match self.too_late(id, now) {
                None if self.is_sending(id) => Ok(()),
                Some(NotSent::Halted) => {
                    let message = "trading was halted after the signature: sign again to send";
                    Err(Refusal::new(ErrorCode::KillSwitchClosed, message))
                }
                Some(_) | None => {
                    let message = "a signature sends at once or never, and this took too long";
                    Err(Refusal::new(ErrorCode::OrderNotSent, message))
                }
            },
        }
    }

    /// Why what a signature sends may leave no more; none where nothing is under way.
    pub(super) fn too_late(&self, id: &ApprovalId, now: Now) -> Option<NotSent> {
        let send = self.sends.under_way.get(id)?;
        let took = now.wall.since(send.signed_at).max(now.monotonic.saturating_sub(send.begun));
        if send.halts != self.halt_generation {
            return Some(NotSent::Halted);
        }
        (took > AT_ONCE).then_some(NotSent::SignatureTooOld)
    }

    /// The order that the operator's signature sent before under a caller's approval.
    pub(super) fn sent_by_signature(
        &self,
        party: &Party,
        submission: &Submission,
    ) -> Option<&OrderEntry> {
        let entry = self.approvals.get(&submission.approval)?;
        let is_its_own = entry.owner == party.owner && *entry.account() == submission.account;
        let is_sent =
            entry.status == ApprovalStatus::Consumed && entry.on_approval() == OnApproval::Submit;
        if is_its_own && is_sent { self.orders.of_approval(&entry.id) } else { None }
    }

    /// Refuses to send. Where a signature was to send, the refusal counts and stands with the
    /// approval, whoever tried.
    pub(super) fn refuse_send(
        &mut self,
        ticket: Ticket,
        party: &Party,
        submission: &Submission,
        refusal: Refusal,
        now: Now,
    ) -> Effect {
        let id = &submission.approval;
        if party.by == By::Operator {
            self.sends.end(id);
        }
        let found = self.approvals.get(id).filter(|entry| {
            entry.owner == party.owner && entry.on_approval() == OnApproval::Submit
        });
        let Some(mut entry) = found.cloned() else {
            return self.refuse_recorded(ticket, &party.requester, refusal, now);
        };
        let mut record = record_of(&party.requester, RecordKind::Refused, Decision::Denied);
        record.codes.push(refusal.code);
        record.policy = Some(self.config.policies.of_plan(&entry.plan).hash());
        record.account = Some(entry.account().clone());
        record.references.push(Reference::Approval(id.clone()));
        let (mut preconditions, mut rows) = (Vec::new(), Vec::new());
        if self.counts(&entry, submission, &refusal, now) {
            entry.refusals = entry.refusals.saturating_add(1);
            entry.refused = Some(LastRefusal {
                code: refusal.code,
                message: refusal.message.clone(),
                details: refusal.details.clone(),
                at: now.wall,
            });
            record.details.push(REFUSED_AFTER_YES);
            if entry.refusals >= REFUSALS_VOID {
                entry.status = ApprovalStatus::Void;
                record.details.push(VOID_AFTER_REFUSALS);
            }
            self.approvals.insert(id.clone(), entry.clone());
            preconditions.push(Precondition::ApprovalIs(id.clone(), ApprovalStatus::Approved));
            rows.push(Row::Approval(Box::new(entry.clone())));
        }
        let after = After::SendRefused(ticket, refusal, change_of(&entry));
        self.commit(preconditions, rows, Payload::Record(record), after, now)
    }

    /// Whether a refusal is one of the order, while its approval could be spent.
    fn counts(
        &self,
        entry: &ApprovalEntry,
        submission: &Submission,
        refusal: &Refusal,
        now: Now,
    ) -> bool {
        entry.status == ApprovalStatus::Approved
            && !self.is_over(entry, now)
            && *entry.account() == submission.account
            && refusal.code != ErrorCode::PaperIdempotencyConflict
    }
}

/// That an approval changed.
pub(super) fn change_of(entry: &ApprovalEntry) -> Change {
    Change {
        resource: format!("ibkr://approvals/{}", entry.id),
        owner: entry.owner.clone(),
        account: entry.account().clone(),
    }
}
