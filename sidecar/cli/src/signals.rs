//! When to stop: the first interrupt or termination asks for a drain. When to halt: SIGUSR1.

use ibkr_agent_gateway::driver::EngineHandle;
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

/// Halts trading at each SIGUSR1, until `stop`. Cancels nothing.
pub(crate) async fn halt_on_signal(engine: EngineHandle, stop: CancellationToken) {
    let mut halts = match signal(SignalKind::user_defined1()) {
        Ok(halts) => halts,
        Err(error) => {
            tracing::warn!(error = %error, "SIGUSR1 can't be caught: it ends the process");
            return;
        }
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            came = halts.recv() => match came {
                Some(()) => engine.halt_by_signal("SIGUSR1"),
                None => return,
            },
        }
    }
}
