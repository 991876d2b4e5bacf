//! Operators: key files, the keyring, and `operator.sock` from both ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod keyring;
mod keys;
mod socket;
