//! What an operator says about issuers, checked once when the validator is made.
//!
//! The issuer text is compared byte for byte, here and everywhere: no slash is added or removed.
//! Plain HTTP is for loopback only; an HTTPS issuer can't send us to a plain HTTP key set.

use std::time::Duration;

use reqwest::Url;

/// Most issuers that one validator serves.
pub const MAX_ISSUERS: usize = 16;
/// Largest tolerated difference between our clock and an issuer's.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(5);
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A value of the `typ` header that an issuer puts on access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` (RFC 9068), with or without `application/`.
    AtJwt,
    /// `JWT`, or no `typ` at all: for issuers that don't follow RFC 9068. ID tokens look alike in
    /// the header and are then told apart by audience and claims.
    Jwt,
}

/// One issuer that an operator trusts, and what its tokens must look like.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// Exact `iss` value and base of discovery.
    pub issuer: String,
    /// Key set address; discovered from metadata when absent.
    pub jwks_url: Option<String>,
    /// Metadata address; derived from the issuer when absent.
    pub metadata_url: Option<String>,
    /// Acceptable `aud` values, exact: the canonical URL of this resource.
    pub audiences: Vec<String>,
    /// Tolerated clock difference, at most [`MAX_CLOCK_SKEW`].
    pub clock_skew: Duration,
    /// Longest accepted time between issue and expiry.
    pub max_lifetime: Duration,
    /// Accepted token types.
    pub accepted_types: Vec<TokenType>,
}

impl IssuerConfig {
    /// An issuer with the defaults: discovery, 5 s of skew, 24 h of life, `at+jwt` only.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audiences: Vec<String>) -> Self {
        Self {
            issuer: issuer.into(),
            jwks_url: None,
            metadata_url: None,
            audiences,
            clock_skew: DEFAULT_CLOCK_SKEW,
            max_lifetime: DEFAULT_MAX_LIFETIME,
            accepted_types: vec![TokenType::AtJwt],
        }
    }
}

/// How documents are fetched and how often.
///
/// Proxy variables of the environment are not read: keys come straight from the issuer.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for one document.
    pub request_timeout: Duration,
    /// Longest wait for discovery and key set together.
    pub refresh_timeout: Duration,
    /// Age at which keys are fetched again although nothing asks for it.
    pub keys_max_age: Duration,
    /// Least time between two fetches that an unknown key or a bad signature causes.
    pub refetch_interval: Duration,
    /// Wait after a first failed fetch; doubles with each further failure.
    pub backoff_initial: Duration,
    /// Longest wait after failed fetches.
    pub backoff_max: Duration,
    /// Certificates (PEM) trusted beside the system's, for issuers with a private CA.
    pub extra_roots_pem: Option<Vec<u8>>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
            refresh_timeout: Duration::from_secs(10),
            keys_max_age: Duration::from_secs(10 * 60),
            refetch_interval: Duration::from_secs(5),
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            extra_roots_pem: None,
        }
    }
}

/// Why a configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No issuer, or more than [`MAX_ISSUERS`].
    #[error("configure 1 to {MAX_ISSUERS} issuers, not {0}")]
    IssuerCount(usize),
    /// The same issuer twice.
    #[error("issuer {0} is configured twice")]
    DuplicateIssuer(String),
    /// Not an absolute URL, or one with user, query or fragment.
    #[error("{url} isn't a plain absolute URL")]
    BadUrl {
        /// The URL as configured.
        url: String,
    },
    /// Plain HTTP to a host that isn't loopback.
    #[error("{url} must use https: plain http is for loopback only")]
    Insecure {
        /// The URL as configured.
        url: String,
    },
    /// No audience, or an empty one.
    #[error("issuer {issuer} needs at least one audience, none of them empty")]
    NoAudience {
        /// The issuer.
        issuer: String,
    },
    /// No accepted token type.
    #[error("issuer {issuer} accepts no token type")]
    NoTokenType {
        /// The issuer.
        issuer: String,
    },
    /// Clock skew above [`MAX_CLOCK_SKEW`].
    #[error("issuer {issuer}: clock skew above 300 s")]
    SkewTooLarge {
        /// The issuer.
        issuer: String,
    },
    /// A maximum lifetime of nothing.
    #[error("issuer {issuer}: the maximum lifetime is zero")]
    NoLifetime {
        /// The issuer.
        issuer: String,
    },
    /// Both addresses are given; the metadata would never be read.
    #[error("issuer {issuer}: give a key set URL or a metadata URL, not both")]
    TwoSources {
        /// The issuer.
        issuer: String,
    },
    /// The HTTP client can't be made: unreadable extra roots, or no system certificates.
    #[error("the HTTPS client can't be made: check the certificate store and extra roots")]
    HttpClient,
}

impl IssuerConfig {
    /// Whether any address of this issuer is `https`, which needs a certificate store.
    pub(crate) fn uses_https(&self) -> bool {
        let addresses = [Some(&self.issuer), self.jwks_url.as_ref(), self.metadata_url.as_ref()];
        addresses.into_iter().flatten().any(|url| url.starts_with("https:"))
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let issuer = || self.issuer.clone();
        let base = parse_url(&self.issuer)?;
        // It parts issuer and subject where callers are named.
        if self.issuer.contains('|') {
            return Err(ConfigError::BadUrl { url: issuer() });
        }
        for url in [&self.jwks_url, &self.metadata_url].into_iter().flatten() {
            if !may_follow(&base, &parse_url(url)?) {
                return Err(ConfigError::Insecure { url: url.clone() });
            }
        }
        if self.jwks_url.is_some() && self.metadata_url.is_some() {
            return Err(ConfigError::TwoSources { issuer: issuer() });
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(ConfigError::NoAudience { issuer: issuer() });
        }
        if self.accepted_types.is_empty() {
            return Err(ConfigError::NoTokenType { issuer: issuer() });
        }
        if self.clock_skew > MAX_CLOCK_SKEW {
            return Err(ConfigError::SkewTooLarge { issuer: issuer() });
        }
        if self.max_lifetime.as_secs() == 0 {
            return Err(ConfigError::NoLifetime { issuer: issuer() });
        }
        Ok(())
    }
}

/// An absolute URL without user, query or fragment, `https` or loopback `http`.
fn parse_url(text: &str) -> Result<Url, ConfigError> {
    let bad = || ConfigError::BadUrl { url: text.to_owned() };
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || !url.has_host() {
        return Err(bad());
    }
    if !is_secure(&url) {
        return Err(ConfigError::Insecure { url: text.to_owned() });
    }
    Ok(url)
}

/// Whether a document of `base` may send us to `target`: HTTPS always, loopback only to loopback.
pub(crate) fn may_follow(base: &Url, target: &Url) -> bool {
    target.scheme() == "https" || (base.scheme() == "http" && is_secure(target))
}

fn is_secure(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
