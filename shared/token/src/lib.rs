//! Access-token validation: issuer metadata, keys, and the rules of a resource server.
//!
//! The remote and the sidecar both use this crate and neither trusts the other's answer: each
//! fetches keys straight from an issuer that its own operator configured and checks the caller's
//! token itself. What comes out is a [`Verified`], which only this crate can make.
//!
//! Flow: [`BearerToken`] → [`Validator::verify`] → look in the cache by token hash → read header
//! and claims → choose the issuer by exact `iss` → cheap refusals → key by `kid` and algorithm →
//! signature → [`Verified`]. Nothing in a token is believed before its signature holds.
//!
//! Sources: RFC 7515, 7517, 7519, 8414, 8725, 9068; RFC 6750 §2.1.
//!
//! Invariants: a token is never logged, stored or shown; a key verifies exactly one algorithm;
//! symmetric keys don't exist here; everything from outside is bounded before it is parsed.
//!
//! Not here: opaque tokens and introspection, DPoP and certificate-bound tokens, the names of
//! RFC 9864 (`alg: Ed25519`), login, and what a scope permits.

mod bearer;
mod cache;
mod claims;
mod clock;
mod config;
mod error;
mod fetch;
mod header;
mod issuer;
mod jwks;
mod metadata;
mod validator;
mod verified;

pub use bearer::{BearerToken, MAX_TOKEN_BYTES};
pub use clock::{Clock, SystemClock};
pub use config::{ConfigError, HttpOptions, IssuerConfig, MAX_CLOCK_SKEW, MAX_ISSUERS, TokenType};
pub use error::TokenError;
pub use fetch::{FetchError, MAX_DOCUMENT_BYTES};
pub use issuer::{IssuerReadiness, KeysState, MAX_KEY_STALENESS};
pub use jwks::MAX_KEYS;
pub use validator::{Readiness, Validator};
pub use verified::Verified;
