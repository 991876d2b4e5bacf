//! What travels on a relay link: message types, their limits, and the text that `hello` signs.
//!
//! A message is `[u64 big-endian id][JSON]`; the JSON is `{"type": "...", "body": {...}}`. The id
//! numbers a call on its link (never zero) and is zero on every other frame. Unknown fields of a
//! body are ignored, unknown types are refused by name ([`super::codec`]).
//!
//! Invariants: a `call` names no identity and no scope, only the caller's own token, which the
//! sidecar verifies itself; `Debug` of a frame shows neither token nor payload.

use core::fmt;
use core::time::Duration;

use ibkr_agent_domain::{CallId, Digest, SidecarId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::text;
use crate::service::{ErrorBody, ProgressUpdate, Receipt, ToolCall, ToolEvent, ToolReply};

/// The WebSocket sub-protocol (RFC 6455 §1.9).
pub const SUBPROTOCOL: &str = "ibkr-agent.relay.v1";
/// The newest frame version that this program speaks.
pub const VERSION: u16 = 1;
/// Every frame version that this program speaks.
pub const VERSIONS: &[u16] = &[VERSION];
/// Label of the TLS exporter (RFC 5705, RFC 8446 §7.5) that `hello` is signed over.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ibkr-agent-relay";
/// Length of the exported keying material.
pub const EXPORTER_BYTES: usize = 32;

/// Largest message, id included.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// Most calls that one link may have in flight, whatever credit was granted.
pub const MAX_CALLS_IN_FLIGHT: u32 = 256;
/// Longest tool name.
pub const MAX_TOOL_NAME_BYTES: usize = 128;
/// Longest access token.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest short text: messages, software names, replica ids, resources.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Longest certificate request or chain.
pub const MAX_PEM_BYTES: usize = 16 * 1024;
/// Longest signed note.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Most versions that a `hello` may list.
pub const MAX_VERSIONS: usize = 16;
/// Most refused callers that one `refusals` may name.
pub const MAX_REFUSED_CALLERS: usize = 64;
/// Most counts of one `refusals`.
pub const MAX_REFUSAL_COUNTS: usize = 32;
/// Longest code in a `refusals`.
pub const MAX_REASON_BYTES: usize = 64;
/// Longest subject or client in a `refusals`.
pub const MAX_LABEL_BYTES: usize = 256;

/// An access token on its way to the sidecar. Zeroized when dropped; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerToken(Zeroizing<String>);

impl CallerToken {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token itself. Only for verifying it or for encoding a frame.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerToken(…)")
    }
}

impl Serialize for CallerToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CallerToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A frame with the number of the call that it belongs to.
#[derive(Debug, Clone)]
pub struct Message {
    /// The call's number on this link, or zero.
    pub id: u64,
    /// What is said.
    pub frame: Frame,
}

impl Message {
    /// A message about the link itself.
    #[must_use]
    pub const fn link(frame: Frame) -> Self {
        Self { id: 0, frame }
    }

    /// A message about a call.
    #[must_use]
    pub const fn call(id: u64, frame: Frame) -> Self {
        Self { id, frame }
    }
}

/// Everything that can be said on a link.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Sidecar: who I am and what I speak; the first message.
    Hello(Hello),
    /// Remote: you are in.
    Welcome(Welcome),
    /// Remote: you aren't, and why.
    Refuse(Refuse),
    /// Remote: run a tool for the holder of this token.
    Call(Call),
    /// Sidecar: the answer to a call.
    Reply(Box<Reply>),
    /// Sidecar: a call goes on.
    Progress(ProgressUpdate),
    /// Remote: the caller no longer waits.
    Cancel,
    /// Sidecar: a resource changed.
    Event(ToolEvent),
    /// Sidecar: this many more calls are welcome.
    Credit(Credit),
    /// Either: are you there?
    Ping(Beat),
    /// Either: I am.
    Pong(Beat),
    /// Either: no new calls; what is in flight may finish.
    GoAway(GoAway),
    /// Sidecar: a certificate request for a new key.
    Renew(Renew),
    /// Remote: the renewed certificate.
    Renewed(Renewed),
    /// Remote: the request for renewal can't be met.
    RenewRefused(RenewRefused),
    /// Remote: this pairing was revoked.
    Revoked,
    /// Sidecar: its newest signed checkpoint.
    Checkpoint(Checkpoint),
    /// Remote: what it refused and never sent.
    Refusals(Refusals),
}

