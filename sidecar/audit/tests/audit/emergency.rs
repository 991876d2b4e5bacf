//! The emergency file: round trip, a torn line, the end of the room, and the folding into the log.

use super::support::{config, runtime, time};
use ibkr_agent_audit::{Emergency, Ledger, TransactError};
use ibkr_agent_domain::{
    Actor, Decision, Door, Record, RecordKind, Recordable, Reference, RiskReducing,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const KEY: &[u8] = &[5; 32];
const SIZE: u64 = 64 * 1024;

/// Stands for a permit to cancel.
struct Cancel(&'static str);

impl Recordable for Cancel {
    fn to_record(&self) -> Record {
        let actor = Actor::Operator { key: None };
        let kind = RecordKind::Intent;
        let mut record = Record::new(kind, actor, Door::Operator, Decision::Permitted);
        record.references.push(Reference::Outcome(self.0));
        record
    }
}

impl RiskReducing for Cancel {}

fn file(folder: &Path) -> PathBuf {
    folder.join("emergency.log")
}

fn names(path: &Path) -> Vec<String> {
    let (_, waiting) = Emergency::open(path, KEY).unwrap();
    waiting.iter().map(|entry| entry.references["outcome"].clone()).collect()
}

#[test]
fn what_was_recorded_waits_in_order_and_the_file_never_changes_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, waiting) = Emergency::open(&path, KEY).unwrap();
    assert!(waiting.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let first = emergency.record(Cancel("first"), time(1)).unwrap();
    let second = emergency.record(Cancel("second"), time(2)).unwrap();
    assert_eq!(first.get().0, "first");
    assert_ne!(first.event().as_str(), second.event().as_str());
    drop(emergency);
    assert_eq!(names(&path), ["first", "second"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE);
}

#[test]
fn records_of_a_second_run_follow_those_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let first = emergency.record(Cancel("first"), time(1)).unwrap();
    drop(emergency);
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let second = emergency.record(Cancel("second"), time(2)).unwrap();
    assert_ne!(first.event().as_str(), second.event().as_str());
    drop(emergency);
    assert_eq!(names(&path), ["first", "second"]);
}

#[test]
fn a_torn_line_is_left_out_and_costs_the_next_record_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let _whole = emergency.record(Cancel("whole"), time(1)).unwrap();
    let _torn = emergency.record(Cancel("torn"), time(2)).unwrap();
    drop(emergency);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap();
    bytes[end - 20..=end].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (mut emergency, waiting) = Emergency::open(&path, KEY).unwrap();
    assert_eq!(waiting.len(), 1);
    let _next = emergency.record(Cancel("next"), time(3)).unwrap();
    drop(emergency);
    assert_eq!(names(&path), ["whole", "next"]);
}

#[test]
fn a_full_file_refuses_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let mut written = 0;
    while emergency.record(Cancel("one"), time(1)).is_ok() {
        written += 1;
        assert!(written < 1000, "the file is never full");
    }
    assert!(written >= 60, "{written}");
    drop(emergency);
    assert_eq!(names(&path).len(), written);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE);
}

#[test]
fn folded_records_keep_their_time_and_are_gone_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let _recorded = emergency.record(Cancel("kept"), time(7)).unwrap();
    drop(emergency);
    let (mut emergency, waiting) = Emergency::open(&path, KEY).unwrap();
    let ledger = Ledger::open(config(None)).unwrap();
    let folded = ledger.transact(move |batch| {
        for entry in waiting {
            batch.fold(entry)?;
        }
        Ok::<_, TransactError<()>>(())
    });
    runtime().block_on(folded).unwrap();
    emergency.clear().unwrap();
    drop(emergency);
    assert!(names(&path).is_empty());
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.verify(ledger.verifier()).unwrap().size, 2);
    let page = snapshot.tail(&ibkr_agent_audit::TailQuery::default()).unwrap();
    let entry = page.entries.first().unwrap();
    assert_eq!((entry.index, entry.time.as_str()), (1, time(7).to_string().as_str()));
    assert!(entry.details.contains(&"from_emergency_file".to_owned()));
}
