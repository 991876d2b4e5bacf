//! What anybody may read: resource metadata (RFC 9728), liveness, readiness.
//!
//! The authorization server isn't this host: its metadata paths answer a clean 404 here, since
//! older clients try them and choke on redirects and HTML.

use super::answer::json;
use super::{Front, ReadinessCheck};
use crate::config::Resource;
use axum::body::Body;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use http::{Response, StatusCode};
use ibkr_agent_domain::ScopeSet;
use ibkr_agent_token::Validator;
use serde::Serialize;

/// RFC 9728 §2.
#[derive(Debug, Serialize)]
pub(super) struct ResourceMetadata {
    resource: String,
    authorization_servers: Vec<String>,
    scopes_supported: Vec<&'static str>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<String>,
}

impl ResourceMetadata {
    /// `minimum` are the scopes that a client without a hint asks for: reads, nothing that acts.
    pub(super) fn new(
        resource: &Resource,
        issuer: &str,
        minimum: &ScopeSet,
        documentation: Option<String>,
    ) -> Self {
        Self {
            resource: resource.as_str().to_owned(),
            authorization_servers: vec![issuer.to_owned()],
            scopes_supported: minimum.iter().map(|scope| scope.as_str()).collect(),
            bearer_methods_supported: ["header"],
            resource_name: "IBKR Agent Gateway (unofficial)",
            resource_documentation: documentation,
        }
    }
}

#[derive(Serialize)]
struct Problem {
    error: &'static str,
    error_description: &'static str,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct ReadinessReport<'a> {
    ready: bool,
    problems: &'a [NotReady],
}

/// Something that isn't ready; says which part and why, and names no one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// The part.
    pub component: &'static str,
    /// Why.
    pub reason: &'static str,
}

fn open(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

pub(super) fn metadata(front: &Front) -> Response<Body> {
    open(json(StatusCode::OK, &front.metadata))
}

pub(super) fn no_authorization_server() -> Response<Body> {
    let problem = Problem {
        error: "not_found",
        error_description: "this host isn't an authorization server: \
                            read /.well-known/oauth-protected-resource",
    };
    open(json(StatusCode::NOT_FOUND, &problem))
}

pub(super) fn not_found() -> Response<Body> {
    let problem = Problem { error: "not_found", error_description: "the MCP endpoint is /mcp" };
    json(StatusCode::NOT_FOUND, &problem)
}

pub(super) fn health() -> Response<Body> {
    json(StatusCode::OK, &Health { status: "live", version: env!("CARGO_PKG_VERSION") })
}

pub(super) fn readiness(validator: &Validator, check: &ReadinessCheck) -> Response<Body> {
    let mut problems = Vec::new();
    if !validator.ready().is_ready() {
        let reason = "the issuer's keys haven't been fetched; nobody can log in";
        problems.push(NotReady { component: "issuer", reason });
    }
    problems.extend((check.0)());
    let ready = problems.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ReadinessReport { ready, problems: &problems })
}
