//! When to stop: the first interrupt or termination asks for a drain.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT or SIGTERM. Where a signal can't be caught, its default
/// action, which ends the process, stays.
pub(crate) fn stop_token() -> CancellationToken {
    let token = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        match signal(kind) {
            Ok(mut stream) => {
                let token = token.clone();
                tokio::spawn(async move {
                    if stream.recv().await.is_some() {
                        token.cancel();
                    }
                });
            }
            Err(error) => tracing::warn!(error = %error, "a signal can't be caught"),
        }
    }
    token
}
