//! The one place where a request leaves: reads on a pooled client, effects on a connection each.
//!
//! A read may be repeated by its caller. An effect is written once, on a fresh connection, so that
//! no pool can repeat it and so that we know which side of the first byte a failure was on:
//!
//! ```text
//! pacing → connect → TLS → (kill switch) → write → answer
//! └──────── NotSent ─────────────────┘   └── Unknown ──┘
//! ```
//!
//! Invariants: a time-out on everything; bodies are buffered, with their length, and bounded; no
//! redirects, proxies or cookies; headers of answers are dropped but for `Date` and `Retry-After`.

mod flights;

use self::flights::{Flight, Flights, Sharing};
use crate::config::{BrokerConfig, Endpoint};
use crate::pacing::{Errand, Lane, Limiter, Place, Turn};
use crate::{BrokerError, Clock, ConnectError, HaltLatch, tls};
use bytes::{Bytes, BytesMut};
use core::fmt;
use core::time::Duration;
use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use ibkr_agent_domain::{NotSent, UnknownBecause};
use rustls_pki_types::ServerName;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Largest answer to a read.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Largest answer to an effect.
const MAX_EFFECT_BODY: usize = 256 * 1024;
/// What we call ourselves; IBKR refuses requests without a name.
pub(crate) const AGENT: &str = concat!("ibkr-agent-gateway/", env!("CARGO_PKG_VERSION"));
/// Idle connections to keep.
const POOL: usize = 8;
/// "No `Date` header seen yet".
const NO_SKEW: i64 = i64::MIN;

/// The methods that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
}

impl Method {
    const fn http(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Delete => http::Method::DELETE,
        }
    }
}

/// A request: path below the prefix, made of checked segments only.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) lane: Lane,
    /// An answer that was asked for after this moment serves too; without it, only one that is
    /// asked for from now on.
    pub(crate) asked_after: Option<Instant>,
    /// Only opens a subscription: nobody who wants the contents shares its answer.
    is_cold: bool,
    /// An answer that says `error` is one: its reader reads that too.
    pub(crate) reads_error: bool,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        let lane = Lane::of(method, &path);
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            lane,
            asked_after: None,
            is_cold: false,
            reads_error: false,
        }
    }

    pub(crate) fn param(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) const fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    pub(crate) const fn asked_after(mut self, moment: Option<Instant>) -> Self {
        self.asked_after = moment;
        self
    }

    /// The same, by somebody who reads an `error` among the other fields.
    pub(crate) fn reading_error(mut self) -> Self {
        self.reads_error = true;
        self
    }

    /// The same as a first read, whose answer is thrown away.
    pub(crate) fn cold(&self) -> Self {
        Self { is_cold: true, asked_after: None, ..self.clone() }
    }

    /// Path and query, percent-encoded; a space is `%20`, never `+`.
    fn target(&self, base: &str) -> Result<reqwest::Url, BrokerError> {
        let invalid = |_| BrokerError::InvalidRequest { what: "path" };
        let mut url = reqwest::Url::parse(&format!("{base}{}", self.path)).map_err(invalid)?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
            let encoded = url.query().unwrap_or_default().replace('+', "%20");
            url.set_query(Some(&encoded));
        }
        Ok(url)
    }

    /// Whether it asks for facts of an account, which an order may just have changed.
    fn tells_account(&self) -> bool {
        self.path.starts_with("/iserver/account") || self.path.starts_with("/portfolio")
    }

    /// Says the same to the broker.
    fn key(&self) -> String {
        format!("{} {:?} {:?} {}", self.path, self.query, self.body, self.is_cold)
    }
}

/// An answer without its headers. Never shown.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// When the request left, by our clock.
    pub(crate) sent_at: ibkr_agent_domain::Timestamp,
    /// How long all requests must wait, after a 429.
    pub(crate) retry_after: Option<Duration>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What became of writing an effect.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// It failed before the first byte.
    NotSent(NotSent),
    /// It may have arrived.
    Unknown(UnknownBecause),
    /// The gateway answered.
    Answered(Answer),
}

