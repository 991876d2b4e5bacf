//! The validator: from a bearer token to a [`Verified`] caller or one cause of refusal.
//!
//! Cheap refusals come before key lookup and signature, so that junk costs no fetch and little
//! work; nothing is believed, cached or returned before the signature holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::task::JoinSet;

use crate::bearer::BearerToken;
use crate::cache::{Basis, TokenCache};
use crate::claims::Claims;
use crate::clock::Clock;
use crate::config::{ConfigError, HttpOptions, IssuerConfig, MAX_ISSUERS};
use crate::error::TokenError;
use crate::fetch;
use crate::header::Header;
use crate::issuer::{Issuer, IssuerReadiness, KeySet, KeysState, Refreshed};
use crate::jwks::{self, Lookup};
use crate::verified::Verified;

/// How all issuers stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// One entry per configured issuer, in configured order.
    pub issuers: Vec<IssuerReadiness>,
}

impl Readiness {
    /// Whether every issuer has usable keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.issuers
            .iter()
            .all(|issuer| matches!(issuer.state, KeysState::Ready | KeysState::Failing))
    }
}

/// Validates access tokens of a fixed set of issuers. Cheap to clone; clones share keys.
#[derive(Debug, Clone)]
pub struct Validator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    issuers: Vec<Arc<Issuer>>,
    clock: Arc<dyn Clock>,
    cache: TokenCache,
}

/// A token taken apart, not yet believed.
struct Parts<'a> {
    header: Header,
    claims: Claims,
    message: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        decode(signature)?;
        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            claims: Claims::parse(&decode(payload)?)?,
            message,
            signature,
        })
    }

    /// Whether one of the fitting keys made the signature; the cause if not.
    fn check_signature(&self, set: &KeySet) -> Result<(), TokenError> {
        match jwks::find(&set.keys, self.header.kid.as_deref(), self.header.algorithm) {
            Lookup::Found(keys) => keys
                .iter()
                .any(|key| key.verifies(self.message, self.signature))
                .then_some(())
                .ok_or(TokenError::BadSignature),
            Lookup::OtherAlgorithm => Err(TokenError::AlgorithmRefused),
            Lookup::Unknown => Err(TokenError::UnknownKey),
        }
    }
}

impl Validator {
    /// Makes a validator. Fetches nothing: an issuer that can't be reached now may be later.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that can't be used.
    pub fn new(
        issuers: Vec<IssuerConfig>,
        http: HttpOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        if issuers.is_empty() || issuers.len() > MAX_ISSUERS {
            return Err(ConfigError::IssuerCount(issuers.len()));
        }
        let mut seen = HashSet::new();
        for config in &issuers {
            config.check()?;
            if !seen.insert(config.issuer.as_str()) {
                return Err(ConfigError::DuplicateIssuer(config.issuer.clone()));
            }
        }
        // Without an https address no certificate is trusted: loopback issuers keep keys there.
        let any_https = issuers.iter().any(IssuerConfig::uses_https);
        let client = fetch::client(&http, any_https)?;
        let http = Arc::new(http);
        let issuers = issuers
            .into_iter()
            .map(|config| Issuer::new(config, client.clone(), Arc::clone(&http)).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Shared { issuers, clock, cache: TokenCache::default() })))
    }

    /// Checks a token. Waits for keys at most `refresh_timeout` per fetch, two fetches at most.
    ///
    /// # Errors
    /// [`TokenError`], one variant per cause.
    pub async fn verify(&self, token: &BearerToken) -> Result<Verified, TokenError> {
        let hash = token.hash();
        if let Some(verified) = self.remembered(&hash) {
            return Ok(verified);
        }
        let parts = Parts::parse(token.expose())?;
        let (index, issuer) = self
            .0
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.config.issuer == parts.claims.issuer)
            .ok_or(TokenError::UnknownIssuer)?;
        let kind = parts.header.accepted_type(&issuer.config.accepted_types)?;
        parts.claims.check_type(kind)?;
        let audience = parts.claims.check_audience(&issuer.config)?;
        parts.claims.check_times(&issuer.config, self.0.clock.now_unix())?;

        let generation = check_with_current_keys(issuer, &parts).await?;

        // Fetching may have taken seconds.
        let now = self.0.clock.now_unix();
        parts.claims.check_times(&issuer.config, now)?;
        let verified = Verified::new(parts.claims, audience, hash);
        self.0.cache.remember(&verified, Basis { issuer: index, generation }, now);
        Ok(verified)
    }

    /// How long ago a token was issued, by the clock that judges expiry; `None` where it doesn't
    /// say. A time in the tolerated future counts as now.
    #[must_use]
    pub fn age(&self, verified: &Verified) -> Option<Duration> {
        let seconds = self.0.clock.now_unix().saturating_sub(verified.issued_at()?);
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Verified> {
        let (verified, basis) = self.0.cache.lookup(hash, self.0.clock.now_unix())?;
        let generation = self.0.issuers.get(basis.issuer)?.generation()?;
        (generation == basis.generation).then_some(verified)
    }

    /// How the issuers stand, without fetching anything.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        Readiness { issuers: self.0.issuers.iter().map(|issuer| issuer.readiness()).collect() }
    }

    /// Fetches missing or old keys of all issuers at once, and says how they stand then.
    pub async fn warm(&self) -> Readiness {
        let mut fetches = JoinSet::new();
        for issuer in &self.0.issuers {
            let issuer = Arc::clone(issuer);
            fetches.spawn(async move { issuer.current_keys().await.is_some() });
        }
        while fetches.join_next().await.is_some() {}
        self.ready()
    }
}

/// Checks the signature, with keys fetched anew if the ones at hand don't fit.
///
/// Returns the generation of the keys that it holds under.
async fn check_with_current_keys(
    issuer: &Arc<Issuer>,
    parts: &Parts<'_>,
) -> Result<u64, TokenError> {
    let unavailable = || TokenError::KeysUnavailable { issuer: issuer.config.issuer.clone() };
    // Read before the keys: a fetch that finishes in between is then joined, not repeated.
    let seen = issuer.finished();
    let set = issuer.current_keys().await.ok_or_else(unavailable)?;
    let Err(misfit) = parts.check_signature(&set) else {
        return Ok(set.generation);
    };
    let unknown_kid = match (&misfit, parts.header.kid.as_deref()) {
        (TokenError::UnknownKey, kid) => kid,
        _ => None,
    };
    if unknown_kid.is_some_and(|kid| issuer.is_known_unknown(kid)) {
        return Err(misfit);
    }
    match issuer.refresh(seen).await {
        Refreshed::TooSoon => return Err(misfit),
        // The issuer may have the key by now and can't be asked.
        Refreshed::Failed if misfit == TokenError::UnknownKey => return Err(unavailable()),
        Refreshed::Failed => return Err(misfit),
        Refreshed::Fetched => {}
    }
    let set = issuer.usable_keys().ok_or_else(unavailable)?;
    let outcome = parts.check_signature(&set);
    if let (Err(TokenError::UnknownKey), Some(kid)) = (&outcome, unknown_kid) {
        issuer.remember_unknown(kid);
    }
    outcome.map(|()| set.generation)
}
