//! The decisions: both sides of every limit, and laws that hold for all of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod exposure;
mod facts;
mod laws;
mod market;
mod page;
mod plan;
mod questions;
mod support;
mod table;
mod tighter;
mod whole;
