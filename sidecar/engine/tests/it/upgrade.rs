//! A store of version 1, with rows that its own program wrote, under this version.

use ibkr_agent_audit::{FORMAT, Ledger, LedgerConfig, StoreFailure, Table, TransactError};
use ibkr_agent_domain::{Digest, Form, OrderState, Timestamp};
use ibkr_agent_engine::{ApprovalStatus, Restored, store};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOW: Timestamp = Timestamp::from_millis(1_795_947_500_000);
const TABLES: [Table; 6] = [
    Table::new("previews"),
    Table::new("approvals"),
    Table::new("idempotency_keys"),
    Table::new("orders"),
    Table::new("halt"),
    Table::new("operator_keys"),
];

fn rows() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let path = "../../fixtures/store/rows-v1.txt";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).unwrap();
    let names = ["previews", "approvals", "idempotency_keys", "orders", "halt", "operator_keys"];
    let mut rows = Vec::new();
    for line in text.lines() {
        let [table, key, json] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let table = TABLES[names.iter().position(|name| *name == table).unwrap()];
        // No key holds a zero byte in a text file.
        let key = key.replacen(' ', "\0", 1).into_bytes();
        rows.push((table, key, [&[1], json.as_bytes()].concat()));
    }
    rows
}

fn opened(path: Option<PathBuf>) -> Ledger {
    let config = LedgerConfig {
        path,
        origin: "ibkr-agent/upgrade".to_owned(),
        signing_seed: zeroize::Zeroizing::new([7; 32]),
        account_key: zeroize::Zeroizing::new(vec![9; 32]),
        now: NOW,
    };
    Ledger::open(config).unwrap()
}

/// A store as version 1 left it; `state` is what it says of its order.
fn old_store(state: &str) -> Ledger {
    filled(opened(None), state)
}

fn filled(ledger: Ledger, state: &str) -> Ledger {
    let state = format!("\"state\":\"{state}\"");
    commit(&ledger, move |batch| {
        for (table, key, value) in rows() {
            let value = String::from_utf8(value).unwrap();
            let value = value.replace("\"state\":\"working\"", &state);
            batch.put(table, &key, value.as_bytes())?;
        }
        batch.set_format(1)
    })
    .unwrap();
    ledger
}

fn commit<J>(ledger: &Ledger, job: J) -> Result<(), TransactError<()>>
where
    J: FnOnce(&mut ibkr_agent_audit::Batch<'_>) -> Result<(), StoreFailure> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(ledger.transact::<(), (), _>(move |batch| Ok(job(batch)?))).map(drop)
}

fn restored(ledger: &Ledger) -> Restored {
    store::restore(&ledger.snapshot().unwrap()).unwrap()
}

/// Everything that restore reads, as text, without the time of the newest record.
fn told(ledger: &Ledger) -> String {
    format!("{:?}", Restored { newest_record: None, ..restored(ledger) })
}

#[test]
fn an_order_of_an_older_store_lives_on_with_the_digest_that_was_approved() {
    for state in ["working", "unknown", "intended"] {
        let ledger = old_store(state);
        let before = told(&ledger);
        assert!(store::is_older(&ledger.snapshot().unwrap()).unwrap());
        commit(&ledger, |batch| store::upgrade(batch, NOW)).unwrap();
        assert!(!store::is_older(&ledger.snapshot().unwrap()).unwrap());
        assert_eq!(told(&ledger), before, "{state}: the writing changed what is read");
        let order = restored(&ledger).orders.remove(0);
        assert_eq!(Some(order.state), OrderState::parse(state));
        assert_eq!(order.order.form(), Form::V1);
        let digest = "8ba1bf8d61cbe5b8c6d2de31bf78415bf1bf9ad893033996657e1e6a154730b4";
        assert_eq!(order.order.digest(), Digest::parse(digest).unwrap());
        assert!(restored(&ledger).halt.unwrap().halted);
        assert_eq!(restored(&ledger).keys.len(), 1);
    }
}

