//! The composition root: configuration in, a running sidecar out, an orderly stop.
//!
//! One sidecar owns one state folder: its store, its keys, its approval domain. The simulator has a
//! folder of its own, and demo keys exist only there.

use crate::brokers::Brokers;
use crate::changes::{self, Changes};
use crate::clock::Clock;
use crate::config::policy_set;
use crate::desk::OperatorDesk;
use crate::driver::{self, DriverParts, EngineHandle};
use crate::engine::{
    Answer, Authority, CallBudget, Engine, EngineConfig, HaltEntry, Input, Notice, OperatorAct,
    OperatorKeyEntry, Sending,
};
use crate::folder::{DEMO_KEY_FILE, FolderError, StateFolder};
use crate::invocation::Invocation;
use crate::marker::{HALT_FILE, Marker};
use crate::notices::{self, NoticeSender, NoticeSettings};
use crate::opening::{self, OpenState};
use crate::operator::keys::{KeyError, NewKey, create_key, describe_key};
use crate::operator::{OperatorDomain, OperatorPublicKey, verify_signature};
use crate::relay::CredentialsError;
use crate::tools::{Agents, Ceilings, Core, Enabled, Journal, RefusalMeter};
use ibkr_agent_audit::{Ledger, OpenError};
use ibkr_agent_broker::{Broker, BrokerConfig, ConnectError, HaltLatch, Pacing, Sentinel};
use ibkr_agent_domain::{
    AccountId, Actor, BrokerName, Decision, Door, ErrorCode, Mode, Record, RecordKind, ScopeSet,
    SidecarId, Tier, Timestamp,
};
use ibkr_agent_gates::{InvalidPolicy, PolicyLimits, PolicySet, Requester};
use ibkr_agent_protocol::catalogue::Backend;
use ibkr_agent_protocol::config::DEFAULT_SUBMIT_TOKEN_AGE;
use ibkr_agent_protocol::service::fresh_call_id;
use ibkr_agent_token::IssuerConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the start waits for the brokers' sessions before it serves without them.
const SESSION_WAIT: Duration = Duration::from_secs(10);
/// How often all accounts are looked up. IBKR takes one read of orders in five seconds.
const SURVEY_INTERVAL: Duration = Duration::from_secs(20);
/// How long a stop waits for what is in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// When paths with narrow limits were last asked, a file for each login in the state folder.
const PACING_FILE: &str = "pacing";

/// How a sidecar is set up.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// Its own folder, made 0700.
    pub state_dir: PathBuf,
    /// Whether its approvals are good for the simulator or for a real broker.
    pub domain: OperatorDomain,
    /// The broker logins; market data comes from the first.
    pub brokers: Vec<BrokerConfig>,
    /// The limits; their accounts are the ones that callers may see.
    pub limits: PolicyLimits,
    /// Other limits for an account in a mode; `limits` holds for the rest.
    pub bound: Vec<(AccountId, Mode, PolicyLimits)>,
    /// The most that any caller may do.
    pub scope_ceiling: ScopeSet,
    /// How long a preview can be asked about.
    pub preview_ttl: Duration,
    /// How long an approval lives when the caller doesn't say.
    pub approval_ttl: Duration,
    /// Undecided approvals that may be open at once.
    pub max_open_approvals: usize,
    /// Oldest access token by which an agent may submit.
    pub max_submit_token_age: Duration,
    /// How long a question of the broker waits for a human before the answer is no.
    pub question_timeout: Duration,
    /// Calls per minute and caller.
    pub budget: CallBudget,
    /// Issuers whose tokens are accepted over relay and local HTTP.
    pub issuers: Vec<IssuerConfig>,
    /// The most that callers of an issuer may do, inside `scope_ceiling`, which holds alone for
    /// an issuer that isn't named here.
    pub issuer_ceilings: BTreeMap<String, ScopeSet>,
    /// What is switched on.
    pub enabled: Enabled,
    /// How often open orders are looked up at the broker.
    pub watch_interval: Duration,
    /// A wall clock that stands still here, for runs that must repeat to the letter; only with the
    /// simulator.
    pub standing_clock: Option<Timestamp>,
    /// How often all accounts are looked up, for orders that aren't ours.
    pub survey_interval: Duration,
    /// Where notices go.
    pub notices: NoticeSettings,
    /// How commands that are told to people must be begun.
    pub invocation: Invocation,
}

