//! Reading the log from its end or from a position: cost depends on the page, not on the log's
//! length.

use crate::batch::{BY_ACTOR, LEAVES, META, StoreFailure, actor_key};
use crate::entry::Entry;
use crate::snapshot::Snapshot;
use ibkr_agent_tlog::{Checkpoint, inclusion_proof, leaf_hash, parse_note, verify_inclusion};

/// Most records of one page.
const MAX_LIMIT: usize = 500;

/// Which records, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TailQuery {
    /// Only this actor's (its label), through the index.
    pub actor: Option<String>,
    /// Only before this position; `None` starts at the end.
    pub before: Option<u64>,
    /// At most this many, 500 at most.
    pub limit: usize,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Ask with `before` set to this for the next page; `None` at the beginning of the log.
    pub next_before: Option<u64>,
}

impl Snapshot {
    /// Records from the end of the log.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails or a record can't be read.
    pub fn tail(&self, query: &TailQuery) -> Result<Page, StoreFailure> {
        let limit = query.limit.clamp(1, MAX_LIMIT);
        let before = query.before.unwrap_or(u64::MAX);
        let indexes = match &query.actor {
            Some(actor) => self.indexes_of(actor, before, limit)?,
            None => self.last_indexes(before, limit)?,
        };
        let leaves = self.txn.open_table(LEAVES)?;
        let mut entries = Vec::with_capacity(indexes.len());
        for index in &indexes {
            let guard = leaves.get(index)?.ok_or(StoreFailure::Damaged)?;
            let entry = serde_json::from_slice(guard.value()).map_err(|_| StoreFailure::Damaged)?;
            entries.push(entry);
        }
        let full = indexes.len() == limit;
        let next_before = indexes.last().copied().filter(|index| full && *index > 0);
        Ok(Page { entries, next_before })
    }

    /// The record of a position, if the tree that the stored checkpoint states holds it: what was
    /// only written into the table of records isn't one.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn proven(&self, index: u64) -> Result<Option<Entry>, StoreFailure> {
        let Some((_, leaf)) = self.leaves(index, 1)?.into_iter().find(|(at, _)| *at == index)
        else {
            return Ok(None);
        };
        let meta = self.txn.open_table(META)?;
        let stored = meta.get("checkpoint")?.map(|guard| guard.value().to_vec());
        let note = stored.as_deref().and_then(|bytes| parse_note(bytes).ok());
        let Some(checkpoint) = note.and_then(|note| Checkpoint::parse(note.text()).ok()) else {
            return Ok(None);
        };
        let (size, root) = (checkpoint.size(), checkpoint.root());
        let Ok(proof) = inclusion_proof(self, index, size) else { return Ok(None) };
        let entry: Option<Entry> = serde_json::from_slice(&leaf).ok();
        let holds = verify_inclusion(&leaf_hash(&leaf), index, size, &proof, &root).is_ok();
        Ok(entry.filter(|entry| holds && entry.index == index))
    }

    /// Leaves from a position on, oldest first, byte for byte as they were hashed; at most 500.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn leaves(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreFailure> {
        let table = self.txn.open_table(LEAVES)?;
        let mut leaves = Vec::new();
        for pair in table.range(from..)?.take(limit.clamp(1, MAX_LIMIT)) {
            let (index, bytes) = pair?;
            leaves.push((index.value(), bytes.value().to_vec()));
        }
        Ok(leaves)
    }

    fn indexes_of(&self, actor: &str, before: u64, limit: usize) -> Result<Vec<u64>, StoreFailure> {
        let key = actor_key(actor);
        let table = self.txn.open_table(BY_ACTOR)?;
        let range = table.range((key.as_slice(), 0)..(key.as_slice(), before))?;
        let mut indexes = Vec::new();
        for pair in range.rev().take(limit) {
            indexes.push(pair?.0.value().1);
        }
        Ok(indexes)
    }

    fn last_indexes(&self, before: u64, limit: usize) -> Result<Vec<u64>, StoreFailure> {
        let table = self.txn.open_table(LEAVES)?;
        let mut indexes = Vec::new();
        for pair in table.range(..before)?.rev().take(limit) {
            indexes.push(pair?.0.value());
        }
        Ok(indexes)
    }
}
