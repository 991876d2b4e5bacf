//! A consistent view of the store: tables by pair, and the tree's nodes. What the log's records
//! are is read in `query.rs` and verified in `verify.rs`.

use crate::batch::{META, NODES, StoreFailure, Table};
use ibkr_agent_tlog::{Hash, NodeSource};
use redb::{ReadTransaction, ReadableTable};

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A consistent view of the store.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) txn: ReadTransaction,
}

impl Snapshot {
    /// The format version of the store.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn format(&self) -> Result<u8, StoreFailure> {
        let meta = self.txn.open_table(META)?;
        let found = meta.get("version")?;
        found.and_then(|guard| guard.value().first().copied()).ok_or(StoreFailure::Damaged)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        match self.txn.open_table(table.definition()) {
            Ok(table) => Ok(table.get(key)?.map(|guard| guard.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Every pair of a table, in key order.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn all(&self, table: Table) -> Result<Vec<Pair>, StoreFailure> {
        let mut pairs = Vec::new();
        self.each(table, |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(pairs)
    }

    /// Shows every pair of a table, in key order.
    ///
    /// # Errors
    /// The first of `show`; [`StoreFailure`] when the database fails.
    pub fn each(
        &self,
        table: Table,
        mut show: impl FnMut(&[u8], &[u8]) -> Result<(), StoreFailure>,
    ) -> Result<(), StoreFailure> {
        let table = match self.txn.open_table(table.definition()) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for pair in table.iter()? {
            let (key, value) = pair?;
            show(key.value(), value.value())?;
        }
        Ok(())
    }
}

impl NodeSource for Snapshot {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        let table = self.txn.open_table(NODES).ok()?;
        let guard = table.get((level, index)).ok()??;
        <[u8; 32]>::try_from(guard.value()).ok().map(Hash::from_bytes)
    }
}
