//! The key of the loopback identity provider: made at start, held in memory, never written.
//!
//! Signs JSON Web Tokens with Ed25519 (RFC 8037) and publishes the public half as a JWK. It puts
//! no rule on what it signs: the grants do, and tests ask it for tokens that must be refused.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::IdentityError;

/// The signing key with the id under which it is published.
pub struct Signer {
    pair: Ed25519KeyPair,
    key_id: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Makes a key.
    ///
    /// # Errors
    /// [`IdentityError::Key`] if the system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::Key)?;
        let key_id = encode(ibkr_agent_domain::Digest::of(pair.public_key().as_ref()).as_bytes());
        Ok(Self { pair, key_id })
    }

    /// The id that headers name.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key's bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public half as it stands in the key set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": encode(self.public_key()),
        })
    }

    /// An access token (RFC 9068) over these claims.
    #[must_use]
    pub fn access_token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "EdDSA", "kid": self.key_id, "typ": "at+jwt"}), claims)
    }

    /// A token over any header and claims, rightly signed.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Base64url without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
