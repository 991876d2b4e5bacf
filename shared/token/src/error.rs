//! Why a token is refused: one variant per cause, mapped to the stable codes in one place.
//!
//! No variant carries text of the token: it is a stranger's text until the signature holds.

use ibkr_agent_domain::{ErrorCode, Scope};

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token was sent.
    #[error("no access token was sent")]
    Missing,
    /// The header isn't `Bearer <token>`.
    #[error("the authorization header isn't a bearer token")]
    NotBearer,
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    #[error("the access token is too long")]
    TooLong,
    /// Not a signed JWT: segments, base64, JSON, or a member given twice.
    #[error("the access token isn't a well-formed signed JWT")]
    Malformed,
    /// The header names an algorithm that isn't accepted, or not the key's own.
    #[error("the token's algorithm isn't accepted for its key")]
    AlgorithmRefused,
    /// The header has `crit`: it asks for extensions that aren't understood.
    #[error("the token asks for critical extensions that aren't supported")]
    CriticalHeader,
    /// Not an access token of an accepted type; ID tokens end here.
    #[error("the token isn't an access token of an accepted type")]
    WrongType,
    /// `iss` isn't exactly a configured issuer.
    #[error("the token's issuer isn't configured")]
    UnknownIssuer,
    /// The issuer's current keys don't include the token's key.
    #[error("the token's key isn't among its issuer's keys")]
    UnknownKey,
    /// The signature doesn't hold under the issuer's key.
    #[error("the token's signature is invalid")]
    BadSignature,
    /// A required claim is absent.
    #[error("the token lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or an impossible value.
    #[error("the token's claim {0} has an unusable value")]
    BadClaim(&'static str),
    /// `aud` doesn't include this resource.
    #[error("the token is meant for another resource")]
    WrongAudience,
    /// Past its expiry.
    #[error("the token expired at {expires_at}, now is {now} (Unix seconds)")]
    Expired {
        /// `exp`, Unix seconds.
        expires_at: i64,
        /// Our clock, Unix seconds.
        now: i64,
    },
    /// Before its `nbf`.
    #[error("the token is valid from {not_before}, now is {now} (Unix seconds)")]
    NotYetValid {
        /// `nbf`, Unix seconds.
        not_before: i64,
        /// Our clock, Unix seconds.
        now: i64,
    },
    /// Issued later than now.
    #[error("the token was issued at {issued_at}, now is {now} (Unix seconds)")]
    IssuedInFuture {
        /// `iat`, Unix seconds.
        issued_at: i64,
        /// Our clock, Unix seconds.
        now: i64,
    },
    /// Lives longer than this deployment accepts.
    #[error("the token lives {seconds} s, at most {maximum} s are accepted")]
    LifetimeTooLong {
        /// Lifetime of the token in seconds.
        seconds: i64,
        /// Configured maximum in seconds.
        maximum: i64,
    },
    /// The issuer's keys can't be had now.
    #[error("the keys of {issuer} can't be fetched now")]
    KeysUnavailable {
        /// The configured issuer.
        issuer: String,
    },
    /// The token is good but doesn't grant a scope that is needed.
    #[error("the token doesn't grant {needed}")]
    MissingScope {
        /// The scope that is needed.
        needed: Scope,
    },
}

impl TokenError {
    /// The stable code of the outside.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing => ErrorCode::AuthTokenMissing,
            Self::NotBearer
            | Self::TooLong
            | Self::Malformed
            | Self::AlgorithmRefused
            | Self::CriticalHeader
            | Self::WrongType
            | Self::UnknownKey
            | Self::BadSignature
            | Self::MissingClaim(_)
            | Self::BadClaim(_)
            | Self::NotYetValid { .. }
            | Self::IssuedInFuture { .. }
            | Self::LifetimeTooLong { .. } => ErrorCode::AuthTokenInvalid,
            Self::UnknownIssuer => ErrorCode::AuthInvalidIssuer,
            Self::WrongAudience => ErrorCode::AuthInvalidAudience,
            Self::Expired { .. } => ErrorCode::AuthTokenExpired,
            Self::KeysUnavailable { .. } => ErrorCode::AuthKeysUnavailable,
            Self::MissingScope { .. } => ErrorCode::AuthMissingScope,
        }
    }

    /// Whether the same token may be accepted a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable { .. } | Self::NotYetValid { .. } | Self::IssuedInFuture { .. }
        )
    }
}
