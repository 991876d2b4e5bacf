//! MCP over standard input and output, and over any pair of streams.
//!
//! Standard output belongs to the protocol alone: nothing else in the process may write to it.

use crate::McpServer;
use ibkr_agent_domain::Untrusted;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::service::ToolService;
use rmcp::service::{QuitReason, ServerInitializeError, serve_server_with_ct};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Why serving a client over streams ended badly.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The client's first messages weren't MCP.
    #[error("the client didn't open an MCP conversation")]
    Handshake(#[source] Box<ServerInitializeError>),
    /// The task that served the client failed.
    #[error("serving the client failed")]
    Failed(#[source] tokio::task::JoinError),
}

/// Serves the client at standard input and output until it leaves or `shutdown` is cancelled.
///
/// `caller` makes the caller from the name that the client gives itself; `listing` says which tools
/// it is shown.
///
/// # Errors
/// [`StdioError`] when the client doesn't speak MCP, or serving it fails.
pub async fn serve_stdio<S: ToolService>(
    service: Arc<S>,
    caller: impl Fn(&Untrusted) -> S::Caller + Send + Sync + 'static,
    listing: Listing,
    shutdown: CancellationToken,
) -> Result<(), StdioError> {
    let (reader, writer) = rmcp::transport::stdio_pipes();
    let server = McpServer::for_client(service, caller).with_listing(listing);
    converse(server, reader, writer, shutdown).await
}

/// Serves the client at a pair of streams until it leaves or `shutdown` is cancelled. It is shown
/// every tool that it may call.
///
/// # Errors
/// As [`serve_stdio`].
pub async fn serve_stream<S, R, W>(
    service: Arc<S>,
    caller: impl Fn(&Untrusted) -> S::Caller + Send + Sync + 'static,
    reader: R,
    writer: W,
    shutdown: CancellationToken,
) -> Result<(), StdioError>
where
    S: ToolService,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    converse(McpServer::for_client(service, caller), reader, writer, shutdown).await
}

async fn converse<S, R, W>(
    server: McpServer<S>,
    reader: R,
    writer: W,
    shutdown: CancellationToken,
) -> Result<(), StdioError>
where
    S: ToolService,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let running = match serve_server_with_ct(server, (reader, writer), shutdown).await {
        Ok(running) => running,
        // The client left before it said anything, or we were told to stop.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(StdioError::Handshake(Box::new(error))),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(StdioError::Failed(error)),
        Ok(_) => Ok(()),
    }
}
