//! The client of one Client Portal Gateway: a cheap handle and its start-up sequence.
//!
//! Start-up (client-portal-api reference, §1.6): tickle; status; `ssodh/init` when connected but
//! not authenticated, never competing; `/iserver/accounts`; `/portfolio/accounts`; a first read of
//! orders and trades, which only opens them. Reads start it themselves where it is missing.

use crate::cache::Caches;
use crate::config::{BrokerConfig, Pacing};
use crate::keeper::{Cause, judge};
use crate::lists::OrderLists;
use crate::session::{Fault, Known, Primed, Session, check};
use crate::stream::Streams;
use crate::transport::{Answer, Request, Transport};
use crate::wire::session::{AuthStatus, BrokerageAccounts, Tickle, Validation};
use crate::wire::{accounts::PortfolioAccount, parse, parse_list};
use crate::{BrokerError, Clock, ConnectError, HaltLatch};
use core::fmt;
use core::time::Duration;
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, AccountInfo, BrokerName, Mode, SessionHealth, SessionState, Untrusted,
};
use ibkr_agent_gates::{Permit, TakeOver};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::time::Instant;

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
    remind_before: Duration,
    transport: Transport,
    session: Session,
    caches: Caches,
    lists: OrderLists,
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
            remind_before: config.remind_before,
            transport,
            session: Session::new(config.region, now, events.clone()),
            caches: Caches::default(),
            lists: OrderLists::default(),
            streams: Arc::new(Streams::new(events)),
            latch,
        }),
    })
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

    pub(crate) fn lists(&self) -> &OrderLists {
        &self.inner.lists
    }

    pub(crate) fn latch(&self) -> &HaltLatch {
        &self.inner.latch
    }

    pub(crate) fn session_health(&self) -> SessionHealth {
        let transport = self.transport();
        self.session().health(transport.clock().now(), transport.skew_ms())
    }

    /// The start-up sequence; with `all` the pre-flights too, else only what keeps it alive.
    pub(crate) async fn start(&self, all: bool) -> Result<SessionHealth, BrokerError> {
        let _starting = self.begin().await?;
        let status = match self.look().await {
            Ok(status) => status,
            Err(error) => return self.fail(error),
        };
        let cause = if status.is_competing() {
            Cause::Competing
        } else if status.is_authenticated() {
            Cause::Ready
        } else if status.is_connected() {
            Cause::BrokerageDown
        } else {
            Cause::NoLogin
        };
        if cause != Cause::Ready {
            self.note(cause);
            return Ok(self.session_health());
        }
        if all || self.session().known().is_none() {
            match self.preflight().await {
                Ok(_) => self.prime().await,
                Err(BrokerError::SessionRequired | BrokerError::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        } else {
            self.note(Cause::Ready);
        }
        Ok(self.session_health())
    }

    /// A look that failed: what it says of the session is noted. A session that needs a human is
    /// no error.
    fn fail(&self, error: BrokerError) -> Result<SessionHealth, BrokerError> {
        let cause = judge(&error);
        if let Some(cause) = cause {
            self.note(cause);
        }
        match cause.map(Cause::state) {
            None | Some(SessionState::Unreachable) => Err(error),
            Some(
                SessionState::LoginRequired
                | SessionState::BrokerageDown
                | SessionState::Competing
                | SessionState::Ready,
            ) => Ok(self.session_health()),
        }
    }

    /// Waits to be the one who runs the sequence, but not longer than for a request.
    async fn begin(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, BrokerError> {
        let starting = self.session().starting.lock();
        let wait = self.transport().request_timeout();
        tokio::time::timeout(wait, starting).await.map_err(|_| BrokerError::TimedOut)
    }

    /// Tickle and status; asks for a brokerage session where it is down but no login is needed.
    async fn look(&self) -> Result<AuthStatus, BrokerError> {
        let tickle: Tickle = self.ask_once(&Request::post("/tickle"), "keep-alive").await?;
        self.session().note_tickle(tickle.left(), self.transport().clock().now());
        let told = tickle.iserver.and_then(|server| server.auth_status);
        let mut status = match told {
            Some(status) if status.is_settled() => return Ok(status),
            Some(_) | None => self.status().await?,
        };
        if !status.is_settled() && !status.is_connected() {
            // The first answer of a fresh session may be wrong.
            tokio::time::sleep(STATUS_PAUSE).await;
            status = self.status().await?;
        }
        if status.is_settled() || !status.is_connected() {
            return Ok(status);
        }
        let init = Request::post("/iserver/auth/ssodh/init")
            .json(br#"{"publish":true,"compete":false}"#.to_vec());
        match self.ask_once(&init, "brokerage session").await {
            Ok(told) => status = told,
            // 410 and 503 shortly after a log-out, or an answer of no known form: it stays down,
            // unless the status says otherwise.
            Err(
                BrokerError::Upstream { .. }
                | BrokerError::Rejected { .. }
                | BrokerError::AccessDenied { .. }
                | BrokerError::SessionExpired
                | BrokerError::InvalidResponse { .. },
            ) => {}
            Err(error) => return Err(error),
        }
        for _ in 0..STATUS_TRIES {
            if status.is_settled() {
                break;
            }
            tokio::time::sleep(STATUS_PAUSE).await;
            status = self.status().await?;
        }
        Ok(status)
    }

    /// Asks for the brokerage session whoever holds it, once, then starts as always.
    pub(crate) async fn take_session(
        &self,
        permit: Recorded<Permit<TakeOver>>,
    ) -> Result<SessionHealth, BrokerError> {
        if permit.get().action().broker() != self.broker_name() {
            let what = "the permit is for another broker login";
            return Err(BrokerError::InvalidRequest { what });
        }
        {
            let _starting = self.begin().await?;
            let init = Request::post("/iserver/auth/ssodh/init")
                .json(br#"{"publish":true,"compete":true}"#.to_vec());
            let told: AuthStatus = self.ask_once(&init, "brokerage session").await?;
            tracing::warn!(is_authenticated = told.is_authenticated(), "broker.session_taken_over");
        }
        self.start(true).await
    }

    /// The status of a login that is there: a failure of IBKR's is one of the brokerage session.
    async fn status(&self) -> Result<AuthStatus, BrokerError> {
        let request = Request::post("/iserver/auth/status");
        match self.ask_once(&request, "session status").await {
            Err(
                BrokerError::Upstream { .. }
                | BrokerError::Rejected { .. }
                | BrokerError::InvalidResponse { .. },
            ) => Err(BrokerError::SessionExpired),
            other => other,
        }
    }

    /// Learns when the login was made. A gateway that doesn't say is fine.
    pub(crate) async fn learn_login(&self) {
        let read = self.ask_once(&Request::get("/sso/validate"), "login").await;
        let told = read.ok().and_then(|told: Validation| told.login_at());
        if let Some(login_at) = told {
            self.session().learn_login(login_at, self.transport().clock().now());
        }
    }

    /// The account lists that every session must ask for first.
    async fn preflight(&self) -> Result<Arc<Known>, BrokerError> {
        let brokerage: BrokerageAccounts =
            self.ask_once(&Request::get("/iserver/accounts"), "brokerage accounts").await?;
        let is_paper = brokerage.is_paper_login();
        self.check_login(is_paper, brokerage.is_simulated())?;
        let request = Request::get("/portfolio/accounts");
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
            is_always_open: brokerage.is_always_open(),
            read_at: Instant::now(),
        });
        self.note(Cause::Ready);
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
        self.note(Cause::WrongLogin);
        let expected = self.inner.mode;
        Err(BrokerError::WrongLogin { expected, found })
    }

    /// First reads of orders and trades, which only open them. A failure is told by the next read.
    async fn prime(&self) {
        for (what, path) in [
            (Primed::Orders, "/iserver/account/orders"),
            (Primed::Trades, "/iserver/account/trades"),
        ] {
            if self.session().is_primed(what) {
                continue;
            }
            if self.ask(&Request::get(path)).await.is_ok() {
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
        self.fetch_dated(request).await.map(|(answer, _)| answer)
    }

    /// The same, and when it was asked for.
    pub(crate) async fn fetch_dated(
        &self,
        request: &Request,
    ) -> Result<(Answer, Instant), BrokerError> {
        self.known().await?;
        match self.ask_dated(request).await {
            Err(Fault::PreflightMissing) => {
                self.session().forget();
                self.known().await?;
                self.ask_dated(request).await.map_err(|fault| self.give_up(fault))
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
        self.ask_dated(request).await.map(|(answer, _)| answer)
    }

    async fn ask_dated(&self, request: &Request) -> Result<(Answer, Instant), Fault> {
        let result = match self.transport().read(request).await {
            Ok((answer, sent)) => match check(&answer) {
                Err(Fault::Error(BrokerError::Rejected { .. }))
                    if request.reads_error && (200..300).contains(&answer.status) =>
                {
                    Ok((answer, sent))
                }
                judged => judged.map(|()| (answer, sent)),
            },
            Err(error) => Err(Fault::Error(error)),
        };
        result.inspect_err(|fault| {
            // One path may hang while the rest works: the keeper finds out, and soon.
            let is_silent = matches!(fault, Fault::Error(BrokerError::TimedOut));
            if is_silent && self.session().state() == SessionState::Ready {
                self.session().lost.notify_one();
            }
            if let Some(cause) = fault.cause() {
                self.note(cause);
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

    pub(crate) fn note(&self, cause: Cause) {
        if cause.state() != SessionState::Ready {
            self.lists().forget();
        }
        let transport = self.transport();
        self.session().note(cause, transport.clock().now(), transport.skew_ms());
    }

    pub(crate) fn remind_before(&self) -> Duration {
        self.inner.remind_before
    }
}
