//! MCP over standard input and output, and over any pair of streams.
//!
//! Standard output belongs to the protocol alone: nothing else in the process may write to it.

use crate::McpServer;
use ibkr_agent_domain::Untrusted;
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
/// `caller` makes the caller from the name that the client gives itself.
///
/// # Errors
/// [`StdioError`] when the client doesn't speak MCP, or serving it fails.
pub async fn serve_stdio<S: ToolService>(
    service: Arc<S>,
    caller: impl Fn(&Untrusted) -> S::Caller + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<(), StdioError> {
    let (reader, writer) = rmcp::transport::stdio_pipes();
    serve_stream(service, caller, reader, writer, shutdown).await
}

/// Serves the client at a pair of streams until it leaves or `shutdown` is cancelled.
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
    let server = McpServer::for_client(service, caller);
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
