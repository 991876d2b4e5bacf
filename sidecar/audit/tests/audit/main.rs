//! The ledger as its users see it: commits, opening, tampering, leaves, paging, the emergency file
//! and the loss of power.

mod commits;
mod disk;
mod emergency;
mod leaves;
mod opening;
mod power;
mod support;
mod tail;
mod tampering;
