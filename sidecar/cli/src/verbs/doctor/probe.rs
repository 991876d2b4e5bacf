//! Plain requests to a Client Portal Gateway, without our client and its session: what answers at
//! an address, with which certificate, to which origin, and whether somebody is logged in there.
//!
//! The certificate isn't checked here: nothing secret is sent, and which certificate stands there
//! is what is asked. Answers are bounded in time and size, no redirect is followed, no cookie kept.
//! Of a body only the named fields are read; no body, header or cookie is shown or logged.

use ibkr_agent_domain::Digest;
use reqwest::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderValue};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Path of the API.
const API: &str = "/v1/api";
/// Longest answer that is read.
const MAX_BODY: usize = 64 * 1024;
/// Time to establish a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for an answer: the gateway hangs when it can't reach IBKR.
const ANSWER: Duration = Duration::from_secs(8);
/// IBKR refuses requests without a name.
const AGENT: &str = concat!("ibkr-agent-doctor/", env!("CARGO_PKG_VERSION"));
/// An origin that no gateway has a reason to let in.
pub(crate) const FOREIGN_ORIGIN: &str = "https://origin.example";

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// No connection.
    NoConnection,
    /// A connection that isn't the expected kind, or was closed without an answer.
    Closed,
    /// The request was taken and nothing came back in time.
    Hangs,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The certificate of the connection, in DER.
    pub(crate) certificate: Option<Vec<u8>>,
    /// `Access-Control-Allow-Origin`.
    pub(crate) allow_origin: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    /// The gateway's own refusal of an address that isn't on its list.
    pub(crate) fn is_address_refusal(&self) -> bool {
        self.status == 404 && self.body == b"Access Denied"
    }

    /// SHA-256 of the certificate.
    pub(crate) fn fingerprint(&self) -> Option<Digest> {
        self.certificate.as_deref().map(Digest::of)
    }
}

/// A way to one gateway.
#[derive(Debug)]
pub(crate) struct Probe {
    http: reqwest::Client,
    origin: String,
}

impl Probe {
    /// A probe of `https://localhost:5000` or the like; a path is dropped. `at` goes to that
    /// address instead of what the host's name stands for.
    pub(crate) fn new(base_url: &str, at: Option<SocketAddr>) -> Option<Self> {
        let url = reqwest::Url::parse(base_url).ok()?;
        let host = url.host_str()?;
        let port = url.port_or_known_default()?;
        let origin = match at {
            Some(at) => format!("{}://{at}", url.scheme()),
            None => format!("{}://{host}:{port}", url.scheme()),
        };
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .tls_info(true)
            .default_headers(headers)
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .ok()?;
        Some(Self { http, origin })
    }

    /// Asks for the state of the session.
    pub(crate) async fn status(&self) -> Result<Answer, NoAnswer> {
        self.send(self.http.get(format!("{}{API}/iserver/auth/status", self.origin))).await
    }

    /// Asks, as a browser would, whether a page of another origin may post.
    pub(crate) async fn preflight(&self) -> Result<Answer, NoAnswer> {
        let url = format!("{}{API}/iserver/auth/status", self.origin);
        let request = self
            .http
            .request(reqwest::Method::OPTIONS, url)
            .header("Origin", FOREIGN_ORIGIN)
            .header("Access-Control-Request-Method", "POST");
        self.send(request).await
    }

    /// Who is logged in, as far as the gateway tells anybody who asks.
    pub(crate) async fn login(&self) -> Login {
        let answer = match self.status().await {
            Ok(answer) => answer,
            Err(NoAnswer::NoConnection) => return Login::NoConnection,
            Err(NoAnswer::Closed) => return Login::Closed,
            Err(NoAnswer::Hangs) => return Login::Hangs,
        };
        let login = understood(&answer);
        if matches!(login, Login::Ready { .. }) {
            return Login::Ready { is_paper: self.is_paper().await };
        }
        login
    }

    /// Paper or live: told by the list of accounts.
    async fn is_paper(&self) -> Option<bool> {
        let url = format!("{}{API}/iserver/accounts", self.origin);
        let answer = self.send(self.http.get(url)).await.ok()?;
        let accounts: Accounts = serde_json::from_slice(&answer.body).ok()?;
        accounts.is_paper.or_else(|| {
            // IBKR names paper accounts DU, DF and the like.
            let first = accounts.accounts.first()?;
            Some(first.starts_with('D'))
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
        let mut response = request.send().await.map_err(|error| no_answer(&error))?;
        let info = response.extensions().get::<reqwest::tls::TlsInfo>();
        let certificate = info.and_then(|info| info.peer_certificate()).map(<[u8]>::to_vec);
        let allowed = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
        let allow_origin = allowed.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
            let room = MAX_BODY.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if room <= chunk.len() {
                break;
            }
        }
        Ok(Answer { status, certificate, allow_origin, body })
    }
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    if error.is_timeout() && !error.is_connect() {
        return NoAnswer::Hangs;
    }
    if error.is_connect() && is_io(error) {
        return NoAnswer::NoConnection;
    }
    NoAnswer::Closed
}

/// Whether the connection itself failed, rather than what was spoken over it.
fn is_io(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            return matches!(
                io.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::TimedOut
            );
        }
        source = inner.source();
    }
    // Neither refused nor spoken to: the time to connect ran out.
    error.is_timeout()
}

