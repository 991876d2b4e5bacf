//! Somebody with the same user: puts an older copy of the store back, or edits a row while nothing
//! runs. What became of a row that is still edited at the end must be found by the chain check.

use super::Sabotage;
use super::checker::{Books, Checked, rule};
use super::disk::Disk;
use super::setting;
use super::world::World;
use crate::signing;
use ibkr_agent_domain::{Actor, ApprovalId, Decision, Door, OrderPlan, Record, RecordKind};
use ibkr_agent_engine::store::{self, ChainReport};
use ibkr_agent_engine::{ApprovalEntry, ApprovalStatus, Owner, Restored, Row};
use std::collections::BTreeMap;

/// What the sidecar's start says of an older store.
pub(super) const RESTORED: &str = "STATE_RESTORED: store.redb older than the others";

/// A copy of the disk, with what the checker knew to be on it.
#[derive(Debug)]
pub(super) struct Copied {
    disk: Disk,
    books: Books,
    edited: BTreeMap<ApprovalId, Edited>,
}

/// What was done behind the sidecar's back.
#[derive(Debug, Default)]
pub(super) struct Adversary {
    copied: Option<Copied>,
    /// Rows of approvals as they were edited.
    edited: BTreeMap<ApprovalId, Edited>,
}

/// A row before and after.
#[derive(Debug, Clone)]
struct Edited {
    honest: ApprovalEntry,
    now: ApprovalEntry,
}

impl World {
    fn has_adversary(&self) -> bool {
        match self.sabotage {
            Sabotage::None
            | Sabotage::TrustedRows
            | Sabotage::BlindChain
            | Sabotage::AcceptedByItself => true,
            Sabotage::StaleStore
            | Sabotage::OpenLatch
            | Sabotage::LossIsRefusal
            | Sabotage::ForgottenHalt
            | Sabotage::ForgottenCounts
            | Sabotage::BlindToTerms
            | Sabotage::BlindToTwins
            | Sabotage::BlindToBusts
            | Sabotage::BlindToLateFills
            | Sabotage::EarlyEnds
            | Sabotage::DeafToAnswers
            | Sabotage::ForgottenDoubt
            | Sabotage::TwoAnswers
            | Sabotage::DroppedCancels
            | Sabotage::ReopenedLatch
            | Sabotage::RepeatedSignatures => false,
        }
    }

    /// Keeps a copy of the store for later.
    pub(super) fn may_copy(&mut self) {
        if self.has_adversary() && self.random.percent(3) {
            let books = self.checker.books.clone();
            let edited = self.adversary.edited.clone();
            self.adversary.copied = Some(Copied { disk: self.disk.copy(), books, edited });
        }
    }

    /// While nothing runs: an older copy of the store is put back. The start sees that it is older
    /// than the other files, and halts.
    pub(super) fn may_put_back(&mut self) {
        if self.adversary.copied.is_none() || !self.random.percent(40) {
            return;
        }
        let Some(Copied { disk, books, edited }) = self.adversary.copied.take() else {
            return;
        };
        self.adversary.edited = edited;
        self.count("stores put back");
        let now = self.now().wall;
        self.ledger = setting::ledger(disk.clone(), now);
        self.disk = disk;
        self.checker.put_back(books);
        if self.sabotage == Sabotage::AcceptedByItself {
            return;
        }
        let record =
            Record::new(RecordKind::Halted, Actor::System, Door::Internal, Decision::Permitted);
        let halted = self.ledger.transact::<(), (), _>(move |batch| {
            Ok(store::halt_at_start(batch, RESTORED, record, now)?)
        });
        self.runtime.block_on(halted).expect("the store in memory");
    }

    /// While nothing runs: a row of an approval is edited.
    pub(super) fn may_edit(&mut self) {
        if !self.has_adversary() || !self.random.percent(25) {
            return;
        }
        let restored = self.stored();
        let Some(row) = self.random.pick(&restored.approvals).cloned() else {
            return;
        };
        let Some(edited) = self.edited(&row, &restored) else {
            return;
        };
        self.count("rows edited");
        signing::edit(&self.runtime, &self.ledger, vec![Row::Approval(Box::new(edited.clone()))]);
        let before = self.adversary.edited.remove(&row.id).filter(|before| before.now == row);
        let honest = before.map_or(row, |before| before.honest);
        if honest != edited {
            let id = honest.id.clone();
            self.adversary.edited.insert(id, Edited { honest, now: edited });
        }
    }

    fn stored(&self) -> Restored {
        let snapshot = self.ledger.snapshot().expect("a snapshot");
        store::restore(&snapshot).expect("every row reads back")
    }

    fn edited(&mut self, row: &ApprovalEntry, all: &Restored) -> Option<ApprovalEntry> {
        let mut edited = row.clone();
        match row.status {
            ApprovalStatus::Pending
            | ApprovalStatus::Denied
            | ApprovalStatus::Consumed
            | ApprovalStatus::Void => {
                edited.status = ApprovalStatus::Approved;
            }
            ApprovalStatus::Approved => match self.random.below(3) {
                0 => edited.plan = OrderPlan::single(setting::order(row.account().clone(), 1, 5)),
                1 => edited.owner = Owner::Nobody,
                _ => {
                    let signed = all.approvals.iter().filter(|other| other.id != row.id);
                    let signed: Vec<_> = signed.filter_map(|other| other.signed.clone()).collect();
                    edited.signed = Some(self.random.pick(&signed)?.clone());
                }
            },
        }
        Some(edited)
    }

    /// Whether the store still holds a row as it was edited.
    pub(super) fn is_edited(&self, row: &ApprovalEntry) -> bool {
        self.adversary.edited.get(&row.id).is_some_and(|edited| edited.now == *row)
    }

    /// What doesn't go back to a signature is what was edited, all of it and nothing else.
    pub(super) fn edits_are_found(&self, chain: &ChainReport) -> Checked {
        let found = |row: &ApprovalEntry| {
            chain.breaks.iter().any(|sentence| sentence.contains(row.id.as_str()))
        };
        let edited: Vec<ApprovalEntry> =
            self.stored().approvals.into_iter().filter(|row| self.is_edited(row)).collect();
        for row in &edited {
            rule(found(row), || format!("{} was edited in the store and not found", row.id))?;
        }
        let of_edited = |sentence: &&String| {
            self.adversary.edited.keys().any(|id| sentence.contains(id.as_str()))
        };
        let others: Vec<_> = chain.breaks.iter().filter(|one| !of_edited(one)).collect();
        rule(others.is_empty(), || format!("without a signature: {others:?}"))
    }
}
