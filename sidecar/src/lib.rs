//! The sidecar, and the Rust SDK over it. Unofficial; not affiliated with Interactive Brokers.
//!
//! A sidecar stands next to IBKR's Client Portal Gateway. It alone holds the session, the gates,
//! the store and the audit log. Programs that embed it start with [`prelude`].
//!
//! | module | what it is |
//! |---|---|
//! | [`app`] | configuration in, a running sidecar out |
//! | [`engine`] | a crate of its own: the sans-IO core and its journal |
//! | [`folder`], `opening` | who owns the state folder, and whether its files fit each other |
//! | [`driver`] | performs the engine's effects |
//! | [`tools`] | the agents' door |
//! | [`operator`], [`desk`] | what only a human may do |
//! | [`invocation`] | how a command reaches this sidecar from another terminal |
//! | [`proof`] | an operator's yes with all that proves it |
//! | [`local`] | the agent socket: attach and take over |
//! | [`notices`] | tells a human what must not wait |
//! | [`relay`] | dials out to the hosted remote |
//! | `changes` | what changed, for whoever waits for it |
//! | [`brokers`], [`facts`] | which account goes where, and what a decision needs to know |
//! | [`sdk`] | the facade for Rust programs |

pub mod app;
pub mod brokers;
mod changes;
pub mod clock;
pub mod config;
pub mod desk;
pub mod driver;
pub mod facts;
pub mod folder;
pub mod invocation;
pub mod local;
pub mod marker;
pub mod notices;
mod opening;
pub mod operator;
pub mod prelude;
pub mod proof;
pub mod relay;
pub mod sdk;
pub mod secrets;
pub mod tools;

pub use ibkr_agent_audit as audit;
pub use ibkr_agent_broker as broker;
pub use ibkr_agent_engine as engine;
pub use ibkr_agent_mcp as mcp;
