//! Session answers: keep-alive, status, and the accounts of the brokerage session.
//!
//! The `session` of a tickle and the `sessionId` of the accounts aren't declared here on purpose.

use super::Scalar;
use core::time::Duration;
use ibkr_agent_domain::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// POST `/tickle`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Tickle {
    pub(crate) iserver: Option<TickleServer>,
    sso_expires: Scalar,
}

impl Tickle {
    /// How long the session would live without another keep-alive, if told.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.sso_expires.as_str()?.parse().ok().map(Duration::from_millis)
    }
}

/// GET `/sso/validate`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Validation {
    #[serde(rename = "AUTH_TIME")]
    auth_time: Scalar,
}

impl Validation {
    /// When a human logged in, if told.
    pub(crate) fn login_at(&self) -> Option<Timestamp> {
        self.auth_time.millis()
    }
}

/// The brokerage part of a tickle.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TickleServer {
    pub(crate) auth_status: Option<AuthStatus>,
}

/// `/iserver/auth/status`, and what `ssodh/init` answers.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct AuthStatus {
    pub(crate) authenticated: Scalar,
    pub(crate) competing: Scalar,
    pub(crate) connected: Scalar,
}

impl AuthStatus {
    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.is_true() == Some(true)
    }

    pub(crate) fn is_competing(&self) -> bool {
        self.competing.is_true() == Some(true)
    }

    /// Whether there is nothing to wait for: it is up, or another's.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_authenticated() || self.is_competing()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.is_true() == Some(true)
    }
}

/// GET `/iserver/accounts`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BrokerageAccounts {
    pub(crate) accounts: Vec<Scalar>,
    pub(crate) aliases: BTreeMap<String, Scalar>,
    pub(crate) is_paper: Scalar,
    pub(crate) server_info: Option<ServerInfo>,
}

/// What answers.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServerInfo {
    pub(crate) server_version: Scalar,
}

impl BrokerageAccounts {
    /// Whether the answer is our simulator's, which says so in its version.
    pub(crate) fn is_simulated(&self) -> bool {
        let version = self.server_info.as_ref().and_then(|info| info.server_version.as_str());
        version.is_some_and(|version| version.starts_with("Simulated "))
    }

    /// Whether it is our simulator's and its market open at any time, which its version tells too.
    pub(crate) fn is_always_open(&self) -> bool {
        let version = self.server_info.as_ref().and_then(|info| info.server_version.as_str());
        self.is_simulated() && version.is_some_and(|version| version.ends_with(", always open"))
    }

    /// Whether it is a paper login: as told, else by the ids, which start with D on paper only.
    pub(crate) fn is_paper_login(&self) -> Option<bool> {
        self.is_paper.is_true().or_else(|| {
            let mut ids = self.accounts.iter().filter_map(Scalar::as_str).peekable();
            ids.peek()?;
            ids.all(|id| id.starts_with("DU") || id.starts_with("DF")).then_some(true)
        })
    }
}
