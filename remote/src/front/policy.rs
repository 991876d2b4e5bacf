//! Which `Host` and `Origin` values are served, and what a client's `Accept` is taken for.
//!
//! Against DNS rebinding and foreign web pages; authentication is separate. Forwarding headers are
//! never read.

use crate::config::Resource;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::uri::Authority;

/// Most further hosts or origins that may be configured.
const MAX_ENTRIES: usize = 64;

/// Both types of a Streamable HTTP answer, as rmcp wants to see them.
const BOTH_TYPES: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Why an entry of a list can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// Not a host or host:port.
    #[error("{0:?} isn't a host or host:port")]
    Host(String),
    /// Not a scheme://host or scheme://host:port.
    #[error("{0:?} isn't an origin such as https://app.example.com")]
    Origin(String),
    /// Too many entries.
    #[error("at most {MAX_ENTRIES} entries are allowed")]
    TooMany,
}

/// The served hosts and origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPolicy {
    hosts: Vec<HostRule>,
    origins: Vec<OriginRule>,
}

/// A host, on any port when none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostRule {
    host: String,
    port: Option<u16>,
}

/// An origin, on any port when none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OriginRule {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// Why a request's `Host` or `Origin` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// No host, several, or one that isn't served.
    Host,
    /// An origin that may not call.
    Origin,
}

impl HostPolicy {
    pub(super) fn new(resource: &Resource) -> Self {
        let mut policy = Self { hosts: Vec::new(), origins: Vec::new() };
        // A checked resource is a host and an origin.
        policy.hosts.extend(parse_host(resource.authority()));
        policy.origins.extend(parse_origin(resource.origin()));
        policy
    }

    /// Serves this machine's own names on any port.
    pub(super) fn allow_loopback(&mut self) {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            self.hosts.push(HostRule { host: host.to_owned(), port: None });
            for scheme in ["http", "https"] {
                let (scheme, host) = (scheme.to_owned(), host.to_owned());
                self.origins.push(OriginRule { scheme, host, port: None });
            }
        }
    }

    pub(super) fn allow_host(&mut self, text: &str) -> Result<(), InvalidEntry> {
        let rule = parse_host(text).ok_or_else(|| InvalidEntry::Host(text.to_owned()))?;
        if self.hosts.len() >= MAX_ENTRIES {
            return Err(InvalidEntry::TooMany);
        }
        self.hosts.push(rule);
        Ok(())
    }

    pub(super) fn allow_origin(&mut self, text: &str) -> Result<(), InvalidEntry> {
        let rule = parse_origin(text).ok_or_else(|| InvalidEntry::Origin(text.to_owned()))?;
        if self.origins.len() >= MAX_ENTRIES {
            return Err(InvalidEntry::TooMany);
        }
        self.origins.push(rule);
        Ok(())
    }

    /// Checks a request; HTTP/2 carries its host in the URI.
    pub(super) fn check(&self, uri: &http::Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        let mut named = headers.get_all(HOST).iter();
        let header = named.next();
        if named.next().is_some() {
            return Err(Foreign::Host);
        }
        let authority = match (header, uri.authority()) {
            (Some(header), None) => {
                let text = header.to_str().map_err(|_| Foreign::Host)?;
                parse_host(text).ok_or(Foreign::Host)?
            }
            (None, Some(authority)) => parse_host(authority.as_str()).ok_or(Foreign::Host)?,
            (Some(header), Some(authority))
                if header.as_bytes() == authority.as_str().as_bytes() =>
            {
                parse_host(authority.as_str()).ok_or(Foreign::Host)?
            }
            (Some(_), Some(_)) | (None, None) => return Err(Foreign::Host),
        };
        let served = |rule: &HostRule| {
            rule.host == authority.host && (rule.port.is_none() || rule.port == authority.port)
        };
        if !self.hosts.iter().any(served) {
            return Err(Foreign::Host);
        }
        self.check_origin(headers)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Foreign> {
        let mut named = headers.get_all(ORIGIN).iter();
        let Some(origin) = named.next() else {
            return Ok(());
        };
        let origin = origin.to_str().ok().and_then(parse_origin).ok_or(Foreign::Origin)?;
        let allowed = |rule: &OriginRule| {
            rule.scheme == origin.scheme
                && rule.host == origin.host
                && (rule.port.is_none() || rule.port == origin.port)
        };
        if named.next().is_some() || !self.origins.iter().any(allowed) {
            return Err(Foreign::Origin);
        }
        Ok(())
    }
}

