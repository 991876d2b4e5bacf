//! A store, its anchor and the emergency file that remembers both.

use super::support::{append, config, raw, runtime};
use ibkr_agent_audit::{Doubt, Emergency, History, Ledger, OpenError, StateFile};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KEY: &[u8] = &[5; 32];

fn store(folder: &Path) -> PathBuf {
    folder.join("store.redb")
}

/// Opens, waiting for an earlier handle's writer to end.
fn open(folder: &Path, history: History) -> Result<(Ledger, Vec<Doubt>), OpenError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = Emergency::find(&folder.join("emergency.log"), KEY).unwrap();
        let opened = Ledger::open_witnessed(config(Some(&store(folder))), found.witness, history);
        match opened {
            Err(OpenError::Locked(_)) if Instant::now() < deadline => std::thread::yield_now(),
            result => return result,
        }
    }
}

/// A run that ends as by a kill: stamped at its start only.
fn run(folder: &Path, history: History, clients: &[&str]) -> Vec<Doubt> {
    let (ledger, doubts) = open(folder, history).unwrap();
    runtime().block_on(async {
        ledger.stamp().await.unwrap();
        append(&ledger, clients).await;
    });
    drop(ledger);
    drop(raw(&store(folder)));
    doubts
}

fn copy(from: &Path, to: &Path, files: &[&str]) {
    for file in files {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn runs_that_end_in_a_kill_leave_no_doubt() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), History::New, &["a"]), []);
    for _ in 0..5 {
        assert_eq!(run(folder.path(), History::Known, &["b", "c"]), []);
    }
}

#[test]
fn an_opening_that_dies_before_its_stamp_finds_the_same_doubt_again() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), History::New, &["a"]);
    std::fs::remove_file(folder.path().join("store.anchor")).unwrap();
    for _ in 0..3 {
        let (ledger, doubts) = open(folder.path(), History::Known).unwrap();
        assert_eq!(doubts, [Doubt::Missing(StateFile::Anchor)]);
        runtime().block_on(append(&ledger, &["x"]));
        drop(ledger);
    }
    assert_eq!(run(folder.path(), History::Known, &[]), [Doubt::Missing(StateFile::Anchor)]);
    assert_eq!(run(folder.path(), History::Known, &[]), []);
}

#[test]
fn a_store_and_anchor_put_back_within_one_run_are_older_than_the_emergency_file() {
    let (folder, then) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ledger, _) = open(folder.path(), History::New).unwrap();
    let runtime = runtime();
    runtime.block_on(ledger.stamp()).unwrap();
    runtime.block_on(append(&ledger, &["a"]));
    copy(folder.path(), then.path(), &["store.redb", "store.anchor"]);
    runtime.block_on(append(&ledger, &["b"]));
    drop(ledger);
    drop(raw(&store(folder.path())));
    copy(then.path(), folder.path(), &["store.redb", "store.anchor"]);
    let (_, doubts) = open(folder.path(), History::Known).unwrap();
    assert_eq!(doubts, [Doubt::Older(StateFile::Store)]);
}

#[test]
fn a_known_folder_without_store_and_anchor_gets_no_new_log() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), History::New, &["a"]);
    for file in ["store.redb", "store.anchor"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    for _ in 0..2 {
        let refused = open(folder.path(), History::Known).err();
        assert!(matches!(refused, Some(OpenError::Missing(_))), "{refused:?}");
        assert!(!store(folder.path()).exists());
    }
}
