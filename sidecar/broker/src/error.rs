//! Why a read failed or a broker can't be used. Broker texts in here are escaped and bounded;
//! never a raw body.

use core::time::Duration;
use ibkr_agent_domain::{ErrorCode, Mode, Untrusted};

/// Why a read gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No connection to the gateway: is it running, is its certificate the expected one?
    #[error("the Client Portal Gateway can't be reached: {why}")]
    Unreachable {
        /// What failed.
        why: &'static str,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the Client Portal Gateway broke")]
    Interrupted,
    /// The gateway didn't answer in time. It also hangs when IBKR can't be reached.
    #[error("the Client Portal Gateway didn't answer in time")]
    TimedOut,
    /// IBKR or the gateway failed.
    #[error("the broker failed with HTTP status {status}")]
    Upstream {
        /// The status.
        status: u16,
        /// The broker's text.
        message: Option<Untrusted>,
    },
    /// A page of a firewall or the gateway's own address list instead of an answer.
    #[error("access to the Client Portal Gateway was denied with HTTP status {status}")]
    AccessDenied {
        /// The status.
        status: u16,
    },
    /// Nobody is logged in.
    #[error("a human must log in at the Client Portal Gateway")]
    SessionRequired,
    /// Logged in, but the brokerage session is down.
    #[error("the brokerage session is down")]
    SessionExpired,
    /// The login isn't what the configuration expects. Nothing is read from it.
    #[error("the login is {found}, the configuration expects {expected}")]
    WrongLogin {
        /// As configured.
        expected: Mode,
        /// As the broker reports.
        found: &'static str,
    },
    /// IBKR's limits, ours or theirs.
    #[error("too many requests: wait {} s", retry_after.as_secs().max(1))]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The answer isn't what the interface documents.
    #[error("the broker's answer isn't understood: {what}")]
    InvalidResponse {
        /// The part that isn't.
        what: &'static str,
    },
    /// The broker refused the request.
    #[error("the broker refused: {message}")]
    Rejected {
        /// Its reason.
        message: Untrusted,
    },
    /// This login doesn't show the account.
    #[error("this login has no such account")]
    UnknownAccount,
    /// There is no such contract.
    #[error("there is no such contract")]
    UnknownContract,
    /// No order on this contract can be sent to the exchange that was named.
    #[error("no order on this contract can be sent to {asked}, only to {}", listed(allowed))]
    ExchangeNotAllowed {
        /// The exchange that was named.
        asked: Untrusted,
        /// Those that take one.
        allowed: Vec<Untrusted>,
    },
    /// There is no price history of this contract over this time.
    #[error("the broker has no price history of this contract over this time")]
    NoHistory,
    /// There is no such order.
    #[error("the broker knows no such order")]
    UnknownOrder,
    /// The broker doesn't serve this, to this login or at all.
    #[error("the broker doesn't serve this: {why}")]
    Unsupported {
        /// Why not.
        why: &'static str,
    },
    /// The request itself is out of bounds.
    #[error("the request is out of bounds: {what}")]
    InvalidRequest {
        /// What is.
        what: &'static str,
    },
}

impl BrokerError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. }
            | Self::Interrupted
            | Self::TimedOut
            | Self::Upstream { .. }
            | Self::AccessDenied { .. } => ErrorCode::BrokerBackendUnavailable,
            Self::SessionRequired | Self::WrongLogin { .. } => ErrorCode::BrokerSessionRequired,
            Self::SessionExpired => ErrorCode::BrokerSessionExpired,
            Self::RateLimited { .. } => ErrorCode::BrokerRateLimited,
            Self::InvalidResponse { .. } => ErrorCode::BrokerResponseInvalid,
            Self::Rejected { .. } => ErrorCode::BrokerRejected,
            Self::UnknownAccount => ErrorCode::InputUnauthorizedAccount,
            Self::UnknownContract | Self::ExchangeNotAllowed { .. } => {
                ErrorCode::InputInvalidContract
            }
            Self::NoHistory => ErrorCode::HistoricalBarsUnavailable,
            Self::UnknownOrder => ErrorCode::OrderNotFound,
            Self::Unsupported { .. } => ErrorCode::BrokerCapabilityUnavailable,
            Self::InvalidRequest { .. } => ErrorCode::InputInvalid,
        }
    }

    /// The broker's own words, where it said some.
    pub(crate) const fn text(&self) -> Option<&Untrusted> {
        match self {
            Self::Upstream { message, .. } => message.as_ref(),
            Self::Rejected { message } => Some(message),
            Self::Unreachable { .. }
            | Self::Interrupted
            | Self::TimedOut
            | Self::AccessDenied { .. }
            | Self::SessionRequired
            | Self::SessionExpired
            | Self::WrongLogin { .. }
            | Self::RateLimited { .. }
            | Self::InvalidResponse { .. }
            | Self::UnknownAccount
            | Self::UnknownContract
            | Self::ExchangeNotAllowed { .. }
            | Self::NoHistory
            | Self::UnknownOrder
            | Self::Unsupported { .. }
            | Self::InvalidRequest { .. } => None,
        }
    }

    /// How long to wait before the next try, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Unreachable { .. }
            | Self::Interrupted
            | Self::TimedOut
            | Self::Upstream { .. }
            | Self::AccessDenied { .. }
            | Self::SessionRequired
            | Self::SessionExpired
            | Self::WrongLogin { .. }
            | Self::InvalidResponse { .. }
            | Self::Rejected { .. }
            | Self::UnknownAccount
            | Self::UnknownContract
            | Self::ExchangeNotAllowed { .. }
            | Self::NoHistory
            | Self::UnknownOrder
            | Self::Unsupported { .. }
            | Self::InvalidRequest { .. } => None,
        }
    }
}

fn listed(names: &[Untrusted]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = names.iter().map(Untrusted::as_str).collect();
    names.join(", ")
}

/// Why a configuration makes no broker. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not an `http` or `https` address without user, query and fragment.
    #[error("base_url must be an address such as https://localhost:5000")]
    BaseUrl,
    /// Plain HTTP beyond loopback would show the session to the network.
    #[error("plain http is accepted for a loopback address only")]
    PlainHttp,
    /// An unchecked certificate beyond loopback.
    #[error("an unchecked certificate is accepted for a loopback address only")]
    TlsBypass,
    /// The simulator runs on loopback only.
    #[error("the simulator is accepted on a loopback address only")]
    SimulatorAddress,
    /// Pacing protects the address of everybody behind it.
    #[error("pacing can be switched off for the simulator only")]
    PacingOff,
    /// No request without a time-out.
    #[error("time-outs must be above zero")]
    ZeroTimeout,
    /// The file of certificate authorities is unusable.
    #[error("the CA file {path} can't be used: {why}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The TLS or HTTP library refused its settings.
    #[error("the HTTP client can't be built: {why}")]
    Client {
        /// What it said.
        why: String,
    },
}

impl ConnectError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TlsBypass => ErrorCode::ConfigTlsBypassNonLocalhost,
            Self::BaseUrl
            | Self::PlainHttp
            | Self::SimulatorAddress
            | Self::PacingOff
            | Self::ZeroTimeout
            | Self::CaFile { .. }
            | Self::Client { .. } => ErrorCode::ConfigInvalid,
        }
    }
}
