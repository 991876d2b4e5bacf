//! The raw access token of a caller: bounded, redacted, wiped on drop.
//!
//! Whether it is a good token is [`crate::Validator`]'s business; this type only fixes the shape
//! (RFC 6750 §2.1) and that it is never printed.

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::error::TokenError;

/// Longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

const SCHEME: &str = "Bearer";

/// An access token as it was sent. `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub struct BearerToken(SecretString);

impl BearerToken {
    /// Reads an `Authorization` header value: `Bearer`, one space, the token, nothing else.
    ///
    /// The scheme's case doesn't matter (RFC 9110 §11.1).
    ///
    /// # Errors
    /// [`TokenError::Missing`], [`TokenError::NotBearer`], [`TokenError::TooLong`] or
    /// [`TokenError::Malformed`].
    pub fn from_header(value: &str) -> Result<Self, TokenError> {
        if value.is_empty() {
            return Err(TokenError::Missing);
        }
        let (scheme, token) = value.split_once(' ').ok_or(TokenError::NotBearer)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(TokenError::NotBearer);
        }
        Self::parse(token)
    }

    /// Takes the bare token, as a relayed call carries it.
    ///
    /// # Errors
    /// [`TokenError::Missing`], [`TokenError::TooLong`] or [`TokenError::Malformed`].
    pub fn parse(token: &str) -> Result<Self, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        if !token.bytes().all(is_token_byte) {
            return Err(TokenError::Malformed);
        }
        Ok(Self(SecretString::from(token)))
    }

    /// The token itself, for handing it to the party that checks it and to no one else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 of the token: stands for it in caches and budgets.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

/// The alphabet of `b64token`.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}
