//! Opening: who may, and what an opened store must be.

use super::support::{META, append, config, raw, reopen, runtime};
use ibkr_agent_audit::{Ledger, OpenError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const OTHER_PROCESS: &str = "IBKR_AGENT_TEST_STORE";

fn filled(folder: &Path, name: &str, clients: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let ledger = reopen(&path).unwrap();
    runtime().block_on(append(&ledger, clients));
    drop(ledger);
    drop(raw(&path));
    path
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a", "b"]);
    let ledger = reopen(&path).unwrap();
    assert_eq!(ledger.head().size, 3);
    runtime().block_on(append(&ledger, &["c"]));
    assert_eq!(ledger.snapshot().unwrap().verify(ledger.verifier()).unwrap().size, 4);
}

#[test]
fn files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a"]);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("anchor")), 0o600);
}

#[test]
fn a_second_open_in_the_same_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let first = reopen(&path).unwrap();
    let second = Ledger::open(config(Some(&path)));
    assert!(matches!(second, Err(OpenError::Locked(locked)) if locked == path));
    runtime().block_on(append(&first, &["still works"]));
}

/// Runs in the other process of the test below; without its variable there is nothing to open.
#[test]
fn the_other_process() {
    if let Some(path) = std::env::var_os(OTHER_PROCESS) {
        let opened = Ledger::open(config(Some(Path::new(&path))));
        println!("the other process got {opened:?}");
    }
}

#[test]
fn an_open_in_another_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let ledger = reopen(&path).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["opening::the_other_process", "--exact", "--nocapture"])
        .env(OTHER_PROCESS, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the other process got Err(Locked("), "{text}");
    drop(ledger);
}

#[test]
fn an_emptied_or_missing_file_beside_its_anchor_is_a_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a", "b"]);
    std::fs::write(&path, b"").unwrap();
    let emptied = reopen(&path).err();
    assert!(
        matches!(emptied, Some(OpenError::RolledBack { found: 0, anchored: 3 })),
        "{emptied:?}"
    );
    std::fs::remove_file(&path).unwrap();
    let missing = reopen(&path).err();
    assert!(
        matches!(missing, Some(OpenError::RolledBack { found: 0, anchored: 3 })),
        "{missing:?}"
    );
    assert!(!path.exists(), "a refused open must not make a new store");
}

#[test]
fn an_older_copy_of_the_file_is_a_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a"]);
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let ledger = reopen(&path).unwrap();
    runtime().block_on(append(&ledger, &["b", "c"]));
    drop(ledger);
    drop(raw(&path));
    std::fs::copy(&copy, &path).unwrap();
    let result = reopen(&path).err();
    assert!(matches!(result, Some(OpenError::RolledBack { found: 2, anchored: 4 })), "{result:?}");
}

#[test]
fn another_history_of_the_same_length_is_a_fork() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a", "b"]);
    let other = filled(folder.path(), "other.redb", &["a", "x", "y"]);
    std::fs::copy(&other, &path).unwrap();
    let result = reopen(&path).err();
    assert!(matches!(result, Some(OpenError::Forked)), "{result:?}");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a"]);
    let database = raw(&path);
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("version", [3_u8].as_slice()).unwrap();
    txn.commit().unwrap();
    drop(database);
    let result = reopen(&path).err();
    assert!(matches!(result, Some(OpenError::Newer(3))), "{result:?}");
    let again = reopen(&path).err();
    assert!(matches!(again, Some(OpenError::Newer(3))), "{again:?}");
}

#[test]
fn an_anchor_that_another_key_signed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), "ledger.redb", &["a"]);
    let mut other = config(Some(&folder.path().join("other.redb")));
    other.signing_seed = zeroize::Zeroizing::new([4; 32]);
    drop(Ledger::open(other).unwrap());
    drop(raw(&folder.path().join("other.redb")));
    std::fs::copy(folder.path().join("other.anchor"), path.with_extension("anchor")).unwrap();
    let result = reopen(&path).err();
    assert!(matches!(result, Some(OpenError::Anchor)), "{result:?}");
}

#[test]
fn a_file_that_is_no_store_is_damaged_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let result = reopen(&path).err();
    assert!(matches!(result, Some(OpenError::Damaged(_))), "{result:?}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 8192]);
}
