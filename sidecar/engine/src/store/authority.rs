//! The stored form of what an approval's bytes hold and of the operator's yes, and which operator
//! keys the log enrolled.
//!
//! Whoever can write the store can write a key into it. A key counts only if a record of the log,
//! which its signed checkpoint covers, enrolled exactly this public key.

use super::rows::{self, damaged, decimal};
use super::{OPERATOR_KEYS, all};
use crate::{Asked, LastRefusal, OperatorKeyEntry, Signed};
use ibkr_agent_audit::{Entry, Snapshot, StoreFailure};
use ibkr_agent_domain::{
    Actor, Digest, Door, ErrorCode, OnApproval, OperatorKeyId, OperatorSignature, RecordKind,
    SidecarId, Timestamp, Untrusted, operator_key_id,
};
use serde::{Deserialize, Serialize};

/// Records that are read at once while one is looked for.
const CHUNK: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredAsked {
    sidecar: String,
    requester: StoredActor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    door: String,
    policy: String,
    policy_hash: String,
    reference_time: Option<i64>,
    max_drift_percent: String,
    on_approval: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    nonce: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredActor {
    kind: String,
    issuer: Option<String>,
    subject: Option<String>,
    client: Option<String>,
    key: Option<String>,
}

impl StoredActor {
    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), issuer: None, subject: None, client: None, key: None }
    }
}

impl From<&Actor> for StoredActor {
    fn from(actor: &Actor) -> Self {
        match actor {
            Actor::Local { client } => {
                Self { client: Some(client.to_string()), ..Self::of("local") }
            }
            Actor::Token { issuer, subject, client } => Self {
                issuer: Some(issuer.clone()),
                subject: Some(subject.to_string()),
                client: Some(client.to_string()),
                ..Self::of("token")
            },
            Actor::Unauthenticated { claimed } => {
                Self { client: Some(claimed.to_string()), ..Self::of("unauthenticated") }
            }
            Actor::Operator { key } => {
                Self { key: key.as_ref().map(OperatorKeyId::to_string), ..Self::of("operator") }
            }
            Actor::System => Self::of("system"),
        }
    }
}

impl TryFrom<StoredActor> for Actor {
    type Error = StoreFailure;

    fn try_from(row: StoredActor) -> Result<Self, StoreFailure> {
        // It was escaped and bounded before it was stored: both again change nothing.
        let text = |text: Option<String>| {
            text.map(|text| Untrusted::bounded(&text, usize::MAX)).ok_or(StoreFailure::Damaged)
        };
        Ok(match row.kind.as_str() {
            "local" => Self::Local { client: text(row.client)? },
            "token" => Self::Token {
                issuer: row.issuer.ok_or(StoreFailure::Damaged)?,
                subject: text(row.subject)?,
                client: text(row.client)?,
            },
            "unauthenticated" => Self::Unauthenticated { claimed: text(row.client)? },
            "operator" => {
                let key = row.key.map(|id| OperatorKeyId::parse(&id)).transpose();
                Self::Operator { key: key.map_err(damaged)? }
            }
            "system" => Self::System,
            _ => return Err(StoreFailure::Damaged),
        })
    }
}

impl From<&Asked> for StoredAsked {
    fn from(asked: &Asked) -> Self {
        Self {
            sidecar: asked.sidecar.to_string(),
            requester: StoredActor::from(&asked.requester),
            owner: asked.owner.as_ref().map(ToString::to_string),
            door: asked.door.as_str().to_owned(),
            policy: asked.policy.clone(),
            policy_hash: asked.policy_hash.to_string(),
            reference_time: asked.reference_time.map(Timestamp::as_millis),
            max_drift_percent: asked.max_drift_percent.to_string(),
            on_approval: asked.on_approval.as_str().to_owned(),
            reason: asked.reason.as_ref().map(ToString::to_string),
            nonce: asked.nonce.to_string(),
        }
    }
}

impl TryFrom<StoredAsked> for Asked {
    type Error = StoreFailure;

