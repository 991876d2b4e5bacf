//! The JOSE header of a token, read by us before anything else looks at it (RFC 7515 §4).
//!
//! `crit` in any form refuses the token: we understand no critical extension, and the JWT library
//! doesn't look. `jku`, `jwk`, `x5u` and `x5c` are never read: keys come from configuration.

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use crate::config::TokenType;
use crate::error::TokenError;
use crate::jwks::{KeyAlgorithm, MAX_KID_BYTES};

/// The parts of a header that matter.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) kid: Option<String>,
    kind: Option<TokenType>,
}

#[derive(serde::Deserialize)]
struct Wire {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for a member that is there at all, null included.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Header {
    /// Reads the decoded header.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let wire: Wire = parse_object(json)?;
        if wire.crit {
            return Err(TokenError::CriticalHeader);
        }
        if wire.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(TokenError::Malformed);
        }
        let alg = wire.alg.ok_or(TokenError::Malformed)?;
        Ok(Self {
            algorithm: KeyAlgorithm::parse(&alg).ok_or(TokenError::AlgorithmRefused)?,
            kid: wire.kid,
            kind: token_type(wire.typ.as_deref()),
        })
    }

    /// The token's type, if it is one of those accepted.
    pub(crate) fn accepted_type(&self, accepted: &[TokenType]) -> Result<TokenType, TokenError> {
        self.kind.filter(|kind| accepted.contains(kind)).ok_or(TokenError::WrongType)
    }
}

/// Media types compare without case and with `application/` optional (RFC 7515 §4.1.9).
fn token_type(typ: Option<&str>) -> Option<TokenType> {
    let Some(typ) = typ else {
        return Some(TokenType::Jwt);
    };
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/").unwrap_or(&lower) {
        "at+jwt" => Some(TokenType::AtJwt),
        "jwt" => Some(TokenType::Jwt),
        _ => None,
    }
}

/// Reads a JSON object; arrays, which serde would take for a struct, are refused.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    if json.first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}
