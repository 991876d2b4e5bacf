//! The validator against a mini issuer on loopback: good tokens, attacks, rotation, discovery.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod attacks;
mod configuration;
mod fetching;
#[path = "../support/issuer.rs"]
mod issuer;
#[path = "../support/keys.rs"]
mod keys;
mod rotation;
