//! The writer thread: takes every waiting job, runs them in one transaction, commits once.
//!
//! A job that refuses before its first write answers alone. Any other failure fails the batch,
//! answers every waiter and stops the writer: nothing more is committed until a restart.

use crate::anchor::Place;
use crate::batch::{Batch, META, StoreFailure};
use ibkr_agent_tlog::{Checkpoint, Frontier, Signer, sign_note};
use redb::Database;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Most jobs in one transaction.
const MAX_BATCH: usize = 512;
/// The anchor file is renewed at most this often, this long after a commit at the latest, and when
/// the writer ends.
const ANCHOR_INTERVAL: Duration = Duration::from_millis(500);

/// Tells a job's caller what became of the batch.
pub(crate) type Answer = Box<dyn FnOnce(Result<u64, StoreFailure>) + Send>;
/// A job: runs in the transaction, gives back its answer.
pub(crate) type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Answer + Send>;

/// What the writer is asked.
pub(crate) enum Message {
    /// Run a job in the next batch.
    Job(Job),
    /// Begin a generation.
    Stamp(oneshot::Sender<Result<(), StoreFailure>>),
}

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
    pub(crate) place: Place,
    pub(crate) writable: Arc<AtomicBool>,
    pub(crate) committed: watch::Sender<Committed>,
    pub(crate) next_batch: u64,
}

impl Writer {
    /// Runs until every handle is dropped.
    pub(crate) fn run(mut self, messages: &mpsc::Receiver<Message>) {
        let _stopped = StoppedWhenDropped(Arc::clone(&self.writable));
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        let mut renewed_at: Option<Instant> = None;
        let mut is_stale = true;
        loop {
            let left = renewed_at.map(|at| ANCHOR_INTERVAL.saturating_sub(at.elapsed()));
            let first = match left.filter(|_| is_stale) {
                Some(left) => messages.recv_timeout(left),
                None => messages.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => {
                    let stamp = collect(first, messages, &mut waiting);
                    is_stale |= self.run_batch(&mut waiting);
                    if let Some(stamp) = stamp {
                        // Who no longer waits for it has no use for the answer.
                        drop(stamp.send(self.stamp()));
                        (is_stale, renewed_at) = (false, Some(Instant::now()));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if is_stale && renewed_at.is_none_or(|at| at.elapsed() >= ANCHOR_INTERVAL) {
                self.renew_anchor();
                (is_stale, renewed_at) = (false, Some(Instant::now()));
            }
        }
        if is_stale {
            self.renew_anchor();
        }
    }

    /// Runs the jobs in one transaction; whether records came to the log.
    fn run_batch(&mut self, waiting: &mut Vec<Job>) -> bool {
        if waiting.is_empty() {
            return false;
        }
        if !self.writable.load(Ordering::Acquire) {
            self.refuse(waiting.drain(..));
            return false;
        }
        let before = self.frontier.size();
        let mut answers = Vec::with_capacity(waiting.len());
        let result = self.commit(waiting.drain(..), &mut answers);
        if let Err(failure) = &result {
            self.stop(failure);
        }
        for answer in answers {
            answer(result.clone());
        }
        self.frontier.size() > before
    }

    fn stop(&self, failure: &dyn core::fmt::Display) {
        tracing::error!(error = %failure, "store.failed: trading stops until a restart");
        self.writable.store(false, Ordering::Release);
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

    /// Renews the anchor, or stops: an older store would pass beside a stale one.
    fn renew_anchor(&self) {
        let committed = self.committed.borrow().clone();
        if let Err(error) = self.place.renew(&committed, &self.origin, &self.signer) {
            self.stop(&format_args!("the anchor can't be renewed: {error}"));
        }
    }

    fn stamp(&mut self) -> Result<(), StoreFailure> {
        if !self.writable.load(Ordering::Acquire) {
            return Err(StoreFailure::Stopped);
        }
        let committed = self.committed.borrow().clone();
        let database = Arc::clone(&self.database);
        let store = move |generation: u64| {
            write_generation(&database, generation).map_err(std::io::Error::other)
        };
        let begun = self.place.begin(&committed, &self.origin, &self.signer, store);
        begun.map_err(|error| {
            self.stop(&format_args!("a generation can't begin: {error}"));
            StoreFailure::Database(error.to_string())
        })
    }
}

fn write_generation(database: &Database, generation: u64) -> Result<(), StoreFailure> {
    let mut txn = database.begin_write()?;
    // After an orderly end the next opening needn't walk the whole file, however the process left.
    txn.set_quick_repair(true);
    txn.open_table(META)?.insert("generation", generation.to_be_bytes().as_slice())?;
    txn.commit()?;
    Ok(())
}

/// A writer that has ended, in whatever way, takes nothing any more.
struct StoppedWhenDropped(Arc<AtomicBool>);

impl Drop for StoppedWhenDropped {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Takes the jobs that wait, up to a stamp, which comes after them.
fn collect(
    first: Message,
    messages: &mpsc::Receiver<Message>,
    waiting: &mut Vec<Job>,
) -> Option<oneshot::Sender<Result<(), StoreFailure>>> {
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Job(job) => waiting.push(job),
            Message::Stamp(stamp) => return Some(stamp),
        }
        next = if waiting.len() < MAX_BATCH { messages.try_recv().ok() } else { None };
    }
    None
}
