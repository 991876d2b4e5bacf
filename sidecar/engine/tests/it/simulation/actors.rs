//! Agents and operators that do what they may and what they may not, at random.

use super::checker::{Asked, Checked};
use super::setting::{self, Who};
use super::world::{Pending, World};
use crate::signing;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerOrderId, ClientOrderId, Digest, IdempotencyKey, OnApproval,
    OrderState,
};
use ibkr_agent_engine::{
    ApprovalStatus, Asking, Cancellation, Input, OperatorAct, OutcomeQuery, Owner, PreviewDraft,
    Submission, Ticket,
};

/// An approval as somebody knows it.
#[derive(Debug, Clone)]
struct Known {
    approval: ApprovalId,
    account: AccountId,
    shown: Digest,
    who: Who,
}

impl World {
    /// Somebody does something.
    pub(super) fn act(&mut self) -> Checked {
        let sending = self.pending.iter().any(|pending| matches!(pending, Pending::Place(..)));
        if sending && self.random.percent(8) {
            return self.halt();
        }
        let who = if self.random.percent(60) { Who::Local } else { Who::Token };
        if self.store_failed && self.random.percent(25) {
            return if self.random.percent(30) { self.halt() } else { self.cancel_order(who) };
        }
        match self.random.below(24) {
            0..=2 => self.preview(who),
            3..=4 => self.ask(who),
            5..=9 => self.submit(who),
            10 => self.outcome(who),
            11 => self.cancel_order(who),
            12..=14 => self.decide(),
            15 => self.deny(),
            16 => self.halt_or_resume(),
            17 if self.engine.halt_entry().is_of_state() => self.accept_state(),
            17 => self.answer(),
            18 => self.state_outcome(),
            19..=20 => self.decide(),
            21..=22 => self.submit(who),
            _ => self.withdraw_or_poll(),
        }
    }

