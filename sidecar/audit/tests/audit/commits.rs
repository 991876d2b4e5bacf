//! Group commit: many tasks, refusals that answer alone, failures that stop everything.

use super::disk::Disk;
use super::support::{ROWS, append, config, record, reopen, runtime, time};
use ibkr_agent_audit::{Ledger, StoreFailure, TransactError};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::mpsc;

type Done = Result<u64, TransactError<&'static str>>;

/// A job that appends a record and writes a row.
fn write(ledger: &Ledger, row: u64) -> impl Future<Output = Done> + use<> {
    let record = record(&format!("client-{row}"));
    let committed = ledger.transact(move |batch| {
        let slot = batch.append(record, time(1))?;
        batch.put(ROWS, &row.to_be_bytes(), b"written")?;
        Ok(slot)
    });
    async move {
        let (slot, commit) = committed.await?;
        let recorded = commit.redeem(slot).map_err(|_| StoreFailure::Damaged)?;
        Ok(recorded.event().index())
    }
}

/// A job that refuses, before or after it wrote.
fn refuse(ledger: &Ledger, writes_first: bool) -> impl Future<Output = Done> + use<> {
    let committed = ledger.transact(move |batch| {
        if writes_first {
            batch.put(ROWS, b"half", b"written")?;
        }
        Err::<u64, _>(TransactError::Refused("no"))
    });
    async move { committed.await.map(|(index, _)| index) }
}

/// Holds the writer inside a batch until the sender is dropped, so that later jobs share the next.
fn hold(ledger: &Ledger) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel::<()>();
    let job = ledger.transact(move |_| {
        drop(started);
        // It ends when the sender is dropped.
        let _ = held.recv();
        Ok::<_, TransactError<&'static str>>(())
    });
    drop(job);
    let _ = running.recv();
    release
}

fn row(ledger: &Ledger, row: u64) -> Option<Vec<u8>> {
    ledger.snapshot().unwrap().get(ROWS, &row.to_be_bytes()).unwrap()
}

#[test]
fn many_tasks_each_get_their_own_position_and_the_log_verifies() {
    let ledger = Ledger::open(config(None)).unwrap();
    let runtime = runtime();
    let mut indexes = BTreeSet::new();
    let tasks: Vec<_> = (0..300).map(|row| runtime.spawn(write(&ledger, row))).collect();
    for task in tasks {
        indexes.insert(runtime.block_on(task).unwrap().unwrap());
    }
    assert_eq!(indexes, (1..=300).collect());
    let report = ledger.snapshot().unwrap().verify(ledger.verifier()).unwrap();
    assert_eq!((report.size, ledger.head().size), (301, 301));
    assert_eq!(report.checkpoint, ledger.head().checkpoint);
}

#[test]
fn jobs_run_in_the_order_of_the_calls_not_of_the_waiting() {
    let ledger = Ledger::open(config(None)).unwrap();
    let jobs: Vec<_> = (0..50).map(|row| write(&ledger, row)).collect();
    let runtime = runtime();
    let backwards = jobs.into_iter().rev().map(|job| runtime.block_on(job).unwrap());
    assert_eq!(backwards.collect::<Vec<_>>(), (1..=50).rev().collect::<Vec<_>>());
}

#[test]
fn a_refused_precondition_answers_alone_and_the_rest_of_its_batch_commits() {
    let ledger = Ledger::open(config(None)).unwrap();
    let release = hold(&ledger);
    let (before, refused, after) = (write(&ledger, 1), refuse(&ledger, false), write(&ledger, 2));
    drop(release);
    let runtime = runtime();
    assert_eq!(runtime.block_on(before), Ok(1));
    assert_eq!(runtime.block_on(refused), Err(TransactError::Refused("no")));
    assert_eq!(runtime.block_on(after), Ok(2));
    assert!(ledger.is_writable());
    assert_eq!(ledger.head().size, 3);
}

#[test]
fn a_refusal_after_a_write_fails_its_batch_and_stops_the_store_until_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let ledger = reopen(&path).unwrap();
    let release = hold(&ledger);
    let (innocent, late) = (write(&ledger, 1), refuse(&ledger, true));
    drop(release);
    let runtime = runtime();
    let late_refusal = Err(TransactError::Store(StoreFailure::LateRefusal));
    assert_eq!(runtime.block_on(innocent), late_refusal);
    assert_eq!(runtime.block_on(late), Err(TransactError::Refused("no")));
    let stopped = Err(TransactError::Store(StoreFailure::Stopped));
    assert_eq!(runtime.block_on(write(&ledger, 2)), stopped);
    assert!(!ledger.is_writable());
    assert_eq!(row(&ledger, 1), None);
    drop(ledger);
    let ledger = reopen(&path).unwrap();
    assert_eq!((row(&ledger, 1), row(&ledger, 2)), (None, None));
    assert_eq!(runtime.block_on(write(&ledger, 3)), Ok(1));
}

#[test]
fn a_failing_disk_answers_every_waiter_and_stops_the_store() {
    let disk = Disk::default();
    let ledger = Ledger::open_over(config(None), disk.clone()).unwrap();
    let runtime = runtime();
    assert_eq!(runtime.block_on(write(&ledger, 0)), Ok(1));
    let release = hold(&ledger);
    let waiting: Vec<_> = (1..=20).map(|row| write(&ledger, row)).collect();
    disk.die();
    drop(release);
    for waiter in waiting {
        let answer = runtime.block_on(waiter);
        assert!(matches!(answer, Err(TransactError::Store(_))), "{answer:?}");
    }
    assert!(!ledger.is_writable());
    assert_eq!(ledger.head().size, 2);
}

#[test]
fn a_job_that_panics_stops_the_store_and_leaves_nobody_waiting() {
    let ledger = Ledger::open(config(None)).unwrap();
    let release = hold(&ledger);
    let bad = ledger.transact(|_| -> Result<(), TransactError<()>> { panic!("a defect") });
    let waiter = write(&ledger, 1);
    drop(release);
    let runtime = runtime();
    assert!(runtime.block_on(bad).is_err());
    assert!(runtime.block_on(waiter).is_err());
    assert!(runtime.block_on(write(&ledger, 2)).is_err());
    assert!(!ledger.is_writable());
}

#[test]
fn a_slot_is_redeemed_by_its_own_batch_only() {
    let ledger = Ledger::open(config(None)).unwrap();
    let job = |ledger: &Ledger| {
        let record = record("client");
        ledger.transact(move |batch| Ok::<_, TransactError<()>>(batch.append(record, time(1))?))
    };
    let runtime = runtime();
    let (first, _) = runtime.block_on(job(&ledger)).unwrap();
    let (_, second) = runtime.block_on(job(&ledger)).unwrap();
    assert!(second.redeem(first).is_err());
}

#[test]
fn dropping_the_wait_does_not_take_the_job_back() {
    let ledger = Ledger::open(config(None)).unwrap();
    drop(write(&ledger, 1));
    runtime().block_on(append(&ledger, &["after"]));
    assert_eq!(row(&ledger, 1), Some(b"written".to_vec()));
}
