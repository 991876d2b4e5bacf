//! The broker client against the simulated gateway and against scripted servers, on loopback.

mod canary;
mod effects;
mod reads;
mod scripted;
mod session;
mod support;
mod transport;