impl SidecarConfig {
    /// Read, preview and paper on a simulator at `base_url`, for its two paper accounts.
    #[must_use]
    pub fn simulator(state_dir: PathBuf, base_url: &str) -> Self {
        let name = BrokerName::parse("simulator");
        let accounts = ["DU1234567", "DU7654321"];
        let brokers = name.map(|name| {
            let mut broker = BrokerConfig::new(name, base_url, Mode::Simulated);
            broker.pacing = Pacing::Off;
            broker
        });
        Self {
            state_dir,
            domain: OperatorDomain::Simulator,
            brokers: brokers.into_iter().collect(),
            limits: PolicyLimits {
                accounts: accounts.iter().filter_map(|id| AccountId::parse(id).ok()).collect(),
                ..PolicyLimits::simulated()
            },
            bound: Vec::new(),
            scope_ceiling: ScopeSet::up_to(Tier::Paper),
            preview_ttl: Duration::from_secs(600),
            approval_ttl: Duration::from_secs(900),
            max_open_approvals: 200,
            max_submit_token_age: Duration::from_secs(DEFAULT_SUBMIT_TOKEN_AGE),
            question_timeout: Duration::from_secs(60),
            budget: CallBudget::default(),
            issuers: Vec::new(),
            issuer_ceilings: BTreeMap::new(),
            enabled: Enabled { preview: true, paper: true, remote: false },
            watch_interval: Duration::from_millis(500),
            standing_clock: None,
            survey_interval: SURVEY_INTERVAL,
            notices: NoticeSettings::default(),
            invocation: Invocation::plain(),
        }
    }
}

