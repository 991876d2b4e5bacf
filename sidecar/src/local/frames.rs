//! Length-prefixed JSON over a local stream: a big-endian u32, then that many bytes of JSON.
//!
//! Both ends bound what they read and what they write, and a write that doesn't move on within
//! [`WRITE_TIMEOUT`] ends the connection. Reading a frame is cancel-safe. Nothing here knows what a
//! frame means.

use bytes::Bytes;
use core::time::Duration;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// How long the other end may take to accept one frame.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Frames that arrive.
pub(crate) type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// Frames that leave.
pub(crate) type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// Why a frame didn't come or go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Longer than this socket's frames may be.
    #[error("a frame is longer than it may be")]
    TooLong,
    /// Not the JSON that is spoken here.
    #[error("a frame can't be understood: {0}")]
    Garbled(serde_json::Error),
    /// The other end took too long.
    #[error("the other end took too long")]
    TimedOut,
    /// The stream failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        // The codec's only errors of its own are about length.
        if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) {
            Self::TooLong
        } else {
            Self::Io(error)
        }
    }
}

/// Frames over a stream, with the longest that may arrive and the longest that may leave.
pub(crate) fn framed(stream: UnixStream, incoming: usize, outgoing: usize) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    (FramedRead::new(read, codec(incoming)), FramedWrite::new(write, codec(outgoing)))
}

fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().length_field_type::<u32>().max_frame_length(limit).new_codec()
}

/// The next frame; `None` when the other end closed.
pub(crate) async fn receive<T: DeserializeOwned>(
    reader: &mut Reader,
) -> Result<Option<T>, FrameError> {
    let Some(bytes) = reader.next().await.transpose()? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(FrameError::Garbled)
}

/// The JSON of a frame.
pub(crate) fn encode<T: Serialize>(frame: &T) -> Result<Bytes, FrameError> {
    serde_json::to_vec(frame).map(Bytes::from).map_err(FrameError::Garbled)
}

/// Sends the JSON of a frame.
pub(crate) async fn send_bytes(writer: &mut Writer, bytes: Bytes) -> Result<(), FrameError> {
    match tokio::time::timeout(WRITE_TIMEOUT, writer.send(bytes)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(FrameError::TimedOut),
    }
}
