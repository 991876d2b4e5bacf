//! The tamper-evident log, and the one owner of the sidecar's database.
//!
//! Everything durable goes through [`Ledger::transact`]: one writer thread, one redb transaction
//! for all jobs that wait (group commit), one fsync. Only a committed batch turns a [`Slot`] into a
//! [`Recorded`] value, and [`Recorded`] is what the broker crate demands before it acts.
//!
//! Leaf = canonical JSON of a [`Record`](ibkr_agent_domain::Record) with position and time. The
//! tree is RFC 6962; each batch ends in a checkpoint signed with the log's key (C2SP note). The
//! account is kept as a keyed hash only.
//!
//! Not here: what is stored in the tables that [`Batch`] offers (the sidecar's store module), and
//! any decision.

mod anchor;
mod batch;
mod doubt;
mod emergency;
mod entry;
mod files;
mod ledger;
mod mark;
mod query;
mod snapshot;
mod verify;
mod writer;

pub use batch::{Batch, Commit, Recorded, Slot, StoreFailure, Table, WrongBatch};
pub use doubt::{Doubt, StateFile};
pub use emergency::{Emergency, FoundEmergency};
pub use entry::{Entry, EventId};
pub use ledger::{
    FORMAT, Head, History, Ledger, LedgerConfig, OpenError, StoreFile, TransactError,
};
pub use mark::Witness;
pub use query::{Page, TailQuery};
pub use snapshot::{Pair, Snapshot};
pub use verify::{VerifyError, VerifyReport};
