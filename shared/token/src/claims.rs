//! The claims of an access token (RFC 7519 §4.1, RFC 9068 §2.2) and the checks on them.
//!
//! Each claim is parsed apart, so that a refusal names it. A claim given twice refuses the token;
//! `iss` is one text, never a list. Times are judged by the caller's clock.

use std::time::Duration;

use ibkr_agent_domain::{Scope, ScopeSet};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::{IssuerConfig, TokenType};
use crate::error::TokenError;
use crate::header::parse_object;

/// Longest `sub` and client id, in bytes.
const MAX_NAME_BYTES: usize = 512;
/// Latest time that is read: beyond it a JSON number isn't exact.
const MAX_NUMERIC_DATE: u64 = 1 << 53;

/// What a token says. Believed only once its signature holds.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) client: Option<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) issued_at: Option<i64>,
    pub(crate) expires_at: i64,
    not_before: Option<i64>,
    audience: Vec<String>,
    looks_like_id_token: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    iss: Option<&'a RawValue>,
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    aud: Option<&'a RawValue>,
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
    #[serde(borrow)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow)]
    iat: Option<&'a RawValue>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    scp: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    azp: Option<&'a RawValue>,
    #[serde(borrow)]
    cid: Option<&'a RawValue>,
    #[serde(borrow)]
    appid: Option<&'a RawValue>,
    #[serde(borrow)]
    typ: Option<&'a RawValue>,
    #[serde(borrow)]
    token_use: Option<&'a RawValue>,
    #[serde(borrow)]
    at_hash: Option<&'a RawValue>,
    #[serde(borrow)]
    c_hash: Option<&'a RawValue>,
}

impl Wire<'_> {
    /// Marks that issuers put on ID tokens and not on access tokens.
    fn looks_like_id_token(&self) -> bool {
        let says = |raw: Option<&RawValue>, what: &str| {
            optional::<String>(raw, "typ")
                .ok()
                .flatten()
                .is_some_and(|text| text.eq_ignore_ascii_case(what))
        };
        self.at_hash.is_some()
            || self.c_hash.is_some()
            || says(self.typ, "ID")
            || says(self.token_use, "id")
    }

    fn client(&self) -> Result<Option<String>, TokenError> {
        let candidates = [
            (self.client_id, "client_id"),
            (self.azp, "azp"),
            (self.cid, "cid"),
            (self.appid, "appid"),
        ];
        for (raw, name) in candidates {
            if let Some(client) = optional::<String>(raw, name)? {
                return bounded(client, name).map(Some);
            }
        }
        Ok(None)
    }

    fn scopes(&self) -> Result<ScopeSet, TokenError> {
        let scope = optional::<Texts>(self.scope, "scope")?.unwrap_or_default();
        let scp = optional::<Texts>(self.scp, "scp")?.unwrap_or_default();
        let texts = scope.0.iter().chain(&scp.0);
        Ok(texts.flat_map(|text| text.split(' ')).filter_map(Scope::parse).collect())
    }
}

impl Claims {
    /// Reads the decoded payload.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let wire: Wire<'_> = parse_object(json)?;
        let time = |raw, name| Ok(optional::<NumericDate>(raw, name)?.map(|date| date.0));
        Ok(Self {
            issuer: required(wire.iss, "iss")?,
            subject: bounded(required(wire.sub, "sub")?, "sub")?,
            audience: required::<Texts>(wire.aud, "aud")?.0,
            expires_at: required::<NumericDate>(wire.exp, "exp")?.0,
            not_before: time(wire.nbf, "nbf")?,
            issued_at: time(wire.iat, "iat")?,
            scopes: wire.scopes()?,
            client: wire.client()?,
            looks_like_id_token: wire.looks_like_id_token(),
        })
    }

    /// A token typed only `JWT` must not carry the marks of an ID token.
    pub(crate) const fn check_type(&self, kind: TokenType) -> Result<(), TokenError> {
        match kind {
            TokenType::Jwt if self.looks_like_id_token => Err(TokenError::WrongType),
            TokenType::Jwt | TokenType::AtJwt => Ok(()),
        }
    }

    /// The configured audience that the token names.
    pub(crate) fn check_audience<'a>(
        &self,
        config: &'a IssuerConfig,
    ) -> Result<&'a str, TokenError> {
        config
            .audiences
            .iter()
            .find(|ours| self.audience.contains(ours))
            .map(String::as_str)
            .ok_or(TokenError::WrongAudience)
    }

    /// Expiry, not-before, time of issue and lifetime against `now` (Unix seconds).
    pub(crate) fn check_times(&self, config: &IssuerConfig, now: i64) -> Result<(), TokenError> {
        let skew = seconds(config.clock_skew);
        let expires_at = self.expires_at;
        if now >= expires_at.saturating_add(skew) {
            return Err(TokenError::Expired { expires_at, now });
        }
        let latest = now.saturating_add(skew);
        if let Some(not_before) = self.not_before.filter(|time| *time > latest) {
            return Err(TokenError::NotYetValid { not_before, now });
        }
        if let Some(issued_at) = self.issued_at.filter(|time| *time > latest) {
            return Err(TokenError::IssuedInFuture { issued_at, now });
        }
        // Without a time of issue, what is left of its life is the least that it was given.
        let lifetime = expires_at.saturating_sub(self.issued_at.unwrap_or(now));
        let maximum = seconds(config.max_lifetime);
        if lifetime > maximum {
            return Err(TokenError::LifetimeTooLong { seconds: lifetime, maximum });
        }
        Ok(())
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn optional<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    name: &'static str,
) -> Result<Option<T>, TokenError> {
    let parsed = raw.map(|raw| serde_json::from_str(raw.get())).transpose();
    parsed.map_err(|_| TokenError::BadClaim(name))
}

fn required<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    name: &'static str,
) -> Result<T, TokenError> {
    optional(raw, name)?.ok_or(TokenError::MissingClaim(name))
}

fn bounded(text: String, name: &'static str) -> Result<String, TokenError> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(TokenError::BadClaim(name));
    }
    Ok(text)
}

/// One text or a list of texts. Bounded by the size of the token.
#[derive(Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// Seconds since the Unix epoch; a fraction is cut off.
struct NumericDate(i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_u64().or_else(|| number.as_f64().and_then(whole_seconds));
        whole
            .filter(|seconds| *seconds <= MAX_NUMERIC_DATE)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a time"))
    }
}

#[expect(
    clippy::as_conversions,
    reason = "the range is checked and cutting off the fraction is wanted"
)]
fn whole_seconds(number: f64) -> Option<u64> {
    // 2^53 and below are exact in both types.
    (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
}
