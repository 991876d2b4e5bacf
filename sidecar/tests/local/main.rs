//! `agent.sock` from both ends, and who owns the store: in one process and across processes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod host;
mod processes;
mod socket;
mod support;