    fn ticket(&mut self, asked: Asked) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.checker.asked(ticket, asked);
        ticket
    }

    /// Mostly whose it is, sometimes anybody.
    fn mostly(&mut self, whose: Who, anybody: Who) -> Who {
        if self.random.percent(90) { whose } else { anybody }
    }

    /// Mostly a new call's id, sometimes one that was there before.
    fn call(&mut self) -> String {
        if self.random.percent(20) {
            return format!("call-{}", self.random.below(8));
        }
        self.next += 1;
        format!("call-{}", self.next)
    }

    fn key(&mut self) -> IdempotencyKey {
        let text = format!("key-{}", self.random.below(6));
        IdempotencyKey::parse(&text).expect("a key")
    }

    fn preview(&mut self, who: Who) -> Checked {
        let account = self.account();
        let contract = 1 + self.random.below(2);
        let quantity = if self.random.percent(50) { 1 } else { 2 };
        let draft = PreviewDraft {
            plan: setting::order(account, contract, quantity).into(),
            facts: self.facts(),
        };
        let call = self.call();
        let caller = setting::caller(who, &call, self.now().wall);
        let ticket = self.ticket(Asked::Other);
        self.feed(Input::Preview { ticket, caller, draft: Box::new(draft) })
    }

    fn account(&mut self) -> AccountId {
        let accounts = setting::accounts();
        self.random.pick(&accounts).cloned().expect("there are two")
    }

    fn ask(&mut self, who: Who) -> Checked {
        let Some((preview, account, whose)) = self.random.pick(&self.previews).cloned() else {
            return Ok(());
        };
        let who = self.mostly(whose, who);
        let mut asking = (self.call(), preview, account, who);
        // Now and then the very same call comes again.
        if self.random.percent(25) {
            asking = self.random.pick(&self.askings).cloned().unwrap_or(asking);
        }
        self.askings.push(asking.clone());
        let (call, preview, account, who) = asking;
        let caller = setting::caller(who, &call, self.now().wall);
        let ticket = self.ticket(Asked::Other);
        let sends = self.random.percent(50);
        let on_approval = if sends { OnApproval::Submit } else { OnApproval::Hold };
        let asking = Asking { account, preview, ttl: None, on_approval, reason: None };
        self.feed(Input::AskApproval { ticket, caller, asking })
    }

    /// Approvals of one status, or of any.
    fn approvals(&self, status: Option<ApprovalStatus>) -> Vec<Known> {
        self.engine
            .approvals()
            .filter(|entry| status.is_none_or(|status| status == entry.status))
            .map(|e| Known {
                approval: e.id.clone(),
                account: e.account().clone(),
                shown: e.plan.digest(),
                who: Who::of(&e.owner),
            })
            .collect()
    }

    fn submit(&mut self, who: Who) -> Checked {
        let wanted = self.random.percent(70).then_some(ApprovalStatus::Approved);
        let approvals = self.approvals(wanted);
        let Some(known) = self.random.pick(&approvals).cloned() else {
            return Ok(());
        };
        let who = self.mostly(known.who, who);
        let (approval, right) = (known.approval, known.account);
        let account = if self.random.percent(5) { self.account() } else { right.clone() };
        let names_another = account != right;
        let racers = 1 + self.random.below(3);
        for _ in 0..racers {
            let key = self.key();
            let owner = Owner::parse(who.owner()).expect("an owner");
            let sent_before = self.checker.left_under(&owner, &key);
            let asked =
                Asked::Submit { owner, key: key.clone(), approval: approval.clone(), sent_before };
            // Naming another account makes it another request.
            let ticket = self.ticket(if names_another { Asked::Other } else { asked });
            let call = self.call();
            let caller = setting::caller(who, &call, self.now().wall);
            let submission =
                Submission { account: account.clone(), approval: approval.clone(), key };
            self.feed(Input::Submit { ticket, caller, submission })?;
        }
        Ok(())
    }

    fn outcome(&mut self, who: Who) -> Checked {
        let approvals = self.approvals(None);
        let Some(Known { approval, .. }) = self.random.pick(&approvals).cloned() else {
            return Ok(());
        };
        let caller = setting::caller(who, "call-outcome", self.now().wall);
        let query = OutcomeQuery::Approval(approval.clone());
        let ticket = self.ticket(Asked::Other);
        self.feed(Input::Outcome { ticket, caller: caller.clone(), query })?;
        let ticket = self.ticket(Asked::Other);
        self.feed(Input::ApprovalStatus { ticket, caller, approval })
    }

    fn cancel_order(&mut self, who: Who) -> Checked {
        let who = if self.random.percent(30) { Who::Operator } else { who };
        let known: Vec<(BrokerOrderId, AccountId, Owner)> = self
            .engine
            .orders()
            .filter_map(|entry| {
                let id = entry.broker_order_id.clone()?;
                Some((id, entry.account().clone(), entry.owner.clone()))
            })
            .collect();
        let Some((order, account, owner)) = self.random.pick(&known).cloned() else {
            return Ok(());
        };
        let may = who == Who::Operator || owner.to_string() == who.owner();
        let ticket = self.ticket(if may { Asked::Cancel } else { Asked::Other });
        let call = self.call();
        let caller = setting::caller(who, &call, self.now().wall);
        let cancellation = Cancellation { account, order };
        self.feed(Input::Cancel { ticket, caller, cancellation })
    }

    fn operate(&mut self, asked: Asked, act: OperatorAct) -> Checked {
        let ticket = self.ticket(asked);
        let call = self.call();
        let requester = setting::requester(Who::Operator, &call);
        self.feed(Input::Operator { ticket, requester, act })
    }

    /// An operator takes a caller's preview; it is signed like any other.
    fn take_preview(&mut self) -> Checked {
        let Some((preview, ..)) = self.random.pick(&self.previews).cloned() else {
            return Ok(());
        };
        self.operate(Asked::Other, OperatorAct::Take { preview })
    }

    /// An operator signs what is shown, or, rarely, something else; now and then what was signed
    /// before, and wasn't sent.
    fn decide(&mut self) -> Checked {
        if self.random.percent(15) {
            return self.take_preview();
        }
        let again = self.random.percent(20);
        let wanted = if again { ApprovalStatus::Approved } else { ApprovalStatus::Pending };
        let pending = self.approvals(Some(wanted));
        let Some(Known { approval, shown, .. }) = self.random.pick(&pending).cloned() else {
            return Ok(());
        };
        let Some(entry) = self.engine.approvals().find(|entry| entry.id == approval) else {
            return Ok(());
        };
        let terms = entry.terms().expect("a new approval");
        let digest = terms.digest();
        let act = match self.random.below(20) {
            0 => signing::approve(&approval, Digest::of(b"another order"), &signing::KEY),
            1 => signing::approve(&approval, digest, &[6; 32]),
            _ => {
                self.checker.signed.insert(approval.clone(), shown);
                self.checker.signs(&approval, terms.on_approval, self.monotonic);
                signing::approve(&approval, digest, &signing::KEY)
            }
        };
        self.operate(Asked::Other, act)
    }

    fn deny(&mut self) -> Checked {
        if self.random.percent(60) {
            return Ok(());
        }
        let approvals = self.approvals(None);
        let Some(Known { approval, .. }) = self.random.pick(&approvals).cloned() else {
            return Ok(());
        };
        self.operate(Asked::Other, OperatorAct::Deny { approval })
    }

    fn halt_or_resume(&mut self) -> Checked {
        let reason = "simulated".to_owned();
        if self.engine.halt_entry().is_of_state() {
            return self.accept_state();
        }
        if self.engine.halt_entry().halted || self.random.percent(10) {
            self.checker.resuming();
            return self.operate(Asked::Other, OperatorAct::Resume { reason });
        }
        if self.random.percent(80) {
            return Ok(());
        }
        self.halt()
    }

    /// An operator signs the cause that is shown, or, rarely, something else.
    fn accept_state(&mut self) -> Checked {
        let reason = "looked at the broker".to_owned();
        let cause = self.engine.halt_entry().told();
        match self.random.below(4) {
            0 => self.operate(Asked::Other, OperatorAct::Resume { reason }),
            1 => {
                let cause = format!("{cause} and more");
                self.operate(Asked::Other, OperatorAct::Accept { cause, reason })
            }
            _ => {
                self.count("states accepted");
                self.checker.accepting();
                self.operate(Asked::Other, OperatorAct::Accept { cause, reason })
            }
        }
    }

    fn halt(&mut self) -> Checked {
        if self.random.percent(25) {
            self.write_file();
            return Ok(());
        }
        let reason = "simulated".to_owned();
        self.count("halts");
        self.checker.halts += 1;
        let asked = Asked::Halt(self.checker.resumes);
        self.operate(asked, OperatorAct::Halt { reason })
    }

    fn answer(&mut self) -> Checked {
        let asked: Vec<(ClientOrderId, Digest)> = self
            .engine
            .orders()
            .filter_map(|e| Some((e.id.clone(), e.question.as_ref()?.text_digest())))
            .collect();
        let Some((order, text)) = self.random.pick(&asked).cloned() else {
            return Ok(());
        };
        let confirmed = self.random.percent(70);
        let act = OperatorAct::Answer { order, text, confirmed };
        self.operate(Asked::Other, act)
    }

    /// An operator looks at the broker and states, truthfully, what became of an order in doubt.
    fn state_outcome(&mut self) -> Checked {
        let doubtful: Vec<ClientOrderId> = self
            .engine
            .orders()
            .filter(|entry| entry.state == OrderState::Unknown)
            .map(|entry| entry.id.clone())
            .collect();
        let Some(order) = self.random.pick(&doubtful).cloned() else {
            return Ok(());
        };
        let on_its_way = self.pending.iter().any(|pending| match pending {
            Pending::Arrive(sent) => sent.reference == order,
            Pending::Place(permit, _) => permit.get().action().is_of(&order),
            Pending::Reply(permit) => *permit.get().action().client_order_id() == order,
            Pending::Input(_)
            | Pending::Read(_)
            | Pending::Cancel(..)
            | Pending::RecordedCancel(..)
            | Pending::Seek(_)
            | Pending::Look(_)
            | Pending::Ask(..) => false,
        });
        let held = self.broker.orders.get(&(order.clone(), 0));
        let exists = held.map(|held| held.counts());
        if on_its_way || self.random.percent(50) {
            return Ok(());
        }
        self.count("statements");
        let exists = exists.unwrap_or(false);
        if !exists {
            self.checker.stated_absent(&order);
        }
        self.operate(Asked::Other, OperatorAct::Settle { order, exists })
    }

    fn withdraw_or_poll(&mut self) -> Checked {
        let watched: Vec<AccountId> = self.engine.accounts_to_watch().into_iter().collect();
        if self.random.percent(70) {
            if let Some(account) = self.random.pick(&watched).cloned() {
                self.seek(account);
            }
            return Ok(());
        }
        let open = self.checker.open_tickets();
        let Some(ticket) = self.random.pick(&open).copied() else {
            return Ok(());
        };
        self.checker.withdrew(ticket);
        self.feed(Input::Withdrawn { ticket })
    }
}
