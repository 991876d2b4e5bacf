//! The enrolled public keys, and the check of a signature against them.
//!
//! Pure: no file, no clock. Whoever owns the store keeps the keys in it; this is their form in
//! memory. A signature counts for one sidecar, one domain, one challenge and one verb.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use core::fmt;
use core::str::FromStr;
use ibkr_agent_domain::{
    Digest, ErrorCode, OperatorKeyId, SidecarId, Timestamp, Untrusted, operator_key_id,
};
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::BTreeMap;

use super::verb::{Challenge, Proof, Verb, signed_text};

/// Most keys that can be enrolled.
pub const MAX_KEYS: usize = 32;

/// Longest label of a key, in characters.
pub const MAX_LABEL_CHARS: usize = 64;

/// Hexadecimal digits of a key's id.
const ID_DIGITS: usize = 16;

/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// What an operator's signature is good for. Part of every signed text, so that a demo key's
/// signature is worth nothing at a real broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorDomain {
    /// The simulator only.
    Simulator,
    /// A real broker.
    Broker,
}

impl OperatorDomain {
    /// The name that is signed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Broker => "broker",
        }
    }

    /// Parses the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Simulator, Self::Broker].into_iter().find(|domain| domain.as_str() == text)
    }
}

impl fmt::Display for OperatorDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a key can't be enrolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The text isn't a public key.
    #[error("a public key is 64 hexadecimal digits")]
    NotAKey,
    /// The label is empty.
    #[error("an operator key needs its holder's name for it")]
    NoLabel,
    /// It is enrolled already.
    #[error("the key {0} is enrolled already")]
    Enrolled(OperatorKeyId),
    /// Another key has this id.
    #[error("another key has the id {0}")]
    SameId(OperatorKeyId),
    /// Too many keys.
    #[error("{MAX_KEYS} operator keys are enrolled already")]
    TooMany,
}

impl From<KeyringError> for ErrorBody {
    fn from(error: KeyringError) -> Self {
        Self::new(ErrorCode::InputInvalid, error.to_string())
    }
}

/// An Ed25519 public key; shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorPublicKey([u8; 32]);

impl OperatorPublicKey {
    /// Wraps the 32 bytes of a public key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its id: the first 16 hexadecimal digits of its SHA-256.
    #[must_use]
    pub fn id(&self) -> OperatorKeyId {
        operator_key_id(&self.0)
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        verifies(&self.0, text.as_bytes(), signature)
    }
}

impl FromStr for OperatorPublicKey {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let bytes = Digest::parse(text).map_err(|_| KeyringError::NotAKey)?;
        Ok(Self(*bytes.as_bytes()))
    }
}

impl fmt::Display for OperatorPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for OperatorPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorPublicKey({self})")
    }
}

/// Whether a public key's signature over some bytes holds: how the engine checks an approval.
#[must_use]
pub fn verify_signature(public_key: &[u8; 32], text: &[u8], signature: &[u8; 64]) -> bool {
    verifies(public_key, text, signature)
}

fn verifies(public_key: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(text, signature).is_ok()
}

/// A key that an operator may sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKey {
    /// The key.
    pub public_key: OperatorPublicKey,
    /// Its holder's name for it.
    pub label: Untrusted,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
}

impl EnrolledKey {
    /// A key as a verb or a stored row names it.
    ///
    /// # Errors
    /// [`KeyringError::NotAKey`], [`KeyringError::NoLabel`].
    pub fn parse(
        public_key: &str,
        label: &str,
        enrolled_at: Timestamp,
    ) -> Result<Self, KeyringError> {
        let label = label.trim();
        if label.is_empty() {
            return Err(KeyringError::NoLabel);
        }
        Ok(Self {
            public_key: public_key.parse()?,
            label: Untrusted::bounded(label, MAX_LABEL_CHARS),
            enrolled_at,
        })
    }
}

/// The keys that may sign, all of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    domain: OperatorDomain,
    keys: BTreeMap<OperatorKeyId, EnrolledKey>,
}

impl Keyring {
    /// A keyring without keys: nothing that needs a signature can be done.
    #[must_use]
    pub const fn new(domain: OperatorDomain) -> Self {
        Self { domain, keys: BTreeMap::new() }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`KeyringError`] when it is enrolled already or the keyring is full.
    pub fn enrol(&mut self, key: EnrolledKey) -> Result<OperatorKeyId, KeyringError> {
        let id = key.public_key.id();
        if let Some(other) = self.keys.get(&id) {
            let same = other.public_key == key.public_key;
            return Err(if same { KeyringError::Enrolled(id) } else { KeyringError::SameId(id) });
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyringError::TooMany);
        }
        self.keys.insert(id.clone(), key);
        Ok(id)
    }

    /// What the keys' signatures are good for.
    #[must_use]
    pub const fn domain(&self) -> OperatorDomain {
        self.domain
    }

    /// The keys, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&OperatorKeyId, &EnrolledKey)> {
        self.keys.iter()
    }

    /// Whether no key is enrolled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks that an enrolled key signed this verb for this sidecar and challenge.
    ///
    /// # Errors
    /// `SIGNATURE_INVALID` with the cause.
    pub fn verify(
        &self,
        sidecar: &SidecarId,
        challenge: &Challenge,
        verb: &Verb,
        proof: &Proof,
    ) -> Result<OperatorKeyId, ErrorBody> {
        let invalid = |message: String| ErrorBody::new(ErrorCode::SignatureInvalid, message);
        let named = Untrusted::bounded(&proof.key, ID_DIGITS);
        let unknown = || invalid(format!("no enrolled key has the id {named}"));
        let id = OperatorKeyId::parse(&proof.key).map_err(|_| unknown())?;
        let key = self.keys.get(&id).ok_or_else(unknown)?;
        let signature = unhex::<SIGNATURE_BYTES>(&proof.signature)
            .ok_or_else(|| invalid("a signature is 128 hexadecimal digits".to_owned()))?;
        let text = signed_text(sidecar, self.domain.as_str(), challenge, verb)
            .map_err(|error| ErrorBody::new(ErrorCode::InternalError, error.to_string()))?;
        if key.public_key.verifies(&text, &signature) {
            Ok(id)
        } else {
            Err(invalid(format!(
                "the signature by {id} is not over this verb, sidecar, domain and challenge"
            )))
        }
    }
}

/// Lower-case hexadecimal of some bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly `N` bytes of hexadecimal.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.checked_mul(2)? || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0_u8; N];
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *slot = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
