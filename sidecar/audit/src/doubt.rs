//! Why the files of a state folder don't fit each other.
//!
//! A doubt doesn't stop a start: the sidecar opens halted, and an operator's signature over the
//! cause ends that. What leaves nothing to open is an [`crate::OpenError`] instead.

use core::fmt;
use ibkr_agent_domain::ErrorCode;

/// A file of the state folder that others vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateFile {
    /// Rows and log.
    Store,
    /// The newest checkpoint.
    Anchor,
    /// Records of cancels and halts while the log can't be written.
    Emergency,
    /// The key that signs receipts and the relay's `hello`.
    Identity,
    /// The operator's sealed or open key.
    OperatorKey,
    /// Certificate and key of the pairing.
    Relay,
}

impl StateFile {
    /// Its name for people and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store.redb",
            Self::Anchor => "store.anchor",
            Self::Emergency => "emergency.log",
            Self::Identity => "identity.pk8",
            Self::OperatorKey => "operator key",
            Self::Relay => "relay.json",
        }
    }
}

/// What is wrong with one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// Others say that it was there.
    Missing(StateFile),
    /// It isn't what this program wrote.
    Unreadable(StateFile),
    /// It belongs to another installation.
    Foreign(StateFile),
    /// Others remember a later state.
    Older(StateFile),
    /// The last run couldn't renew it.
    NotRenewed(StateFile),
}

impl Doubt {
    /// The file.
    #[must_use]
    pub const fn file(self) -> StateFile {
        match self {
            Self::Missing(file)
            | Self::Unreadable(file)
            | Self::Foreign(file)
            | Self::Older(file)
            | Self::NotRenewed(file) => file,
        }
    }

    /// What is wrong, in a word.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::Foreign(_) => "of another installation",
            Self::Older(_) => "older than the others",
            Self::NotRenewed(_) => "not renewed by the last run",
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Older(_) => ErrorCode::StateRestored,
            Self::Missing(_) | Self::Unreadable(_) | Self::Foreign(_) | Self::NotRenewed(_) => {
                ErrorCode::StateIncomplete
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file().as_str(), self.what())
    }
}