/// The way to one gateway.
pub(crate) struct Transport {
    http: reqwest::Client,
    tls: tokio_rustls::TlsConnector,
    endpoint: Endpoint,
    limiter: Limiter,
    clock: Arc<dyn Clock>,
    request_timeout: Duration,
    connect_timeout: Duration,
    skew_ms: AtomicI64,
    flights: Flights,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.endpoint.base).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(config: &BrokerConfig, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let endpoint = config.check()?;
        let tls = tls::client_config(&config.tls)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]))
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .pool_max_idle_per_host(POOL);
        if endpoint.host == "localhost" {
            builder = builder.resolve_to_addrs("localhost", &loopback(endpoint.port));
        }
        let http =
            builder.build().map_err(|error| ConnectError::Client { why: error.to_string() })?;
        Ok(Self {
            http,
            tls: Arc::new(tls).into(),
            endpoint,
            limiter: match &config.pacing_file {
                Some(file) => Limiter::remembering(config.pacing, file.clone(), Arc::clone(&clock)),
                None => Limiter::new(config.pacing),
            },
            clock,
            request_timeout: config.request_timeout,
            connect_timeout: config.connect_timeout,
            skew_ms: AtomicI64::new(NO_SKEW),
            flights: Flights::default(),
        })
    }

    /// Broker's clock minus ours, in milliseconds, from the newest `Date` header.
    pub(crate) fn skew_ms(&self) -> Option<i64> {
        Some(self.skew_ms.load(Ordering::Relaxed)).filter(|skew| *skew != NO_SKEW)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(crate) const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The gateway's address, with the path that every request begins with.
    pub(crate) fn base(&self) -> &str {
        &self.endpoint.base
    }

    /// Where the gateway's WebSocket is.
    pub(crate) fn stream_url(&self) -> String {
        format!("{}/ws", self.endpoint.base.replacen("http", "ws", 1))
    }

    /// A connection to the gateway, for the WebSocket.
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>, NotSent> {
        let connected = timeout(self.connect_timeout, self.connect()).await;
        connected.map_err(|_| NotSent::ConnectTimedOut)?
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Sends a read; its answer, and when it was asked for. Callers of the same GET share one
    /// request, on the most pressing of their errands: for an account's own facts only as long as
    /// it hasn't been sent, or as [`Request::asked_after`] allows, so that nobody is told what was
    /// true before it asked unless it said so.
    pub(crate) async fn read(&self, request: &Request) -> Result<(Answer, Instant), BrokerError> {
        let place = Errand::current().place(self.request_timeout);
        let end = Errand::current().until();
        let end = end.unwrap_or_else(|| Instant::now() + self.request_timeout);
        if request.method != Method::Get {
            let turn = self.limiter.enter(request.lane, place)?.turn().await?;
            return self.answer(request, turn, end).await;
        }
        let sharing = match request.asked_after {
            _ if !request.tells_account() => Sharing::Sent,
            Some(moment) => Sharing::SentAfter(moment),
            None => Sharing::Unsent,
        };
        loop {
            let boarded = self.flights.board(request.key(), sharing, place, &self.limiter);
            let mut is_leader = false;
            let lead = || {
                is_leader = true;
                self.lead(request, boarded.flight(), place, end)
            };
            // One whose turn came late still gets the time for its answer.
            let latest = end + self.request_timeout / 5;
            let answer = timeout_at(latest, boarded.flight().answer(lead)).await;
            // Whoever comes from now on asks anew.
            boarded.close();
            match answer {
                // Somebody with less patience led and was refused before it was sent.
                Ok(Err(BrokerError::RateLimited { .. }))
                    if !is_leader
                        && boarded.flight().sent().is_none()
                        && Instant::now() < place.turn_by => {}
                Ok(answer) => return answer,
                Err(_) if boarded.flight().sent().is_none() => {
                    return Err(BrokerError::RateLimited { retry_after: Duration::from_secs(1) });
                }
                Err(_) => return Err(BrokerError::TimedOut),
            }
        }
    }

    /// Waits for the turn of all who share a request, and sends it.
    async fn lead(
        &self,
        request: &Request,
        flight: &Flight,
        place: Place,
        end: Instant,
    ) -> Result<(Answer, Instant), BrokerError> {
        let entered = flight.enter(place, |place| self.limiter.enter(request.lane, place))?;
        let turn = entered.turn().await?;
        let sent = flight.note_sent();
        let (answer, _) = self.answer(request, turn, end).await?;
        Ok((answer, sent))
    }

    /// One exchange, in a request's time at most; a fifth of that at least.
    async fn answer(
        &self,
        request: &Request,
        _turn: Turn<'_>,
        end: Instant,
    ) -> Result<(Answer, Instant), BrokerError> {
        let sent = Instant::now();
        let end = end.max(sent + self.request_timeout / 5).min(sent + self.request_timeout);
        let answer = timeout_at(end, self.exchange(request)).await;
        Ok((answer.map_err(|_| BrokerError::TimedOut)??, sent))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, BrokerError> {
        let url = request.target(&self.endpoint.base)?;
        let mut builder = self.http.request(request.method.http(), url);
        if request.method != Method::Get {
            let body = request.body.clone().unwrap_or_default();
            builder = builder.header(CONTENT_LENGTH, body.len());
            if !body.is_empty() {
                builder = builder.header(CONTENT_TYPE, "application/json");
            }
            builder = builder.body(body);
        }
        let sent_at = self.clock.now();
        let mut response = builder.send().await.map_err(|error| read_failure(&error))?;
        let status = response.status().as_u16();
        let retry_after = self.note_answer(status, response.headers(), sent_at);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| read_failure(&error))? {
            if body.len().saturating_add(chunk.len()) > MAX_BODY {
                let what = "answer is too large";
                return Err(BrokerError::InvalidResponse { what });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: body.freeze(), sent_at, retry_after })
    }

    /// Writes an effect once. The latch, where given, is read last before the write.
    pub(crate) async fn send_once(&self, request: &Request, latch: Option<&HaltLatch>) -> Delivery {
        let began = latch.map(HaltLatch::epoch);
        let deadline = Instant::now() + self.request_timeout;
        let Ok(_turn) = self.limiter.acquire(request.lane, deadline).await else {
            return Delivery::NotSent(NotSent::RateLimited);
        };
        let Ok(prepared) = self.prepare(request) else {
            return Delivery::NotSent(NotSent::RequestNotWritable);
        };
        let stream = match timeout(self.connect_timeout, self.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Delivery::NotSent(why),
            Err(_) => return Delivery::NotSent(NotSent::ConnectTimedOut),
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let Ok((mut sender, connection)) = handshake else {
            return Delivery::NotSent(NotSent::ConnectFailed);
        };
        let exchange = async move {
            if sender.ready().await.is_err() {
                return Delivery::NotSent(NotSent::ConnectionClosed);
            }
            if latch.zip(began).is_some_and(|(latch, began)| latch.stops(began)) {
                return Delivery::NotSent(NotSent::Halted);
            }
            let sent_at = self.clock.now();
            let Ok(response) = sender.send_request(prepared).await else {
                return Delivery::Unknown(UnknownBecause::ConnectionLost);
            };
            let status = response.status().as_u16();
            let retry_after = self.note_answer(status, response.headers(), sent_at);
            match Limited::new(response.into_body(), MAX_EFFECT_BODY).collect().await {
                Ok(body) => Delivery::Answered(Answer {
                    status,
                    body: body.to_bytes(),
                    sent_at,
                    retry_after,
                }),
                Err(_) => Delivery::Unknown(UnknownBecause::AnswerCut),
            }
        };
        if Instant::now() >= deadline {
            return Delivery::NotSent(NotSent::TimedOutBeforeSending);
        }
        let mut exchange = Box::pin(exchange);
        let both = async {
            tokio::select! {
                sent = &mut exchange => sent,
                _ = connection => exchange.await,
            }
        };
        // Nothing waits before the write, so a time-out here is one of the answer.
        match timeout_at(deadline, both).await {
            Ok(sent) => sent,
            Err(_) => Delivery::Unknown(UnknownBecause::TimedOut),
        }
    }

    fn prepare(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let body = Bytes::from(request.body.clone().unwrap_or_default());
        let host = match self.endpoint.host.contains(':') {
            true => format!("[{}]:{}", self.endpoint.host, self.endpoint.port),
            false => format!("{}:{}", self.endpoint.host, self.endpoint.port),
        };
        let mut builder = http::Request::builder()
            .method(request.method.http())
            .uri(format!("{}{}", self.endpoint.prefix, request.path))
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "*/*")
            .header(CONTENT_LENGTH, body.len());
        if !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        builder.body(Full::new(body))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, NotSent> {
        let host = self.endpoint.host.as_str();
        let tcp = if host == "localhost" {
            TcpStream::connect(loopback(self.endpoint.port).as_slice()).await
        } else {
            TcpStream::connect((host, self.endpoint.port)).await
        };
        let tcp = tcp.map_err(|_| NotSent::ConnectFailed)?;
        // Only delays a small request when it fails.
        drop(tcp.set_nodelay(true));
        if !self.endpoint.is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NotSent::HostNameInvalid)?;
        let tls = self.tls.connect(name, tcp).await.map_err(|_| NotSent::TlsFailed)?;
        Ok(Box::new(tls))
    }

    /// Takes what we need from the headers; the rest is dropped with them.
    fn note_answer(
        &self,
        status: u16,
        headers: &HeaderMap,
        sent_at: ibkr_agent_domain::Timestamp,
    ) -> Option<Duration> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(theirs) = text(DATE).and_then(http_date_millis) {
            let ours = sent_at.as_millis().midpoint(self.clock.now().as_millis());
            // The header has whole seconds: its middle is the best guess.
            let skew = theirs.saturating_add(500).saturating_sub(ours);
            self.skew_ms.store(skew, Ordering::Relaxed);
        }
        let told = text(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let is_limited = status == http::StatusCode::TOO_MANY_REQUESTS.as_u16();
        is_limited.then(|| self.limiter.penalise(told.map(Duration::from_secs)))
    }
}

/// A connection, plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What `localhost` means to us, whatever the resolver says.
fn loopback(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
}

fn http_date_millis(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// Why there is no connection when the certificate is to blame.
pub(crate) const BAD_CERTIFICATE: &str = "its certificate isn't the expected one";

fn read_failure(error: &reqwest::Error) -> BrokerError {
    if error.is_timeout() {
        BrokerError::TimedOut
    } else if error.is_connect() {
        let why = if is_about_certificate(error) { BAD_CERTIFICATE } else { "no connection" };
        BrokerError::Unreachable { why }
    } else {
        BrokerError::Interrupted
    }
}

/// Searches the causes, also those that an I/O error wraps, which it doesn't name as its source.
fn is_about_certificate(error: &(dyn core::error::Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_about_certificate(wrapped))
        || error.source().is_some_and(is_about_certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read_as_utc() {
        let millis = http_date_millis("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(millis, Some(784_111_777_000));
        assert_eq!(http_date_millis("yesterday"), None);
    }

    #[test]
    fn queries_are_encoded_without_plus_signs() {
        let request = Request::get("/iserver/secdef/search").param("symbol", "BRK B&x=1+1");
        let url = request.target("http://127.0.0.1:1/v1/api").unwrap();
        assert_eq!(url.query(), Some("symbol=BRK%20B%26x%3D1%2B1"));
    }
}
