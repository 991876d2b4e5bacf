//! One request to the MCP endpoint, step by step.
//!
//! ```text
//! host, origin → 403      (the token is judged)           too big, too slow → 413, 408
//! token missing or bad → 401 + challenge                  (the message is looked at once)
//! rate → 429              not a message → 400             scope → 403 + challenge
//! submit by an old token → 401 + challenge                foreign session → 404
//! then rmcp, with the caller as an extension
//! ```
//! The message is read before a refusal of the token is told, so that every error can echo its id,
//! but a stranger's only up to a small size; what is wrong with the message is told to
//! authenticated callers only.

use super::answer::{Answer, Challenges, method_not_allowed};
use super::envelope::{self, Envelope, Kind, Malformed};
use super::limits::peer_key;
use super::policy::{Foreign, repair_accept};
use super::sessions::Principal;
use super::{
    ANSWER_TIMEOUT, Bearer, Front, FrontConfig, Inner, MAX_BODY_BYTES, MAX_STRANGER_BODY_BYTES,
};
use crate::serve::Peer;
use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE,
    COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode, Uri, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_mcp::{CallerExtension, HttpOptions, ListingExtension, http_service};
use ibkr_agent_protocol::catalogue::{self, Listing, ToolSpec};
use ibkr_agent_protocol::service::ToolService;
use ibkr_agent_token::{BearerToken, TokenError, Verified};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The first protocol revision without sessions; revisions are dates, so they compare as text.
const FIRST_STATELESS: &str = "2026-07-28";

/// Host and path that every request behind the front layer has.
const INNER_HOST: &str = "localhost";
const INNER_PATH: &str = "/mcp";

/// Sessions beyond the cap that may be open while others are being closed.
const SESSION_SLACK: usize = 64;

/// How long closing a session that gave way may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request goes no further, and the id to echo.
struct Stop {
    answer: Answer,
    id: Option<String>,
}

/// rmcp over a tool service, as the front layer sees it.
pub(super) fn inner<S>(config: &FrontConfig, service: Arc<S>) -> Inner
where
    S: ToolService<Caller = Bearer>,
{
    let (_, sessions) = config.session_caps;
    let options = HttpOptions {
        // Host and origin are checked before, by one policy that knows ports and schemes.
        allowed_hosts: vec![INNER_HOST.to_owned()],
        legacy_sessions: config.legacy_sessions,
        // A new session is opened before the one that gives way is closed.
        max_sessions: sessions.saturating_add(SESSION_SLACK),
        max_body_bytes: MAX_BODY_BYTES,
        listing: config.listing.clone(),
        shutdown: config.shutdown.clone(),
        ..HttpOptions::default()
    };
    let service = http_service(service, options);
    BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
        let service = service.clone();
        async move { Ok(service.handle(request).await.map(Body::new)) }
    }))
}

/// Serves one request to the endpoint.
pub(super) async fn handle(front: &Arc<Front>, request: Request<Body>) -> Response<Body> {
    if let Err(foreign) = front.config.policy.check(request.uri(), request.headers()) {
        return foreign_answer(front, foreign).into_response(None);
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        match steps(front, request).await {
            Ok(response) => response,
            Err(stop) => stop.answer.into_response(stop.id.as_deref()),
        }
    };
    if let Some(origin) = origin {
        share_with(&mut response, origin);
    }
    response
}

