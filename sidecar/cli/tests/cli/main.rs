//! The real binary in a temporary home, outside a checkout, without configuration unless said: every
//! printed line of the command line's contract, exit codes, and processes side by side.

mod http;
mod orders;
mod owners;
mod reads;
mod stdio;
mod support;
mod usage;