    fn try_from(row: StoredAsked) -> Result<Self, StoreFailure> {
        Ok(Self {
            sidecar: SidecarId::parse(&row.sidecar).map_err(damaged)?,
            requester: row.requester.try_into()?,
            owner: row.owner.as_deref().map(rows::owner).transpose()?,
            door: Door::parse(&row.door).ok_or(StoreFailure::Damaged)?,
            policy: row.policy,
            policy_hash: Digest::parse(&row.policy_hash).map_err(damaged)?,
            reference_time: row.reference_time.map(Timestamp::from_millis),
            max_drift_percent: decimal(&row.max_drift_percent)?,
            on_approval: OnApproval::parse(&row.on_approval).ok_or(StoreFailure::Damaged)?,
            // It was escaped and bounded before it was stored.
            reason: row.reason.map(|text| Untrusted::bounded(&text, usize::MAX)),
            nonce: Digest::parse(&row.nonce).map_err(damaged)?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredSigned {
    public_key: String,
    signature: String,
}

impl From<&Signed> for StoredSigned {
    fn from(signed: &Signed) -> Self {
        Self {
            public_key: Digest::from_bytes(signed.public_key).to_string(),
            signature: signed.signature.to_string(),
        }
    }
}

impl TryFrom<StoredSigned> for Signed {
    type Error = StoreFailure;

    fn try_from(row: StoredSigned) -> Result<Self, StoreFailure> {
        Ok(Self {
            public_key: *Digest::parse(&row.public_key).map_err(damaged)?.as_bytes(),
            signature: OperatorSignature::parse(&row.signature).map_err(damaged)?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredRefusal {
    code: String,
    message: String,
    details: Vec<String>,
    at: i64,
}

impl From<&LastRefusal> for StoredRefusal {
    fn from(refusal: &LastRefusal) -> Self {
        Self {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message.clone(),
            details: refusal.details.clone(),
            at: refusal.at.as_millis(),
        }
    }
}

impl TryFrom<StoredRefusal> for LastRefusal {
    type Error = StoreFailure;

    fn try_from(row: StoredRefusal) -> Result<Self, StoreFailure> {
        Ok(Self {
            code: ErrorCode::parse(&row.code).ok_or(StoreFailure::Damaged)?,
            message: row.message,
            details: row.details,
            at: Timestamp::from_millis(row.at),
        })
    }
}

/// The stored operator keys, each with whether the log enrolled it.
pub(super) fn operator_keys(
    snapshot: &Snapshot,
) -> Result<Vec<(OperatorKeyEntry, bool)>, StoreFailure> {
    let mut keys = Vec::new();
    for row in all::<rows::OperatorKey>(snapshot, OPERATOR_KEYS)? {
        let leaf = row.leaf;
        let key: OperatorKeyEntry = row.try_into()?;
        let known = is_enrolled(snapshot, &key, leaf)?;
        keys.push((key, known));
    }
    Ok(keys)
}

/// The operator keys that the log enrolled.
///
/// # Errors
/// [`StoreFailure`] when the store fails or a row can't be read.
pub fn enrolled_keys(snapshot: &Snapshot) -> Result<Vec<OperatorKeyEntry>, StoreFailure> {
    let keys = operator_keys(snapshot)?.into_iter();
    Ok(keys.filter(|(_, known)| *known).map(|(key, _)| key).collect())
}

/// Whether the log enrolled this key. `leaf` is where its row says that it did; rows from before
/// that was kept are looked up.
pub(super) fn is_enrolled(
    snapshot: &Snapshot,
    key: &OperatorKeyEntry,
    leaf: Option<u64>,
) -> Result<bool, StoreFailure> {
    let Ok(public_key) = Digest::parse(&key.public_key) else {
        return Ok(false);
    };
    if operator_key_id(public_key.as_bytes()) != key.id {
        return Ok(false);
    }
    let found = match leaf {
        Some(index) => snapshot.proven(index)?,
        None => first_enrolment(snapshot, &|entry| enrols(entry, key))?,
    };
    Ok(found.is_some_and(|entry| enrols(&entry, key)))
}

/// Whether a record enrols this key. Older records name it by its id alone, which is the start of
/// its digest.
pub(super) fn enrols(entry: &Entry, key: &OperatorKeyEntry) -> bool {
    let whole = entry.references.get("public_key").is_none_or(|text| *text == key.public_key);
    entry.kind == RecordKind::KeyEnrolled.as_str()
        && entry.references.get("operator_key").map(String::as_str) == Some(key.id.as_str())
        && whole
}

/// The first record of an enrolment that is wanted, by a walk through the log: it is near the
/// beginning.
fn first_enrolment(
    snapshot: &Snapshot,
    wanted: &dyn Fn(&Entry) -> bool,
) -> Result<Option<Entry>, StoreFailure> {
    let mut next = 0;
    loop {
        let leaves = snapshot.leaves(next, CHUNK)?;
        let Some((last, _)) = leaves.last() else { return Ok(None) };
        next = last.saturating_add(1);
        for (index, leaf) in &leaves {
            let entry: Entry = serde_json::from_slice(leaf).map_err(damaged)?;
            if wanted(&entry) {
                return snapshot.proven(*index);
            }
        }
    }
}

/// The record that enrolled a key.
pub(super) fn enrolment_of(
    snapshot: &Snapshot,
    key: &OperatorKeyId,
) -> Result<Option<Entry>, StoreFailure> {
    first_enrolment(snapshot, &|entry| {
        entry.kind == RecordKind::KeyEnrolled.as_str()
            && entry.references.get("operator_key").map(String::as_str) == Some(key.as_str())
    })
}

/// Whether the log ever enrolled an operator key: then a first one can't be enrolled any more,
/// whatever the rows say.
///
/// # Errors
/// [`StoreFailure`] when the store fails.
pub fn ever_enrolled(snapshot: &Snapshot) -> Result<bool, StoreFailure> {
    let enrols = |entry: &Entry| entry.kind == RecordKind::KeyEnrolled.as_str();
    Ok(first_enrolment(snapshot, &enrols)?.is_some())
}
