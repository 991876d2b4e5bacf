//! The accept loop: a task per connection, one time-out over TLS and HTTP, a bound on the crowd.
//!
//! A handshake never happens in the loop itself: a silent client would stop the port.

use core::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ibkr_agent_protocol::relay::frame::{EXPORTER_BYTES, EXPORTER_LABEL};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Shared;
use crate::pki::{PeerIdentity, SERVER_RENEWAL, peer_identity};

/// Time for a whole request that isn't upgraded, after TLS.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Pause after the operating system refuses to accept, such as at its file limit.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the handshake proved about a connection.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Whom the client certificate names, if one was sent.
    pub(super) peer: Option<PeerIdentity>,
    /// RFC 5705 keying material of this connection.
    pub(super) exporter: [u8; EXPORTER_BYTES],
}

/// TLS settings with a server certificate that is made anew before it ages.
struct Tls {
    made: SystemTime,
    config: Arc<ServerConfig>,
}

pub(super) async fn run(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    router: &Router,
    shutdown: &CancellationToken,
) {
    let tls: Arc<Mutex<Option<Tls>>> = Arc::new(Mutex::new(None));
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => return,
            permit = Arc::clone(&shared.unsettled).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection =
                    connection(stream, Arc::clone(shared), router.clone(), Arc::clone(&tls));
                shared.tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "the relay's port could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
    router: Router,
    tls: Arc<Mutex<Option<Tls>>>,
) {
    let patience = shared.config.handshake_timeout;
    let served = tokio::select! {
        () = shared.stopping.cancelled() => return,
        handshake = tokio::time::timeout(patience, handshake(stream, &shared, &tls)) => handshake,
    };
    let Ok(Some((stream, facts))) = served else {
        tracing::debug!("a relay connection ended in its handshake");
        return;
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(facts.clone());
        let router = router.clone();
        async move {
            let response: Result<Response<Body>, Infallible> = router.oneshot(request).await;
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        () = shared.stopping.cancelled() => {}
        // A time-out or an error of a peer that has proved nothing is of no interest.
        _ = tokio::time::timeout(REQUEST_TIMEOUT, connection) => {}
    }
}

async fn handshake(
    stream: TcpStream,
    shared: &Shared,
    tls: &Mutex<Option<Tls>>,
) -> Option<(TlsStream<TcpStream>, Facts)> {
    stream.set_nodelay(true).ok()?;
    let started =
        LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.ok()?;
    let expected = shared.pki.server_name();
    let is_ours = match started.client_hello().server_name() {
        Some(name) => name.eq_ignore_ascii_case(expected),
        // No name is sent for an IP address (RFC 6066 §3).
        None => expected.parse::<std::net::IpAddr>().is_ok(),
    };
    if !is_ours {
        return None;
    }
    let config = current(shared, tls).await?;
    let stream = started.into_stream(config).await.ok()?;
    let (_, session) = stream.get_ref();
    let exporter =
        session.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None).ok()?;
    let peer = match session.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Some(peer_identity(certificate).ok()?),
        None => None,
    };
    Some((stream, Facts { peer, exporter }))
}

async fn current(shared: &Shared, tls: &Mutex<Option<Tls>>) -> Option<Arc<ServerConfig>> {
    let now = shared.config.clock.now();
    let mut slot = tls.lock().await;
    if let Some(tls) = slot.as_ref()
        && now.duration_since(tls.made).is_ok_and(|age| age < SERVER_RENEWAL)
    {
        return Some(Arc::clone(&tls.config));
    }
    match shared.pki.server_config(now) {
        Ok(config) => {
            *slot = Some(Tls { made: now, config: Arc::clone(&config) });
            Some(config)
        }
        Err(error) => {
            tracing::error!(error = %error, "the relay has no certificate to show");
            None
        }
    }
}
