//! Everything that the demo runs, on loopback, in one process: simulator, identity provider, remote
//! and sidecar as real listeners with real certificates, paired with a real join token.
//!
//! The harness runs the same stack. Order of start: port, identity, simulator, remote, sidecar,
//! link. Nothing here listens beyond 127.0.0.1.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ibkr_agent_domain::{ErrorCode, SidecarId};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig};
use ibkr_agent_gateway::broker::TlsPolicy;
use ibkr_agent_gateway::engine::CallBudget;
use ibkr_agent_gateway::invocation::Invocation;
use ibkr_agent_gateway::local::{open_agent_door, serve_agents};
use ibkr_agent_gateway::operator::{open_operator_door, serve_operators};
use ibkr_agent_gateway::relay::{Dialler, DiallerConfig, DiallerHandle, RelayStatus, pair};
use ibkr_agent_protocol::relay::JoinToken;
use ibkr_agent_protocol::relay::join::from_hex;
use ibkr_agent_simulator::{Precautions, Simulator, SimulatorConfig, TlsMode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hosted::{Hosted, Port, issuer_config, validator};
use super::identity::IdentityProvider;
use crate::open::LocalAgents;

/// How long the sidecar may take to reach the remote.
const LINK_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls per minute and caller: far above what a story or a load test needs.
const BUDGET: u32 = 1_000_000;
/// The sidecar's id at the remote.
const SIDECAR_ID: &str = "demo-sidecar";

/// Why a part can't start.
#[derive(Debug)]
pub struct StackError {
    code: ErrorCode,
    message: String,
    next_step: Option<String>,
}

impl StackError {
    /// A part that doesn't start, with its reasons.
    #[must_use]
    pub fn new(what: &str, error: &dyn Error) -> Self {
        let message = format!("{what}: {}", reasons(error));
        Self { code: ErrorCode::InternalError, message, next_step: None }
    }

    /// The MCP port can't be bound.
    #[must_use]
    pub fn port(port: u16, error: &std::io::Error) -> Self {
        let message = format!("port {port} of 127.0.0.1 can't be used: {error}");
        let next = "Stop the program that uses the port, or choose another with --port \
                    (0 takes a free one).";
        Self { code: ErrorCode::ConfigInvalid, message, next_step: Some(next.to_owned()) }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// What to do, if there is something better than the code's own advice.
    #[must_use]
    pub fn next_step(&self) -> Option<&str> {
        self.next_step.as_deref()
    }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StackError {}

/// An error and the errors behind it, outermost first.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// How the stack is set up.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Its own folder, empty or absent.
    pub folder: PathBuf,
    /// The MCP port; 0 takes a free one.
    pub port: u16,
    /// The simulated gateway. Its state path is replaced by one in the folder.
    pub simulator: SimulatorConfig,
}

impl StackConfig {
    /// The defaults over a folder; the simulated gateway has TLS, as the real one does.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let simulator = SimulatorConfig { tls: TlsMode::SelfSigned, ..SimulatorConfig::default() };
        Self { folder, port: 0, simulator }
    }

    /// The sidecar's own state folder.
    #[must_use]
    pub fn sidecar_folder(&self) -> PathBuf {
        self.folder.join("simulator")
    }

    /// The remote's state folder.
    #[must_use]
    pub fn remote_folder(&self) -> PathBuf {
        self.folder.join("remote")
    }
}

/// The running stack.
#[derive(Debug)]
pub struct Stack {
    /// The simulated Client Portal Gateway.
    pub simulator: Simulator,
    /// The issuer.
    pub identity: IdentityProvider,
    /// Endpoint and relay.
    pub hosted: Hosted,
    /// The sidecar, if it runs in this process.
    pub onprem: OnPrem,
}

impl Stack {
    /// Starts all parts; `progress` hears what is being started.
    ///
    /// # Errors
    /// [`StackError`] with the part that didn't start.
    pub async fn start(
        config: StackConfig,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, StackError> {
        let port = Port::bind(config.port).await?;
        make_private(&config.folder)?;
        progress("identity provider");
        let identity = start_identity(&port).await?;
        progress("simulated Client Portal Gateway");
        let simulator = start_simulator(&config).await?;
        progress("remote: MCP endpoint and relay");
        let remote = config.remote_folder();
        let hosted = Hosted::start(port, &remote, identity.issuer()).await?;
        progress("sidecar: engine, store, operator's socket");
        let folder = config.sidecar_folder();
        let issuer = identity.issuer();
        let mut settings = sidecar_config(&folder, &BrokerAt::of(&simulator), issuer, hosted.url());
        settings.invocation = Invocation::simulator().with_state_dir(&config.folder);
        progress("pairing, then the sidecar dials the remote");
        let target = LinkTarget::first(&hosted, issuer).await?;
        let onprem = OnPrem::start(settings, &target).await?;
        Ok(Self { simulator, identity, hosted, onprem })
    }

    /// Stops everything: the link first, so that nobody sees a broken one.
    pub async fn shutdown(self) {
        let Self { simulator, identity, hosted, onprem } = self;
        onprem.shutdown().await;
        hosted.shutdown().await;
        identity.shutdown().await;
        simulator.shutdown().await;
    }
}

/// Starts the issuer of tokens for what will be served on a port.
///
/// # Errors
/// [`StackError`].
pub async fn start_identity(port: &Port) -> Result<IdentityProvider, StackError> {
    let started = IdentityProvider::start().await;
    let identity =
        started.map_err(|error| StackError::new("the identity provider can't start", &error))?;
    identity.protect(&port.url());
    Ok(identity)
}

/// Starts the simulated gateway with its state in the stack's folder.
///
/// # Errors
/// [`StackError`].
pub async fn start_simulator(config: &StackConfig) -> Result<Simulator, StackError> {
    make_private(&config.folder)?;
    let settings = SimulatorConfig {
        state_path: Some(config.folder.join("simulator.json")),
        ..config.simulator.clone()
    };
    let started = Simulator::start(settings).await;
    let simulator =
        started.map_err(|error| StackError::new("the simulator can't start", &error))?;
    // An order far from the market rests without a question; the story asks its own.
    simulator.control().set_precautions(Precautions::Off);
    Ok(simulator)
}

/// Where the simulated gateway is and which certificate it shows.
#[derive(Debug, Clone)]
pub struct BrokerAt {
    /// Its base URL.
    pub url: String,
    /// SHA-256 of its certificate, hexadecimal; none without TLS.
    pub certificate_sha256: Option<String>,
}

impl BrokerAt {
    /// A running simulator.
    #[must_use]
    pub fn of(simulator: &Simulator) -> Self {
        Self { url: simulator.base_url(), certificate_sha256: simulator.certificate_sha256() }
    }
}

/// A sidecar over the simulator, its certificate pinned, that accepts the issuer's tokens for a
/// resource. A pin that can't be read is left out, so the connection is refused.
#[must_use]
pub fn sidecar_config(
    folder: &Path,
    broker: &BrokerAt,
    issuer: &str,
    resource: &str,
) -> SidecarConfig {
    let mut config = SidecarConfig::simulator(folder.to_owned(), &broker.url);
    let pin = broker.certificate_sha256.as_deref().and_then(from_hex::<32>);
    for (login, pin) in config.brokers.iter_mut().zip(pin) {
        login.tls = TlsPolicy::PinSha256(pin);
    }
    config.issuers = vec![issuer_config(issuer, resource)];
    config.budget = CallBudget {
        reads_per_minute: BUDGET,
        previews_per_minute: BUDGET,
        writes_per_minute: BUDGET,
    };
    config.enabled.remote = true;
    config
}

/// The remote that a sidecar belongs to.
#[derive(Debug)]
pub struct LinkTarget {
    /// Where the relay is.
    pub relay_url: String,
    /// The issuer whose tokens the sidecar accepts.
    pub issuer: String,
    /// The resource that they must be for.
    pub resource: String,
    /// The join token of the first start; later ones are paired already.
    pub join: Option<JoinToken>,
}

impl LinkTarget {
    /// A remote that the sidecar isn't paired with yet.
    ///
    /// # Errors
    /// [`StackError`] if no join token can be made.
    pub async fn first(hosted: &Hosted, issuer: &str) -> Result<Self, StackError> {
        let id = SidecarId::parse(SIDECAR_ID)
            .map_err(|error| StackError::new("the sidecar has no id", &error))?;
        Ok(Self {
            relay_url: hosted.relay_url(),
            issuer: issuer.to_owned(),
            resource: hosted.url().to_owned(),
            join: Some(hosted.join_token(&id, issuer).await?),
        })
    }
}

/// The on-prem half: a sidecar, its two local sockets and its link to the remote.
pub struct OnPrem {
    folder: PathBuf,
    sidecar: Sidecar,
    link: DiallerHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for OnPrem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnPrem").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl OnPrem {
    /// Starts a sidecar, pairs it if it has a join token, and waits until its link is open.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start(config: SidecarConfig, target: &LinkTarget) -> Result<Self, StackError> {
        let folder = config.state_dir.clone();
        let sidecar = Sidecar::start(config).await;
        let sidecar =
            sidecar.map_err(|error| StackError::new("the sidecar can't start", &error))?;
        if let Some(join) = &target.join {
            let paired = pair(join, &target.relay_url, &folder).await;
            paired.map_err(|error| StackError::new("the sidecar can't be paired", &error))?;
        }
        let check = validator(&target.issuer, &target.resource)?;
        let opened = Dialler::open(DiallerConfig::new(&folder), sidecar.agents(), check);
        let (link, dialler) =
            opened.map_err(|error| StackError::new("the pairing can't be used", &error))?;
        let door = open_operator_door(&folder).await;
        let door =
            door.map_err(|error| StackError::new("the operator's socket can't open", &error))?;
        let locals = open_agent_door(&folder).await;
        let locals =
            locals.map_err(|error| StackError::new("the agents' socket can't open", &error))?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let service = Arc::new(LocalAgents::new(sidecar.agents()));
        tasks.spawn(serve_agents(locals, service, stop.clone()));
        tasks.spawn(dialler.run(stop.clone()));
        tasks.spawn(serve_operators(door, sidecar.desk(), stop.clone()));
        let onprem = Self { folder, sidecar, link, stop, tasks };
        onprem.connected().await?;
        Ok(onprem)
    }

    /// Waits until the link is open.
    ///
    /// # Errors
    /// [`StackError`] with the last reason, after a bounded time.
    pub async fn connected(&self) -> Result<(), StackError> {
        let mut status = self.link.status();
        let wait = status.wait_for(|status| matches!(status, RelayStatus::Connected { .. }));
        match tokio::time::timeout(LINK_TIMEOUT, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(StackError::new("the sidecar's link ended", &error)),
            Err(late) => {
                let last = format!("{:?}", *self.link.status().borrow());
                Err(StackError::new(&format!("the sidecar got no link ({last})"), &late))
            }
        }
    }

    /// The sidecar's state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The sidecar itself.
    #[must_use]
    pub const fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// Its id at the remote.
    #[must_use]
    pub const fn sidecar_id(&self) -> &SidecarId {
        self.link.sidecar_id()
    }

    /// Ends the link and the socket, then the sidecar.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.sidecar.shutdown().await;
    }
}

/// Makes a folder for its owner only.
fn make_private(folder: &Path) -> Result<(), StackError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let what = format!("the folder {} can't be made", folder.display());
    made.map_err(|error| StackError::new(&what, &error))
}
