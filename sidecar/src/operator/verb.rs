//! The verbs, the text that is signed for one, and the signature.

use ibkr_agent_domain::{Digest, SidecarId};
use serde::{Deserialize, Serialize};

/// An operator's verb. Ids are texts here and are parsed where they are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Verb {
    /// Session, store, links and switches at a glance.
    Status {},
    /// Approvals, newest first; undecided ones only unless `all`.
    Approvals {
        /// Decided ones too.
        all: bool,
    },
    /// One approval with the whole order.
    Approval {
        /// Its id.
        id: String,
    },
    /// What proves an approval.
    ApprovalProof {
        /// Its id.
        id: String,
    },
    /// Approve exactly what is shown. Signed twice: the verb as every other, and what is approved,
    /// by a signature that is kept.
    Approve {
        /// The approval.
        id: String,
        /// Hexadecimal digest of the approval's bytes as shown.
        digest: String,
        /// Hexadecimal signature of the same key over that digest.
        signature: String,
    },
    /// Make a caller's fresh preview an approval, which is then shown and approved like any. It
    /// allows nothing, so it needs no signature.
    TakePreview {
        /// The preview.
        preview: String,
    },
    /// Deny, or take an unspent yes back.
    Deny {
        /// The approval.
        id: String,
    },
    /// Broker questions that wait for a human.
    Questions {},
    /// Answer a broker's question. Yes is signed.
    Answer {
        /// Our order reference.
        order: String,
        /// Hexadecimal digest of the question's text as shown.
        text: String,
        /// Yes or no.
        confirmed: bool,
    },
    /// Stop trading.
    Halt {
        /// Why.
        reason: String,
    },
    /// Allow trading again. Signed.
    Resume {
        /// Why.
        reason: String,
    },
    /// Accept a state folder in doubt and allow trading again. Signed, with the cause.
    AcceptState {
        /// The halt's reason, exactly as the kill switch shows it.
        cause: String,
        /// Why.
        reason: String,
    },
    /// The kill switch.
    HaltStatus {},
    /// The limits and what they have used.
    Limits {},
    /// Recorded orders, newest first.
    Orders {},
    /// Cancel an order, whoever placed it.
    Cancel {
        /// The account.
        account: String,
        /// IBKR's id.
        order: String,
    },
    /// Take the brokerage session from another platform of the same username. Signed.
    TakeOver {
        /// The broker login.
        broker: String,
    },
    /// State what became of an order in doubt. Signed.
    Settle {
        /// Our order reference.
        order: String,
        /// Whether it exists at the broker.
        exists: bool,
    },
    /// Admit a caller to writes. Signed.
    Admit {
        /// The caller's label, as the audit log shows it.
        caller: String,
    },
    /// Callers that were admitted to writes.
    Callers {},
    /// One of them.
    Caller {
        /// Its label.
        caller: String,
    },
    /// Take a caller's admission back, and deny what it asked for.
    Revoke {
        /// Its label.
        caller: String,
    },
    /// Records of the audit log, newest first.
    AuditTail {
        /// At most this many.
        limit: usize,
        /// Only before this position.
        before: Option<u64>,
    },
    /// Verify the whole audit log.
    AuditVerify {},
    /// Enrol another operator key. Signed by an enrolled one.
    EnrolKey {
        /// Hexadecimal Ed25519 public key.
        public_key: String,
        /// Its holder's name for it.
        label: String,
    },
}

impl Verb {
    /// The verb's name in the audit log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status {} => "status",
            Self::Approvals { .. } => "approvals list",
            Self::Approval { .. } => "approvals show",
            Self::ApprovalProof { .. } => "approvals verify",
            Self::Approve { .. } => "approvals approve",
            Self::TakePreview { .. } => "approvals take",
            Self::Deny { .. } => "approvals deny",
            Self::Questions {} => "questions list",
            Self::Answer { .. } => "questions answer",
            Self::Halt { .. } => "kill-switch close",
            Self::Resume { .. } => "kill-switch open",
            Self::AcceptState { .. } => "state accept",
            Self::HaltStatus {} => "kill-switch status",
            Self::Limits {} => "limits show",
            Self::Orders {} => "orders list",
            Self::Cancel { .. } => "orders cancel",
            Self::TakeOver { .. } => "session take-over",
            Self::Settle { .. } => "orders settle",
            Self::Admit { .. } => "callers admit",
            Self::Callers {} => "callers list",
            Self::Caller { .. } => "callers show",
            Self::Revoke { .. } => "callers revoke",
            Self::AuditTail { .. } => "audit tail",
            Self::AuditVerify {} => "audit verify",
            Self::EnrolKey { .. } => "keys enrol",
        }
    }

    /// Whether the verb needs a signature.
    #[must_use]
    pub const fn needs_signature(&self) -> bool {
        matches!(
            self,
            Self::Approve { .. }
                | Self::Answer { confirmed: true, .. }
                | Self::Resume { .. }
                | Self::AcceptState { .. }
                | Self::Settle { .. }
                | Self::TakeOver { .. }
                | Self::Admit { .. }
                | Self::EnrolKey { .. }
        )
    }
}

/// A random value that the sidecar made for one connection; a signature covers it, so none can be
/// replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge(pub String);

/// A signature over [`signed_text`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The key's id.
    pub key: String,
    /// Hexadecimal Ed25519 signature.
    pub signature: String,
}

/// The text that an operator key signs for a verb: sidecar, domain (`simulator` or `broker`, so a
/// demo key's signature is worth nothing elsewhere), challenge, digest of the verb's JSON.
///
/// # Errors
/// A serialisation error, which these types don't have.
pub fn signed_text(
    sidecar: &SidecarId,
    domain: &str,
    challenge: &Challenge,
    verb: &Verb,
) -> Result<String, serde_json::Error> {
    let digest = Digest::of(&serde_json::to_vec(verb)?);
    Ok(format!("ibkr-agent-operator/v1\n{sidecar}\n{domain}\n{}\n{digest}\n", challenge.0))
}
