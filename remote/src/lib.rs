//! The hosted half of the gateway: MCP over HTTP behind OAuth, and the relay to sidecars.
//!
//! Reading order: [`config`], [`front`] (everything between the socket and rmcp), [`serve`] (the
//! accept loop). Absent by construction: broker, gates and audit crates, operator verbs, payloads
//! at rest.

pub mod config;
pub mod front;
pub mod pairing;
pub mod pki;
pub mod relay;
pub mod serve;
pub mod store;
