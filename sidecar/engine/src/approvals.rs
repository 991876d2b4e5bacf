//! Previews, asking for an approval, and the operator's yes and no.

use crate::sends::{By, Party};
use crate::{
    After, Answer, ApprovalEntry, ApprovalStatus, Asking, Caller, Effect, Engine, Expired,
    MAX_APPROVAL_TTL, Now, OperatorAct, OperatorKeyEntry, Payload, Precondition, Preview,
    PreviewDraft, Refusal, Row, Standing, Ticket, derived_id, owner_of, record_of, refuse,
    system_record,
};
use ibkr_agent_domain::{
    ApprovalId, Decision, Digest, ErrorCode, OnApproval, OperatorKeyId, OperatorSignature,
    PreviewId, RecordKind, Reference,
};
use ibkr_agent_gates::{Requester, Verdict, check_plan, mid_price};

impl Engine {
    pub(super) fn preview(
        &mut self,
        ticket: Ticket,
        caller: &Caller,
        draft: PreviewDraft,
        now: Now,
    ) -> Effect {
        let PreviewDraft { plan, facts } = draft;
        let reference_price = facts.quote.as_ref().and_then(mid_price);
        let reference_time = facts.quote.as_ref().map(|quote| quote.as_of);
        let position = facts.position;
        let facts = self.complete_facts(facts, &plan, &[], now.wall, now);
        let policy = self.config.policies.of_plan(&plan);
        let policy_hash = policy.hash();
        let checks = check_plan(policy, &facts, &plan, now.wall);
        let would_pass = !checks.iter().any(ibkr_agent_gates::Check::is_denied);
        let warned = checks.iter().filter(|check| check.verdict == Verdict::Warned);
        let warnings = warned.map(ibkr_agent_gates::Check::sentence).collect();
        let owner = owner_of(&caller.requester);
        // The order is part of it: a preview that was shown never becomes another order's.
        let digest = plan.digest().to_string();
        let id = derived_id("pv", &[&owner.to_string(), caller.requester.call.as_str(), &digest]);
        let Ok(id) = PreviewId::parse(&id) else {
            return refuse(ticket, ErrorCode::InternalError, "no preview id");
        };
        let preview = Preview {
            id: id.clone(),
            owner,
            plan,
            reference_price,
            reference_time: reference_price.and(reference_time),
            position,
            would_pass,
            warnings,
            created_at: now.wall,
            expires_at: now.wall.plus(self.config.preview_ttl),
        };
        let mut record = record_of(&caller.requester, RecordKind::Previewed, Decision::Stated);
        record.account = Some(preview.plan.account().clone());
        record.policy = Some(policy_hash);
        record.references.push(Reference::Preview(id.clone()));
        record.references.push(Reference::Order(preview.plan.digest()));
        for check in checks.iter().filter(|check| check.is_denied()) {
            record.details.push(check.gate.as_str());
        }
        let mut rows = self.forget(now);
        rows.push(Row::Preview(Box::new(preview.clone())));
        self.ages.previews.insert((preview.created_at, id.clone()));
        self.previews.insert(id, preview.clone());
        let answer = Answer::Preview(Box::new(preview), checks);
        let after = After::Reply(ticket, answer, None);
        self.commit(Vec::new(), rows, Payload::Record(record), after, now)
    }

    pub(super) fn ask_approval(
        &mut self,
        ticket: Ticket,
        party: &Party,
        asking: &Asking,
        now: Now,
    ) -> Effect {
        let entry = match self.new_approval(party, asking, now) {
            Ok(entry) => entry,
            Err(refusal) => return self.refuse_recorded(ticket, &party.requester, refusal, now),
        };
        // The same call asks once: what became of its approval is never written over.
        if let Some(asked) = self.approvals.get(&entry.id) {
            let answer = self.approval_answer(asked, now);
            return Effect::Reply { ticket, answer, event: None };
        }
        let mut record = record_of(&party.requester, RecordKind::ApprovalAsked, Decision::Stated);
        record.account = Some(entry.account().clone());
        record.references.push(Reference::Preview(entry.preview.clone()));
        record.references.push(Reference::Approval(entry.id.clone()));
        record.references.push(Reference::Order(entry.plan.digest()));
        self.ages.approvals.insert((entry.created_at, entry.id.clone()));
        self.approvals.insert(entry.id.clone(), entry.clone());
        let life = entry.expires_at.since(entry.created_at);
        self.deadlines.insert(entry.id.clone(), now.monotonic.saturating_add(life));
        let changed = format!("ibkr://approvals/{}", entry.id);
        let answer = self.approval_answer(&entry, now);
        let after = After::Reply(ticket, answer, Some(changed));
        self.commit(
            Vec::new(),
            vec![Row::Approval(Box::new(entry))],
            Payload::Record(record),
            after,
            now,
        )
    }

