//! The client of IBKR's Client Portal Gateway: the one place that sends a request to it, and the
//! only crate that can name session material.
//!
//! Reads are typed, tolerant of the gateway's shapes, paced and bounded in time and size. The
//! three effects (place, reply, cancel) take a [`Recorded`](ibkr_agent_audit::Recorded) permit, go
//! out on a connection of their own and are never repeated: what isn't known to have failed before
//! the first byte is [`PlaceOutcome::Unknown`].
//!
//! The gateway's WebSocket feeds events and short caches; without it everything works by reads.
//!
//! Not here: decisions, storage, retries of writes, order kinds other than
//! [`CanonicalOrder`](ibkr_agent_domain::CanonicalOrder)'s.
//!
//! Invariants:
//! - No cookie, session id or raw body leaves this crate: not in a value, an error or a log line.
//! - One POST or DELETE per permit; no redirect, no proxy, no cookie store.
//! - The kill switch ([`HaltLatch`]) is read after the connection stands and before the request is
//!   written, for placing and for a reply that confirms.

/// A decimal literal of a test.
#[cfg(test)]
macro_rules! dec {
    ($number:literal) => {
        stringify!($number).parse::<rust_decimal::Decimal>().unwrap()
    };
}

mod api;
mod broker;
mod cache;
mod client;
mod clock;
mod config;
mod contracts;
mod effects;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keeper;
mod latch;
mod lists;
mod outcome;
mod pacing;
mod reads;
mod session;
mod stream;
mod tls;
mod transport;
mod wire;

pub use api::{Broker, BrokerFuture, Dated, Resolution, ResolveFilters, WatchGuard};
pub use client::{ClientPortal, connect};
pub use clock::{Clock, SystemClock};
pub use config::{BrokerConfig, Pacing, TlsPolicy};
pub use error::{BrokerError, ConnectError};
pub use keeper::{Region, Viewer, instructions, keep_alive};
pub use latch::{Epoch, HaltLatch, Sentinel};
pub use outcome::{Asked, CancelHint, CancelOutcome, PlaceOutcome, Prompt};
pub use pacing::{Errand, Urgency, with_caller};
pub use stream::StreamHealth;
