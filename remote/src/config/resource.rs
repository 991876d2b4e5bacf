//! The resource URL: what the user typed, what tokens name as audience, where metadata lies.
//!
//! The text is kept byte for byte; nothing is normalised, since clients and issuers compare it
//! exactly. RFC 9728 §3.1 says where the metadata of a resource with a path lies.

use std::net::IpAddr;

/// Longest resource URL.
const MAX_BYTES: usize = 512;

/// The path under which RFC 9728 metadata lies.
pub(crate) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// Why a text can't be a resource URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResource {
    /// Not an absolute http or https URL.
    #[error("{0:?} isn't an absolute http(s) URL")]
    NotAUrl(String),
    /// User, query or fragment.
    #[error("{0:?} must have no user, query or fragment")]
    Extra(String),
    /// A trailing slash, which clients and issuers would compare as another resource.
    #[error("{0:?} must not end with a slash")]
    TrailingSlash(String),
    /// Plain HTTP to a host that isn't loopback.
    #[error("{0:?} must be https: plain http is for loopback only")]
    Insecure(String),
}

/// A checked resource URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    text: String,
    origin: String,
    authority: String,
    path: String,
    https: bool,
}

impl Resource {
    /// Parses a resource URL.
    ///
    /// # Errors
    /// [`InvalidResource`].
    pub fn parse(text: &str) -> Result<Self, InvalidResource> {
        let not_a_url = || InvalidResource::NotAUrl(text.chars().take(MAX_BYTES).collect());
        if text.len() > MAX_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(not_a_url());
        }
        if text.contains(['#', '?', '@']) {
            return Err(InvalidResource::Extra(text.to_owned()));
        }
        // These would end a quoted string of a challenge header.
        if text.contains(['"', '\\']) {
            return Err(not_a_url());
        }
        let uri: http::Uri = text.parse().map_err(|_| not_a_url())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(not_a_url());
        };
        let host = authority.host();
        // Only lower case compares equal everywhere.
        let upper = |part: &str| part.bytes().any(|b| b.is_ascii_uppercase());
        if host.is_empty() || upper(authority.as_str()) || !text.starts_with(scheme) {
            return Err(not_a_url());
        }
        if text.ends_with('/') {
            return Err(InvalidResource::TrailingSlash(text.to_owned()));
        }
        if scheme == "http" && !is_loopback(host) {
            return Err(InvalidResource::Insecure(text.to_owned()));
        }
        let origin = format!("{scheme}://{authority}");
        let path = text.get(origin.len()..).unwrap_or_default().to_owned();
        Ok(Self {
            text: text.to_owned(),
            origin,
            authority: authority.as_str().to_owned(),
            path,
            https: scheme == "https",
        })
    }

    /// The URL as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme and authority.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Host, with the port if one is given.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, empty or starting with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether clients reach it over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// Where its metadata lies.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        format!("{}{METADATA_PATH}{}", self.origin, self.path)
    }
}

/// Whether a host name or address is this machine's own.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_a_path_lies_behind_the_well_known_prefix() {
        let resource = Resource::parse("https://mcp.example.com/mcp").unwrap();
        assert_eq!(
            resource.metadata_url(),
            "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!((resource.path(), resource.authority()), ("/mcp", "mcp.example.com"));
        let bare = Resource::parse("https://mcp.example.com:8443").unwrap();
        assert_eq!((bare.path(), bare.authority()), ("", "mcp.example.com:8443"));
        assert!(Resource::parse("http://[::1]:9/mcp").is_ok());
    }

    #[test]
    fn what_cannot_be_an_audience_is_refused() {
        for text in [
            "",
            "mcp.example.com/mcp",
            "ftp://example.com/mcp",
            "https:///mcp",
            "https://Example.com/mcp",
            "https://example.com/mcp/",
            "https://example.com/",
            "https://example.com/mcp?x=1",
            "https://example.com/mcp#x",
            "https://user@example.com/mcp",
            "https://example.com/m\"cp",
            "http://example.com/mcp",
            "http://127.0.0.1.example.com/mcp",
        ] {
            assert!(Resource::parse(text).is_err(), "{text}");
        }
        assert!(Resource::parse("https://example.com/Tenant/mcp").is_ok());
    }
}
