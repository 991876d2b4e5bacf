//! The command line of the gateway: reads, orders, the operator's verbs, and everything that
//! serves. The only crate where both halves meet.
//!
//! Flow: `args` parses, `world` says whose state is meant, `run` chooses, `open` finds or becomes
//! the owner of the state, a file in `verbs` does the work, `print` shows it. No rule about trading
//! lives here: a verb is a tool call or an operator's verb, and the sidecar decides.

mod args;
mod arguments;
pub mod demo;
mod failure;
mod home;
mod open;
mod print;
mod run;
mod signals;
mod verbs;
mod world;

pub use run::main_with_args;
