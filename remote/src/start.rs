//! Puts the hosted endpoint together: store, relay, front end, admin socket; and takes it apart.
//!
//! Order: the store first (it is the lock against a second process), then everything is bound,
//! then everything runs. Shutdown is drain, then stop: no new request, calls in flight finish or
//! time out, links get a GoAway.

use crate::admin::{self, AdminError};
use crate::config::RemoteConfig;
use crate::courier;
use crate::front::{NotReady, ReadinessCheck, RefusalLog, router};
use crate::pairing::Desk;
use crate::pki::{Pki, PkiError};
use crate::relay::{
    RelayConfig, RelayError, RelayHandle, RelayListener, Routes, SidecarRoute as _,
};
use crate::serve::serve;
use crate::service::HostedService;
use crate::store::{Store, StoreError};
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_token::{ConfigError as TokenConfigError, HttpOptions, SystemClock, Validator};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the hosted endpoint can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No folder for keys and store.
    #[error("relay.state_dir: name the folder of keys and pairings")]
    NoStateDir,
    /// The issuer can't be used.
    #[error("remote_mcp.issuer: {0}")]
    Issuer(#[from] TokenConfigError),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys can't be read or made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The relay can't listen.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The endpoint can't listen.
    #[error("the MCP endpoint can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The admin socket can't be made.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The thread that opened the store is gone.
    #[error("opening the store was interrupted")]
    Interrupted,
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::NoStateDir
            | Self::Issuer(_)
            | Self::Pki(_)
            | Self::Relay(_)
            | Self::Bind { .. }
            | Self::Admin(_) => ErrorCode::ConfigInvalid,
            Self::Interrupted => ErrorCode::InternalError,
        }
    }
}

/// The hosted endpoint.
#[derive(Debug)]
pub struct Remote;

/// A running endpoint. Dropping it stops everything at once; [`RemoteHandle::shutdown`] drains.
#[derive(Debug)]
pub struct RemoteHandle {
    http_address: SocketAddr,
    resource: String,
    relay: RelayHandle,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Remote {
    /// Starts on the configured addresses.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: RemoteConfig) -> Result<RemoteHandle, StartError> {
        let address = config.bind_address;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Bind { address, source })?;
        Self::start_on(listener, config).await
    }

    /// Starts with a socket that is bound already, so that its port can be named in the
    /// configuration's resource.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(
        listener: TcpListener,
        config: RemoteConfig,
    ) -> Result<RemoteHandle, StartError> {
        let address = config.bind_address;
        let http_address =
            listener.local_addr().map_err(|source| StartError::Bind { address, source })?;
        let validator =
            Validator::new(vec![config.issuer], HttpOptions::default(), Arc::new(SystemClock))?;
        let state_dir = config.relay.state_dir.ok_or(StartError::NoStateDir)?;
        let (store, pki) = open_state(&state_dir, &config.relay.server_name).await?;
        let mut relay_config = RelayConfig::new(config.relay.bind_address, replica_id());
        relay_config.certificate_lifetime = config.relay.certificate_life;
        let (relay, acceptor) = RelayListener::bind(relay_config, store, pki).await?;
        let socket = admin::bind(&state_dir)?;

        let shutdown = CancellationToken::new();
        let mut front = config.front;
        front.shutdown = shutdown.child_token();
        let resource = front.resource.as_str().to_owned();
        let routes = relay.routes().clone();
        let service = HostedService::new(routes.clone(), front.allowed_scopes.clone());
        let (log, refused) = RefusalLog::new();
        let (log, ready) = (Arc::new(log), readiness(routes.clone()));
        let sink: Arc<RefusalLog> = Arc::clone(&log);
        let router = router(front, Arc::new(service), validator.clone(), ready, sink);

        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, router, config.serve, shutdown.child_token()));
        tasks.spawn(acceptor.run(shutdown.child_token()));
        tasks.spawn(admin::run(socket, relay.pairing().clone(), shutdown.child_token()));
        tasks.spawn(courier::run(log, refused, routes, shutdown.child_token()));
        tasks.spawn(warm(validator, shutdown.child_token()));
        let relay_address = relay.local_addr();
        tracing::info!(http.address = %http_address, relay.address = %relay_address, "started");
        Ok(RemoteHandle { http_address, resource, relay, shutdown, tasks })
    }
}

/// Opens store and keys off the async threads; the store first, since it is the lock.
async fn open_state(
    state_dir: &Path,
    server_name: &str,
) -> Result<(Arc<Store>, Arc<Pki>), StartError> {
    let (state_dir, server_name) = (PathBuf::from(state_dir), server_name.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&state_dir)?;
        let pki = Pki::open(&state_dir, &server_name, SystemTime::now())?;
        Ok((Arc::new(store), Arc::new(pki)))
    });
    opened.await.unwrap_or(Err(StartError::Interrupted))
}

/// A fresh name for this run: a link of an earlier run can't be taken for one of this.
fn replica_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn readiness(routes: Routes) -> ReadinessCheck {
    ReadinessCheck::new(move || {
        let alone = routes.connected().is_empty();
        let problem = NotReady { component: "relay", reason: "no sidecar is connected" };
        alone.then_some(problem).into_iter().collect()
    })
}

/// Fetches the issuer's keys before the first caller needs them; a failure shows in `/readyz`.
async fn warm(validator: Validator, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        readiness = validator.warm() => {
            if !readiness.is_ready() {
                tracing::warn!("the issuer's keys can't be fetched: nobody can log in yet");
            }
        }
    }
}

impl RemoteHandle {
    /// Where the MCP endpoint listens.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_address
    }

    /// Where sidecars connect.
    #[must_use]
    pub const fn relay_addr(&self) -> SocketAddr {
        self.relay.local_addr()
    }

    /// The URL that clients use.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The pairing desk.
    #[must_use]
    pub const fn pairing(&self) -> &Desk {
        self.relay.pairing()
    }

    /// The way to the sidecars.
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        self.relay.routes()
    }

    /// Drains, stops and releases the store.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("a part of the remote panicked");
            }
        }
    }
}
