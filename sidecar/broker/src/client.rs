//! The client of one Client Portal Gateway: a cheap handle, its start-up sequence and keep-alive.
//!
//! Start-up (client-portal-api reference, §1.6): tickle; status; `ssodh/init` when connected but
//! not authenticated, never competing; `/iserver/accounts`; `/portfolio/accounts`; a first read of
//! orders and trades, which only opens them. Reads start it themselves where it is missing.

use crate::cache::Caches;
use crate::config::{BrokerConfig, Pacing};
use crate::pacing::Lane;
use crate::session::{Fault, Known, Primed, Session, check};
use crate::stream::{self, Streams};
use crate::transport::{Answer, Request, Transport};
use crate::wire::session::{AuthStatus, BrokerageAccounts, Tickle};
use crate::wire::{accounts::PortfolioAccount, parse, parse_list};
use crate::{BrokerError, Clock, ConnectError, HaltLatch};
use core::fmt;
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, AccountInfo, BrokerName, Mode, SessionHealth, SessionState, Untrusted,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a good session is kept alive.
const TICKLE_EVERY: Duration = Duration::from_secs(60);
/// How soon a bad one is looked at again.
const RETRY_EVERY: Duration = Duration::from_secs(15);
/// How soon a session is looked at that was just lost.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// How long an account list is used without asking again.
const ACCOUNTS_FRESH: Duration = Duration::from_secs(5);
/// Looks at the status after asking for a brokerage session, and the pause between two.
const STATUS_TRIES: u32 = 3;
const STATUS_PAUSE: Duration = Duration::from_millis(500);
/// Most accounts of one login.
const MAX_ACCOUNTS: usize = 1_000;

/// A client of one gateway; cheap to clone.
#[derive(Clone)]
pub struct ClientPortal {
    inner: Arc<Inner>,
}

struct Inner {
    name: BrokerName,
    mode: Mode,
    pacing: Pacing,
    transport: Transport,
    session: Session,
    caches: Caches,
    streams: Arc<Streams>,
    latch: HaltLatch,
}

impl fmt::Debug for ClientPortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPortal")
            .field("name", &self.inner.name)
            .field("mode", &self.inner.mode)
            .field("transport", &self.inner.transport)
            .finish_non_exhaustive()
    }
}

/// Makes a client. Sends nothing.
///
/// # Errors
/// [`ConnectError`] when the configuration can't be used.
pub fn connect(
    config: BrokerConfig,
    latch: HaltLatch,
    clock: Arc<dyn Clock>,
) -> Result<ClientPortal, ConnectError> {
    let now = clock.now();
    let transport = Transport::new(&config, clock)?;
    let events = Streams::channel();
    Ok(ClientPortal {
        inner: Arc::new(Inner {
            name: config.name,
            mode: config.expect,
            pacing: config.pacing,
            transport,
            session: Session::new(now, events.clone()),
            caches: Caches::default(),
            streams: Arc::new(Streams::new(events)),
            latch,
        }),
    })
}

/// Keeps the session alive until shutdown: a tickle every minute; brings the brokerage session up
/// where that needs no login, and never takes it from another platform.
///
/// Holds the stream up too.
pub async fn keep_alive(broker: ClientPortal, shutdown: CancellationToken) {
    tokio::join!(keep_session(&broker, &shutdown), stream::supervise(&broker, &shutdown));
}

async fn keep_session(broker: &ClientPortal, shutdown: &CancellationToken) {
    let mut pause = Duration::ZERO;
    loop {
        let turn = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = broker.session().lost.notified() => tokio::time::sleep(LOST_PAUSE).await,
            }
            broker.keep_up().await
        };
        pause = tokio::select! {
            () = shutdown.cancelled() => return,
            state = turn => match state {
                SessionState::Ready => TICKLE_EVERY,
                SessionState::Unreachable
                | SessionState::LoginRequired
                | SessionState::BrokerageDown
                | SessionState::Competing => RETRY_EVERY,
            },
        };
    }
}

impl ClientPortal {
    pub(crate) fn broker_name(&self) -> &BrokerName {
        &self.inner.name
    }

