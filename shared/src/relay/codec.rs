//! Bytes to messages and back. Total: any bytes give a message or an error, never a panic.
//!
//! Limits are checked here, on both ways, so that neither end can be made to hold or send more
//! than [`super::frame`] says. Unknown fields are ignored; an unknown type is refused by its name.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::frame::{
    Frame, MAX_FRAME_BYTES, MAX_LABEL_BYTES, MAX_NOTE_BYTES, MAX_PEM_BYTES, MAX_REASON_BYTES,
    MAX_REFUSAL_COUNTS, MAX_REFUSED_CALLERS, MAX_TEXT_BYTES, MAX_TOKEN_BYTES, MAX_TOOL_NAME_BYTES,
    MAX_VERSIONS, Message, Refusals,
};
use crate::service::MAX_ARGUMENT_BYTES;

const ID_BYTES: usize = 8;
/// How much of an unknown type's name an error repeats.
const SHOWN_NAME_CHARS: usize = 40;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than a frame may be.
    #[error("a frame of {length} bytes is longer than {MAX_FRAME_BYTES}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Too short to hold an id.
    #[error("a frame of {length} bytes holds no id")]
    TooShort {
        /// Its length.
        length: usize,
    },
    /// Not the JSON of an envelope.
    #[error("a frame is not an envelope of type and body")]
    Envelope(#[source] serde_json::Error),
    /// A type that this version doesn't know.
    #[error("unknown frame type {name:?}")]
    UnknownType {
        /// The type, shortened and escaped.
        name: String,
    },
    /// A body that doesn't fit its type.
    #[error("the body of a {kind} frame is wrong")]
    Body {
        /// The frame's type.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A call frame with number zero, or another frame with a number.
    #[error("a {kind} frame can't have the id {id}")]
    WrongId {
        /// The frame's type.
        kind: &'static str,
        /// The id that it came with.
        id: u64,
    },
    /// A field beyond its limit.
    #[error("{field} of a {kind} frame is longer than {limit}")]
    Limit {
        /// The frame's type.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Why a message can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The message is longer than a frame may be.
    #[error("a {kind} frame of {length} bytes is longer than {MAX_FRAME_BYTES}")]
    TooLong {
        /// The frame's type.
        kind: &'static str,
        /// Its length.
        length: usize,
    },
    /// A field is beyond its limit.
    #[error("{field} of a {kind} frame is longer than {limit}")]
    Limit {
        /// The frame's type.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The body can't be written as JSON.
    #[error("a {kind} frame can't be written")]
    Body {
        /// The frame's type.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct EnvelopeOut<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    body: &'a T,
}

#[derive(Serialize)]
struct Empty {}

/// Reads a message.
///
/// # Errors
/// [`DecodeError`] for anything that isn't one.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(DecodeError::TooLong { length: bytes.len() });
    }
    let Some((id, json)) = bytes.split_first_chunk::<ID_BYTES>() else {
        return Err(DecodeError::TooShort { length: bytes.len() });
    };
    let id = u64::from_be_bytes(*id);
    let envelope: Envelope<'_> = serde_json::from_slice(json).map_err(DecodeError::Envelope)?;
    let body = envelope.body.map_or("{}", RawValue::get);
    let frame = match envelope.kind.as_ref() {
        "hello" => Frame::Hello(body_of("hello", body)?),
        "welcome" => Frame::Welcome(body_of("welcome", body)?),
        "refuse" => Frame::Refuse(body_of("refuse", body)?),
        "call" => Frame::Call(body_of("call", body)?),
        "reply" => Frame::Reply(Box::new(body_of("reply", body)?)),
        "progress" => Frame::Progress(body_of("progress", body)?),
        "cancel" => Frame::Cancel,
        "event" => Frame::Event(body_of("event", body)?),
        "credit" => Frame::Credit(body_of("credit", body)?),
        "ping" => Frame::Ping(body_of("ping", body)?),
        "pong" => Frame::Pong(body_of("pong", body)?),
        "go_away" => Frame::GoAway(body_of("go_away", body)?),
        "renew" => Frame::Renew(body_of("renew", body)?),
        "renewed" => Frame::Renewed(body_of("renewed", body)?),
        "renew_refused" => Frame::RenewRefused(body_of("renew_refused", body)?),
        "revoked" => Frame::Revoked,
        "checkpoint" => Frame::Checkpoint(body_of("checkpoint", body)?),
        "refusals" => Frame::Refusals(body_of("refusals", body)?),
        other => return Err(DecodeError::UnknownType { name: shown(other) }),
    };
    let kind = frame.kind();
    if frame.is_of_call() == (id == 0) {
        return Err(DecodeError::WrongId { kind, id });
    }
    match over_limit(&frame) {
        Some((field, limit)) => Err(DecodeError::Limit { kind, field, limit }),
        None => Ok(Message { id, frame }),
    }
}

/// Writes a message.
///
/// # Errors
/// [`EncodeError`] if the message is beyond a limit.
pub fn encode(message: &Message) -> Result<Vec<u8>, EncodeError> {
    let frame = &message.frame;
    let kind = frame.kind();
    if let Some((field, limit)) = over_limit(frame) {
        return Err(EncodeError::Limit { kind, field, limit });
    }
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&message.id.to_be_bytes());
    match frame {
        Frame::Hello(body) => write(kind, body, &mut bytes),
        Frame::Welcome(body) => write(kind, body, &mut bytes),
        Frame::Refuse(body) => write(kind, body, &mut bytes),
        Frame::Call(body) => write(kind, body, &mut bytes),
        Frame::Reply(body) => write(kind, body.as_ref(), &mut bytes),
        Frame::Progress(body) => write(kind, body, &mut bytes),
        Frame::Event(body) => write(kind, body, &mut bytes),
        Frame::Credit(body) => write(kind, body, &mut bytes),
        Frame::Ping(body) | Frame::Pong(body) => write(kind, body, &mut bytes),
        Frame::GoAway(body) => write(kind, body, &mut bytes),
        Frame::Renew(body) => write(kind, body, &mut bytes),
        Frame::Renewed(body) => write(kind, body, &mut bytes),
        Frame::RenewRefused(body) => write(kind, body, &mut bytes),
        Frame::Checkpoint(body) => write(kind, body, &mut bytes),
        Frame::Refusals(body) => write(kind, body, &mut bytes),
        Frame::Cancel | Frame::Revoked => write(kind, &Empty {}, &mut bytes),
    }
    .map_err(|source| EncodeError::Body { kind, source })?;
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(EncodeError::TooLong { kind, length: bytes.len() });
    }
    Ok(bytes)
}

