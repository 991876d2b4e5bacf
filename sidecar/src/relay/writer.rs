//! The task that writes the link's messages: many messages, one flush.
//!
//! Its queue is bounded by what a link may have in flight; a peer that doesn't read fills it and
//! the link ends, rather than the memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The WebSocket library logs whole frames, tokens and all, at trace level through `log`. Those
/// lines are compiled out, whatever a filter asks for; our own logs go through `tracing`.
const _: () = assert!(matches!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug));

/// Messages that may wait to be written.
pub(super) const QUEUE: usize = 1024;
/// Messages per flush.
const BATCH: usize = 64;
/// Time for one batch; a peer that doesn't read for so long is gone.
const STALL: Duration = Duration::from_secs(20);

/// Writes until the queue closes, then closes the WebSocket.
pub(super) async fn run<S>(mut sink: S, mut queue: mpsc::Receiver<Bytes>)
where
    S: Sink<Message, Error = Error> + Unpin,
{
    while let Some(first) = queue.recv().await {
        let batch = write_batch(&mut sink, first, &mut queue);
        if !matches!(tokio::time::timeout(STALL, batch).await, Ok(Ok(()))) {
            return;
        }
    }
    // The peer may be gone already; nothing depends on its reading the close.
    drop(tokio::time::timeout(STALL, sink.close()).await);
}

async fn write_batch<S>(
    sink: &mut S,
    first: Bytes,
    queue: &mut mpsc::Receiver<Bytes>,
) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    sink.feed(Message::Binary(first)).await?;
    for _ in 1..BATCH {
        match queue.try_recv() {
            Ok(next) => sink.feed(Message::Binary(next)).await?,
            Err(_) => break,
        }
    }
    sink.flush().await
}
