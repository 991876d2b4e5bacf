//! The local doors: two Unix sockets in two folders, and who owns the store behind them.
//!
//! [`door`] is what both sockets share: a private folder, a private socket, the peer's user checked
//! at both ends. [`server`] and [`attached`] are the two ends of `agent.sock`, which carries tool
//! calls only; the operator's socket lives in [`crate::operator`] with another codec, so that no
//! frame of one means anything at the other. [`host`] decides, among the processes of one user,
//! which owns the store, lets the others attach to it, and lets one of them take over when it dies.

pub mod attached;
pub mod door;
pub(crate) mod frames;
pub mod host;
pub mod server;
mod wire;

pub use attached::{AttachError, AttachedService};
pub use door::{Door, DoorError};
pub use host::{LocalMode, LocalService, Owner, StartError};
pub use server::{open_agent_door, serve_agents};

use std::path::{Path, PathBuf};

/// Folder of the agents' socket in the state folder.
pub const AGENT_FOLDER: &str = "agent";

/// Name of the agents' socket in its folder.
pub const AGENT_SOCKET: &str = "agent.sock";

/// Where the agents' socket of a state folder is.
#[must_use]
pub fn agent_socket(state: &Path) -> PathBuf {
    state.join(AGENT_FOLDER).join(AGENT_SOCKET)
}