async fn steps(front: &Arc<Front>, request: Request<Body>) -> Result<Response<Body>, Stop> {
    let bare = |answer| Stop { answer, id: None };
    let (mut parts, body) = request.into_parts();
    let is_post = parts.method == Method::POST;
    if !is_post && !matches!(parts.method, Method::GET | Method::DELETE) {
        return Err(bare(method_not_allowed()));
    }
    let bearer = authenticate(front, &parts).await;
    let most = if bearer.is_ok() { MAX_BODY_BYTES } else { MAX_STRANGER_BODY_BYTES };
    let message = if is_post {
        match (read(front, &parts.headers, body, most).await, &bearer) {
            (Ok(bytes), _) => {
                let message = envelope::parse(&bytes);
                Some((bytes, message))
            }
            (Err(answer), Ok(_)) => return Err(bare(answer)),
            // What matters to a stranger is the challenge.
            (Err(_), Err(_)) => None,
        }
    } else {
        None
    };
    let id = message.as_ref().and_then(|(_, message)| match message {
        Ok(envelope) => envelope.id.clone(),
        Err(malformed) => malformed.id.clone(),
    });
    let stop = |answer| Stop { answer, id: id.clone() };
    let bearer = bearer.map_err(stop)?;
    let tool = match &message {
        Some((_, Ok(Envelope { kind: Kind::ToolCall(tool), .. }))) => Some(tool.as_str()),
        Some((_, Ok(_) | Err(_))) | None => None,
    };
    limit(front, &bearer.verified, tool).map_err(stop)?;
    let (bytes, opens_session) = match &message {
        None => (Bytes::new(), false),
        Some((_, Err(malformed))) => return Err(stop(malformed_answer(malformed))),
        Some((bytes, Ok(envelope))) => {
            check_content_type(&parts.headers).map_err(stop)?;
            (bytes.clone(), envelope.kind == Kind::Initialize)
        }
    };
    if let Some(tool) = tool {
        check_scope(front, &bearer.verified, tool).map_err(stop)?;
        check_age(front, &bearer.verified, tool).map_err(stop)?;
    }
    choose_listing(&mut parts).map_err(stop)?;
    let owner = Principal::with_client(&bearer.verified);
    let session = check_session(front, &mut parts.headers, owner).map_err(stop)?;
    prepare(&mut parts, bearer);
    let ends_session = parts.method == Method::DELETE;
    let mut response = forward(front, parts, bytes).await.map_err(stop)?;
    follow_session(front, owner, &response, session, (opens_session, ends_session));
    if ends_session && response.status() == StatusCode::ACCEPTED {
        // It has ended by now, and clients complain of any other success than 200 and 204.
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    Ok(response)
}

/// Reads the body within its size and time.
async fn read(
    front: &Front,
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<Bytes, Answer> {
    let too_big = || {
        let message = format!("a request body may have {most} bytes");
        Answer::coded(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InputInvalid, message)
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared.and_then(|length| length.parse().ok()).is_some_and(|n: usize| n > most) {
        return Err(too_big());
    }
    let read = Limited::new(body, most).collect();
    match tokio::time::timeout(front.config.body_timeout, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_big()),
        Ok(Err(_)) => {
            let message = "the request body ended early";
            Err(Answer::coded(StatusCode::BAD_REQUEST, ErrorCode::InputInvalid, message))
        }
        Err(_) => {
            let message = "the request body came too slowly";
            Err(Answer::coded(StatusCode::REQUEST_TIMEOUT, ErrorCode::InputInvalid, message))
        }
    }
}

/// The verified caller, or the challenge.
async fn authenticate(front: &Front, parts: &request::Parts) -> Result<Bearer, Answer> {
    let challenges = &front.challenges;
    let refuse = |code, answer| {
        front.refused(code, None, None);
        Err(answer)
    };
    if has_token_in_query(parts.uri.query().unwrap_or_default()) {
        let reason = "an access token in the URL is refused: it ends up in logs";
        return refuse(ErrorCode::AuthTokenInvalid, challenges.invalid_request(reason));
    }
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else {
        return refuse(ErrorCode::AuthTokenMissing, challenges.missing());
    };
    if headers.next().is_some() {
        let reason = "send one Authorization header";
        return refuse(ErrorCode::AuthTokenInvalid, challenges.invalid_request(reason));
    }
    let token =
        header.to_str().map_err(|_| TokenError::Malformed).and_then(BearerToken::from_header);
    let verified = match &token {
        Ok(token) => front.validator.verify(token).await,
        Err(error) => Err(error.clone()),
    };
    match (token, verified) {
        (Ok(token), Ok(verified)) => Ok(Bearer { verified, raw: Arc::new(token) }),
        (_, Err(error)) | (Err(error), Ok(_)) => refuse(error.code(), failed(front, parts, &error)),
    }
}

fn failed(front: &Front, parts: &request::Parts, error: &TokenError) -> Answer {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
    tracing::info!(
        peer.ip = peer.map(|ip| ip.to_string()),
        reason = error.code().as_str(),
        error = %error,
        "access token refused"
    );
    match error {
        TokenError::Missing => return front.challenges.missing(),
        TokenError::KeysUnavailable { .. } => {
            let message = "the issuer's keys can't be fetched now";
            let code = ErrorCode::AuthKeysUnavailable;
            return Answer::coded(StatusCode::SERVICE_UNAVAILABLE, code, message)
                .retry_after(Duration::from_secs(5));
        }
        // An expired token is what every honest client sends sooner or later: it must hear 401.
        TokenError::Expired { .. } => {}
        TokenError::NotBearer
        | TokenError::TooLong
        | TokenError::Malformed
        | TokenError::AlgorithmRefused
        | TokenError::CriticalHeader
        | TokenError::WrongType
        | TokenError::UnknownIssuer
        | TokenError::UnknownKey
        | TokenError::BadSignature
        | TokenError::MissingClaim(_)
        | TokenError::BadClaim(_)
        | TokenError::WrongAudience
        | TokenError::NotYetValid { .. }
        | TokenError::IssuedInFuture { .. }
        | TokenError::LifetimeTooLong { .. }
        | TokenError::MissingScope { .. } => {
            if let (Some(failures), Some(peer)) = (&front.failures, peer)
                && let Err(wait) = failures.admit(&peer_key(peer))
            {
                return too_many(wait);
            }
        }
    }
    front.challenges.invalid(error.code(), &error.to_string())
}

fn too_many(wait: Duration) -> Answer {
    let message = "too many requests";
    Answer::coded(StatusCode::TOO_MANY_REQUESTS, ErrorCode::AuthRateLimited, message)
        .retry_after(wait)
}

/// RFC 6750 §2.3 is not served; the name may be percent-encoded.
fn has_token_in_query(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let decoded = decode_percent(name);
        decoded.eq_ignore_ascii_case(b"access_token")
    })
}

