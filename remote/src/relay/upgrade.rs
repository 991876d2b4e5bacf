//! The WebSocket upgrade of `/relay` (RFC 6455 §4.2), by hand over hyper.
//!
//! Only a connection whose client certificate names a paired sidecar gets this far.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::relay::EnrolRefusal;
use ibkr_agent_protocol::relay::frame::{MAX_FRAME_BYTES, SUBPROTOCOL};
use ibkr_agent_protocol::relay::join::RELAY_PATH;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::accept::Facts;
use super::{Shared, session};

const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 16 * 1024;
const MAX_WRITE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const KEY_BYTES: usize = 16;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route(RELAY_PATH, get(upgrade)).with_state(shared)
}

/// Bounds of a relay's WebSocket; the library's own are eager and wide.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(facts): Extension<Facts>,
    mut request: Request,
) -> Response {
    let Some(peer) = facts.peer else {
        let message = "A client certificate is needed: pair the sidecar.";
        return refusal(StatusCode::UNAUTHORIZED, ErrorCode::SidecarPairingRequired, message);
    };
    if shared.store.directory().active(&peer.sidecar).is_none() {
        let message = "The sidecar is not paired, or its pairing was revoked.";
        return refusal(StatusCode::FORBIDDEN, ErrorCode::SidecarPairingRequired, message);
    }
    let accept = match accept_key(request.headers()) {
        Ok(accept) => accept,
        Err(message) => {
            return refusal(StatusCode::BAD_REQUEST, ErrorCode::InputInvalid, message);
        }
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        let message = "The connection can't be upgraded.";
        return refusal(StatusCode::BAD_REQUEST, ErrorCode::InputInvalid, message);
    };
    let Ok(permit) = Arc::clone(&shared.links).try_acquire_owned() else {
        let message = "The relay holds as many links as it can.";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::SidecarBusy, message);
    };
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, on_upgrade).await;
        if let Ok(Ok(upgraded)) = upgraded {
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await;
            session::run(socket, peer, facts.exporter, &shared).await;
        }
        drop(permit);
    });
    let headers: [(HeaderName, &str); 4] = [
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
        (SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Checks the request's head and derives the accept key.
fn accept_key(headers: &HeaderMap) -> Result<String, &'static str> {
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err("A WebSocket upgrade is expected.");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("WebSocket version 13 is expected.");
    }
    if !has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err("The relay's sub-protocol is expected.");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or("A WebSocket key is expected.")?.as_bytes();
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == KEY_BYTES => Ok(derive_accept_key(key)),
        _ => Err("The WebSocket key must be 16 bytes in base64."),
    }
}

/// Whether a comma-separated header lists a token, whatever its case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn refusal(status: StatusCode, code: ErrorCode, message: &str) -> Response {
    let body = EnrolRefusal { code: code.as_str().to_owned(), message: message.to_owned() };
    (status, axum::Json(body)).into_response()
}
