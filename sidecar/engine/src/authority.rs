//! Whether an approval may be spent: an enrolled key's signature over the bytes that its own
//! fields give, checked anew each time.
//!
//! A status alone is worth nothing: whoever can write the store can write `approved`. The engine
//! does no cryptography; how a signature is checked is a value of its configuration.

use crate::sends::Party;
use crate::{ApprovalEntry, ApprovalStatus, Asking, Engine, Now, Owner, Preview, Refusal};
use core::fmt;
use ibkr_agent_domain::{
    Actor, ApprovalId, ApprovalTerms, Digest, Door, ErrorCode, OnApproval, OperatorKeyId,
    OperatorSignature, SidecarId, Timestamp, Untrusted, operator_key_id,
};
use rust_decimal::Decimal;

/// Checks an Ed25519 signature: public key, what was signed, signature.
pub type VerifySignature = fn(&[u8; 32], &[u8], &[u8; 64]) -> bool;

/// How signatures are checked, and what makes approvals' nonces.
#[derive(Clone, Copy)]
pub struct Authority {
    /// The check.
    pub verify: VerifySignature,
    /// A value that is random for each start of the process.
    pub nonce_seed: [u8; 32],
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What an approval's bytes hold beside what its entry says anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The installation that was asked.
    pub sidecar: SidecarId,
    /// Who asked.
    pub requester: Actor,
    /// Whose it is, where that isn't who asked.
    pub owner: Option<Owner>,
    /// Through which door.
    pub door: Door,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of its limits.
    pub policy_hash: Digest,
    /// When the reference price was read.
    pub reference_time: Option<Timestamp>,
    /// How far the market may move, in percent.
    pub max_drift_percent: Decimal,
    /// What follows a yes.
    pub on_approval: OnApproval,
    /// Why, in the words of who asked.
    pub reason: Option<Untrusted>,
    /// Makes the bytes this approval's alone.
    pub nonce: Digest,
}

/// The operator's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The public key whose signature it is.
    pub public_key: [u8; 32],
    /// The signature over [`ApprovalTerms::signed_text`].
    pub signature: OperatorSignature,
}

/// Why an approval's yes doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It comes from a version that kept no signatures.
    #[error("this approval was asked for before signatures were kept")]
    Before,
    /// There is none.
    #[error("this approval holds no operator's signature")]
    Missing,
    /// It belongs to another installation.
    #[error("this approval was asked for on another installation")]
    Elsewhere,
    /// Owner or name of who asked isn't what the bytes say.
    #[error("this approval's owner isn't who asked for it")]
    Owner,
    /// The key isn't one that the log knows.
    #[error("this approval isn't signed by an enrolled operator key")]
    Key,
    /// The signature is over something else.
    #[error("the operator's signature isn't over what this approval says")]
    Signature,
}

impl From<Unsigned> for Refusal {
    fn from(why: Unsigned) -> Self {
        Self::new(ErrorCode::ApprovalUnsigned, why.to_string())
    }
}

impl ApprovalEntry {
    /// What its bytes hold, by its own fields; `None` from before signatures were kept.
    #[must_use]
    pub fn terms(&self) -> Option<ApprovalTerms> {
        let asked = self.asked.as_ref()?;
        Some(ApprovalTerms {
            action: self.plan.digest(),
            sidecar: asked.sidecar.clone(),
            mode: self.plan.mode(),
            broker: self.plan.broker().clone(),
            broker_mode: None,
            account: self.plan.account().clone(),
            requester: asked.requester.clone(),
            owner: asked.owner.as_ref().map(ToString::to_string),
            door: asked.door,
            approval: self.id.clone(),
            preview: self.preview.clone(),
            policy: asked.policy.clone(),
            policy_hash: asked.policy_hash,
            reference_price: self.reference_price,
            reference_time: asked.reference_time,
            max_drift_percent: asked.max_drift_percent,
            position: self.position,
            exposure: self.plan.limit_value(),
            warnings: self.warnings.clone(),
            on_approval: asked.on_approval,
            reason: asked.reason.clone(),
            nonce: asked.nonce,
            created_at: self.created_at,
            not_after: self.expires_at,
        })
    }