/// Why a sidecar can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder can't be made or read.
    #[error("the state folder can't be used: {0}")]
    Folder(#[from] std::io::Error),
    /// The folder is another process's, or its keys are missing or can't be read.
    #[error(transparent)]
    State(#[from] FolderError),
    /// The identity key can't be read.
    #[error(transparent)]
    Identity(#[from] CredentialsError),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What the start found can't be written to the log.
    #[error("what was found in the state folder can't be recorded; is the disk full?")]
    Unrecorded,
    /// What is in the store can't be read back.
    #[error("the store's contents can't be read back")]
    Restore,
    /// A broker login's configuration is wrong.
    #[error(transparent)]
    Broker(#[from] ConnectError),
    /// The limits are wrong.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The operator's key can't be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The exchange's time zone is missing.
    #[error("the time zone of the exchange is missing")]
    Clock,
    /// A real broker under the simulator's domain, or the other way round.
    #[error("the simulator's state folder and keys serve only the simulator")]
    Domain,
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::State(error) => error.code(),
            Self::Store(OpenError::Locked(_)) => ErrorCode::StoreLocked,
            Self::Store(OpenError::Missing(_))
            | Self::Identity(CredentialsError::Damaged { .. }) => ErrorCode::StateIncomplete,
            // Nothing was read, so nothing can be said about what stands there.
            Self::Folder(_) | Self::Unrecorded | Self::Store(OpenError::Io(_)) => {
                ErrorCode::StoreUnavailable
            }
            Self::Store(_) | Self::Restore => ErrorCode::StoreDamaged,
            Self::Broker(error) => error.code(),
            Self::Identity(_) | Self::Policy(_) | Self::Key(_) | Self::Clock | Self::Domain => {
                ErrorCode::ConfigInvalid
            }
        }
    }
}

/// A running sidecar: the one owner of its store.
#[derive(Debug)]
pub struct Sidecar {
    agents: Arc<Agents>,
    desk: Arc<OperatorDesk>,
    ledger: Ledger,
    engine: EngineHandle,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    folder: StateFolder,
}

impl Sidecar {
    /// Opens the store, brings the brokers up, rebuilds the engine, looks for orders in doubt.
    ///
    /// # Errors
    /// [`StartError`]. A broker that can't be reached is not one: health says so.
    pub async fn start(config: SidecarConfig) -> Result<Self, StartError> {
        Self::start_with(config, Vec::new()).await
    }

    /// As [`Sidecar::start`], with brokers of one's own beside the configured ones.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(
        config: SidecarConfig,
        own: Vec<Arc<dyn Broker>>,
    ) -> Result<Self, StartError> {
        check_domain(&config)?;
        let clock = clock_of(&config).map_err(|_| StartError::Clock)?;
        let OpenState { folder, ledger, emergency, identity, restored } =
            opening::open(&config, &clock).await?;
        let policies = policy_set(&config.limits, &config.bound)?;
        let sentinel = Sentinel::beside(folder.path(), HALT_FILE)?;
        let latch = HaltLatch::new(Some(sentinel));
        let shutdown = CancellationToken::new();
        let tracker = TaskTracker::new();
        let brokers = connect(&config, own, &latch, &clock, (&shutdown, &tracker))?;
        bring_up(&brokers).await;
        for key in &restored.unknown_keys {
            tracing::error!(operator.key = %key, "operator.key_not_in_log");
        }
        let nonce_seed = nonce_seed(&config)?;
        let sidecar = folder.secrets().sidecar().clone();
        let engine_config = engine_config(&config, policies, sidecar, nonce_seed);
        let (engine, first) = Engine::restore(engine_config, restored, clock.now());
        let changes = Arc::new(Changes::new());
        let (notices, told) = NoticeSender::channel();
        let teller = notices::Teller {
            brokers: Arc::clone(&brokers),
            invocation: config.invocation.clone(),
        };
        notices::spawn(&config.notices, teller, told, shutdown.clone(), &tracker);
        tell_doubt(engine.halt_entry(), &notices);
        let parts = DriverParts {
            ledger: ledger.clone(),
            emergency: Some(emergency),
            brokers: Arc::clone(&brokers),
            latch,
            marker: Marker::new(folder.path()),
            clock,
            watch_interval: config.watch_interval,
            survey_interval: config.survey_interval,
            notices,
            resources: Arc::clone(&changes),
        };
        let engine = driver::spawn(engine, first, parts, shutdown.clone(), &tracker);
        follow_changes(&changes, &engine, &brokers, &shutdown, &tracker);
        let core = Core {
            engine: engine.clone(),
            ledger: ledger.clone(),
            brokers,
            changes,
            journal: Journal::new(),
            ceilings: ceilings(&config),
            identity,
            backend: match config.domain {
                OperatorDomain::Simulator => Backend::Simulator,
                OperatorDomain::Broker => Backend::ClientPortal,
            },
            enabled: config.enabled,
            invocation: config.invocation.clone(),
            refusals: RefusalMeter::default(),
            waits: Arc::default(),
            tracker: tracker.clone(),
        };
        let core = Arc::new(core);
        record_start(&engine).await;
        if config.domain == OperatorDomain::Simulator {
            enrol_demo_key(&config.state_dir, &engine, &ledger).await?;
        }
        let sidecar = folder.secrets().sidecar().clone();
        let desk = OperatorDesk::new(Arc::clone(&core), sidecar, config.domain).await;
        let agents = Arc::new(Agents { core });
        Ok(Self { agents, desk: Arc::new(desk), ledger, engine, shutdown, tracker, folder })
    }

    /// The agents' door.
    #[must_use]
    pub fn agents(&self) -> Arc<Agents> {
        Arc::clone(&self.agents)
    }

    /// The operator's desk.
    #[must_use]
    pub fn desk(&self) -> Arc<OperatorDesk> {
        Arc::clone(&self.desk)
    }

    /// The log and store.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The engine's handle.
    #[must_use]
    pub const fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Finishes what is in flight and stops.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.tracker.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tracker.wait()).await.is_err() {
            tracing::warn!("sidecar.stop_timed_out");
        }
        opening::seal(&self.folder, &self.ledger).await;
    }
}