#[test]
fn an_approval_of_an_older_store_that_was_open_or_given_is_void_and_the_log_says_so() {
    let ledger = old_store("working");
    let status = |ledger: &Ledger| -> Vec<ApprovalStatus> {
        restored(ledger).approvals.into_iter().map(|entry| entry.status).collect()
    };
    let (denied, consumed) = (ApprovalStatus::Denied, ApprovalStatus::Consumed);
    let expected = vec![denied, consumed, ApprovalStatus::Void, ApprovalStatus::Void];
    assert_eq!(status(&ledger), expected, "read before it is rewritten");
    commit(&ledger, |batch| store::upgrade(batch, NOW)).unwrap();
    assert_eq!(status(&ledger), expected);
    assert!(restored(&ledger).previews.is_empty());
    let newest = ibkr_agent_audit::TailQuery { limit: 3, ..Default::default() };
    let entries = ledger.snapshot().unwrap().tail(&newest).unwrap().entries;
    let text = serde_json::to_string(&entries).unwrap();
    for part in [
        "store_upgraded_to_version_2",
        "approval_of_version_1_is_void",
        "ap-c1af856b990b07a9e028bf12",
        "ap-d45b858de3728770efbb42a6",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_upgrade_that_is_cut_off_leaves_the_old_store_and_a_second_one_does_nothing() {
    let ledger = old_store("unknown");
    let before = told(&ledger);
    // The transaction ends without a commit, as at a kill.
    let cut = commit(&ledger, |batch| {
        store::upgrade(batch, NOW)?;
        Err(StoreFailure::Stopped)
    });
    assert!(cut.is_err());
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.format().unwrap(), 1);
    for (table, key, value) in rows() {
        let value = String::from_utf8(value).unwrap().replace("\"working\"", "\"unknown\"");
        assert_eq!(snapshot.get(table, &key).unwrap().as_deref(), Some(value.as_bytes()));
    }
    assert_eq!(told(&ledger), before);
    let again = old_store("unknown");
    for _ in 0..2 {
        commit(&again, |batch| store::upgrade(batch, NOW)).unwrap();
        assert_eq!(again.snapshot().unwrap().format().unwrap(), FORMAT);
        assert_eq!(again.head().size, 4, "genesis, one upgrade, two void approvals");
        assert_eq!(told(&again), before);
    }
}

#[test]
fn a_row_of_an_older_store_whose_order_was_changed_by_hand_is_refused() {
    let ledger = old_store("working");
    commit(&ledger, |batch| {
        for (table, key, value) in rows() {
            let value = String::from_utf8(value).unwrap();
            batch.put(
                table,
                &key,
                value.replace("\"quantity\":\"1\"", "\"quantity\":\"9\"").as_bytes(),
            )?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(store::restore(&ledger.snapshot().unwrap()).err(), Some(StoreFailure::Damaged));
    assert!(commit(&ledger, |batch| store::upgrade(batch, NOW)).is_err());
}

const OTHER_PROCESS: &str = "IBKR_AGENT_TEST_UPGRADE";

/// Runs in the other process of the test below; without its variable there is nothing to upgrade.
#[test]
fn the_other_process() {
    let Some(path) = std::env::var_os(OTHER_PROCESS) else { return };
    let ledger = opened(Some(path.into()));
    commit(&ledger, |batch| store::upgrade(batch, NOW)).unwrap();
}

fn upgrading(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["upgrade::the_other_process", "--exact"])
        .env(OTHER_PROCESS, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_process_killed_at_any_moment_of_an_upgrade_leaves_the_old_store_or_the_new_one() {
    const KILLS: u64 = 24;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.redb");
    let before = told(&filled(opened(Some(path.clone())), "unknown"));
    let fresh = |name: &str| {
        let copy = folder.path().join(name);
        for file in [path.clone(), path.with_extension("anchor")] {
            let to = copy.with_extension(file.extension().unwrap());
            if file.exists() {
                std::fs::copy(&file, to).unwrap();
            }
        }
        copy
    };
    let whole = fresh("whole.redb");
    // How long it takes, counted in looks at whether it is done.
    let (mut child, mut life) = (upgrading(&whole), 0_u64);
    let done = loop {
        match child.try_wait().unwrap() {
            Some(done) => break done,
            None => life += 1,
        }
    };
    assert!(done.success());
    assert_eq!(opened(Some(whole)).snapshot().unwrap().format().unwrap(), FORMAT);
    for kill in 0..KILLS {
        let copy = fresh(&format!("{kill}.redb"));
        let mut child = upgrading(&copy);
        for _ in 0..life * kill / KILLS {
            child.try_wait().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let ledger = opened(Some(copy));
        let format = ledger.snapshot().unwrap().format().unwrap();
        assert!(format == 1 || format == FORMAT, "{format}");
        assert_eq!(told(&ledger), before, "killed at {kill} of {KILLS}: format {format}");
        commit(&ledger, |batch| store::upgrade(batch, NOW)).unwrap();
        assert_eq!(ledger.snapshot().unwrap().format().unwrap(), FORMAT);
        assert_eq!(told(&ledger), before);
    }
}