    fn new_approval(
        &self,
        party: &Party,
        asking: &Asking,
        now: Now,
    ) -> Result<ApprovalEntry, Refusal> {
        self.check_admitted(party.standing, &party.requester)?;
        let found = self.previews.get(&asking.preview);
        let found = found.filter(|preview| preview.owner == party.owner);
        let not_found = || Refusal::new(ErrorCode::PreviewNotFound, "no such preview");
        let preview = found.ok_or_else(not_found)?;
        if preview.expires_at <= now.wall {
            return Err(Refusal::new(ErrorCode::PreviewExpired, "the preview has expired"));
        }
        if *preview.plan.account() != asking.account {
            let message = "the preview is for another account";
            return Err(Refusal::new(ErrorCode::ApprovalPreviewMismatch, message));
        }
        if !preview.would_pass {
            let message = "the preview's checks did not pass: there is nothing to approve";
            return Err(Refusal::new(ErrorCode::OrderPolicyRefused, message));
        }
        if party.by == By::Caller {
            self.room_for_another(now)?;
        }
        let ttl = asking.ttl.unwrap_or(self.config.approval_ttl).min(MAX_APPROVAL_TTL);
        let call = party.requester.call.as_str();
        let id = derived_id("ap", &[&party.owner.to_string(), call, preview.id.as_str()]);
        let id = ApprovalId::parse(&id)
            .map_err(|_| Refusal::new(ErrorCode::InternalError, "no approval id"))?;
        let asked = self.asked_now(party, &id, preview, asking, now);
        Ok(ApprovalEntry {
            id,
            owner: party.owner.clone(),
            asked_by: party.requester.actor.label(),
            preview: preview.id.clone(),
            plan: preview.plan.clone(),
            reference_price: preview.reference_price,
            position: preview.position,
            warnings: preview.warnings.clone(),
            status: ApprovalStatus::Pending,
            asked: Some(asked),
            approved_by: None,
            signed: None,
            refusals: 0,
            refused: None,
            created_at: now.wall,
            expires_at: now.wall.plus(ttl),
        })
    }

    /// Callers can't fill a human's list.
    fn room_for_another(&self, now: Now) -> Result<(), Refusal> {
        // None that is older than an approval can live is open.
        let young = self
            .ages
            .approvals
            .iter()
            .rev()
            .take_while(|(at, _)| now.wall.since(*at) <= MAX_APPROVAL_TTL);
        let open = young
            .filter_map(|(_, id)| self.approvals.get(id))
            .filter(|entry| entry.status == ApprovalStatus::Pending && !self.is_over(entry, now));
        if open.take(self.config.max_open_approvals).count() >= self.config.max_open_approvals {
            return Err(Refusal::new(ErrorCode::ApprovalTooMany, "too many approvals are open"));
        }
        Ok(())
    }

    /// An operator takes a caller's fresh preview: the approval is the caller's, asked for by the
    /// operator, whose signature is still to come.
    fn take_preview(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        preview: PreviewId,
        now: Now,
    ) -> Effect {
        let Some(found) = self.previews.get(&preview) else {
            return refuse(ticket, ErrorCode::PreviewNotFound, "no such preview");
        };
        let standing = Standing::Operator;
        let party = Party { owner: found.owner.clone(), requester, standing, by: By::Operator };
        let account = found.plan.account().clone();
        let on_approval = OnApproval::Submit;
        let asking = Asking { account, preview, ttl: None, on_approval, reason: None };
        self.ask_approval(ticket, &party, &asking, now)
    }

    /// An approval as it stands.
    fn approval_answer(&self, entry: &ApprovalEntry, now: Now) -> Answer {
        let (expired, followed) = (self.has_expired(entry, now), self.followed(entry));
        Answer::Approval(Box::new(entry.clone()), expired, followed)
    }