fn write<T: Serialize>(
    kind: &'static str,
    body: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    serde_json::to_writer(bytes, &EnvelopeOut { kind, body })
}

fn body_of<T: DeserializeOwned>(kind: &'static str, body: &str) -> Result<T, DecodeError> {
    serde_json::from_str(body).map_err(|source| DecodeError::Body { kind, source })
}

fn shown(name: &str) -> String {
    name.chars().take(SHOWN_NAME_CHARS).collect()
}

/// The first field of a frame that is beyond its limit.
fn over_limit(frame: &Frame) -> Option<(&'static str, usize)> {
    let fields: &[(&'static str, usize, usize)] = match frame {
        Frame::Hello(hello) => &[
            ("versions", hello.versions.len(), MAX_VERSIONS),
            ("software", hello.software.len(), MAX_TEXT_BYTES),
            ("signature", hello.signature.len(), MAX_TEXT_BYTES),
        ],
        Frame::Welcome(welcome) => &[
            ("replica_id", welcome.replica_id.len(), MAX_TEXT_BYTES),
            ("software", welcome.software.len(), MAX_TEXT_BYTES),
        ],
        Frame::Refuse(refuse) => &[
            ("code", refuse.code.len(), MAX_TEXT_BYTES),
            ("message", refuse.message.len(), MAX_TEXT_BYTES),
            ("versions", refuse.versions.len(), MAX_VERSIONS),
        ],
        Frame::Call(call) => &[
            ("tool", call.tool.len(), MAX_TOOL_NAME_BYTES),
            ("arguments", call.arguments.get().len(), MAX_ARGUMENT_BYTES),
            ("token", call.token.expose().len(), MAX_TOKEN_BYTES),
        ],
        Frame::Progress(update) => &[("message", update.message.len(), MAX_TEXT_BYTES)],
        Frame::Event(event) => &[("resource", event.resource.len(), MAX_TEXT_BYTES)],
        Frame::Renew(renew) => &[("csr_pem", renew.csr_pem.len(), MAX_PEM_BYTES)],
        Frame::Renewed(renewed) => {
            &[("certificate_pem", renewed.certificate_pem.len(), MAX_PEM_BYTES)]
        }
        Frame::RenewRefused(refused) => &[("message", refused.message.len(), MAX_TEXT_BYTES)],
        Frame::Checkpoint(checkpoint) => &[("note", checkpoint.note.len(), MAX_NOTE_BYTES)],
        Frame::Refusals(refusals) => &refusal_fields(refusals),
        // A reply is bounded by the frame itself.
        Frame::Reply(_)
        | Frame::Cancel
        | Frame::Credit(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::GoAway(_)
        | Frame::Revoked => &[],
    };
    let over = fields.iter().find(|(_, length, limit)| length > limit)?;
    Some((over.0, over.2))
}

/// The fields of a `refusals` with the longest of each.
fn refusal_fields(refusals: &Refusals) -> [(&'static str, usize, usize); 6] {
    let Refusals { callers, counts } = refusals;
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let label = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let named = callers.iter().map(|caller| caller.reason.len());
    let counted = counts.iter().map(|count| count.reason.len());
    let tools = longest(&mut callers.iter().map(|caller| label(&caller.tool)));
    let subjects = longest(&mut callers.iter().map(|caller| caller.subject.len()));
    let clients = longest(&mut callers.iter().map(|caller| label(&caller.client)));
    [
        ("callers", callers.len(), MAX_REFUSED_CALLERS),
        ("counts", counts.len(), MAX_REFUSAL_COUNTS),
        ("reason", longest(&mut named.chain(counted)), MAX_REASON_BYTES),
        ("tool", tools, MAX_TOOL_NAME_BYTES),
        ("subject", subjects, MAX_LABEL_BYTES),
        ("client", clients, MAX_LABEL_BYTES),
    ]
}
