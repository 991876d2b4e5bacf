//! Sessions of the older protocol revisions, with a bound on their number.
//!
//! The transport's own manager has none, and most clients never end a session. Sessions are not
//! bound to a principal here: the front layer does that, since it knows who calls.

use core::time::Duration;
use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};
use tokio::sync::Mutex;

/// Why a session can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// As many sessions are open as are allowed.
    #[error("{open} sessions are open, which is the most: try again later")]
    TooMany {
        /// How many are open.
        open: usize,
    },
    /// The session is gone, or its worker failed.
    #[error("the session can't be used")]
    Session(#[from] LocalSessionManagerError),
}

/// A bounded number of sessions, each ended after a time without use.
#[derive(Debug)]
pub struct CappedSessions {
    inner: LocalSessionManager,
    most: usize,
    // Held while a session is made, so that two racing clients can't pass the bound together.
    gate: Mutex<()>,
}

impl CappedSessions {
    /// At most `most` sessions, each ended after `idle` without use.
    #[must_use]
    pub fn new(most: usize, idle: Duration) -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.keep_alive = Some(idle);
        Self { inner, most, gate: Mutex::new(()) }
    }
}

impl SessionManager for CappedSessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        let _making = self.gate.lock().await;
        let open = self.inner.sessions.read().await.len();
        if open >= self.most {
            return Err(SessionsError::TooMany { open });
        }
        Ok(self.inner.create_session().await?)
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        Ok(self.inner.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        Ok(self.inner.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        Ok(self.inner.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.inner.create_stream(id, message).await?)
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        Ok(self.inner.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.inner.create_standalone_stream(id).await?)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.inner.resume(id, last_event_id).await?)
    }
}