fn ceilings(config: &SidecarConfig) -> Ceilings {
    let issuers = config.issuers.iter();
    Ceilings {
        local: config.scope_ceiling.clone(),
        issuers: issuers
            .map(|issuer| (issuer.issuer.clone(), issuer_ceiling(config, issuer)))
            .collect(),
    }
}

/// What callers of an issuer may do: never more than callers may at all.
fn issuer_ceiling(config: &SidecarConfig, issuer: &IssuerConfig) -> ScopeSet {
    match config.issuer_ceilings.get(&issuer.issuer) {
        Some(own) => own.intersection(&config.scope_ceiling),
        None => config.scope_ceiling.clone(),
    }
}

/// Where the simulator's open operator key lies in a state folder.
#[must_use]
pub fn demo_key_path(state_dir: &Path) -> PathBuf {
    state_dir.join(DEMO_KEY_FILE)
}

fn clock_of(config: &SidecarConfig) -> Result<Clock, jiff::Error> {
    config.standing_clock.map_or_else(Clock::system, Clock::standing_at)
}

fn check_domain(config: &SidecarConfig) -> Result<(), StartError> {
    let simulated = config.domain == OperatorDomain::Simulator;
    let fits = config.brokers.iter().all(|b| (b.expect == Mode::Simulated) == simulated);
    if fits && (simulated || config.standing_clock.is_none()) {
        Ok(())
    } else {
        Err(StartError::Domain)
    }
}

fn connect(
    config: &SidecarConfig,
    own: Vec<Arc<dyn Broker>>,
    latch: &HaltLatch,
    clock: &Clock,
    (shutdown, tracker): (&CancellationToken, &TaskTracker),
) -> Result<Arc<Brokers>, ConnectError> {
    let mut list: Vec<Arc<dyn Broker>> = Vec::new();
    for broker in &config.brokers {
        let clock = Arc::new(clock.clone());
        let mut broker = broker.clone();
        broker.pacing_file = Some(config.state_dir.join(format!("{PACING_FILE}-{}", broker.name)));
        let client = ibkr_agent_broker::connect(broker, latch.clone(), clock)?;
        tracker.spawn(ibkr_agent_broker::keep_alive(client.clone(), shutdown.clone()));
        list.push(Arc::new(client));
    }
    list.extend(own);
    Ok(Arc::new(Brokers::new(list, config.limits.accounts.clone())))
}

/// Feeds what changed from the engine and the brokers' streams.
fn follow_changes(
    changes: &Arc<Changes>,
    engine: &EngineHandle,
    brokers: &Arc<Brokers>,
    shutdown: &CancellationToken,
    tracker: &TaskTracker,
) {
    let feed = changes::follow_engine(Arc::clone(changes), engine.changes(), Arc::clone(brokers));
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(feed));
    for broker in brokers.all() {
        let seeker = engine.clone();
        let seek = move |account| seeker.seek(account);
        let feed = changes::follow_broker(Arc::clone(changes), Arc::clone(broker), seek);
        tracker.spawn(shutdown.clone().run_until_cancelled_owned(feed));
    }
}

async fn bring_up(brokers: &Brokers) {
    for broker in brokers.all() {
        let renewed = tokio::time::timeout(SESSION_WAIT, broker.renew()).await;
        if !matches!(renewed, Ok(Ok(_))) {
            tracing::warn!(broker = %broker.name(), "broker.session_not_ready");
        }
    }
}

