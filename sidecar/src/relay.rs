//! The sidecar's side of the relay: pairing, the outward dialler, and calls that come in.
//!
//! Flow: [`pair`] makes the keys here, enrols with a join token pinned to the remote's CA, and
//! stores certificate and CA. [`Dialler::run`] then keeps one link: it dials out over TLS 1.3,
//! signs `hello` over the connection's exporter, verifies the token of every call itself and hands
//! the call to a [`RelayDoor`] with what was verified, never with the token.
//!
//! Invariants: a cut link doesn't end a write that runs, only its reply is lost; nothing is run
//! twice; the remote can start calls, cancel them, revoke, and say what it refused
//! ([`RemoteRefusal`]), and nothing else.

mod calls;
mod credentials;
mod dial;
mod dialler;
mod pair;
mod refusals;
mod session;
mod writer;

use core::future::Future;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::service::{Progress, ToolCall, ToolReply};
use ibkr_agent_token::Verified;
use tokio_util::sync::CancellationToken;

pub use credentials::{Credentials, CredentialsError, Identity, RelayUrl};
pub use dialler::{Backoff, Dialler, DiallerConfig, DiallerHandle};
pub use pair::{PairError, Paired, pair};
pub use refusals::{MAX_RECORDS, RemoteRefusal, Tally};

/// Where relayed calls enter the sidecar.
pub trait RelayDoor: Send + Sync + 'static {
    /// Runs a call for a caller whose token was verified here. Always answers.
    fn call(
        &self,
        verified: Verified,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> impl Future<Output = ToolReply> + Send;

    /// Records that a call's token was refused, and makes the answer.
    fn refused(&self, code: ErrorCode, call: &ToolCall) -> impl Future<Output = ToolReply> + Send;

    /// Records what the remote says that it refused itself. Nothing of it was seen here.
    fn refused_at_remote(&self, refusal: RemoteRefusal) -> impl Future<Output = ()> + Send;
}

/// What an operator should do about a link that isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing: the next attempt comes by itself.
    Wait,
    /// Pair again: the remote refuses this certificate or identity. Attempts go on, rarely.
    PairAgain,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayStatus {
    /// There is none.
    Disconnected {
        /// Why; text of the other side in it is escaped.
        reason: String,
        /// What to do.
        advice: Advice,
        /// When the next attempt comes; none when the dialler stopped.
        retry_in: Option<Duration>,
    },
    /// An attempt is under way.
    Connecting,
    /// It is open.
    Connected {
        /// Which replica of the remote it leads to.
        replica_id: String,
        /// Since when.
        since: SystemTime,
        /// When the client certificate runs out.
        certificate_expires_at: SystemTime,
    },
}
