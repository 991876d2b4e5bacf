//! The process dies and starts again; at the end everything comes to rest and is looked at.

use super::Sabotage;
use super::checker::{Checked, rule};
use super::setting::{self, Who};
use super::world::{Pending, World};
use ibkr_agent_audit::Emergency;
use ibkr_agent_domain::OrderState;
use ibkr_agent_engine::{
    ApprovalStatus, Engine, Input, OperatorAct, OrderEntry, REFUSALS_VOID, Restored, Ticket, store,
};
use std::time::Duration;

/// Looks at rest: two without an order before it is asked for, and two that show less of it.
const LOOKS: u32 = 4;
/// Time between them, so that each order is asked for again.
const BETWEEN: Duration = Duration::from_secs(61);

impl World {
    /// What the start does with the emergency file.
    fn take_over(&mut self) {
        let Some(folder) = self.emergency.take() else {
            return;
        };
        let path = folder.path().join("emergency.log");
        let (mut file, waiting) = Emergency::open(&path, &[9; 32]).expect("the file");
        let taken =
            self.ledger.transact::<(), (), _>(move |batch| Ok(store::take_over(batch, waiting)?));
        self.runtime.block_on(taken).expect("the store in memory");
        file.clear().expect("the file");
    }

    /// The process dies: memory and effects are gone, what is on the wire may arrive.
    pub(super) fn crash(&mut self) -> Checked {
        self.count("crashes");
        self.commits.clear();
        self.waiting.clear();
        let mut kept = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if matches!(pending, Pending::Arrive(_)) && self.random.percent(50) {
                kept.push(pending);
            }
        }
        self.pending = kept;
        self.store_failed = false;
        self.take_over();
        self.monotonic = Duration::ZERO;
        self.may_put_back();
        self.may_edit();
        let snapshot = self.ledger.snapshot().expect("a snapshot");
        let restored = store::restore(&snapshot).expect("every row reads back");
        let restored = self.sabotaged(restored);
        let config = setting::config(self.sabotage);
        let (engine, effects) = Engine::restore(config, restored, self.now());
        self.engine = engine;
        self.checker.restored(&self.engine)?;
        for effect in effects {
            self.take(effect)?;
        }
        // The driver's first look, before it takes anything in.
        if let Some(input) = self.found() {
            for effect in self.engine.handle(input, self.now()) {
                self.take(effect)?;
            }
            rule(self.engine.halt_entry().halted, || {
                "a start beside the halt's file isn't halted".to_owned()
            })?;
        }
        if self.sabotage == Sabotage::RepeatedSignatures {
            self.repeat_signatures();
        }
        self.truthful()
    }

    /// What was signed before comes in again, as if somebody tried it anew.
    fn repeat_signatures(&mut self) {
        let entries = self.engine.approvals().filter(|one| one.status == ApprovalStatus::Approved);
        let acts: Vec<OperatorAct> = entries.map(crate::signing::yes_to).collect();
        for act in acts {
            let requester = setting::requester(Who::Operator, "call-again");
            let input = Input::Operator { ticket: Ticket(0), requester, act };
            self.pending.push(Pending::Input(Box::new(input)));
        }
    }

    fn sabotaged(&mut self, mut restored: Restored) -> Restored {
        match self.sabotage {
            Sabotage::None
            | Sabotage::OpenLatch
            | Sabotage::LossIsRefusal
            | Sabotage::BlindToTerms
            | Sabotage::BlindToTwins
            | Sabotage::BlindToBusts
            | Sabotage::BlindToLateFills
            | Sabotage::EarlyEnds
            | Sabotage::DeafToAnswers
            | Sabotage::TrustedRows
            | Sabotage::BlindChain
            | Sabotage::AcceptedByItself
            | Sabotage::TwoAnswers
            | Sabotage::DroppedCancels
            | Sabotage::ReopenedLatch
            | Sabotage::RepeatedSignatures => restored,
            Sabotage::ForgottenDoubt => {
                let unknown = |order: &&mut OrderEntry| order.state == OrderState::Unknown;
                for order in restored.orders.iter_mut().filter(unknown) {
                    order.state = OrderState::Rejected;
                }
                restored
            }
            Sabotage::StaleStore => match self.stale.take() {
                Some(stale) => stale,
                None => {
                    self.stale = Some(restored.clone());
                    restored
                }
            },
            Sabotage::ForgottenHalt => {
                restored.halt = None;
                restored
            }
            Sabotage::ForgottenCounts => {
                for order in &mut restored.orders {
                    order.trading_day -= 1;
                    order.counts_until = None;
                }
                restored
            }
        }
    }

    /// Performs everything that waits, losing nothing more, then reads the broker's orders until
    /// what their list leaves out was asked for too.
    pub(super) fn come_to_rest(&mut self) -> Checked {
        for round in 0..=LOOKS {
            let mut steps = 0;
            while self.step()? {
                steps += 1;
                rule(steps < 10_000, || "the run never comes to rest".to_owned())?;
            }
            if round < LOOKS {
                self.monotonic += BETWEEN;
                self.wall += i64::try_from(BETWEEN.as_millis()).expect("small");
                for account in setting::accounts() {
                    self.seek(account);
                }
            }
        }
        self.checker.at_rest(&self.engine, &self.broker)
    }

    /// The whole log verifies, all of it goes back to signatures, and the states that were seen are
    /// counted.
    pub(super) fn finish(&mut self) -> Checked {
        for (what, count) in std::mem::take(&mut self.broker.moved) {
            *self.tally.entry(what).or_default() += count;
        }
        let states: Vec<OrderState> = self.engine.orders().map(|order| order.state).collect();
        for state in states {
            self.count(state.as_str());
        }
        let refusals: Vec<u8> = self.engine.approvals().map(|one| one.refusals).collect();
        for refusals in refusals.into_iter().filter(|refusals| *refusals > 0) {
            self.count("refused after the yes");
            if refusals == REFUSALS_VOID {
                self.count("void after refusals");
            }
        }
        let snapshot = self.ledger.snapshot().expect("a snapshot");
        let verified = snapshot.verify(self.ledger.verifier());
        rule(verified.is_ok(), || format!("the log: {verified:?}"))?;
        let verify = crate::signing::authority().verify;
        let mut chain = store::verify_chain(&snapshot, verify).expect("every record is read");
        if self.sabotage == Sabotage::BlindChain {
            chain.breaks.clear();
        }
        self.edits_are_found(&chain)
    }
}