    pub(crate) fn expected_mode(&self) -> Mode {
        self.inner.mode
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    pub(crate) fn session(&self) -> &Session {
        &self.inner.session
    }

    pub(crate) fn streams(&self) -> &Arc<Streams> {
        &self.inner.streams
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    pub(crate) fn latch(&self) -> &HaltLatch {
        &self.inner.latch
    }

    pub(crate) fn session_health(&self) -> SessionHealth {
        self.session().health(self.transport().skew_ms())
    }

    async fn keep_up(&self) -> SessionState {
        match self.start(self.session().known().is_none()).await {
            Ok(health) => health.state,
            Err(error) => {
                tracing::debug!(code = error.code().as_str(), "keep-alive failed");
                self.session().state()
            }
        }
    }

    /// The start-up sequence; with `all` the pre-flights too, else only what keeps it alive.
    pub(crate) async fn start(&self, all: bool) -> Result<SessionHealth, BrokerError> {
        let _starting = self.begin().await?;
        let status = match self.look().await {
            Ok(status) => status,
            Err(BrokerError::SessionRequired | BrokerError::SessionExpired) => {
                return Ok(self.session_health());
            }
            Err(error @ BrokerError::RateLimited { .. }) => return Err(error),
            Err(error) => {
                // A gateway that hangs is as good as none.
                self.note_state(SessionState::Unreachable);
                return Err(error);
            }
        };
        let state = if status.is_competing() {
            SessionState::Competing
        } else if status.is_authenticated() {
            SessionState::Ready
        } else if status.is_connected() {
            SessionState::BrokerageDown
        } else {
            SessionState::LoginRequired
        };
        if state != SessionState::Ready {
            self.note_state(state);
            return Ok(self.session_health());
        }
        if all || self.session().known().is_none() {
            match self.preflight().await {
                Ok(_) => self.prime().await,
                Err(BrokerError::SessionRequired | BrokerError::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        } else {
            self.note_state(SessionState::Ready);
        }
        Ok(self.session_health())
    }

    /// Waits to be the one who runs the sequence, but not longer than for a request.
    async fn begin(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, BrokerError> {
        let starting = self.session().starting.lock();
        let wait = self.transport().request_timeout();
        tokio::time::timeout(wait, starting).await.map_err(|_| BrokerError::TimedOut)
    }

    /// Tickle and status; asks for a brokerage session where it is down but no login is needed.
    async fn look(&self) -> Result<AuthStatus, BrokerError> {
        let request = Request::post("/tickle").lane(Lane::KeepAlive);
        let tickle: Tickle = self.ask_once(&request, "keep-alive").await?;
        self.session().note_tickle(self.transport().clock().now());
        let told = tickle.iserver.and_then(|server| server.auth_status);
        let status = match told {
            Some(status) if status.is_authenticated() || status.is_competing() => status,
            Some(_) | None => self.status().await?,
        };
        if status.is_authenticated() || status.is_competing() || !status.is_connected() {
            return Ok(status);
        }
        let init = Request::post("/iserver/auth/ssodh/init")
            .json(br#"{"publish":true,"compete":false}"#.to_vec())
            .lane(Lane::KeepAlive);
        let mut status: AuthStatus = match self.ask_once(&init, "brokerage session").await {
            Ok(status) => status,
            Err(BrokerError::Upstream { .. } | BrokerError::Rejected { .. }) => status,
            Err(error) => return Err(error),
        };
        for _ in 0..STATUS_TRIES {
            if status.is_authenticated() || status.is_competing() {
                break;
            }
            tokio::time::sleep(STATUS_PAUSE).await;
            status = self.status().await?;
        }
        Ok(status)
    }

    async fn status(&self) -> Result<AuthStatus, BrokerError> {
        let request = Request::post("/iserver/auth/status").lane(Lane::KeepAlive);
        self.ask_once(&request, "session status").await
    }

    /// The account lists that every session must ask for first.
    async fn preflight(&self) -> Result<Arc<Known>, BrokerError> {
        let brokerage: BrokerageAccounts =
            self.ask_once(&Request::get("/iserver/accounts"), "brokerage accounts").await?;
        let is_paper = brokerage.is_paper_login();
        self.check_login(is_paper, brokerage.is_simulated())?;
        let request = Request::get("/portfolio/accounts").lane(Lane::Accounts);
        let answer = self.ask(&request).await.map_err(|fault| self.give_up(fault))?;
        let rows: Vec<PortfolioAccount> = parse_list(&answer.body, "portfolio accounts")?;
        if rows.len() > MAX_ACCOUNTS {
            return Err(BrokerError::InvalidResponse { what: "number of accounts" });
        }
        let mut accounts = Vec::with_capacity(rows.len());
        for row in rows {
            let mut account = AccountInfo::try_from(row)?;
            account.is_paper = is_paper;
            let tradable =
                brokerage.accounts.iter().any(|id| id.as_str() == Some(account.id.as_str()));
            account.can_trade &= tradable;
            let alias = brokerage.aliases.get(account.id.as_str());
            let alias = alias.and_then(|alias| alias.as_str());
            let named = alias.filter(|alias| *alias != account.id.as_str());
            account.alias = account.alias.or_else(|| named.map(Untrusted::new));
            accounts.push(account);
        }
        let known = self.session().remember(Known {
            accounts,
            is_paper,
            is_simulated: brokerage.is_simulated(),
            read_at: Instant::now(),
        });
        self.note_state(SessionState::Ready);
        Ok(known)
    }

    /// Nothing is read from a login that isn't the expected one.
    fn check_login(&self, is_paper: Option<bool>, is_simulated: bool) -> Result<(), BrokerError> {
        let found = match (self.inner.mode, is_paper) {
            (Mode::Simulated, _) if !is_simulated => "not the simulator",
            (Mode::Paper, Some(false)) => "a live login",
            (Mode::Live, Some(true)) => "a paper login",
            (Mode::Simulated | Mode::Paper | Mode::Live, _) => return Ok(()),
        };
        self.note_state(SessionState::LoginRequired);
        let expected = self.inner.mode;
        Err(BrokerError::WrongLogin { expected, found })
    }

    /// First reads of orders and trades, which only open them. A failure is told by the next read.
    async fn prime(&self) {
        for (what, path, lane) in [
            (Primed::Orders, "/iserver/account/orders", Lane::Orders),
            (Primed::Trades, "/iserver/account/trades", Lane::Trades),
        ] {
            if self.session().is_primed(what) {
                continue;
            }
            if self.ask(&Request::get(path).lane(lane)).await.is_ok() {
                self.session().note_primed(what);
            }
        }
    }

    /// The accounts of this session, asked for if they aren't known.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, BrokerError> {
        if let Some(known) = self.session().known() {
            return Ok(known);
        }
        let _starting = self.begin().await?;
        match self.session().known() {
            Some(known) => Ok(known),
            None => self.preflight().await,
        }
    }

    /// The accounts, not older than a few seconds where pacing allows no more.
    pub(crate) async fn fresh_accounts(&self) -> Result<Arc<Known>, BrokerError> {
        let known = self.known().await?;
        let is_fresh = self.inner.pacing == Pacing::On && known.read_at.elapsed() < ACCOUNTS_FRESH;
        if is_fresh {
            return Ok(known);
        }
        let _starting = self.begin().await?;
        match self.session().known() {
            Some(newer) if newer.read_at > known.read_at => Ok(newer),
            Some(_) | None => self.preflight().await,
        }
    }

    /// Refuses an account that this login doesn't show, before it becomes a path segment.
    pub(crate) async fn require(&self, account: &AccountId) -> Result<Arc<Known>, BrokerError> {
        let known = self.known().await?;
        if known.has(account) && !account.as_str().bytes().all(|byte| byte == b'.') {
            Ok(known)
        } else {
            Err(BrokerError::UnknownAccount)
        }
    }

    /// Sends a read; makes a missing pre-flight once and asks again.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Answer, BrokerError> {
        self.known().await?;
        match self.ask(request).await {
            Err(Fault::PreflightMissing) => {
                self.session().forget();
                self.known().await?;
                self.ask(request).await.map_err(|fault| self.give_up(fault))
            }
            other => other.map_err(|fault| self.give_up(fault)),
        }
    }

    pub(crate) async fn fetch_as<T: DeserializeOwned>(
        &self,
        request: &Request,
        what: &'static str,
    ) -> Result<T, BrokerError> {
        parse(&self.fetch(request).await?.body, what)
    }

    async fn ask_once<T: DeserializeOwned>(
        &self,
        request: &Request,
        what: &'static str,
    ) -> Result<T, BrokerError> {
        let answer = self.ask(request).await.map_err(|fault| self.give_up(fault))?;
        parse(&answer.body, what)
    }

    /// One request, one answer, understood; the session learns from a failure.
    async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let result = match self.transport().read(request).await {
            Ok(answer) => check(&answer).map(|()| answer),
            Err(error) => Err(Fault::Error(error)),
        };
        result.inspect_err(|fault| {
            if let Some(state) = fault.state() {
                self.note_state(state);
            }
        })
    }

    pub(crate) fn give_up(&self, fault: Fault) -> BrokerError {
        match fault {
            // It was made a moment ago: the session changes under us.
            Fault::PreflightMissing => {
                self.session().forget();
                BrokerError::SessionExpired
            }
            Fault::Error(error) => error,
        }
    }

    pub(crate) fn note_state(&self, state: SessionState) {
        let now = self.transport().clock().now();
        self.session().note_state(state, now, self.transport().skew_ms());
    }
}
