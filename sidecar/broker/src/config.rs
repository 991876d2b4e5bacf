//! How to reach a broker login, checked before anything is sent.

use crate::ConnectError;
use crate::keeper::Region;
use core::time::Duration;
use ibkr_agent_domain::{BrokerName, Mode};
use std::net::IpAddr;
use std::path::PathBuf;

/// Path under which the gateway serves its API.
const API_PATH: &str = "/v1/api";
/// Default time-out of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Default time-out of establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Default time between the reminder and the session's end.
const REMIND_BEFORE: Duration = Duration::from_secs(15 * 60);

/// How the gateway's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// By the system's certificate authorities.
    #[default]
    SystemRoots,
    /// By the authorities in a PEM file only.
    CaFile(PathBuf),
    /// By SHA-256 of the leaf certificate (DER); names and dates don't matter, signatures do.
    PinSha256([u8; 32]),
    /// Not at all; only for a loopback address.
    AcceptInvalidOnLoopback,
}

/// Whether IBKR's limits are kept on our side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pacing {
    /// They are; the default.
    #[default]
    On,
    /// They aren't. Accepted for [`Mode::Simulated`] only.
    Off,
}

/// A broker login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Its name.
    pub name: BrokerName,
    /// The gateway, such as `https://localhost:5000`, with or without `/v1/api`.
    pub base_url: String,
    /// How its certificate is checked.
    pub tls: TlsPolicy,
    /// What the login must be.
    pub expect: Mode,
    /// Longest time for one request, its wait for pacing included where no errand has an end.
    pub request_timeout: Duration,
    /// Longest time to establish a connection.
    pub connect_timeout: Duration,
    /// Whether limits are kept.
    pub pacing: Pacing,
    /// Where it is kept when paths with narrow limits were last asked, so that a restart doesn't
    /// ask too soon; nowhere if not given.
    pub pacing_file: Option<PathBuf>,
    /// Whose midnight ends the session.
    pub region: Region,
    /// How long before its end a human is reminded.
    pub remind_before: Duration,
}

impl BrokerConfig {
    /// A login with the default time-outs, pacing and certificate check.
    #[must_use]
    pub fn new(name: BrokerName, base_url: &str, expect: Mode) -> Self {
        Self {
            name,
            base_url: base_url.to_owned(),
            tls: TlsPolicy::default(),
            expect,
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            pacing: Pacing::default(),
            pacing_file: None,
            region: Region::default(),
            remind_before: REMIND_BEFORE,
        }
    }

    /// Checks the parts against each other.
    pub(crate) fn check(&self) -> Result<Endpoint, ConnectError> {
        let endpoint = Endpoint::parse(&self.base_url)?;
        if !endpoint.is_loopback {
            if !endpoint.is_tls {
                return Err(ConnectError::PlainHttp);
            }
            if self.tls == TlsPolicy::AcceptInvalidOnLoopback {
                return Err(ConnectError::TlsBypass);
            }
            if self.expect == Mode::Simulated {
                return Err(ConnectError::SimulatorAddress);
            }
        }
        if self.pacing == Pacing::Off && self.expect != Mode::Simulated {
            return Err(ConnectError::PacingOff);
        }
        if self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(ConnectError::ZeroTimeout);
        }
        Ok(endpoint)
    }
}

/// A checked base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, authority and path without a trailing slash.
    pub(crate) base: String,
    /// Host without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path prefix, such as `/v1/api`.
    pub(crate) prefix: String,
    pub(crate) is_tls: bool,
    pub(crate) is_loopback: bool,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, ConnectError> {
        let url = reqwest::Url::parse(text).map_err(|_| ConnectError::BaseUrl)?;
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(ConnectError::BaseUrl),
        };
        let has_more = url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some();
        if has_more {
            return Err(ConnectError::BaseUrl);
        }
        let shown = url.host_str().ok_or(ConnectError::BaseUrl)?;
        let host = shown.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or(ConnectError::BaseUrl)?;
        let path = url.path().trim_end_matches('/');
        let prefix = if path.is_empty() { API_PATH } else { path }.to_owned();
        let is_loopback = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let base = format!("{}://{shown}:{port}{prefix}", url.scheme());
        Ok(Self { base, host, port, prefix, is_tls, is_loopback })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> BrokerConfig {
        BrokerConfig::new(BrokerName::parse("paper").unwrap(), url, Mode::Paper)
    }

    #[test]
    fn a_bare_address_gets_the_api_path_and_a_given_path_is_kept() {
        let bare = config("https://localhost:5000/").check().unwrap();
        assert_eq!(bare.base, "https://localhost:5000/v1/api");
        let given = config("http://127.0.0.1:4711/v1/api").check().unwrap();
        assert_eq!(given.base, "http://127.0.0.1:4711/v1/api");
        assert_eq!((given.port, given.prefix.as_str()), (4711, "/v1/api"));
        assert!(config("http://[::1]:4711").check().unwrap().is_loopback);
    }

    #[test]
    fn plain_http_and_unchecked_certificates_stay_on_loopback() {
        let refused = |config: &BrokerConfig| config.check().unwrap_err().code().as_str();
        assert_eq!(refused(&config("http://10.0.0.5:5000")), "CONFIG_INVALID");
        let mut open = config("https://gateway.example:5000");
        assert!(open.check().is_ok());
        open.tls = TlsPolicy::AcceptInvalidOnLoopback;
        assert_eq!(refused(&open), "CONFIG_TLS_BYPASS_NON_LOCALHOST");
        let spoofed = BrokerConfig {
            tls: TlsPolicy::AcceptInvalidOnLoopback,
            ..config("https://localhost.example:5000")
        };
        assert_eq!(refused(&spoofed), "CONFIG_TLS_BYPASS_NON_LOCALHOST");
    }

    #[test]
    fn pacing_is_off_for_the_simulator_only() {
        let mut paper = config("https://localhost:5000");
        paper.pacing = Pacing::Off;
        assert_eq!(paper.check(), Err(ConnectError::PacingOff));
        paper.expect = Mode::Simulated;
        assert!(paper.check().is_ok());
    }

    #[test]
    fn nonsense_urls_are_refused() {
        for url in [
            "localhost:5000",
            "ftp://localhost",
            "https://user:pass@localhost:5000",
            "https://localhost/?a=b",
            "",
        ] {
            assert_eq!(config(url).check(), Err(ConnectError::BaseUrl), "{url}");
        }
    }
}
