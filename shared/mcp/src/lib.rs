//! The MCP server: any [`ToolService`](ibkr_agent_protocol::service::ToolService) over Streamable
//! HTTP and over standard input and output.
//!
//! Both protocol eras are served, request by request: 2026-07-28 (`server/discover`, stateless) and
//! the older revisions (`initialize`). This crate doesn't authenticate: over HTTP the front layer
//! puts a [`CallerExtension`] into the request, and a request without one is refused. It holds no
//! state of its own, validates no arguments and grants nothing; whoever answers the call does.
//! Tools and resources are advertised; reading or following a resource is a call of its tool.
//! Invariants: every call reaches the service, known tool or not, so
//! that refusals are recorded; a failed call has no structured content.
//!
//! See the MCP specification 2026-07-28, sections "Tools" and "Transports".

mod http;
mod instructions;
mod reply;
mod resources;
mod server;
mod sessions;
mod stdio;
mod subscriptions;

pub use http::{HttpOptions, McpHttpService, http_service};
pub use instructions::instructions;
pub use server::{CallerExtension, ListingExtension, McpServer};
pub use sessions::{CappedSessions, SessionsError};
pub use stdio::{StdioError, serve_stdio, serve_stream};
