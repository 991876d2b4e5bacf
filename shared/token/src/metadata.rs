//! Finding an issuer's key set: RFC 8414 metadata, else OpenID Connect discovery.
//!
//! Candidates for `https://host/path`, in order: the OAuth document and the OpenID document with
//! the path inserted, then the OpenID document with it appended. A document counts only if its
//! `issuer` equals ours byte for byte; another one's is passed over and reported if none fits.

use reqwest::{Client, Url};
use serde::Deserialize;

use crate::config::{IssuerConfig, may_follow};
use crate::fetch::{self, FetchError};
use crate::header::parse_object;

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[derive(Deserialize)]
struct Wire {
    issuer: String,
    jwks_uri: String,
}

/// Where metadata may be, best first.
pub(crate) fn candidates(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
    if !path.is_empty() {
        paths.push(format!("{path}{OPENID}"));
    }
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    paths.into_iter().map(at).collect()
}

/// Asks the issuer where its keys are.
pub(crate) async fn discover(
    client: &Client,
    config: &IssuerConfig,
    base: &Url,
    candidates: &[Url],
) -> Result<Url, FetchError> {
    let mut mismatch = None;
    let mut last = FetchError::Interrupted;
    for url in candidates {
        match try_one(client, config, base, url).await {
            Ok(found) => return Ok(found),
            Err(error @ FetchError::IssuerMismatch { .. }) => mismatch = Some(error),
            Err(error) => last = error,
        }
    }
    // A document for another issuer tells the operator more than the 404 after it.
    Err(mismatch.unwrap_or(last))
}

async fn try_one(
    client: &Client,
    config: &IssuerConfig,
    base: &Url,
    url: &Url,
) -> Result<Url, FetchError> {
    let body = fetch::document(client, url).await?;
    let unreadable = || FetchError::Unreadable { url: url.to_string() };
    let wire: Wire = parse_object(body.trim_ascii_start()).map_err(|_| unreadable())?;
    if wire.issuer != config.issuer {
        return Err(FetchError::IssuerMismatch {
            url: url.to_string(),
            expected: config.issuer.clone(),
        });
    }
    let keys = Url::parse(&wire.jwks_uri).map_err(|_| unreadable())?;
    if !may_follow(base, &keys) {
        return Err(FetchError::InsecureKeySet { url: url.to_string() });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_at_the_standard_places() {
        let at = |issuer: &str| {
            let urls = candidates(&Url::parse(issuer).unwrap());
            urls.iter().map(Url::to_string).collect::<Vec<_>>()
        };
        let plain = [
            "https://id.example/.well-known/oauth-authorization-server",
            "https://id.example/.well-known/openid-configuration",
        ];
        assert_eq!(at("https://id.example"), plain);
        assert_eq!(at("https://id.example/"), plain);
        assert_eq!(
            at("https://id.example/realms/home"),
            [
                "https://id.example/.well-known/oauth-authorization-server/realms/home",
                "https://id.example/.well-known/openid-configuration/realms/home",
                "https://id.example/realms/home/.well-known/openid-configuration",
            ]
        );
    }
}
