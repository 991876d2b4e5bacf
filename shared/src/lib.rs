//! What crosses a process boundary: the tool catalogue, the calls, and the relay's frames.
//!
//! Reading order: [`service`] (what a tool call is and who answers it), [`catalogue`] (every tool,
//! declared once), [`number`] (decimals at the door), [`config`] (the configuration file),
//! [`socket`] (where a local socket is reached), then [`relay`].

pub mod catalogue;
pub mod config;
pub mod number;
pub mod relay;
pub mod service;
pub mod socket;
