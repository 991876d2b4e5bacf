//! Notices over a real simulator: a program and a webhook are told what happened, once, signed,
//! and with nothing in it that acts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod inbox;
mod told;
