//! The vocabulary: canonical and approval bytes, references, values, the life of an order, outside
//! text.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod approval;
mod canonical;
mod hours;
mod lifecycle;
mod orders;
mod plan;
mod pricing;
mod reasons;
mod rules;
mod text;
mod values;
