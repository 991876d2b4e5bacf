//! The whole HTTP front end on a loopback socket: real tokens of a small issuer, a tool service
//! that counts what reaches it.
//!
//! | module | about |
//! |---|---|
//! | `auth` | metadata, challenges, bad tokens, scopes |
//! | `hosted` | the way from the front end to a sidecar |
//! | `http` | host, origin, bodies, messages, rates |
//! | `listing` | which tools are listed |
//! | `mcp` | both protocol eras, legacy sessions |
//! | `sockets` | idle, broken and drained connections |
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

mod auth;
mod hosted;
mod http;
mod issuer;
mod listing;
mod mcp;
mod sockets;
mod world;
