//! Somebody changes the database around the ledger: opening or verifying says so, each time.

use super::support::{LEAVES, META, append, raw, reopen, runtime};
use ibkr_agent_audit::{OpenError, VerifyError};
use redb::ReadableDatabase as _;
use std::path::{Path, PathBuf};

/// A log of six records.
fn log(folder: &Path) -> PathBuf {
    let path = folder.join("ledger.redb");
    let ledger = reopen(&path).unwrap();
    runtime().block_on(append(&ledger, &["a", "b", "c", "d", "e"]));
    drop(ledger);
    path
}

fn leaf(path: &Path, index: u64) -> Vec<u8> {
    let database = raw(path);
    let table = database.begin_read().unwrap().open_table(LEAVES).unwrap();
    table.get(index).unwrap().unwrap().value().to_vec()
}

/// Writes or removes leaves.
fn tamper(path: &Path, changes: &[(u64, Option<Vec<u8>>)]) {
    let database = raw(path);
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(LEAVES).unwrap();
        for (index, leaf) in changes {
            match leaf {
                Some(bytes) => drop(table.insert(index, bytes.as_slice()).unwrap()),
                None => drop(table.remove(index).unwrap()),
            }
        }
    }
    txn.commit().unwrap();
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{text}");
    text.replace(from, to).into_bytes()
}

fn verify(path: &Path) -> VerifyError {
    let ledger = reopen(path).unwrap();
    ledger.snapshot().unwrap().verify(ledger.verifier()).unwrap_err()
}

#[test]
fn an_untouched_log_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    tamper(&path, &[]);
    let ledger = reopen(&path).unwrap();
    assert_eq!(ledger.snapshot().unwrap().verify(ledger.verifier()).unwrap().size, 6);
}

#[test]
fn an_edited_record_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    let edited = replaced(&leaf(&path, 3), "local:c", "local:x");
    tamper(&path, &[(3, Some(edited))]);
    assert_eq!(verify(&path), VerifyError::Root);
}

#[test]
fn an_edited_record_that_no_longer_parses_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    tamper(&path, &[(3, Some(b"{}".to_vec()))]);
    assert_eq!(verify(&path), VerifyError::Record(3));
}

#[test]
fn a_removed_record_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    tamper(&path, &[(2, None)]);
    assert_eq!(verify(&path), VerifyError::Gap { expected: 2 });
}

#[test]
fn reordered_records_are_seen_even_with_their_positions_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    let (second, third) = (leaf(&path, 2), leaf(&path, 3));
    tamper(&path, &[(2, Some(third.clone())), (3, Some(second.clone()))]);
    assert_eq!(verify(&path), VerifyError::Record(2));
    let third = replaced(&third, "\"index\":3", "\"index\":2");
    let second = replaced(&second, "\"index\":2", "\"index\":3");
    tamper(&path, &[(2, Some(third)), (3, Some(second))]);
    assert_eq!(verify(&path), VerifyError::Root);
}

#[test]
fn an_inserted_record_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    let added = replaced(&leaf(&path, 5), "\"index\":5", "\"index\":6");
    tamper(&path, &[(6, Some(added))]);
    assert!(matches!(reopen(&path), Err(OpenError::Damaged(_))));
}

#[test]
fn a_cut_log_is_seen_with_its_anchor_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    tamper(&path, &[(5, None)]);
    let with = reopen(&path).err();
    assert!(matches!(with, Some(OpenError::RolledBack { found: 5, anchored: 6 })), "{with:?}");
    std::fs::remove_file(path.with_extension("anchor")).unwrap();
    let without = reopen(&path).err();
    assert!(matches!(without, Some(OpenError::Damaged(_))), "{without:?}");
}

#[test]
fn a_checkpoint_that_was_changed_removed_or_signed_by_another_key_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(folder.path());
    let mut config = super::support::config(None);
    config.signing_seed = zeroize::Zeroizing::new([9; 32]);
    let foreign = ibkr_agent_audit::Ledger::open(config).unwrap();
    runtime().block_on(append(&foreign, &["a", "b", "c", "d", "e"]));
    for text in [String::new(), "nonsense".to_owned(), foreign.head().checkpoint] {
        let database = raw(&path);
        let txn = database.begin_write().unwrap();
        txn.open_table(META).unwrap().insert("checkpoint", text.as_bytes()).unwrap();
        txn.commit().unwrap();
        drop(database);
        let result = reopen(&path).err();
        assert!(matches!(result, Some(OpenError::Damaged(_))), "{text}: {result:?}");
    }
}
