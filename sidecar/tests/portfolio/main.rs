//! Tools of accounts, portfolio, orders' history, inbox, overview, changes and audit export, run
//! through the agents' door against the simulator.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod changes;
mod export;
mod fake;
mod overview;
mod reads;
mod support;