    pub(super) fn approval_status(
        &self,
        ticket: Ticket,
        caller: &Caller,
        approval: &ApprovalId,
        now: Now,
    ) -> Effect {
        let owner = owner_of(&caller.requester);
        let found = self.approvals.get(approval).filter(|entry| entry.owner == owner);
        let Some(entry) = found else {
            return refuse(ticket, ErrorCode::ApprovalNotFound, "no such approval");
        };
        Effect::Reply { ticket, answer: self.approval_answer(entry, now), event: None }
    }

    /// An operator's act. Its signature was verified where one is needed.
    pub(super) fn operator(
        &mut self,
        ticket: Ticket,
        requester: Requester,
        act: OperatorAct,
        now: Now,
    ) -> Vec<Effect> {
        match act {
            OperatorAct::Approve { approval, digest, key, signature } => {
                vec![self.approve(ticket, &requester, &approval, (digest, key, signature), now)]
            }
            OperatorAct::Take { preview } => {
                vec![self.take_preview(ticket, requester, preview, now)]
            }
            OperatorAct::Deny { approval } => vec![self.deny(ticket, &requester, &approval, now)],
            OperatorAct::Answer { order, text, confirmed } => {
                vec![self.answer_question(ticket, requester, &order, text, confirmed, now)]
            }
            OperatorAct::Halt { reason } => self.stop(ticket, requester, reason, now),
            OperatorAct::Resume { reason } => vec![self.resume(ticket, &requester, reason, now)],
            OperatorAct::Accept { cause, reason } => {
                vec![self.accept_state(ticket, &requester, &cause, reason, now)]
            }
            OperatorAct::Admit { caller } => {
                vec![self.admit_caller(ticket, &requester, &caller, now)]
            }
            OperatorAct::Revoke { caller } => self.revoke_caller(ticket, &requester, &caller, now),
            OperatorAct::Enrol(key) => vec![self.enrol(ticket, &requester, key, now)],
            OperatorAct::TakeOver { broker } => {
                vec![self.take_over(ticket, requester, broker, now)]
            }
            OperatorAct::Settle { order, exists } => {
                vec![self.settle_by_statement(ticket, &requester, &order, exists, now)]
            }
        }
    }

    fn approve(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        approval: &ApprovalId,
        (digest, key, signature): (Digest, OperatorKeyId, OperatorSignature),
        now: Now,
    ) -> Effect {
        let Some(entry) = self.approvals.get(approval) else {
            return refuse(ticket, ErrorCode::ApprovalNotFound, "no such approval");
        };
        let yes = match self.with_yes(entry, &key, &digest, signature) {
            Ok(yes) => yes,
            Err(refusal) => return self.refuse_recorded(ticket, requester, refusal, now),
        };
        let (before, sends) = (entry.status, entry.on_approval() == OnApproval::Submit);
        let problem = match entry.status {
            ApprovalStatus::Denied => Some((ErrorCode::ApprovalDenied, "it was denied")),
            ApprovalStatus::Consumed => Some((ErrorCode::ApprovalConsumed, "it was spent")),
            ApprovalStatus::Void => Some((ErrorCode::ApprovalExpired, entry.why_void())),
            ApprovalStatus::Pending | ApprovalStatus::Approved if self.is_over(entry, now) => {
                Some((ErrorCode::ApprovalExpired, "the request has expired"))
            }
            // Signed again, what wasn't sent is tried again.
            ApprovalStatus::Approved
                if sends && !self.is_sending(approval) && self.check_authority(entry).is_ok() =>
            {
                None
            }
            ApprovalStatus::Approved if self.check_authority(entry).is_ok() => {
                let answer = self.approval_answer(entry, now);
                return Effect::Reply { ticket, answer, event: None };
            }
            // Marked as approved, but not by an operator.
            ApprovalStatus::Approved => {
                Some((ErrorCode::ApprovalUnsigned, "it was marked as approved without a signature"))
            }
            ApprovalStatus::Pending => None,
        };
        if let Some((code, message)) = problem {
            return refuse(ticket, code, message);
        }
        self.approvals.insert(yes.id.clone(), yes.clone());
        if sends {
            self.signing(approval, requester, now);
        }
        self.decided(ticket, requester, yes, RecordKind::Approved, before, now)
    }

