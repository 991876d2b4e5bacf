//! The bytes of a leaf and of a checkpoint, fixed in `fixtures/audit`. `UPDATE_GOLDEN=1` writes
//! them anew, which is a change of the format: it needs a new version.

use super::support::{LEAVES, config, raw, reopen, runtime, time};
use ibkr_agent_audit::{Entry, Ledger, TransactError};
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerOrderId, CallId, ClientOrderId, Decision, Digest, Door,
    ErrorCode, OperatorKeyId, PreviewId, Record, RecordKind, Reference, Untrusted,
};
use redb::{ReadableDatabase as _, ReadableTable as _};
use std::path::PathBuf;

fn full() -> Record {
    let actor = Actor::Token {
        issuer: "https://issuer.example".to_owned(),
        subject: Untrusted::new("alice\u{202e}"),
        client: Untrusted::new("client"),
    };
    let mut record = Record::new(RecordKind::Intent, actor, Door::Relay, Decision::Permitted);
    record.tool = Some("ibkr_paper_order_submit");
    record.account = Some(AccountId::parse("DU1234567").unwrap());
    record.codes = vec![ErrorCode::OrderPolicyRefused, ErrorCode::KillSwitchClosed];
    record.details = vec!["price_collar", "kill_switch"];
    record.input = Some(Digest::of(b"input"));
    record.output = Some(Digest::of(b"output"));
    record.policy = Some(Digest::of(b"policy"));
    record.references = vec![
        Reference::Outcome("working"),
        Reference::Call(CallId::parse("call-1").unwrap()),
        Reference::Preview(PreviewId::parse("pv-1").unwrap()),
        Reference::Approval(ApprovalId::parse("ap-1").unwrap()),
        Reference::ClientOrder(ClientOrderId::parse("ia0").unwrap()),
        Reference::BrokerOrder(BrokerOrderId::parse("1001").unwrap()),
        Reference::Order(Digest::of(b"order")),
    ];
    record
}

fn by_operator() -> Record {
    let key = Some(OperatorKeyId::parse("0011223344556677").unwrap());
    Record::new(RecordKind::Approved, Actor::Operator { key }, Door::Operator, Decision::Permitted)
}

fn golden(name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/audit");
    let path = folder.join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    let (found, expected) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&expected));
    assert_eq!(found, expected, "{name} changed");
}

#[test]
fn leaves_and_checkpoint_have_the_recorded_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let ledger = reopen(&path).unwrap();
    let runtime = runtime();
    for (millis, record) in [(1, full()), (2, by_operator())] {
        let job = ledger.transact(move |batch| {
            let slot = batch.append(record, time(millis))?;
            Ok::<_, TransactError<()>>(slot.event().clone())
        });
        runtime.block_on(job).unwrap();
    }
    let checkpoint = ledger.head().checkpoint;
    drop(ledger);
    let database = raw(&path);
    let table = database.begin_read().unwrap().open_table(LEAVES).unwrap();
    let mut lines = Vec::new();
    for pair in table.iter().unwrap() {
        lines.extend_from_slice(pair.unwrap().1.value());
        lines.push(b'\n');
    }
    golden("leaves-v1.jsonl", &lines);
    golden("checkpoint-v1.txt", checkpoint.as_bytes());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let entry: Entry = serde_json::from_slice(line).unwrap();
        assert_eq!(serde_json::to_vec(&entry).unwrap(), line, "one spelling only");
    }
}

#[test]
fn the_account_stands_in_the_log_as_a_keyed_hash_only() {
    let ledger = Ledger::open(config(None)).unwrap();
    let account = AccountId::parse("DU1234567").unwrap();
    let job = ledger.transact(|batch| {
        let slot = batch.append(full(), time(1))?;
        Ok::<_, TransactError<()>>(slot.event().clone())
    });
    runtime().block_on(job).unwrap();
    let page = ledger.snapshot().unwrap().tail(&ibkr_agent_audit::TailQuery::default()).unwrap();
    let entry = page.entries.first().unwrap();
    assert_eq!(entry.account, Some(ledger.account_hash(&account)));
    assert!(!serde_json::to_string(entry).unwrap().contains("DU1234567"));
    let mut other = config(None);
    other.account_key = zeroize::Zeroizing::new(vec![6; 32]);
    let other = Ledger::open(other).unwrap();
    assert_ne!(other.account_hash(&account), ledger.account_hash(&account));
}
