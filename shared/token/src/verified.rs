//! A caller whose access token was checked here. Only this crate can make one.
//!
//! Holds what the token says, never the token: its hash stands for it.

use std::fmt;
use std::sync::Arc;

use ibkr_agent_domain::{Scope, ScopeSet};

use crate::claims::Claims;
use crate::error::TokenError;

/// Proof that a token was valid when it was checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified(Arc<Facts>);

#[derive(PartialEq, Eq)]
struct Facts {
    issuer: String,
    subject: String,
    client: Option<String>,
    scopes: ScopeSet,
    audience: String,
    issued_at: Option<i64>,
    expires_at: i64,
    token_hash: [u8; 32],
}

impl Verified {
    pub(crate) fn new(claims: Claims, audience: &str, token_hash: [u8; 32]) -> Self {
        Self(Arc::new(Facts {
            issuer: claims.issuer,
            subject: claims.subject,
            client: claims.client,
            scopes: claims.scopes,
            audience: audience.to_owned(),
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            token_hash,
        }))
    }

    /// The configured issuer, exact.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// `sub`: the user or, for machine tokens, the client. Unique only together with the issuer.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The OAuth client that was given the token, if the issuer says so.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// The scopes of ours that the token grants; others are left out.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.0.scopes
    }

    /// The configured audience that the token names.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// `iat` in Unix seconds. `None`: the age is unknown, which is never young enough for a write.
    #[must_use]
    pub fn issued_at(&self) -> Option<i64> {
        self.0.issued_at
    }

    /// `exp` in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.0.expires_at
    }

    /// SHA-256 of the token: the key for budgets.
    #[must_use]
    pub fn token_hash(&self) -> &[u8; 32] {
        &self.0.token_hash
    }

    /// Checks that the token grants a scope.
    ///
    /// # Errors
    /// [`TokenError::MissingScope`].
    pub fn require(&self, needed: Scope) -> Result<(), TokenError> {
        if self.0.scopes.contains(needed) {
            return Ok(());
        }
        Err(TokenError::MissingScope { needed })
    }
}

impl fmt::Debug for Verified {
    /// Shows who and until when, not the token's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("issuer", &self.0.issuer)
            .field("subject", &self.0.subject)
            .field("client", &self.0.client)
            .field("scopes", &self.0.scopes)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}
