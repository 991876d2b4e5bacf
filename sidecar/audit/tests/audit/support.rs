//! Ledgers, records and raw access for the tests of this folder.

use ibkr_agent_audit::{Ledger, LedgerConfig, OpenError, Table, TransactError};
use ibkr_agent_domain::{Actor, Decision, Door, Record, RecordKind, Timestamp, Untrusted};
use redb::{Database, TableDefinition};
use std::path::Path;
use std::time::{Duration, Instant};

/// A table as the sidecar's store has them.
pub(crate) const ROWS: Table = Table::new("rows");
/// The log's own table, reached around the ledger.
pub(crate) const LEAVES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit.leaves");
/// The log's own table, reached around the ledger.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("audit.meta");

pub(crate) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + millis)
}

pub(crate) fn config(path: Option<&Path>) -> LedgerConfig {
    LedgerConfig {
        path: path.map(Path::to_owned),
        origin: "ibkr-agent/test".to_owned(),
        signing_seed: zeroize::Zeroizing::new([3; 32]),
        account_key: zeroize::Zeroizing::new(vec![5; 32]),
        now: time(0),
    }
}

/// Opens, waiting for an earlier handle's writer to end.
pub(crate) fn reopen(path: &Path) -> Result<Ledger, OpenError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Ledger::open(config(Some(path))) {
            Err(OpenError::Locked(_)) if Instant::now() < deadline => std::thread::yield_now(),
            result => return result,
        }
    }
}

/// Opens the database around the ledger, once its writer has ended.
pub(crate) fn raw(path: &Path) -> Database {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Database::create(path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                std::thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

pub(crate) fn record(client: &str) -> Record {
    let actor = Actor::Local { client: Untrusted::new(client) };
    Record::new(RecordKind::Read, actor, Door::Stdio, Decision::Stated)
}

/// Appends a record for each of some names, one batch each.
pub(crate) async fn append(ledger: &Ledger, clients: &[&str]) {
    for client in clients {
        let record = record(client);
        let job = move |batch: &mut ibkr_agent_audit::Batch<'_>| {
            let slot = batch.append(record, time(1))?;
            Ok::<_, TransactError<()>>(slot.event().clone())
        };
        ledger.transact(job).await.unwrap();
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// A small pseudo-random generator (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
