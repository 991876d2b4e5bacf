//! The one-time join token and the messages of enrolment (`POST /pairing/enrol`).
//!
//! Flow: `pairing create` at the remote prints a [`JoinToken`]; the sidecar makes its keys on-prem,
//! connects to the relay pinned to the token's CA fingerprint, and posts an [`EnrolRequest`]; the
//! remote takes the token once, records the identity key and answers with a certificate.
//!
//! The secret is 256 random bits: the remote keeps only its SHA-256. Making the random bytes,
//! signing and checking are the shells' work; the texts to sign are built here.

use core::fmt;

use ibkr_agent_domain::{Digest, SidecarId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::text;

/// Path of the enrolment door on the relay's port.
pub const ENROL_PATH: &str = "/pairing/enrol";
/// Path of the WebSocket upgrade on the relay's port.
pub const RELAY_PATH: &str = "/relay";
/// Largest enrolment body.
pub const MAX_ENROL_BYTES: usize = 64 * 1024;
const PREFIX: &str = "ibkr-join-v1";
const SECRET_BYTES: usize = 32;

/// A text that isn't a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: expected {PREFIX}/<sidecar id>/<CA fingerprint>/<secret>")]
pub struct InvalidJoinToken;

/// A one-time permission to enrol one sidecar. `Debug` doesn't show the secret.
#[derive(Clone)]
pub struct JoinToken {
    sidecar_id: SidecarId,
    ca_fingerprint: Digest,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl JoinToken {
    /// A token of fresh random bytes, which the caller draws.
    #[must_use]
    pub fn new(sidecar_id: SidecarId, ca_fingerprint: Digest, secret: [u8; SECRET_BYTES]) -> Self {
        Self { sidecar_id, ca_fingerprint, secret: Zeroizing::new(secret) }
    }

    /// Reads the printed form.
    ///
    /// # Errors
    /// [`InvalidJoinToken`], which doesn't repeat the text.
    pub fn parse(text: &str) -> Result<Self, InvalidJoinToken> {
        let mut parts = text.trim().split('/');
        let (Some(PREFIX), Some(id), Some(fingerprint), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidJoinToken);
        };
        Ok(Self {
            sidecar_id: SidecarId::parse(id).map_err(|_| InvalidJoinToken)?,
            ca_fingerprint: Digest::parse(fingerprint).map_err(|_| InvalidJoinToken)?,
            secret: Zeroizing::new(text::unhex(secret).ok_or(InvalidJoinToken)?),
        })
    }

    /// The printed form. It holds the secret: show it once, to the one who asked.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(text::hex(self.secret.as_slice()));
        let text =
            format!("{PREFIX}/{}/{}/{}", self.sidecar_id, self.ca_fingerprint, secret.as_str());
        Zeroizing::new(text)
    }

    /// The sidecar that may enrol.
    #[must_use]
    pub const fn sidecar_id(&self) -> &SidecarId {
        &self.sidecar_id
    }

    /// SHA-256 of the relay's server CA certificate (DER).
    #[must_use]
    pub const fn ca_fingerprint(&self) -> &Digest {
        &self.ca_fingerprint
    }

    /// What the remote stores and looks up in place of the secret.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(self.secret.as_slice())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("sidecar_id", &self.sidecar_id)
            .field("ca_fingerprint", &self.ca_fingerprint)
            .finish_non_exhaustive()
    }
}

/// What a sidecar posts to enrol.
#[derive(Clone, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The join token's printed form.
    pub join_token: String,
    /// PKCS#10 request in PEM for the TLS key. Only its public key is used.
    pub csr_pem: String,
    /// Hexadecimal Ed25519 public key that signs every `hello`.
    pub identity_public_key: String,
    /// Hexadecimal signature of [`enrol_text`] by that key.
    pub proof: String,
}

impl fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolRequest")
            .field("identity_public_key", &self.identity_public_key)
            .finish_non_exhaustive()
    }
}

/// The text that an enrolment's proof signs: this token, this request, this sidecar.
#[must_use]
pub fn enrol_text(join: &JoinToken, csr_pem: &str) -> String {
    let csr = Digest::of(csr_pem.as_bytes());
    format!("ibkr-agent-relay-enrol/v1\n{}\n{}\n{csr}\n", join.sidecar_id(), join.hash())
}

/// What the remote answers to an enrolment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolReply {
    /// The client certificate in PEM.
    pub certificate_pem: String,
    /// The relay's server CA in PEM.
    pub ca_pem: String,
    /// When the certificate runs out, in seconds since 1970.
    pub expires_at: u64,
}

/// Why an enrolment was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefusal {
    /// A stable error code.
    pub code: String,
    /// Why, one sentence.
    pub message: String,
}

/// Lower-case hexadecimal, as keys and signatures are written in these messages.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    text::hex(bytes)
}

/// Reads exactly `N` bytes of hexadecimal.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    text::unhex(text)
}
