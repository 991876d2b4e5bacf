//! Answers that the front layer gives itself: challenges (RFC 6750 §3, RFC 9728 §5.1) and
//! JSON-RPC errors with the request's id.
//!
//! Error numbers of our own are the HTTP status: JSON-RPC's reserved range is left alone. The
//! stable code and the next step stand in `error.data`.

use super::limits::retry_after_seconds;
use axum::body::Body;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet};
use ibkr_agent_protocol::service::ErrorBody;
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;

#[derive(Serialize)]
struct Reply<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: RpcError<'a>,
}

#[derive(Serialize)]
struct RpcError<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a ErrorBody>,
}

/// An answer of the front layer, before it is put on the wire.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    rpc_code: i32,
    message: String,
    data: Option<ErrorBody>,
    headers: Vec<(HeaderName, String)>,
}

impl Answer {
    /// An error with a stable code; the message is the body's too.
    pub(super) fn coded(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let data = ErrorBody::new(code, message.clone());
        let rpc_code = i32::from(status.as_u16());
        Self { status, rpc_code, message, data: Some(data), headers: Vec::new() }
    }

    /// A JSON-RPC error of the specification.
    pub(super) fn rpc(status: StatusCode, rpc_code: i32, message: &str) -> Self {
        let message = message.to_owned();
        Self { status, rpc_code, message, data: None, headers: Vec::new() }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says when to come back.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = retry_after_seconds(wait);
        if let Some(data) = &mut self.data {
            data.retry_after_ms = Some(seconds.saturating_mul(1000));
        }
        self.with(RETRY_AFTER, seconds.to_string())
    }

    /// The stable code, if it has one.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        self.data.as_ref().and_then(ErrorBody::error_code)
    }

    /// The HTTP response to the request with this id.
    pub(super) fn into_response(self, id: Option<&str>) -> Response<Body> {
        let id = id.and_then(|id| RawValue::from_string(id.to_owned()).ok());
        let reply = Reply {
            jsonrpc: "2.0",
            id: id.as_deref(),
            error: RpcError {
                code: self.rpc_code,
                message: &self.message,
                data: self.data.as_ref(),
            },
        };
        let mut response = json(self.status, &reply);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A JSON response that nobody caches or guesses the type of.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Bodies are our own structs with text keys, which always serialise.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What stands in every challenge of this resource.
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    metadata_url: String,
    minimum: ScopeSet,
}

impl Challenges {
    pub(super) const fn new(metadata_url: String, minimum: ScopeSet) -> Self {
        Self { metadata_url, minimum }
    }

    fn base(&self, scopes: &ScopeSet) -> String {
        format!("Bearer resource_metadata=\"{}\", scope=\"{scopes}\"", self.metadata_url)
    }

    /// 401 to a request without a token.
    pub(super) fn missing(&self) -> Answer {
        let message = "an access token is needed: log in and send it as a bearer token";
        Answer::coded(StatusCode::UNAUTHORIZED, ErrorCode::AuthTokenMissing, message)
            .with(WWW_AUTHENTICATE, self.base(&self.minimum))
    }

    /// 401 to a token that doesn't hold. `reason` is one of the token crate's own sentences.
    pub(super) fn invalid(&self, code: ErrorCode, reason: &str) -> Answer {
        self.no_longer(code, &self.minimum, reason)
    }

    /// 401 to a good token that is too old for what it asks. It names the scopes that the token
    /// grants: a client that logs in anew asks for the same ones, not for reads alone.
    pub(super) fn too_old(&self, scopes: &ScopeSet, reason: &str) -> Answer {
        self.no_longer(ErrorCode::AuthTokenTooOld, scopes, reason)
    }

    fn no_longer(&self, code: ErrorCode, scopes: &ScopeSet, reason: &str) -> Answer {
        let description: String =
            reason.chars().filter(|c| c.is_ascii() && !matches!(c, '"' | '\\')).collect();
        let challenge = format!(
            "{}, error=\"invalid_token\", error_description=\"{description}\"",
            self.base(scopes)
        );
        Answer::coded(StatusCode::UNAUTHORIZED, code, reason).with(WWW_AUTHENTICATE, challenge)
    }

    /// 400 to a request that carries a token in a way it must not.
    pub(super) fn invalid_request(&self, reason: &str) -> Answer {
        let challenge = format!("{}, error=\"invalid_request\"", self.base(&self.minimum));
        Answer::coded(StatusCode::BAD_REQUEST, ErrorCode::AuthTokenInvalid, reason)
            .with(WWW_AUTHENTICATE, challenge)
    }

    /// 403 that a client can answer with a step-up.
    pub(super) fn insufficient(&self, scope: Scope) -> Answer {
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{}\"",
            self.metadata_url
        );
        let message = format!("the access token doesn't grant {scope}");
        Answer::coded(StatusCode::FORBIDDEN, ErrorCode::AuthMissingScope, message)
            .with(WWW_AUTHENTICATE, challenge)
    }

    /// 403 that no step-up can change: the operator doesn't allow the scope here.
    pub(super) fn not_allowed(scope: Scope) -> Answer {
        let message = format!("this gateway's operator doesn't allow {scope} here");
        Answer::coded(StatusCode::FORBIDDEN, ErrorCode::AuthMissingScope, message)
    }
}

/// 405 with the methods that are served.
pub(super) fn method_not_allowed() -> Answer {
    Answer::rpc(StatusCode::METHOD_NOT_ALLOWED, -32600, "use POST").with(ALLOW, "GET, POST, DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_break_out_of_its_quotes() {
        let challenges = Challenges::new("https://h/m".into(), ScopeSet::default());
        let answer = challenges.invalid(ErrorCode::AuthTokenInvalid, "bad\", scope=\"ibkr:x\r\n\\");
        let response = answer.into_response(Some("1"));
        // A line break makes the header unusable, so none is sent rather than a forged one.
        assert!(response.headers().get(WWW_AUTHENTICATE).is_none());
        let answer = challenges.invalid(ErrorCode::AuthTokenInvalid, "bad\", scope=\"all");
        let response = answer.into_response(None);
        let header = response.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(header.ends_with("error_description=\"bad, scope=all\""), "{header}");
    }
}
