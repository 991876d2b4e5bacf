//! Fetching one small JSON document: no redirects, time-outs, a size limit, no proxy variables.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode, Url, header, redirect};

use crate::config::{ConfigError, HttpOptions};

/// Largest metadata document or key set that is read.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Why an issuer's keys couldn't be fetched. Shown by readiness and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer: connection, TLS or name resolution failed.
    #[error("{url} can't be reached")]
    Unreachable {
        /// What was fetched.
        url: String,
    },
    /// Too slow.
    #[error("{url} didn't answer in time")]
    TimedOut {
        /// What was fetched.
        url: String,
    },
    /// Any status but 200; redirects are not followed.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("{url} is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
    },
    /// Not the document that was expected.
    #[error("{url} isn't the JSON document expected there")]
    Unreadable {
        /// What was fetched.
        url: String,
    },
    /// Metadata of another issuer, or with a slash more or less.
    #[error("{url} states another issuer than {expected}")]
    IssuerMismatch {
        /// Where the metadata was.
        url: String,
        /// The configured issuer.
        expected: String,
    },
    /// Metadata that names a key set we may not follow.
    #[error("{url} names a key set that isn't https")]
    InsecureKeySet {
        /// Where the metadata was.
        url: String,
    },
    /// Discovery and key set together took too long.
    #[error("fetching the keys of {issuer} took too long")]
    RefreshTimedOut {
        /// The configured issuer.
        issuer: String,
    },
    /// The runtime stopped the fetch.
    #[error("fetching was interrupted")]
    Interrupted,
}

/// The one client of this crate.
///
/// With loopback issuers only, no certificate is trusted, so that a host without a certificate
/// store can run them.
pub(crate) fn client(options: &HttpOptions, any_https: bool) -> Result<Client, ConfigError> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(1)
        .user_agent(concat!("ibkr-agent/", env!("CARGO_PKG_VERSION")));
    if !any_https {
        builder = builder.tls_certs_only(std::iter::empty::<Certificate>());
    } else if let Some(pem) = &options.extra_roots_pem {
        let roots = Certificate::from_pem_bundle(pem).map_err(|_| ConfigError::HttpClient)?;
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(|_| ConfigError::HttpClient)
}

/// Fetches one document.
pub(crate) async fn document(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let name = || url.to_string();
    let failed = |error: &reqwest::Error| {
        if error.is_timeout() {
            FetchError::TimedOut { url: name() }
        } else {
            FetchError::Unreachable { url: name() }
        }
    };
    let request = client.get(url.clone()).header(header::ACCEPT, "application/json");
    let mut response = request.send().await.map_err(|error| failed(&error))?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status { url: name(), status: response.status().as_u16() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLarge { url: name() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