fn parse_host(text: &str) -> Option<HostRule> {
    if text.contains('@') {
        return None;
    }
    let authority: Authority = text.parse().ok()?;
    let host = authority.host().to_ascii_lowercase();
    let has_port = authority.as_str().len() > authority.host().len();
    let port = authority.port_u16();
    (!host.is_empty() && has_port == port.is_some()).then_some(HostRule { host, port })
}

/// Parses an origin; its port is always filled in, from the scheme if need be.
fn parse_origin(text: &str) -> Option<OriginRule> {
    let (scheme, authority) = text.split_once("://")?;
    let default_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    if authority.contains(['/', '?', '#']) {
        return None;
    }
    let host = parse_host(authority)?;
    let port = Some(host.port.unwrap_or(default_port));
    Some(OriginRule { scheme: scheme.to_owned(), host: host.host, port })
}

/// Reads `*/*`, a missing or a one-sided `Accept` as the two types that answers come in. Anything
/// that names neither is left for rmcp to refuse.
pub(super) fn repair_accept(headers: &mut HeaderMap) {
    let mut names = headers.get_all(ACCEPT).iter().peekable();
    let usable = names.peek().is_none()
        || names.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|range| {
                let essence = range.split(';').next().unwrap_or_default().trim();
                ["*/*", "application/*", "application/json", "text/*", "text/event-stream"]
                    .iter()
                    .any(|known| essence.eq_ignore_ascii_case(known))
            })
        });
    if usable {
        headers.insert(ACCEPT, BOTH_TYPES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> HostPolicy {
        HostPolicy::new(&Resource::parse("https://mcp.example.com/mcp").unwrap())
    }

    fn check(policy: &HostPolicy, host: &str, origin: Option<&str>) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        policy.check(&"/mcp".parse().unwrap(), &headers)
    }

    #[test]
    fn only_named_hosts_are_served() {
        let mut policy = policy();
        policy.allow_host("proxy.internal:9000").unwrap();
        for (host, served) in [
            ("mcp.example.com", true),
            ("MCP.example.com:443", true),
            ("proxy.internal:9000", true),
            ("proxy.internal:9001", false),
            ("proxy.internal", false),
            ("localhost:8080", false),
            ("mcp.example.com.evil.test", false),
            ("evil.test", false),
            ("user@mcp.example.com", false),
            ("mcp.example.com:x", false),
        ] {
            assert_eq!(check(&policy, host, None).is_ok(), served, "{host}");
        }
        policy.allow_loopback();
        for host in ["localhost:8080", "127.0.0.1:1", "[::1]:7"] {
            assert!(check(&policy, host, None).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_foreign_origin_is_refused_and_none_is_fine() {
        let mut policy = policy();
        policy.allow_origin("https://app.example.com").unwrap();
        for (origin, allowed) in [
            ("https://mcp.example.com", true),
            ("https://app.example.com:443", true),
            ("https://app.example.com:444", false),
            ("http://app.example.com", false),
            ("https://evil.test", false),
            ("http://localhost:3000", false),
            ("null", false),
            ("https://app.example.com/x", false),
        ] {
            let result = check(&policy, "mcp.example.com", Some(origin));
            assert_eq!(result.is_ok(), allowed, "{origin}");
        }
        policy.allow_loopback();
        assert!(check(&policy, "localhost", Some("http://localhost:3000")).is_ok());
    }

    #[test]
    fn two_hosts_or_a_contradiction_are_refused() {
        let policy = policy();
        let mut headers = HeaderMap::new();
        let path = "/mcp".parse().unwrap();
        assert_eq!(policy.check(&path, &headers), Err(Foreign::Host));
        headers.append(HOST, "mcp.example.com".parse().unwrap());
        let other = "http://evil.test/mcp".parse().unwrap();
        assert_eq!(policy.check(&other, &headers), Err(Foreign::Host));
        headers.append(HOST, "mcp.example.com".parse().unwrap());
        assert_eq!(policy.check(&path, &headers), Err(Foreign::Host));
        let http2 = "https://mcp.example.com/mcp".parse().unwrap();
        assert_eq!(policy.check(&http2, &HeaderMap::new()), Ok(()));
    }

    #[test]
    fn accept_is_repaired_unless_it_excludes_both_types() {
        for (accept, repaired) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/json"), true),
            (Some("text/html, application/*;q=0.5"), true),
            (Some("text/html"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            repair_accept(&mut headers);
            let now = headers.get(ACCEPT);
            assert_eq!(now == Some(&BOTH_TYPES), repaired, "{accept:?}");
        }
    }
}
