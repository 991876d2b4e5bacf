//! Keys of signed notes: Ed25519 signers, witnesses, and the verifier text ("vkey").
//!
//! A key is known by its name and a 4-byte id, `SHA-256(name || "\n" || type || public)[..4]`
//! (c2sp.org/signed-note). The type byte keeps a log signature (0x01) apart from a witness
//! cosignature (0x04, c2sp.org/tlog-cosignature): neither is accepted as the other.
//!
//! Seeds are the caller's to keep and to wipe. `Debug` of a signer shows its public half only.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::decode_hex;
use crate::note::{Note, NoteSignature};

/// Longest key name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Latest cosignature time that the format allows: 2^63 - 1 seconds.
const MAX_TIMESTAMP: u64 = 0x7fff_ffff_ffff_ffff;

/// What a signature of a key means; the byte is part of the key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x04: Ed25519 `cosignature/v1` of a witness, over a time and a checkpoint.
    CosignatureV1,
}

impl SignatureKind {
    const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    const fn from_type_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureV1),
            _ => None,
        }
    }
}

/// Why a key can't be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty, too long, or holds a space, a plus sign or a control character.
    #[error("the key name is empty, too long or holds a forbidden character")]
    BadName,
    /// The text isn't `name+id+base64`.
    #[error("a verifier key is written name+id+base64")]
    BadFormat,
    /// The id isn't the one that name, type and key give.
    #[error("the key id doesn't belong to this name and key")]
    WrongId,
    /// The signature type isn't supported.
    #[error("signature type {0:#04x} isn't supported")]
    UnsupportedType(u8),
    /// The cryptography library refuses the seed.
    #[error("the signing key is refused")]
    Refused,
}

/// Why a signature can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The cryptography library failed.
    #[error("signing failed")]
    Failed,
    /// A witness cosigns checkpoints only.
    #[error("only a checkpoint can be cosigned: {0}")]
    NotACheckpoint(#[source] CheckpointError),
    /// The time is beyond 2^63 - 1 seconds.
    #[error("the cosignature time is out of range")]
    BadTime,
}

/// The public half of a key: name, id, kind and 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    kind: SignatureKind,
    public: [u8; 32],
}

impl Verifier {
    fn new(name: &str, kind: SignatureKind, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::BadName);
        }
        let id = key_id(name, kind, &public);
        Ok(Self { name: name.to_owned(), id, kind, public })
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 4-byte id.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// What its signatures mean.
    #[must_use]
    pub const fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The 32-byte Ed25519 public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }

    /// Checks one signature over a text. `Some(time)` is the time a witness states, if it does.
    pub(crate) fn check(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            SignatureKind::Ed25519 => self.accepts(text.as_bytes(), signature).then_some(None),
            SignatureKind::CosignatureV1 => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                if time > MAX_TIMESTAMP || Checkpoint::parse(text).is_err() {
                    return None;
                }
                self.accepts(cosigned_message(time, text).as_bytes(), signature)
                    .then_some(Some(time))
            }
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.type_byte()];
        key.extend_from_slice(&self.public);
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Base64 has plus signs too: only the first two separate.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::BadFormat);
        };
        let id = decode_hex::<4>(id).ok_or(KeyError::BadFormat)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::BadFormat)?;
        let (kind, public) = key.split_first().ok_or(KeyError::BadFormat)?;
        let kind = SignatureKind::from_type_byte(*kind).ok_or(KeyError::UnsupportedType(*kind))?;
        let public = <[u8; 32]>::try_from(public).map_err(|_| KeyError::BadFormat)?;
        let verifier = Self::new(name, kind, public)?;
        if verifier.id != id {
            return Err(KeyError::WrongId);
        }
        Ok(verifier)
    }
}

/// The private half of a log's key: signs note texts.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// Makes the key of this name from a 32-byte Ed25519 seed.
    ///
    /// # Errors
    /// [`KeyError::BadName`] or [`KeyError::Refused`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let (pair, verifier) = key_from_seed(name, SignatureKind::Ed25519, seed)?;
        Ok(Self { pair, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn sign(&self, text: &str) -> Result<NoteSignature, SigningError> {
        let signature = self.pair.try_sign(text.as_bytes()).map_err(|_| SigningError::Failed)?;
        Ok(NoteSignature::new(self.verifier.name(), self.verifier.id(), signature.as_ref()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// The private half of a witness's key: cosigns checkpoints that it has found consistent.
///
/// The signed message doesn't name the witness, so a seed must serve one witness only.
pub struct Witness {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Witness {
    /// Makes the witness key of this name from a 32-byte Ed25519 seed.
    ///
    /// # Errors
    /// [`KeyError::BadName`] or [`KeyError::Refused`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let (pair, verifier) = key_from_seed(name, SignatureKind::CosignatureV1, seed)?;
        Ok(Self { pair, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// States that at `unix_seconds` this checkpoint was the largest consistent one seen.
    ///
    /// The caller has checked consistency and the log's own signature before.
    ///
    /// # Errors
    /// [`SigningError`] if the note is no checkpoint, the time is out of range or signing fails.
    pub fn cosign(&self, note: &Note, unix_seconds: u64) -> Result<NoteSignature, SigningError> {
        Checkpoint::parse(note.text()).map_err(SigningError::NotACheckpoint)?;
        if unix_seconds > MAX_TIMESTAMP {
            return Err(SigningError::BadTime);
        }
        let message = cosigned_message(unix_seconds, note.text());
        let signed = self.pair.try_sign(message.as_bytes()).map_err(|_| SigningError::Failed)?;
        let mut bytes = unix_seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(signed.as_ref());
        Ok(NoteSignature::new(self.verifier.name(), self.verifier.id(), &bytes))
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

fn key_from_seed(
    name: &str,
    kind: SignatureKind,
    seed: &[u8; 32],
) -> Result<(Ed25519KeyPair, Verifier), KeyError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Refused)?;
    let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).map_err(|_| KeyError::Refused)?;
    let verifier = Verifier::new(name, kind, public)?;
    Ok((pair, verifier))
}

fn cosigned_message(unix_seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}")
}

fn key_id(name: &str, kind: SignatureKind, public: &[u8; 32]) -> [u8; 4] {
    let hasher = Sha256::new().chain_update(name).chain_update([b'\n', kind.type_byte()]);
    let digest: [u8; 32] = hasher.chain_update(public).finalize().into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// Whether a text may name a key: not empty, no white space, no plus sign, no control character.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}
