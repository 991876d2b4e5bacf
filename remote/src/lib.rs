//! The hosted half of the gateway: MCP over HTTP behind OAuth, and the relay to sidecars.
//!
//! Reading order: [`config`], [`start`] (the parts and how they are put together), [`front`]
//! (everything between the socket and rmcp), [`service`] (a call on its way to a sidecar),
//! [`relay`], [`pairing`], [`store`]; [`serve`] is the accept loop, [`admin`] the operator's door
//! to a running remote, [`cli`] the binary. `courier` tells the sidecars what was refused here.
//!
//! Absent by construction: broker, gates and audit crates, operator verbs of the sidecar (nothing
//! here can approve, resume or arm), payloads and access tokens at rest.

pub mod admin;
pub mod cli;
pub mod config;
mod courier;
pub mod front;
pub mod pairing;
pub mod pki;
pub mod relay;
pub mod serve;
pub mod service;
pub mod start;
pub mod store;

pub use config::RemoteConfig;
pub use start::{Remote, RemoteHandle, StartError};
