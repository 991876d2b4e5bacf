//! The MCP server against real clients and raw HTTP, in both protocol eras.

#[cfg(test)]
mod fake;
#[cfg(test)]
mod http;
mod resources;
#[cfg(test)]
mod streams;
