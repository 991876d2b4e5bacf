//! The relay between a hosted remote and an on-prem sidecar: frames, codec and sans-IO link.
//!
//! Flow: the sidecar dials out over mutual TLS 1.3 and upgrades to a WebSocket
//! ([`frame::SUBPROTOCOL`]); it sends `hello`, signed with its identity key over the TLS exporter
//! (RFC 5705, [`frame::EXPORTER_LABEL`]); the remote answers `welcome` or `refuse`. Then calls are
//! multiplexed: `call`, `progress`, `cancel`, `reply`, paced by credit, with a heartbeat both ways.
//! `refusals` tells the sidecar what the remote refused and never sent.
//!
//! Not here: sockets, TLS, keys, clocks. The remote's commands are `revoked` and `go_away`; no
//! operator verb has a frame. Nothing is ever replayed: what a cut link leaves open is unknown.

pub mod codec;
pub mod frame;
pub mod join;
pub mod link;
mod text;

pub use codec::{DecodeError, EncodeError, decode, encode};
pub use frame::{CallerToken, Frame, Message};
pub use join::{EnrolRefusal, EnrolReply, EnrolRequest, InvalidJoinToken, JoinToken};
pub use link::{Ended, RemoteEnd, Settings, SidecarEnd, Violation};
