//! The sidecar, and the Rust SDK over it.

pub mod engine;
pub mod local;
pub mod operator;
pub mod store;
