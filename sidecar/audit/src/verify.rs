//! Verification of the whole log: every leaf, every position, the tree, the signed checkpoint.

use crate::batch::{LEAVES, META, StoreFailure};
use crate::entry::Entry;
use crate::snapshot::Snapshot;
use ibkr_agent_tlog::{Checkpoint, Frontier, Verifier, leaf_hash, parse_note};
use redb::ReadableTable;

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of records.
    pub size: u64,
    /// Root hash, hexadecimal.
    pub root: String,
    /// The signed checkpoint that covers them.
    pub checkpoint: String,
}

/// Why the log isn't what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A position is missing or doubled.
    #[error("record {expected} is missing")]
    Gap {
        /// The position that should come.
        expected: u64,
    },
    /// A record isn't readable or states another position.
    #[error("record {0} is damaged")]
    Record(u64),
    /// The signed checkpoint covers another tree.
    #[error("the records give another tree than the signed checkpoint states")]
    Root,
    /// The checkpoint isn't signed by the log's key.
    #[error("the checkpoint isn't signed by the log's key")]
    Signature,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

impl Snapshot {
    /// Verifies every record against the signed checkpoint. Reads the whole log.
    ///
    /// # Errors
    /// [`VerifyError`] names the first thing that is wrong.
    pub fn verify(&self, key: &Verifier) -> Result<VerifyReport, VerifyError> {
        let leaves = self.txn.open_table(LEAVES).map_err(StoreFailure::from)?;
        let mut frontier = Frontier::new();
        for pair in leaves.iter().map_err(StoreFailure::from)? {
            let (index, value) = pair.map_err(StoreFailure::from)?;
            let expected = frontier.size();
            if index.value() != expected {
                return Err(VerifyError::Gap { expected });
            }
            let entry: Option<Entry> = serde_json::from_slice(value.value()).ok();
            if entry.is_none_or(|entry| entry.index != expected) {
                return Err(VerifyError::Record(expected));
            }
            frontier.append(leaf_hash(value.value())).map_err(|_| VerifyError::Record(expected))?;
        }
        let meta = self.txn.open_table(META).map_err(StoreFailure::from)?;
        let stored = meta.get("checkpoint").map_err(StoreFailure::from)?;
        let bytes = stored.map(|guard| guard.value().to_vec()).unwrap_or_default();
        let note = parse_note(&bytes).map_err(|_| VerifyError::Signature)?;
        note.verify_by(key).map_err(|_| VerifyError::Signature)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|_| VerifyError::Signature)?;
        if checkpoint.size() != frontier.size() || checkpoint.root() != frontier.root() {
            return Err(VerifyError::Root);
        }
        Ok(VerifyReport {
            size: frontier.size(),
            root: frontier.root().to_string(),
            checkpoint: note.to_string(),
        })
    }
}