impl Frame {
    /// The name of the type on the wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Refuse(_) => "refuse",
            Self::Call(_) => "call",
            Self::Reply(_) => "reply",
            Self::Progress(_) => "progress",
            Self::Cancel => "cancel",
            Self::Event(_) => "event",
            Self::Credit(_) => "credit",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::GoAway(_) => "go_away",
            Self::Renew(_) => "renew",
            Self::Renewed(_) => "renewed",
            Self::RenewRefused(_) => "renew_refused",
            Self::Revoked => "revoked",
            Self::Checkpoint(_) => "checkpoint",
            Self::Refusals(_) => "refusals",
        }
    }

    /// Whether the frame belongs to a call and so carries its number.
    #[must_use]
    pub const fn is_of_call(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Reply(_) | Self::Progress(_) | Self::Cancel)
    }
}

/// The sidecar's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The installation, as paired.
    #[serde(with = "text::id")]
    pub sidecar_id: SidecarId,
    /// Frame versions that it speaks.
    pub versions: Vec<u16>,
    /// Hash of its tool catalogue.
    #[serde(with = "text::digest")]
    pub catalogue_hash: Digest,
    /// Its program and version, for people.
    pub software: String,
    /// Hexadecimal Ed25519 signature of [`hello_text`] by the identity key recorded at pairing.
    pub signature: String,
}

/// The text that a [`Hello`] signs. The exporter binds it to one TLS connection, so that a copied
/// `hello` is worth nothing on another.
#[must_use]
pub fn hello_text(
    exporter: &[u8; EXPORTER_BYTES],
    sidecar_id: &SidecarId,
    versions: &[u16],
    catalogue_hash: &Digest,
) -> String {
    let exporter = text::hex(exporter);
    let versions: Vec<String> = versions.iter().map(u16::to_string).collect();
    let versions = versions.join(",");
    format!("ibkr-agent-relay-hello/v1\n{exporter}\n{sidecar_id}\n{versions}\n{catalogue_hash}\n")
}

/// The remote's acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The frame version that both will speak.
    pub version: u16,
    /// Which replica of the remote this is; a sidecar holds one link to each.
    pub replica_id: String,
    /// Hash of the remote's tool catalogue. A difference is worth a warning, not a refusal.
    #[serde(with = "text::digest")]
    pub catalogue_hash: Digest,
    /// Its program and version, for people.
    pub software: String,
}

/// The remote's refusal of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// A stable error code.
    pub code: String,
    /// Why, one sentence.
    pub message: String,
    /// Frame versions that the remote speaks.
    pub versions: Vec<u16>,
}

/// A call of a tool, on behalf of the holder of a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct Call {
    /// The call's id, made by the door that took it.
    #[serde(with = "text::id")]
    pub call_id: CallId,
    /// The tool as the caller named it.
    pub tool: String,
    /// The arguments, byte for byte.
    pub arguments: Box<RawValue>,
    /// How long the caller still waits, in milliseconds.
    pub remaining_ms: u64,
    /// The caller's own access token. Never logged, stored or returned.
    pub token: CallerToken,
}

impl Call {
    /// The call and the token that it came with, apart.
    #[must_use]
    pub fn split(self) -> (ToolCall, CallerToken) {
        let call = ToolCall {
            call_id: self.call_id,
            tool: self.tool,
            arguments: self.arguments,
            timeout: Duration::from_millis(self.remaining_ms).min(crate::service::MAX_TIMEOUT),
        };
        (call, self.token)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("call_id", &self.call_id)
            .field("tool", &self.tool)
            .field("argument_bytes", &self.arguments.get().len())
            .field("remaining_ms", &self.remaining_ms)
            .finish_non_exhaustive()
    }
}

