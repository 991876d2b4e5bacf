//! Why the session is as it is: each cause has one state and one sentence.

use crate::transport::BAD_CERTIFICATE;
use ibkr_agent_domain::SessionState;

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nothing was asked yet.
    NotAsked,
    /// No connection to the gateway.
    NoConnection,
    /// Its certificate isn't the expected one.
    Certificate,
    /// It takes requests and answers none.
    NoAnswer,
    /// It, or a firewall before IBKR, refuses this address.
    Denied,
    /// Nobody is logged in.
    NoLogin,
    /// There was a login, and it has ended.
    LoginEnded,
    /// IBKR answers with errors.
    BrokerFails,
    /// The login isn't of the configured kind.
    WrongLogin,
    /// Logged in without a brokerage session.
    BrokerageDown,
    /// Another platform holds the brokerage session.
    Competing,
    /// All is well.
    Ready,
}

impl Cause {
    /// The cause of a connection that wasn't made.
    pub(crate) fn of_connection(why: &str) -> Self {
        if why == BAD_CERTIFICATE { Self::Certificate } else { Self::NoConnection }
    }

    pub(crate) const fn state(self) -> SessionState {
        match self {
            Self::NotAsked
            | Self::NoConnection
            | Self::Certificate
            | Self::NoAnswer
            | Self::Denied => SessionState::Unreachable,
            Self::NoLogin | Self::LoginEnded | Self::BrokerFails | Self::WrongLogin => {
                SessionState::LoginRequired
            }
            Self::BrokerageDown => SessionState::BrokerageDown,
            Self::Competing => SessionState::Competing,
            Self::Ready => SessionState::Ready,
        }
    }

    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::NotAsked => "the Client Portal Gateway hasn't answered yet",
            Self::NoConnection => {
                "the Client Portal Gateway isn't running, or not where it is configured"
            }
            Self::Certificate => {
                "the Client Portal Gateway's certificate isn't the one that is configured"
            }
            Self::NoAnswer => {
                "the Client Portal Gateway takes requests but doesn't answer: it may not reach IBKR"
            }
            Self::Denied => "the Client Portal Gateway refuses this address (ips.allow)",
            Self::NoLogin => "nobody is logged in at the Client Portal Gateway",
            Self::LoginEnded => "the login at the Client Portal Gateway has ended",
            Self::BrokerFails => {
                "IBKR answers with errors: it may be restarting; if it stays so, log in again"
            }
            Self::WrongLogin => "the login isn't of the kind that is configured (paper or live)",
            Self::BrokerageDown => "logged in, but the brokerage session is down",
            Self::Competing => "another session of the same username is active",
            Self::Ready => "the session works",
        }
    }

    /// What a new cause means after this one: a login that is missing after there was one has
    /// ended.
    pub(crate) const fn then(self, next: Self) -> Self {
        match (self, next) {
            (
                Self::Ready | Self::BrokerageDown | Self::Competing | Self::LoginEnded,
                Self::NoLogin,
            ) => Self::LoginEnded,
            (_, next) => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_was_there_has_ended() {
        for (before, after) in [
            (Cause::NotAsked, Cause::NoLogin),
            (Cause::NoConnection, Cause::NoLogin),
            (Cause::Ready, Cause::LoginEnded),
            (Cause::Competing, Cause::LoginEnded),
            (Cause::LoginEnded, Cause::LoginEnded),
        ] {
            assert_eq!(before.then(Cause::NoLogin), after, "{before:?}");
        }
        assert_eq!(Cause::Ready.then(Cause::BrokerageDown), Cause::BrokerageDown);
    }
}