fn engine_config(
    config: &SidecarConfig,
    policies: PolicySet,
    sidecar: SidecarId,
    nonce_seed: [u8; 32],
) -> EngineConfig {
    let default_broker = match config.brokers.as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    };
    EngineConfig {
        sidecar,
        policies,
        default_broker,
        preview_ttl: config.preview_ttl,
        approval_ttl: config.approval_ttl,
        max_open_approvals: config.max_open_approvals,
        max_submit_token_age: config.max_submit_token_age,
        question_timeout: config.question_timeout,
        budget: config.budget,
        authority: Authority { verify: verify_signature, nonce_seed },
        sending: if config.enabled.paper { Sending::On } else { Sending::Off },
    }
}

/// A human hears of a start that halted, at each start until it is accepted.
fn tell_doubt(halt: &HaltEntry, notices: &NoticeSender) {
    if halt.is_of_state() {
        notices.tell(Notice::Halted { by: halt.by.clone(), since: halt.since });
    }
}

/// What makes approvals' bytes unlike any other's; runs that must repeat to the letter have none.
fn nonce_seed(config: &SidecarConfig) -> Result<[u8; 32], KeyError> {
    let mut seed = [0; 32];
    if config.standing_clock.is_none() {
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| KeyError::Crypto)?;
    }
    Ok(seed)
}

async fn record_start(engine: &EngineHandle) {
    let mut record =
        Record::new(RecordKind::Started, Actor::System, Door::Internal, Decision::Stated);
    record.policy = engine.look(|engine, _| engine.policies().hash()).await.ok();
    engine.ask(|ticket| Input::Record { ticket, record }).await;
}

/// Makes and enrols the simulator's open key, once.
async fn enrol_demo_key(
    state_dir: &Path,
    engine: &EngineHandle,
    ledger: &Ledger,
) -> Result<(), StartError> {
    let is_first = engine.look(|engine, _| engine.operator_keys().next().is_none()).await;
    if !matches!(is_first, Ok(true)) {
        // A key that is missing by now is a doubt, not a reason to make another.
        return Ok(());
    }
    let path = demo_key_path(state_dir);
    let public_key = if path.exists() {
        describe_key(&path)?.public_key
    } else {
        create_key(&path, &NewKey::Simulator { passphrase: None })?
    };
    enrol_first(engine, ledger, public_key, "simulator demo key").await;
    Ok(())
}

/// Whether the log enrolled a key, or can't say.
async fn ever_enrolled(ledger: &Ledger) -> bool {
    let ledger = ledger.clone();
    let read = tokio::task::spawn_blocking(move || {
        crate::engine::store::ever_enrolled(&ledger.snapshot()?)
    })
    .await;
    !matches!(read, Ok(Ok(false)))
}

/// Enrols a key if none is and, by the log, none ever was; says whether it did. Who can delete a
/// key's row could otherwise put a key of his own in its place.
pub(crate) async fn enrol_first(
    engine: &EngineHandle,
    ledger: &Ledger,
    public_key: OperatorPublicKey,
    label: &str,
) -> bool {
    let is_first = engine.look(|engine, _| engine.operator_keys().next().is_none()).await;
    if !matches!(is_first, Ok(true)) || ever_enrolled(ledger).await {
        return false;
    }
    let key = OperatorKeyEntry {
        id: public_key.id(),
        public_key: public_key.to_string(),
        label: label.to_owned(),
        enrolled_at: engine.clock().now().wall,
    };
    let requester = Requester {
        call: fresh_call_id(),
        actor: Actor::System,
        door: Door::Internal,
        tool: "operator init",
    };
    let act = OperatorAct::Enrol(key);
    let told = engine.ask(|ticket| Input::Operator { ticket, requester, act }).await;
    matches!(told.answer, Answer::Done)
}
