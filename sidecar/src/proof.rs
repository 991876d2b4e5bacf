//! What proves an operator's yes, on its own: the approval's bytes, the signature, the public key,
//! and the two records of the log. Whoever holds it needs nothing else to check it.
//!
//! [`ApprovalProof::check`] is pure; [`read_proof`] takes a proof from a store that nobody runs on.

use crate::engine::ApprovalEntry;
use crate::engine::store::{self, Evidence};
use crate::folder::STORE_FILE;
use crate::operator::{OperatorPublicKey, verify_signature};
use ibkr_agent_audit::{Entry, Snapshot, StoreFailure, StoreFile};
use ibkr_agent_domain::{
    ApprovalId, ApprovalTerms, Digest, ErrorCode, OperatorSignature, RecordKind, Untrusted,
};
use ibkr_agent_protocol::service::ErrorBody;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest file that is read as a proof.
pub const MAX_PROOF_BYTES: u64 = 256 * 1024;

/// One approval with what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalProof {
    /// The approval.
    pub approval_id: String,
    /// Where its row says that it stands.
    pub status: String,
    /// The order in one line.
    pub order_summary: String,
    /// The bytes that the yes covers; none from before signatures were kept.
    pub approval_bytes: Option<String>,
    /// Hexadecimal Ed25519 signature.
    pub signature: Option<String>,
    /// Hexadecimal Ed25519 public key.
    pub public_key: Option<String>,
    /// The record of the yes.
    pub approved: Option<Entry>,
    /// The record that enrolled the key.
    pub enrolled: Option<Entry>,
}

/// A yes that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedProof {
    /// Always true: whatever doesn't hold is an error.
    pub verified: bool,
    /// The key that signed.
    pub operator_key: String,
    /// SHA-256 of the bytes that it signed.
    pub approval_digest: String,
    /// When, by the sidecar's clock.
    pub approved_at: String,
}

impl From<Evidence> for ApprovalProof {
    fn from(evidence: Evidence) -> Self {
        let Evidence { row, approved, enrolled } = evidence;
        let bytes = row.terms().map(|terms| String::from_utf8_lossy(&terms.bytes()).into_owned());
        let ApprovalEntry { id, status, plan, signed, .. } = row;
        let public_key = signed.as_ref().map(|signed| Digest::from_bytes(signed.public_key));
        Self {
            approval_id: id.to_string(),
            status: status.as_str().to_owned(),
            order_summary: plan.summary(),
            approval_bytes: bytes,
            signature: signed.map(|signed| signed.signature.to_string()),
            public_key: public_key.map(|key| key.to_string()),
            approved,
            enrolled,
        }
    }
}

fn altered(message: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::AuditChainInvalid, message)
}

fn unsigned(message: String) -> ErrorBody {
    let mut body = ErrorBody::new(ErrorCode::InputInvalid, message);
    "There is nothing to verify: see where it stands with ibkr-agent approvals show."
        .clone_into(&mut body.user_action);
    body
}

impl ApprovalProof {
    /// Checks that the key signed the bytes and that both records say so. With `expected`, that it
    /// is this key.
    ///
    /// # Errors
    /// `INPUT_INVALID` where no signature is claimed, `AUDIT_CHAIN_INVALID` where one doesn't hold.
    pub fn check(&self, expected: Option<&OperatorPublicKey>) -> Result<CheckedProof, ErrorBody> {
        let Some(bytes) = &self.approval_bytes else {
            let message = "this approval was asked for before signatures were kept";
            return Err(unsigned(message.to_owned()));
        };
        let (Some(signature), Some(public_key)) = (&self.signature, &self.public_key) else {
            let status = Untrusted::bounded(&self.status, 32);
            // A yes in the row without a signature isn't for want of one: somebody wrote it.
            return Err(match self.status.as_str() {
                "pending" | "denied" | "void" => {
                    unsigned(format!("this approval is {status}: it holds no signature"))
                }
                _ => altered("the row says yes and holds no operator's signature"),
            });
        };
        let key: OperatorPublicKey =
            public_key.parse().map_err(|_| altered("the public key can't be read"))?;
        if expected.is_some_and(|expected| *expected != key) {
            return Err(altered("it is signed by another key than the given one"));
        }
        let signature = OperatorSignature::parse(signature)
            .map_err(|_| altered("the signature can't be read"))?;
        let line = format!("approval={}", self.approval_id);
        if !bytes.lines().any(|found| found == line) {
            return Err(altered("the signed bytes are another approval's"));
        }
        let digest = Digest::of(bytes.as_bytes());
        let text = ApprovalTerms::signed_text(&digest);
        if !verify_signature(key.as_bytes(), text.as_bytes(), signature.as_bytes()) {
            return Err(altered("the signature isn't this key's over these bytes"));
        }
        let approved_at = self.records_agree(&key, &digest, &signature)?;
        Ok(CheckedProof {
            verified: true,
            operator_key: key.id().to_string(),
            approval_digest: digest.to_string(),
            approved_at,
        })
    }

    /// Both records are about this key and this yes; gives the time of the yes.
    fn records_agree(
        &self,
        key: &OperatorPublicKey,
        digest: &Digest,
        signature: &OperatorSignature,
    ) -> Result<String, ErrorBody> {
        let has = |entry: &Entry, name: &str, wanted: &str| {
            entry.references.get(name).map(String::as_str) == Some(wanted)
        };
        let id = key.id();
        let enrols = |entry: &&Entry| {
            entry.kind == RecordKind::KeyEnrolled.as_str()
                && has(entry, "operator_key", id.as_str())
                && (!entry.references.contains_key("public_key")
                    || has(entry, "public_key", &key.to_string()))
        };
        if self.enrolled.as_ref().filter(enrols).is_none() {
            return Err(altered("no record of the log enrolled the key that signed"));
        }
        let says_yes = |entry: &&Entry| {
            entry.kind == RecordKind::Approved.as_str()
                && has(entry, "approval_id", &self.approval_id)
                && has(entry, "approval_digest", &digest.to_string())
                && has(entry, "signature", &signature.to_string())
        };
        match self.approved.as_ref().filter(says_yes) {
            Some(entry) => Ok(entry.time.clone()),
            None => Err(altered("no record of the log holds this yes")),
        }
    }
}

/// Takes the proof of an approval from what the store holds.
///
/// # Errors
/// `APPROVAL_NOT_FOUND`, `STORE_UNAVAILABLE` when the store can't be read.
pub(crate) fn proof_in(
    snapshot: Result<Snapshot, StoreFailure>,
    id: &ApprovalId,
) -> Result<ApprovalProof, ErrorBody> {
    match snapshot.and_then(|snapshot| store::evidence_of(&snapshot, id.as_str())) {
        Ok(Some(evidence)) => Ok(evidence.into()),
        Ok(None) => Err(ErrorBody::new(ErrorCode::ApprovalNotFound, "no such approval")),
        Err(error) => {
            let message = format!("the store can't be read: {error}");
            Err(ErrorBody::new(ErrorCode::StoreUnavailable, message))
        }
    }
}

/// Takes the proof of an approval from a state folder whose sidecar doesn't run. It reads the store
/// and nothing else.
///
/// # Errors
/// `APPROVAL_NOT_FOUND`, `STORE_UNAVAILABLE`.
pub fn read_proof(state_dir: &Path, id: &ApprovalId) -> Result<ApprovalProof, ErrorBody> {
    match StoreFile::open(&state_dir.join(STORE_FILE)) {
        Ok(file) => proof_in(file.snapshot(), id),
        Err(error) => proof_in(Err(error), id),
    }
}
