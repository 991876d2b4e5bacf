//! What a job may do inside the one transaction, and the proof that it was committed.

use crate::entry::{Entry, EventId};
use crate::snapshot::Pair;
use ibkr_agent_domain::{Recordable, Timestamp};
use ibkr_agent_tlog::{Frontier, leaf_hash};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// Positions and bytes of leaves.
pub(crate) const LEAVES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit.leaves");
/// Complete subtrees: level and index to hash.
pub(crate) const NODES: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("audit.nodes");
/// Actor label's hash and position: the index of [`crate::TailQuery`].
pub(crate) const BY_ACTOR: TableDefinition<'_, (&[u8], u64), ()> =
    TableDefinition::new("audit.by_actor");
/// Version, checkpoint.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("audit.meta");

/// A table of the sidecar's store: bytes to bytes. Names that begin with `audit.` are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table(&'static str);

impl Table {
    /// A table of this name.
    ///
    /// # Panics
    /// At compile time, when used in a `const`, for a name that begins with `audit.`.
    #[must_use]
    #[expect(clippy::panic, reason = "evaluated at compile time: a reserved name doesn't build")]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        if let [b'a', b'u', b'd', b'i', b't', b'.', ..] = bytes {
            panic!("names that begin with audit. are reserved");
        }
        Self(name)
    }

    pub(crate) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// The store failed. Trading stops until the process is restarted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// Reading or writing the database failed.
    #[error("the store can't be read or written")]
    Database(String),
    /// An earlier failure stopped all writes.
    #[error("the store has stopped after an earlier failure")]
    Stopped,
    /// A job wrote and then failed its own precondition: a defect.
    #[error("a job failed after its first write")]
    LateRefusal,
    /// A stored value can't be read back.
    #[error("a stored value is damaged")]
    Damaged,
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreFailure {
            fn from(error: $error) -> Self {
                Self::Database(error.to_string())
            }
        }
    )*};
}
from_redb!(
    redb::TableError,
    redb::StorageError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// One job's view of the transaction that many jobs share.
pub struct Batch<'a> {
    pub(crate) txn: &'a WriteTransaction,
    pub(crate) frontier: &'a mut Frontier,
    pub(crate) account_key: &'a [u8],
    pub(crate) id: u64,
    pub(crate) wrote: bool,
}

impl core::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Batch").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Batch<'_> {
    /// Reads a value.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        let table = self.txn.open_table(table.definition())?;
        let value = table.get(key)?;
        Ok(value.map(|guard| guard.value().to_vec()))
    }

    /// Every row of a table, in key order.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn all(&self, table: Table) -> Result<Vec<Pair>, StoreFailure> {
        let table = self.txn.open_table(table.definition())?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }

    /// The format version of the store, as this transaction sees it.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn format(&self) -> Result<u8, StoreFailure> {
        let meta = self.txn.open_table(META)?;
        let found = meta.get("version")?;
        found.and_then(|guard| guard.value().first().copied()).ok_or(StoreFailure::Damaged)
    }

    /// Says in which format the store is from this transaction on. A program that knows no such
    /// format refuses to open it.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn set_format(&mut self, version: u8) -> Result<(), StoreFailure> {
        self.wrote = true;
        let version: &[u8] = &[version];
        self.txn.open_table(META)?.insert("version", version)?;
        Ok(())
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreFailure> {
        self.wrote = true;
        self.txn.open_table(table.definition())?.insert(key, value)?;
        Ok(())
    }

    /// Removes a value.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreFailure> {
        self.wrote = true;
        self.txn.open_table(table.definition())?.remove(key)?;
        Ok(())
    }

    /// The position that the next record gets.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.frontier.size()
    }

    /// Appends a record to the log. The slot becomes a [`Recorded`] once the batch is committed.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails or the tree is full.
    pub fn append<T: Recordable>(
        &mut self,
        value: T,
        now: Timestamp,
    ) -> Result<Slot<T>, StoreFailure> {
        let entry = Entry::new(self.frontier.size(), now, &value.to_record(), self.account_key);
        let event = self.append_entry(&entry)?;
        Ok(Slot { value, event, batch: self.id })
    }

    /// Folds a record of the emergency file into the log, keeping its own time.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails or the tree is full.
    pub fn fold(&mut self, mut entry: Entry) -> Result<EventId, StoreFailure> {
        entry.index = self.frontier.size();
        entry.details.push("from_emergency_file".to_owned());
        self.append_entry(&entry)
    }

    fn append_entry(&mut self, entry: &Entry) -> Result<EventId, StoreFailure> {
        self.wrote = true;
        let index = entry.index;
        let bytes = serde_json::to_vec(entry).map_err(|_| StoreFailure::Damaged)?;
        let leaf = leaf_hash(&bytes);
        let nodes = self.frontier.append(leaf).map_err(|_| StoreFailure::Damaged)?;
        self.txn.open_table(LEAVES)?.insert(index, bytes.as_slice())?;
        {
            let mut table = self.txn.open_table(NODES)?;
            for node in &nodes {
                let hash: &[u8] = node.hash.as_bytes();
                table.insert((node.level, node.index), hash)?;
            }
        }
        let actor = actor_key(&entry.actor);
        self.txn.open_table(BY_ACTOR)?.insert((actor.as_slice(), index), ())?;
        Ok(EventId::new(index, &leaf))
    }
}

/// The first 16 bytes of the SHA-256 of an actor's label.
pub(crate) fn actor_key(label: &str) -> Vec<u8> {
    let digest = ibkr_agent_domain::Digest::of(label.as_bytes());
    digest.as_bytes().get(..16).unwrap_or_default().to_vec()
}

/// A value whose record waits for its batch to be committed.
#[derive(Debug)]
#[must_use = "a slot is worth nothing until its batch is committed"]
pub struct Slot<T> {
    value: T,
    event: EventId,
    batch: u64,
}

impl<T> Slot<T> {
    /// The id that the event will have.
    pub const fn event(&self) -> &EventId {
        &self.event
    }
}

/// Proof that a batch was committed. Made by the writer only.
#[derive(Debug)]
pub struct Commit {
    pub(crate) batch: u64,
}

/// A slot of another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this slot belongs to another batch")]
pub struct WrongBatch;

impl Commit {
    /// Turns a slot of this batch into a recorded value.
    ///
    /// # Errors
    /// [`WrongBatch`] for a slot of another batch.
    pub fn redeem<T>(&self, slot: Slot<T>) -> Result<Recorded<T>, WrongBatch> {
        if slot.batch != self.batch {
            return Err(WrongBatch);
        }
        Ok(Recorded { value: slot.value, event: slot.event })
    }
}

/// A value whose record is durable. Made by a committed batch only; not `Clone`.
#[derive(Debug)]
#[must_use = "what was recorded is meant to be done"]
pub struct Recorded<T> {
    value: T,
    event: EventId,
}

impl<T> Recorded<T> {
    pub(crate) const fn emergency(value: T, event: EventId) -> Self {
        Self { value, event }
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The record's id.
    #[must_use]
    pub const fn event(&self) -> &EventId {
        &self.event
    }
}
