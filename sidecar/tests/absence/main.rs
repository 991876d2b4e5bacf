//! What is missing, older or another's in a state folder: the sidecar starts halted, with the cause
//! named, or not at all; never as if nothing were.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod acceptance;
mod support;
mod table;