    /// Whether its signature is its own key's over its own fields. Whether that key may approve
    /// anything is another question.
    ///
    /// # Errors
    /// [`Unsigned`] says what is wrong.
    pub fn check_signature(&self, verify: VerifySignature) -> Result<ApprovalTerms, Unsigned> {
        let terms = self.terms().ok_or(Unsigned::Before)?;
        let signed = self.signed.as_ref().ok_or(Unsigned::Missing)?;
        if self.approved_by != Some(operator_key_id(&signed.public_key)) {
            return Err(Unsigned::Key);
        }
        let named = terms.requester.label() == self.asked_by;
        let owner = match &terms.owner {
            Some(text) => Owner::parse(text),
            None => Some(Owner::of(&terms.requester)),
        };
        if !named || owner.as_ref() != Some(&self.owner) {
            return Err(Unsigned::Owner);
        }
        let text = ApprovalTerms::signed_text(&terms.digest());
        if verify(&signed.public_key, text.as_bytes(), signed.signature.as_bytes()) {
            Ok(terms)
        } else {
            Err(Unsigned::Signature)
        }
    }
}

impl Engine {
    /// Whether an enrolled key's signature covers exactly what this approval says.
    pub(super) fn check_authority(&self, entry: &ApprovalEntry) -> Result<(), Unsigned> {
        let terms = entry.check_signature(self.config.authority.verify)?;
        if terms.sidecar != self.config.sidecar {
            return Err(Unsigned::Elsewhere);
        }
        let signed = entry.signed.as_ref().ok_or(Unsigned::Missing)?;
        if self.enrolled(&operator_key_id(&signed.public_key)) == Some(signed.public_key) {
            Ok(())
        } else {
            Err(Unsigned::Key)
        }
    }

    /// The public key that is enrolled under an id.
    fn enrolled(&self, id: &OperatorKeyId) -> Option<[u8; 32]> {
        let key = self.operator_keys.get(id)?;
        Digest::parse(&key.public_key).ok().map(|bytes| *bytes.as_bytes())
    }

    /// What the bytes of an approval hold that is asked for now.
    pub(super) fn asked_now(
        &self,
        party: &Party,
        id: &ApprovalId,
        preview: &Preview,
        asking: &Asking,
        now: Now,
    ) -> Asked {
        let requester = &party.requester.actor;
        let policy = self.config.policies.of_plan(&preview.plan);
        let limits = policy.limits();
        let seed = self.config.authority.nonce_seed;
        let turn = format!("\n{id}\n{}\n{}\n", self.next_job, now.wall);
        Asked {
            sidecar: self.config.sidecar.clone(),
            requester: requester.clone(),
            owner: (Owner::of(requester) != party.owner).then(|| party.owner.clone()),
            door: party.requester.door,
            policy: limits.id.clone(),
            policy_hash: policy.hash(),
            reference_time: preview.reference_time,
            max_drift_percent: limits.max_drift_percent,
            on_approval: asking.on_approval,
            reason: asking.reason.clone(),
            nonce: Digest::of(&[seed.as_slice(), turn.as_bytes()].concat()),
        }
    }

    /// An approval with a yes in it, if the yes is one.
    pub(super) fn with_yes(
        &self,
        entry: &ApprovalEntry,
        key: &OperatorKeyId,
        digest: &Digest,
        signature: OperatorSignature,
    ) -> Result<ApprovalEntry, Refusal> {
        let invalid = |message: &str| Refusal::new(ErrorCode::SignatureInvalid, message);
        let terms = entry.terms().ok_or(Unsigned::Before)?;
        if terms.digest() != *digest {
            return Err(invalid("what was signed is not this approval"));
        }
        let public_key =
            self.enrolled(key).ok_or_else(|| invalid("no enrolled key has this id"))?;
        let entry = ApprovalEntry {
            status: ApprovalStatus::Approved,
            approved_by: Some(key.clone()),
            signed: Some(Signed { public_key, signature }),
            ..entry.clone()
        };
        match self.check_authority(&entry) {
            Ok(()) => Ok(entry),
            Err(why) => Err(invalid(&why.to_string())),
        }
    }
}