fn decode_percent(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| core::str::from_utf8(hex).ok());
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(value) = value.filter(|_| *first == b'%') {
            decoded.push(value);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    decoded
}

/// The rate of the user, whatever client or session they use.
fn limit(front: &Front, verified: &Verified, tool: Option<&str>) -> Result<(), Answer> {
    front.principals.admit(&Principal::user(verified)).map_err(|wait| {
        let answer = too_many(wait);
        refused(front, &answer, verified, tool);
        answer
    })
}

/// Whether token and operator allow the tool. A name that isn't in the catalogue goes on: the
/// service answers it and records it.
fn check_scope(front: &Front, verified: &Verified, tool: &str) -> Result<(), Answer> {
    let Some(spec) = catalogue::find(tool) else {
        return Ok(());
    };
    let answer = if !front.config.allowed_scopes.contains(spec.scope) {
        Challenges::not_allowed(spec.scope)
    } else if !verified.scopes().contains(spec.scope) {
        front.challenges.insufficient(spec.scope)
    } else {
        return Ok(());
    };
    refused(front, &answer, verified, Some(tool));
    Err(answer)
}

/// Whether the token is young enough for the tool. Only a submit asks for that; the sidecar checks
/// it again. It is told as an invalid token, for then a client fetches a new one and repeats.
fn check_age(front: &Front, verified: &Verified, tool: &str) -> Result<(), Answer> {
    if !catalogue::find(tool).is_some_and(ToolSpec::is_submit) {
        return Ok(());
    }
    let limit = front.config.max_submit_token_age;
    let reason = match front.validator.age(verified) {
        Some(age) if age <= limit => return Ok(()),
        Some(_) => format!("the token is older than {} s, too old to submit", limit.as_secs()),
        None => "the token doesn't say when it was issued, so it can't submit".to_owned(),
    };
    let scopes = verified.scopes().intersection(&front.config.allowed_scopes);
    let answer = front.challenges.too_old(&scopes, &reason);
    refused(front, &answer, verified, Some(tool));
    Err(answer)
}

fn refused(front: &Front, answer: &Answer, verified: &Verified, tool: Option<&str>) {
    let Some(code) = answer.code() else { return };
    let ids = &front.config.token_ids;
    tracing::info!(
        principal.id = ids.id(Principal::user(verified).as_bytes()),
        token.id = ids.id(verified.token_hash()),
        tool = tool.and_then(catalogue::find).map(|spec| spec.name),
        reason = code.as_str(),
        "call refused"
    );
    front.refused(code, Some(verified), tool);
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Answer> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the content type must be application/json";
    Err(Answer::rpc(StatusCode::UNSUPPORTED_MEDIA_TYPE, -32600, message))
}

/// What the caller's URL says about the tools to list: `?toolsets=market,options`. It permits
/// nothing: scopes alone decide what may be called.
fn choose_listing(parts: &mut request::Parts) -> Result<(), Answer> {
    let query = parts.uri.query().unwrap_or_default();
    let mut asked = query.split('&').filter_map(|pair| pair.strip_prefix("toolsets="));
    let Some(names) = asked.next() else {
        return Ok(());
    };
    // Clients may write the commas of a query in their escaped form.
    let names = names.replace("%2C", ",").replace("%2c", ",");
    let unclear = asked.next().is_some();
    match Listing::parse(&names) {
        Ok(listing) if !unclear => {
            parts.extensions.insert(ListingExtension(listing));
            Ok(())
        }
        Ok(_) => Err(Answer::rpc(StatusCode::BAD_REQUEST, -32600, "give toolsets once")),
        Err(error) => {
            let message = error.to_string();
            Err(Answer::coded(StatusCode::BAD_REQUEST, ErrorCode::InputInvalid, message))
        }
    }
}

