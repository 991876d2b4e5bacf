//! The ledger as its users see it: commits, opening, tampering, leaves, paging, the emergency file
//! and the loss of power.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod commits;
mod disk;
mod emergency;
mod leaves;
mod opening;
mod power;
mod support;
mod tail;
mod tampering;
mod witness;
