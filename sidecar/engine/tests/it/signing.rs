//! The operator's key of these tests: a signature that can be checked, and fail, without a library
//! of cryptography. The gateway's tests sign with real keys.

use ibkr_agent_audit::Ledger;
use ibkr_agent_domain::{
    Actor, ApprovalId, ApprovalTerms, Decision, Digest, Door, OperatorSignature, Record,
    RecordKind, Reference, Timestamp, operator_key_id,
};
use ibkr_agent_engine::{
    Admitted, ApprovalEntry, Authority, CommitJob, JobId, OperatorAct, OperatorKeyEntry, Payload,
    Restored, Row, store,
};

/// The operator's public key.
pub(crate) const KEY: [u8; 32] = [5; 32];

/// How the engines of these tests check signatures.
pub(crate) fn authority() -> Authority {
    Authority { verify, nonce_seed: [3; 32] }
}

fn verify(key: &[u8; 32], text: &[u8], signature: &[u8; 64]) -> bool {
    *signature == stand_in(key, text)
}

/// Whoever knows the public key could make it: good enough where nobody forges.
fn stand_in(key: &[u8; 32], text: &[u8]) -> [u8; 64] {
    let half = |salt: u8| Digest::of(&[key.as_slice(), &[salt], text].concat());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(half(1).as_bytes());
    signature[32..].copy_from_slice(half(2).as_bytes());
    signature
}

/// A key's signature over approval bytes of this digest.
pub(crate) fn sign(key: &[u8; 32], digest: &Digest) -> OperatorSignature {
    let text = ApprovalTerms::signed_text(digest);
    OperatorSignature::from_bytes(stand_in(key, text.as_bytes()))
}

/// The operator's yes to what an approval says.
pub(crate) fn yes_to(entry: &ApprovalEntry) -> OperatorAct {
    approve(&entry.id, entry.terms().unwrap().digest(), &KEY)
}

/// A yes by some key to approval bytes of this digest.
pub(crate) fn approve(approval: &ApprovalId, digest: Digest, key: &[u8; 32]) -> OperatorAct {
    let signature = sign(key, &digest);
    let key = operator_key_id(key);
    OperatorAct::Approve { approval: approval.clone(), digest, key, signature }
}

/// A key as the store holds it.
pub(crate) fn entry_of(key: &[u8; 32]) -> OperatorKeyEntry {
    OperatorKeyEntry {
        id: operator_key_id(key),
        public_key: Digest::from_bytes(*key).to_string(),
        label: "test".to_owned(),
        enrolled_at: Timestamp::from_millis(0),
    }
}

/// Enrols the operator's key in a new ledger, admits callers, and reads back what a start finds.
pub(crate) fn with_key(
    runtime: &tokio::runtime::Runtime,
    ledger: &Ledger,
    admitted: &[String],
) -> Restored {
    let mut record =
        Record::new(RecordKind::KeyEnrolled, Actor::System, Door::Internal, Decision::Permitted);
    record.references.push(Reference::OperatorKey(operator_key_id(&KEY)));
    record.references.push(Reference::PublicKey(KEY));
    let admits = |caller: &String| {
        Row::Admitted(Admitted { caller: caller.clone(), admitted_at: None, admitted_by: None })
    };
    let mut rows = vec![Row::OperatorKey(entry_of(&KEY))];
    rows.extend(admitted.iter().map(admits));
    write(runtime, ledger, rows, record);
    let restored = store::restore(&ledger.snapshot().unwrap()).unwrap();
    assert_eq!(restored.operator_keys.len(), 1);
    restored
}

/// Writes rows past the engine, with a record that says nothing of them.
pub(crate) fn edit(runtime: &tokio::runtime::Runtime, ledger: &Ledger, rows: Vec<Row>) {
    let record = Record::new(RecordKind::Read, Actor::System, Door::Internal, Decision::Stated);
    write(runtime, ledger, rows, record);
}

/// Writes rows and a record past the engine.
pub(crate) fn write(
    runtime: &tokio::runtime::Runtime,
    ledger: &Ledger,
    rows: Vec<Row>,
    record: Record,
) {
    let job = CommitJob {
        id: JobId(0),
        preconditions: Vec::new(),
        rows,
        payload: Payload::Record(record),
        now: Timestamp::from_millis(1),
    };
    runtime.block_on(ledger.transact(move |batch| store::apply(batch, job))).unwrap();
}
