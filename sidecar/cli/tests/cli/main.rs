//! The real binary in a temporary home, outside a checkout, without configuration unless said:
//! every printed line of the command line's contract, exit codes, processes side by side.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod approvals;
mod doctor;
mod elsewhere;
mod gateway;
mod halts;
mod http;
mod orders;
mod owners;
mod played;
mod reads;
mod state;
mod stdio;
mod support;
mod terminal;
mod usage;
mod watch;
mod worlds;