/// The answer to a call.
#[derive(Clone, Deserialize)]
#[serde(try_from = "RawReply")]
pub struct Reply {
    /// The answer.
    pub reply: ToolReply,
    /// Calls that may be sent in its place; normally one.
    pub credit: u32,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match &self.reply.result {
            Ok(_) => "success",
            Err(error) => error.code.as_str(),
        };
        f.debug_struct("Reply")
            .field("call_id", &self.reply.call_id)
            .field("outcome", &outcome)
            .field("output_hash", &self.reply.output_hash)
            .field("credit", &self.credit)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RawReply {
    #[serde(with = "text::id")]
    call_id: CallId,
    success: Option<Box<RawValue>>,
    failure: Option<ErrorBody>,
    #[serde(with = "text::digest")]
    output_hash: Digest,
    audit_event_id: Option<String>,
    receipt: Option<Receipt>,
    credit: u32,
}

impl TryFrom<RawReply> for Reply {
    type Error = &'static str;

    fn try_from(raw: RawReply) -> Result<Self, Self::Error> {
        let result = match (raw.success, raw.failure) {
            (Some(body), None) => Ok(body),
            (None, Some(error)) => Err(error),
            (Some(_), Some(_)) => return Err("a reply holds both success and failure"),
            (None, None) => return Err("a reply holds neither success nor failure"),
        };
        let reply = ToolReply {
            call_id: raw.call_id,
            result,
            output_hash: raw.output_hash,
            audit_event_id: raw.audit_event_id,
            receipt: raw.receipt,
        };
        Ok(Self { reply, credit: raw.credit })
    }
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(with = "text::id")]
            call_id: &'a CallId,
            #[serde(skip_serializing_if = "Option::is_none")]
            success: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            failure: Option<&'a ErrorBody>,
            #[serde(with = "text::digest")]
            output_hash: Digest,
            #[serde(skip_serializing_if = "Option::is_none")]
            audit_event_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            receipt: Option<&'a Receipt>,
            credit: u32,
        }
        let reply = &self.reply;
        Wire {
            call_id: &reply.call_id,
            success: reply.result.as_deref().ok(),
            failure: reply.result.as_ref().err(),
            output_hash: reply.output_hash,
            audit_event_id: reply.audit_event_id.as_deref(),
            receipt: reply.receipt.as_ref(),
            credit: self.credit,
        }
        .serialize(serializer)
    }
}

/// A grant of further calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// How many more calls may be sent.
    pub calls: u32,
}

/// A heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Echoed in the pong.
    pub nonce: u64,
}

/// Why an end stops taking or sending new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoAwayReason {
    /// The program stops.
    ShuttingDown,
    /// A newer link of the same sidecar took this one's place.
    Displaced,
    /// The client certificate of this link runs out.
    CertificateExpired,
    /// A reason that this version doesn't know.
    #[serde(other)]
    Other,
}

/// The announcement that a link drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoAway {
    /// Why.
    pub reason: GoAwayReason,
}

/// A certificate request over a link that already proved the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// PKCS#10 request (RFC 2986) in PEM, for a new key. Only its public key is used.
    pub csr_pem: String,
}

/// A renewed certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// When it runs out, in seconds since 1970.
    pub expires_at: u64,
}

/// A renewal that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRefused {
    /// Why, one sentence.
    pub message: String,
}

/// A signed checkpoint of the sidecar's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// C2SP signed note.
    pub note: String,
}

/// What the remote refused at its own door. All of it is the remote's claim: nothing here was seen
/// or verified by the sidecar. Told at most once; what a broken link held is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refusals {
    /// Refused callers whose token the remote found good and who belong to this sidecar.
    #[serde(default)]
    pub callers: Vec<RefusedCaller>,
    /// How often the remote refused others: missing, bad, expired and foreign tokens.
    #[serde(default)]
    pub counts: Vec<RefusalCount>,
}

/// A caller of this sidecar whose request the remote refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCaller {
    /// A stable error code.
    pub reason: String,
    /// The tool that was called, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The token's subject.
    pub subject: String,
    /// The token's client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// How often requests were refused for a reason in a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// A stable error code.
    pub reason: String,
    /// When the minute began, in seconds since 1970; the first of several that were added up.
    pub minute: u64,
    /// How often; a count that reached the largest number stays there.
    pub count: u64,
}
