//! The relay's acceptor: one TLS 1.3 port where sidecars enrol and keep their links.
//!
//! Flow of a connection: TCP → ClientHello (the name must be ours) → TLS 1.3 handshake, client
//! certificate verified if sent → HTTP/1.1 → `/pairing/enrol` without a certificate, or `/relay`
//! with one → WebSocket → `hello` signed over this connection's TLS exporter → link.
//!
//! The port never sits behind a proxy that ends TLS. Resumption is off, since it would skip the
//! certificate. Every wait has a time-out, every crowd a bound. Here is no tool logic, no token
//! check (the sidecar's own) and no payload that outlives its call.

pub mod clock;
pub mod routes;

mod accept;
mod session;
mod upgrade;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ibkr_agent_protocol::relay::Settings;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pairing::{self, Desk};
use crate::pki::{Pki, PkiError};
use crate::store::Store;
use clock::Clock;
pub use routes::{Cut, RouteError, Routes, SidecarRoute};

/// Default life of a sidecar's certificate.
pub const DEFAULT_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Connections that may be in handshake, enrolment or upgrade at once.
const MAX_UNSETTLED: usize = 512;
/// Links that may live at once.
const MAX_LINKS: usize = 4096;

/// How the relay listens.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where.
    pub bind: SocketAddr,
    /// Which replica this is; a sidecar holds one link to each.
    pub replica_id: String,
    /// Life of a sidecar's certificate.
    pub certificate_lifetime: Duration,
    /// Times and bounds of links.
    pub settings: Settings,
    /// Time from accepting a connection to its request, TLS included.
    pub handshake_timeout: Duration,
    /// Wall-clock time.
    pub clock: Clock,
}

impl RelayConfig {
    /// The defaults on an address.
    #[must_use]
    pub fn new(bind: SocketAddr, replica_id: impl Into<String>) -> Self {
        Self {
            bind,
            replica_id: replica_id.into(),
            certificate_lifetime: DEFAULT_CERTIFICATE_LIFETIME,
            settings: Settings::default(),
            handshake_timeout: Duration::from_secs(10),
            clock: Clock::system(),
        }
    }
}

/// Why the relay can't listen.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The address can't be bound.
    #[error("the relay can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// What others hold of a running relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    address: SocketAddr,
    routes: Routes,
    desk: Desk,
}

impl RelayHandle {
    /// The bound address.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The way to the sidecars.
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The pairing desk.
    #[must_use]
    pub const fn pairing(&self) -> &Desk {
        &self.desk
    }
}

/// The bound relay, ready to run.
#[derive(Debug)]
pub struct RelayListener {
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RelayConfig,
    store: Arc<Store>,
    pki: Arc<Pki>,
    routes: Routes,
    desk: Desk,
    unsettled: Arc<Semaphore>,
    links: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl RelayListener {
    /// Binds the port.
    ///
    /// # Errors
    /// [`RelayError`] if the port is taken or TLS can't be set up.
    pub async fn bind(
        config: RelayConfig,
        store: Arc<Store>,
        pki: Arc<Pki>,
    ) -> Result<(RelayHandle, Self), RelayError> {
        let bind_failed = |source| RelayError::Bind { address: config.bind, source };
        let listener = TcpListener::bind(config.bind).await.map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        // Fails here rather than at the first sidecar.
        pki.server_config(config.clock.now())?;
        let routes = Routes::new(Arc::clone(&store));
        let desk = Desk::new(
            Arc::clone(&store),
            Arc::clone(&pki),
            routes.clone(),
            config.clock.clone(),
            config.certificate_lifetime,
        );
        let handle = RelayHandle { address, routes: routes.clone(), desk: desk.clone() };
        let shared = Arc::new(Shared {
            config,
            store,
            pki,
            routes,
            desk,
            unsettled: Arc::new(Semaphore::new(MAX_UNSETTLED)),
            links: Arc::new(Semaphore::new(MAX_LINKS)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        Ok((handle, Self { listener, shared }))
    }

    /// Accepts until told to stop, then drains the links and ends.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, shared } = self;
        let router = Router::new()
            .merge(pairing::router(shared.desk.clone()))
            .merge(upgrade::router(Arc::clone(&shared)));
        accept::run(&listener, &shared, &router, &shutdown).await;
        drop(listener);
        shared.stopping.cancel();
        shared.routes.cut_all(Cut::ShuttingDown);
        shared.tasks.close();
        let patience = shared.config.settings.drain.saturating_add(Duration::from_secs(2));
        if tokio::time::timeout(patience, shared.tasks.wait()).await.is_err() {
            tracing::warn!(relay.tasks = shared.tasks.len(), "relay stopped before every link");
        }
    }
}
