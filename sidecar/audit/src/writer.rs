//! The writer thread: takes every waiting job, runs them in one transaction, commits once.
//!
//! A job that refuses before its first write answers alone. Any other failure fails the batch,
//! answers every waiter and stops the writer: nothing more is committed until a restart.

use crate::batch::{Batch, META, StoreFailure};
use ibkr_agent_tlog::{Checkpoint, Frontier, Signer, sign_note};
use redb::Database;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Most jobs in one transaction.
const MAX_BATCH: usize = 512;
/// The anchor file is renewed at most this often, and when the writer ends.
const ANCHOR_INTERVAL: Duration = Duration::from_millis(500);

/// Tells a job's caller what became of the batch.
pub(crate) type Answer = Box<dyn FnOnce(Result<u64, StoreFailure>) + Send>;
/// A job: runs in the transaction, gives back its answer.
pub(crate) type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Answer + Send>;

/// The newest committed state of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Number of leaves.
    pub(crate) size: u64,
    /// Root hash.
    pub(crate) root: ibkr_agent_tlog::Hash,
    /// The signed checkpoint.
    pub(crate) checkpoint: String,
}

pub(crate) struct Writer {
    pub(crate) database: Arc<Database>,
    pub(crate) frontier: Frontier,
    pub(crate) signer: Signer,
    pub(crate) origin: String,
    pub(crate) account_key: zeroize::Zeroizing<Vec<u8>>,
    pub(crate) anchor: Option<PathBuf>,
    pub(crate) writable: Arc<AtomicBool>,
    pub(crate) committed: watch::Sender<Committed>,
    pub(crate) next_batch: u64,
}

impl Writer {
    /// Runs until every handle is dropped.
    pub(crate) fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        let mut anchored_at: Option<Instant> = None;
        while jobs.blocking_recv_many(&mut waiting, MAX_BATCH) > 0 {
            if !self.writable.load(Ordering::Acquire) {
                self.refuse(waiting.drain(..));
                continue;
            }
            let mut answers = Vec::with_capacity(waiting.len());
            let result = self.commit(waiting.drain(..), &mut answers);
            if let Err(failure) = &result {
                tracing::error!(error = %failure, "store.failed: trading stops until a restart");
                self.writable.store(false, Ordering::Release);
            }
            for answer in answers {
                answer(result.clone());
            }
            if anchored_at.is_none_or(|at| at.elapsed() >= ANCHOR_INTERVAL) {
                self.write_anchor();
                anchored_at = Some(Instant::now());
            }
        }
        self.write_anchor();
    }

    fn refuse(&mut self, jobs: impl Iterator<Item = Job>) {
        // A job must run to give back its answer; this transaction is never committed.
        let Ok(txn) = self.database.begin_write() else {
            return;
        };
        let mut scratch = self.frontier.clone();
        for job in jobs {
            let answer = job(&mut Batch {
                txn: &txn,
                frontier: &mut scratch,
                account_key: &self.account_key,
                id: 0,
                wrote: false,
            });
            answer(Err(StoreFailure::Stopped));
        }
        drop(txn.abort());
    }

    fn commit(
        &mut self,
        jobs: impl Iterator<Item = Job>,
        answers: &mut Vec<Answer>,
    ) -> Result<u64, StoreFailure> {
        let id = self.next_batch;
        self.next_batch = id.saturating_add(1);
        let txn = self.database.begin_write()?;
        let mut frontier = self.frontier.clone();
        let mut late_refusal = false;
        for job in jobs {
            let mut batch = Batch {
                txn: &txn,
                frontier: &mut frontier,
                account_key: &self.account_key,
                id,
                wrote: false,
            };
            answers.push(job(&mut batch));
            // `transact` clears the flag when a job succeeds.
            late_refusal |= batch.wrote;
        }
        if late_refusal {
            return Err(StoreFailure::LateRefusal);
        }
        if frontier.size() == self.frontier.size() {
            txn.commit()?;
            return Ok(id);
        }
        let checkpoint = self.sign(&frontier)?;
        txn.open_table(META)?.insert("checkpoint", checkpoint.as_bytes())?;
        txn.commit()?;
        self.frontier = frontier;
        let size = self.frontier.size();
        let root = self.frontier.root();
        self.committed.send_replace(Committed { size, root, checkpoint });
        Ok(id)
    }

    fn sign(&self, frontier: &Frontier) -> Result<String, StoreFailure> {
        let checkpoint = Checkpoint::new(&self.origin, frontier.size(), frontier.root())
            .map_err(|_| StoreFailure::Damaged)?;
        let note = sign_note(&checkpoint.to_string(), &[&self.signer])
            .map_err(|_| StoreFailure::Damaged)?;
        Ok(note.to_string())
    }

    fn write_anchor(&self) {
        let Some(path) = &self.anchor else { return };
        let checkpoint = self.committed.borrow().checkpoint.clone();
        if let Err(error) = crate::ledger::write_private(path, checkpoint.as_bytes()) {
            // An old anchor is weaker, not wrong: the store is still newer than it.
            tracing::warn!(%error, "store.anchor_not_written");
        }
    }
}
