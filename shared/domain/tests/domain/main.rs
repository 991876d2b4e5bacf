//! The vocabulary: canonical bytes, references, values, the life of an order, outside text.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod canonical;
mod lifecycle;
mod text;
mod values;
