//! The emergency file: round trip, a torn line, the end of the room, and the folding into the log.

use super::support::{config, runtime, time};
use ibkr_agent_audit::{Doubt, Emergency, Ledger, StateFile, TransactError};
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

#[test]
fn whatever_is_not_the_file_as_it_was_written_is_kept_aside_and_told() {
    let torn = |text: &[u8], start: usize| {
        let mut bytes = vec![0_u8; 64 * 1024];
        bytes[start..start + text.len()].copy_from_slice(text);
        bytes
    };
    let cases: [(&str, Vec<u8>, bool); 9] = [
        ("blank", vec![0; 64 * 1024], true),
        ("the start of a record", torn(b"{\"v\":1,\"ind", 512), true),
        ("emptied", Vec::new(), false),
        ("cut", vec![0; 32 * 1024], false),
        ("too long", vec![0; 64 * 1024 + 1], false),
        ("no record at all", torn(b"hello", 512), false),
        ("a line that is none", torn(b"{\"v\":1}\n", 512), false),
        ("a record in the wrong place", torn(b"{\"v\":1,\"ind", 700), false),
        ("a mark that is none", torn(b"{\"mark\":1,\"orig\n", 0), false),
    ];
    for (name, bytes, sound) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        std::fs::write(&path, &bytes).unwrap();
        let found = Emergency::find(&path, KEY).unwrap();
        let aside = folder.path().join("emergency.log.set-aside-1");
        if sound {
            assert_eq!((found.doubt, aside.exists()), (None, false), "{name}");
        } else {
            assert_eq!(found.doubt, Some(Doubt::Unreadable(StateFile::Emergency)), "{name}");
            assert_eq!(std::fs::read(&aside).unwrap(), bytes, "{name}");
        }
        let mut emergency = found.emergency;
        let _recorded = emergency.record(Cancel("after"), time(1)).unwrap();
        drop(emergency);
        assert_eq!(names(&path), ["after"], "{name}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE, "{name}");
    }
}

#[test]
fn what_can_be_read_of_a_damaged_file_still_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (mut emergency, _) = Emergency::open(&path, KEY).unwrap();
    let _whole = emergency.record(Cancel("whole"), time(1)).unwrap();
    let _broken = emergency.record(Cancel("broken"), time(2)).unwrap();
    let _last = emergency.record(Cancel("last"), time(3)).unwrap();
    drop(emergency);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.windows(6).position(|window| window == b"broken").unwrap();
    bytes[middle - 3] = 0;
    std::fs::write(&path, &bytes).unwrap();
    assert!(Emergency::open(&path, KEY).is_err(), "never ignored");
    std::fs::write(&path, &bytes).unwrap();
    let found = Emergency::find(&path, KEY).unwrap();
    assert_eq!(found.doubt, Some(Doubt::Unreadable(StateFile::Emergency)));
    let read: Vec<&str> =
        found.waiting.iter().map(|entry| entry.references["outcome"].as_str()).collect();
    assert_eq!(read, ["whole", "last"]);
    assert!(folder.path().join("emergency.log.set-aside-2").exists());
}