    pub(super) fn deny(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        approval: &ApprovalId,
        now: Now,
    ) -> Effect {
        let Some(entry) = self.approvals.get_mut(approval) else {
            return refuse(ticket, ErrorCode::ApprovalNotFound, "no such approval");
        };
        let before = entry.status;
        if before == ApprovalStatus::Consumed {
            return refuse(ticket, ErrorCode::ApprovalConsumed, "it was spent: cancel the order");
        }
        entry.status = ApprovalStatus::Denied;
        // What was taken back can't be put back by writing a status: the log keeps the signature.
        entry.signed = None;
        let entry = entry.clone();
        self.decided(ticket, requester, entry, RecordKind::Denied, before, now)
    }

    /// Writes down a decision. The entry is changed in memory already: a submission that arrives
    /// before the commit sees it, but the permit that it makes is committed after this one.
    fn decided(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        entry: ApprovalEntry,
        kind: RecordKind,
        before: ApprovalStatus,
        now: Now,
    ) -> Effect {
        let mut record = record_of(requester, kind, Decision::Permitted);
        record.account = Some(entry.plan.account().clone());
        record.references.push(Reference::Approval(entry.id.clone()));
        record.references.push(Reference::Order(entry.plan.digest()));
        if let Some(signed) = &entry.signed {
            record.references.extend(entry.terms().map(|t| Reference::ApprovalBytes(t.digest())));
            record.references.extend(entry.approved_by.clone().map(Reference::OperatorKey));
            record.references.push(Reference::Signature(signed.signature));
        }
        let preconditions = vec![Precondition::ApprovalIs(entry.id.clone(), before)];
        let after = if self.is_sending(&entry.id) && kind == RecordKind::Approved {
            After::Signed(ticket, Box::new(entry.clone()))
        } else {
            let changed = format!("ibkr://approvals/{}", entry.id);
            After::Reply(ticket, self.approval_answer(&entry, now), Some(changed))
        };
        let rows = vec![Row::Approval(Box::new(entry))];
        self.commit(preconditions, rows, Payload::Record(record), after, now)
    }

    fn enrol(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        key: OperatorKeyEntry,
        now: Now,
    ) -> Effect {
        self.operator_keys.insert(key.id.clone(), key.clone());
        let mut record = record_of(requester, RecordKind::KeyEnrolled, Decision::Permitted);
        record.references.push(Reference::OperatorKey(key.id.clone()));
        let public_key = Digest::parse(&key.public_key).ok();
        record.references.extend(public_key.map(|key| Reference::PublicKey(*key.as_bytes())));
        let after = After::Reply(ticket, Answer::Done, None);
        self.commit(Vec::new(), vec![Row::OperatorKey(key)], Payload::Record(record), after, now)
    }

    /// Refuses, and answers once the refusal is in the log.
    pub(super) fn refuse_recorded(
        &mut self,
        ticket: Ticket,
        requester: &Requester,
        refusal: Refusal,
        now: Now,
    ) -> Effect {
        let mut record = record_of(requester, RecordKind::Refused, Decision::Denied);
        record.codes.push(refusal.code);
        record.policy = Some(self.config.policies.hash());
        let after = After::Reply(ticket, Answer::Refused(refusal), None);
        self.commit(Vec::new(), Vec::new(), Payload::Record(record), after, now)
    }

    /// Gives an approval back: nothing was sent under it.
    pub(super) fn return_approval(
        &mut self,
        approval: &ApprovalId,
        rows: &mut Vec<Row>,
    ) -> Option<ibkr_agent_domain::Record> {
        let entry = self.approvals.get_mut(approval)?;
        entry.status = entry.given_back();
        rows.push(Row::Approval(Box::new(entry.clone())));
        let mut record = system_record(RecordKind::ApprovalReturned);
        record.account = Some(entry.plan.account().clone());
        record.references.push(Reference::Approval(approval.clone()));
        Some(record)
    }

    /// Whether an approval's time has passed by either clock: a wall clock that was set back, or
    /// that stands at its high-water mark, lengthens nothing.
    pub(super) fn is_over(&self, entry: &ApprovalEntry, now: Now) -> bool {
        let late = self.deadlines.get(&entry.id).is_some_and(|end| *end <= now.monotonic);
        late || entry.expires_at <= now.wall
    }

    /// Whether an undecided or unspent approval's time has passed.
    #[must_use]
    pub fn has_expired(&self, entry: &ApprovalEntry, now: Now) -> Expired {
        let counts = matches!(entry.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
        if counts && self.is_over(entry, now) { Expired::Yes } else { Expired::No }
    }
}