/// The legacy session that the request uses, if it is this principal's. Requests of revisions
/// without sessions lose the header, so that no later reading of it can differ from this one.
fn check_session(
    front: &Front,
    headers: &mut HeaderMap,
    owner: Principal,
) -> Result<Option<String>, Answer> {
    let version = headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
    if version.is_some_and(|version| version >= FIRST_STATELESS) {
        headers.remove(SESSION_ID);
        headers.remove(LAST_EVENT_ID);
        return Ok(None);
    }
    let mut ids = headers.get_all(SESSION_ID).iter();
    let Some(id) = ids.next() else {
        return Ok(None);
    };
    let single = ids.next().is_none();
    match id.to_str() {
        Ok(id) if single && front.sessions.owns(id, owner, Instant::now()) => {
            Ok(Some(id.to_owned()))
        }
        Ok(_) | Err(_) => {
            let message = "the session is unknown or has ended: initialize again";
            Err(Answer::rpc(StatusCode::NOT_FOUND, -32600, message))
        }
    }
}

/// What goes on behind the front layer: no token, no cookie, no outside host, the caller as an
/// extension.
fn prepare(parts: &mut request::Parts, bearer: Bearer) {
    parts.headers.remove(AUTHORIZATION);
    parts.headers.remove(COOKIE);
    parts.headers.remove(ORIGIN);
    parts.headers.insert(HOST, HeaderValue::from_static(INNER_HOST));
    parts.uri = Uri::from_static(INNER_PATH);
    repair_accept(&mut parts.headers);
    parts.extensions.insert(CallerExtension(bearer));
}

async fn forward(
    front: &Front,
    parts: request::Parts,
    bytes: Bytes,
) -> Result<Response<Body>, Answer> {
    let request = Request::from_parts(parts, Body::from(bytes));
    let answered = front.inner.clone().oneshot(request);
    let Ok(Ok(mut response)) = tokio::time::timeout(ANSWER_TIMEOUT, answered).await else {
        let message = "no answer in time; ask ibkr_order_outcome before repeating a write";
        return Err(Answer::coded(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::CallOutcomeUnknown,
            message,
        ));
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Keeps the table of session owners in step with what rmcp just did.
fn follow_session(
    front: &Arc<Front>,
    owner: Principal,
    response: &Response<Body>,
    used: Option<String>,
    (opens, ends): (bool, bool),
) {
    if let Some(id) = used
        && (response.status() == StatusCode::NOT_FOUND || (ends && response.status().is_success()))
    {
        front.sessions.forget(&id);
    }
    let opened = response.headers().get(SESSION_ID).and_then(|id| id.to_str().ok());
    let Some(opened) = opened.filter(|_| opens && response.status().is_success()) else {
        return;
    };
    for id in front.sessions.bind(opened, owner, Instant::now()) {
        tokio::spawn(close(Arc::clone(front), id));
    }
}

/// Ends a session that gave way, as its own client would.
async fn close(front: Arc<Front>, id: String) {
    let request = Request::builder()
        .method(Method::DELETE)
        .uri(INNER_PATH)
        .header(HOST, INNER_HOST)
        .header(SESSION_ID, id)
        .body(Body::empty());
    let Ok(request) = request else { return };
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, front.inner.clone().oneshot(request)).await;
    let closed = closed.is_ok_and(|response| response.is_ok_and(|r| r.status().is_success()));
    tracing::debug!(closed, "a legacy session gave way to a newer one");
}

fn foreign_answer(front: &Front, foreign: Foreign) -> Answer {
    let message = match foreign {
        Foreign::Host => "this host name isn't served here",
        Foreign::Origin => "pages of this origin may not call",
    };
    front.refused(ErrorCode::InputInvalid, None, None);
    Answer::coded(StatusCode::FORBIDDEN, ErrorCode::InputInvalid, message)
}

fn malformed_answer(malformed: &Malformed) -> Answer {
    Answer::rpc(StatusCode::BAD_REQUEST, malformed.code, malformed.message)
}

/// The answer to a browser's question whether it may call; its origin was checked before.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("POST, GET, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = "authorization, content-type, accept, last-event-id, mcp-session-id, \
                   mcp-protocol-version, mcp-method, mcp-name";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    response
}

fn share_with(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    let exposed = HeaderValue::from_static("mcp-session-id, www-authenticate, retry-after");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// The answer where a handler panicked; the panic's text stays out of it.
pub(super) fn panicked(_panic: Box<dyn Any + Send>) -> Response<Body> {
    tracing::error!("a request handler panicked");
    let message = "an internal error; nothing is known about the call's effect";
    Answer::coded(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::InternalError, message)
        .into_response(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_seen_in_any_spelling() {
        for (query, seen) in [
            ("", false),
            ("a=access_token", false),
            ("my_access_token=x", false),
            ("access_token=x", true),
            ("a=b&access_token", true),
            ("a=b;Access_Token=x", true),
            ("%61ccess%5ftoken=x", true),
            ("%zz&%6=1", false),
        ] {
            assert_eq!(has_token_in_query(query), seen, "{query}");
        }
    }
}