/// Who is logged in, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// Nobody listens.
    NoConnection,
    /// It listens and closes the connection, or speaks something else.
    Closed,
    /// It takes a request and doesn't answer: it can't reach IBKR.
    Hangs,
    /// Its list of addresses doesn't have ours.
    AddressRefused,
    /// Nobody is logged in.
    LoggedOut,
    /// Somebody is, but the brokerage session is down; that needs no new login.
    BrokerageDown,
    /// The same username is active elsewhere.
    Competing,
    /// A session that works.
    Ready {
        /// Whether it is a paper login, once known.
        is_paper: Option<bool>,
    },
    /// An answer that says none of this.
    Unclear(u16),
}

#[derive(Deserialize)]
struct Status {
    authenticated: Option<bool>,
    connected: Option<bool>,
    competing: Option<bool>,
}

#[derive(Deserialize)]
struct Accounts {
    #[serde(default)]
    accounts: Vec<String>,
    #[serde(rename = "isPaper")]
    is_paper: Option<bool>,
}

#[derive(Deserialize)]
struct Told {
    error: String,
}

fn understood(answer: &Answer) -> Login {
    if answer.is_address_refusal() {
        return Login::AddressRefused;
    }
    if let Ok(Told { error }) = serde_json::from_slice(&answer.body) {
        let error = error.to_ascii_lowercase();
        if error.contains("no bridge") || error.contains("init session") {
            return Login::BrokerageDown;
        }
        if error.contains("no session") || error.contains("not authenticated") {
            return Login::LoggedOut;
        }
    }
    match answer.status {
        200 => {}
        401 | 302 => return Login::LoggedOut,
        other => return Login::Unclear(other),
    }
    let Ok(status) = serde_json::from_slice::<Status>(&answer.body) else {
        return Login::Unclear(answer.status);
    };
    match (status.authenticated, status.connected, status.competing) {
        (Some(_), _, Some(true)) => Login::Competing,
        (Some(true), Some(true) | None, _) => Login::Ready { is_paper: None },
        (Some(false), Some(true), _) | (Some(true), Some(false), _) => Login::BrokerageDown,
        (Some(false), Some(false) | None, _) => Login::LoggedOut,
        (None, _, _) => Login::Unclear(answer.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Login {
        let body = body.as_bytes().to_vec();
        understood(&Answer { status, certificate: None, allow_origin: None, body })
    }

    #[test]
    fn every_documented_answer_is_understood() {
        let flags = |authenticated: bool, connected: bool, competing: bool| {
            let body = serde_json::json!({ "authenticated": authenticated,
                "connected": connected, "competing": competing, "MAC": "x" });
            answer(200, &body.to_string())
        };
        assert_eq!(flags(true, true, false), Login::Ready { is_paper: None });
        assert_eq!(flags(false, true, false), Login::BrokerageDown);
        assert_eq!(flags(true, false, false), Login::BrokerageDown);
        assert_eq!(flags(false, false, false), Login::LoggedOut);
        assert_eq!(flags(true, true, true), Login::Competing);
        assert_eq!(flags(false, true, true), Login::Competing);
        let cases = [
            (401, "", Login::LoggedOut),
            (401, "<html>Access Denied</html>", Login::LoggedOut),
            (401, r#"{"error":"not authenticated","statusCode":401}"#, Login::LoggedOut),
            (200, r#"{"error":"no session"}"#, Login::LoggedOut),
            (302, "", Login::LoggedOut),
            (400, r#"{"error":"Bad Request: no bridge"}"#, Login::BrokerageDown),
            (400, r#"{"error":"Init session first"}"#, Login::BrokerageDown),
            (404, "Access Denied", Login::AddressRefused),
            (403, "<html>Access Denied</html>", Login::Unclear(403)),
            (429, "Too Many Requests", Login::Unclear(429)),
            (503, r#"{"error":"restarting"}"#, Login::Unclear(503)),
            (200, "<html>", Login::Unclear(200)),
            (200, "{}", Login::Unclear(200)),
        ];
        for (status, body, expected) in cases {
            assert_eq!(answer(status, body), expected, "{status} {body}");
        }
    }

    #[tokio::test]
    async fn nobody_there_and_somebody_who_hangs_up_are_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://localhost:{}", address.port());
        let probe = Probe::new(&url, Some(address)).unwrap();
        let hangs_up = async { drop(listener.accept().await.unwrap()) };
        let (login, ()) = tokio::join!(probe.login(), hangs_up);
        assert_eq!(login, Login::Closed);
        // Taken, so that nobody else listens there, and not listening.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let probe = Probe::new(&url, Some(silent.local_addr().unwrap())).unwrap();
        assert_eq!(probe.login().await, Login::NoConnection);
        assert!(Probe::new("nonsense", None).is_none());
    }
}
