//! The named broker logins and which account goes through which.
//!
//! An account belongs to the broker that reports it, and only if the sidecar's own list has it. The
//! pseudo-account `All` can be looked at where that list has it, and never be traded on.

use ibkr_agent_broker::{Broker, BrokerError};
use ibkr_agent_domain::{AccountId, AccountInfo, BrokerName, ErrorCode, Mode};
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long the list of accounts is believed; IBKR serves it once in five seconds.
const ACCOUNTS_TTL: Duration = Duration::from_secs(30);

/// An account with the login that reports it.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The account.
    pub info: AccountInfo,
    /// Its broker.
    pub broker: Arc<dyn Broker>,
}

/// IBKR's pseudo-account of logins with several accounts: it stands for all of them.
const PSEUDO_ACCOUNT: &str = "All";

impl Routed {
    /// Whether it stands for several accounts: shown where the operator lists it, never traded on,
    /// never chosen by default, never added to the others.
    #[must_use]
    pub fn is_pseudo(&self) -> bool {
        self.info.id.as_str().eq_ignore_ascii_case(PSEUDO_ACCOUNT)
    }
}

/// The broker logins of this sidecar.
#[derive(Debug)]
pub struct Brokers {
    list: Vec<Arc<dyn Broker>>,
    allowed: BTreeSet<AccountId>,
    known: Mutex<Known>,
}

/// The accounts as last read, and why the last read failed if it did.
#[derive(Debug, Default)]
struct Known {
    read: Option<(Instant, Arc<Vec<Routed>>)>,
    failed: Option<(Instant, ErrorBody)>,
}

impl Brokers {
    /// Brokers and the accounts that may be seen through them.
    #[must_use]
    pub fn new(list: Vec<Arc<dyn Broker>>, allowed: BTreeSet<AccountId>) -> Self {
        Self { list, allowed, known: Mutex::default() }
    }

    /// Every login.
    #[must_use]
    pub fn all(&self) -> &[Arc<dyn Broker>] {
        &self.list
    }

    /// The login of a name.
    #[must_use]
    pub fn named(&self, name: &BrokerName) -> Option<&Arc<dyn Broker>> {
        self.list.iter().find(|broker| broker.name() == name)
    }

    /// The accounts that callers may see.
    #[must_use]
    pub const fn allowed(&self) -> &BTreeSet<AccountId> {
        &self.allowed
    }

    /// The login that market data comes from: the first one.
    ///
    /// # Errors
    /// `BROKER_BACKEND_UNAVAILABLE` when none is configured.
    pub fn market(&self) -> Result<&Arc<dyn Broker>, ErrorBody> {
        self.list.first().ok_or_else(|| {
            ErrorBody::new(ErrorCode::BrokerBackendUnavailable, "no broker is configured")
        })
    }

    /// The login that shows an account, listed for callers or not; the only login, when there is
    /// one. A login that can't be asked shows none.
    pub async fn login_of(&self, account: &AccountId) -> Option<BrokerName> {
        if let [only] = self.list.as_slice() {
            return Some(only.name().clone());
        }
        for broker in &self.list {
            let shown = broker.accounts().await.unwrap_or_default();
            if shown.iter().any(|info| info.id == *account) {
                return Some(broker.name().clone());
            }
        }
        None
    }

    /// The accounts that callers may see.
    ///
    /// # Errors
    /// What the first broker said, when none answered.
    pub async fn accounts(&self) -> Result<Arc<Vec<Routed>>, ErrorBody> {
        let asked = Instant::now();
        let mut known = self.known.lock().await;
        // Whoever waited while the broker was asked shares that answer, also when it is that there
        // is none: a broker that hangs is not waited for once per caller.
        if let Some((at, error)) = &known.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some((read_at, accounts)) = known.read.as_ref()
            && read_at.elapsed() < ACCOUNTS_TTL
        {
            return Ok(Arc::clone(accounts));
        }
        let mut found = Vec::new();
        let mut failure = None;
        for broker in &self.list {
            match broker.accounts().await {
                Ok(accounts) => found.extend(
                    accounts
                        .into_iter()
                        .filter(|info| self.allowed.contains(&info.id))
                        .map(|info| Routed { info, broker: Arc::clone(broker) })
                        .map(|mut routed| {
                            routed.info.can_trade &= !routed.is_pseudo();
                            routed
                        }),
                ),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if found.is_empty() => {
                let error = error_body(&error);
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
            // One login down doesn't hide the other's accounts, but isn't remembered either.
            Some(_) => Ok(Arc::new(found)),
            None => {
                let found = Arc::new(found);
                known.read = Some((Instant::now(), Arc::clone(&found)));
                Ok(found)
            }
        }
    }

    /// The account that a caller names, or the only one it may see.
    ///
    /// # Errors
    /// `INPUT_*` when there is no such account or the choice is ambiguous.
    pub async fn account(&self, named: Option<&AccountId>) -> Result<Routed, ErrorBody> {
        let accounts = self.accounts().await?;
        let real: Vec<&Routed> = accounts.iter().filter(|routed| !routed.is_pseudo()).collect();
        match (named, real.as_slice()) {
            (Some(id), _) => {
                accounts.iter().find(|routed| routed.info.id == *id).cloned().ok_or_else(|| {
                    let message = format!("{id} is not an account that this gateway serves");
                    ErrorBody::new(ErrorCode::InputUnauthorizedAccount, message)
                })
            }
            (None, [only]) => Ok((*only).clone()),
            (None, []) => {
                Err(ErrorBody::new(ErrorCode::InputMissingAccount, "no account is visible"))
            }
            (None, several) => {
                let message = "more than one account is visible: name one";
                let mut error = ErrorBody::new(ErrorCode::InputAmbiguousAccount, message);
                error.details = several.iter().map(|routed| routed.info.id.to_string()).collect();
                Err(error)
            }
        }
    }
}

/// The mode of an account: the login's, but never less than what the broker reports.
#[must_use]
pub fn account_mode(routed: &Routed) -> Mode {
    match (routed.broker.mode(), routed.info.is_paper) {
        (Mode::Simulated, _) => Mode::Simulated,
        (Mode::Paper, Some(true) | None) => Mode::Paper,
        (Mode::Paper | Mode::Live, _) => Mode::Live,
    }
}

/// A broker's error as callers see it.
#[must_use]
pub fn error_body(error: &BrokerError) -> ErrorBody {
    let mut body = ErrorBody::new(error.code(), error.to_string());
    body.retry_after_ms = error.retry_after().and_then(|wait| u64::try_from(wait.as_millis()).ok());
    body
}
