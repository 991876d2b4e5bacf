//! The two doors of the identity provider: `/authorize` and `/token`.
//!
//! Errors before the redirect address is known to be loopback stay on the page; later ones go back
//! to the client with its state (RFC 6749 §4.1.2.1). Client secrets compare in constant time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibkr_agent_domain::{Digest, ScopeSet, Tier};
use reqwest::Url;
use serde_json::json;

use super::{
    CODE_LIFE, Code, Grant, LOGIN_CLIENT, MAX_CODES, SERVICE_CLIENT, Shared, TOKEN_LIFE, offered,
    random_text, signer,
};

/// An OAuth error: its code and a sentence.
struct Refusal(StatusCode, &'static str, &'static str);

impl Refusal {
    const fn bad(code: &'static str, why: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, code, why)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, why) = self;
        (status, Json(json!({"error": code, "error_description": why}))).into_response()
    }
}

/// The parameters of a query or a form; a repeated one is refused (RFC 6749 §3.1).
fn parameters(encoded: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut url = Url::parse("http://localhost/")
        .map_err(|_| Refusal::bad("invalid_request", "the parameters can't be read"))?;
    url.set_query(Some(encoded));
    let mut parameters = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Refusal::bad("invalid_request", "a parameter is repeated"));
        }
    }
    Ok(parameters)
}

fn text<'a>(parameters: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    parameters.get(name).map_or("", String::as_str)
}

/// The redirect address, if it is this client's and on loopback (RFC 8252 §7.3: any port).
fn redirect(parameters: &BTreeMap<String, String>) -> Result<Url, Refusal> {
    let refuse = |why| Refusal::bad("invalid_request", why);
    if text(parameters, "client_id") != LOGIN_CLIENT {
        return Err(refuse("the client isn't known here"));
    }
    let url = Url::parse(text(parameters, "redirect_uri"))
        .map_err(|_| refuse("redirect_uri isn't a URL"))?;
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if url.scheme() != "http" || !is_loopback || url.fragment().is_some() {
        return Err(refuse("redirect_uri must be http on loopback"));
    }
    Ok(url)
}

pub(super) async fn authorize(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    let prepared = parameters(query.as_deref().unwrap_or_default())
        .and_then(|parameters| Ok((redirect(&parameters)?, parameters)));
    let (mut back, parameters) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return refusal.into_response(),
    };
    let answer = issue_code(&shared, &parameters);
    {
        let mut pairs = back.query_pairs_mut();
        match answer {
            Ok(code) => pairs.append_pair("code", &code),
            Err(Refusal(_, error, why)) => {
                pairs.append_pair("error", error).append_pair("error_description", why)
            }
        };
        pairs.append_pair("iss", &shared.issuer);
        if let Some(state) = parameters.get("state") {
            pairs.append_pair("state", state);
        }
    }
    let headers = [(LOCATION, back.to_string()), (CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::FOUND, headers).into_response()
}

fn issue_code(shared: &Shared, parameters: &BTreeMap<String, String>) -> Result<String, Refusal> {
    if text(parameters, "response_type") != "code" {
        return Err(Refusal::bad("unsupported_response_type", "only code is served"));
    }
    let challenge = text(parameters, "code_challenge");
    if text(parameters, "code_challenge_method") != "S256" || challenge.len() != 43 {
        return Err(Refusal::bad("invalid_request", "PKCE with S256 is needed"));
    }
    check_resource(shared, parameters)?;
    let code = Code {
        client: text(parameters, "client_id").to_owned(),
        redirect_uri: text(parameters, "redirect_uri").to_owned(),
        challenge: challenge.to_owned(),
        scopes: scopes(parameters)?,
        expires: Instant::now() + CODE_LIFE,
    };
    let key = random_text().map_err(|_| Refusal::bad("server_error", "no randomness"))?;
    let mut codes = shared.codes();
    let now = Instant::now();
    codes.retain(|_, code| code.expires > now);
    if codes.len() >= MAX_CODES {
        return Err(Refusal::bad("temporarily_unavailable", "too many logins at once"));
    }
    codes.insert(key.clone(), code);
    Ok(key)
}

/// RFC 8707: a resource that is named must be ours.
fn check_resource(shared: &Shared, parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match parameters.get("resource") {
        Some(resource) if resource != shared.resource() => {
            Err(Refusal::bad("invalid_target", "tokens are given for this demo's endpoint only"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The scopes asked for, as far as they are offered; reads when nothing is asked.
fn scopes(parameters: &BTreeMap<String, String>) -> Result<ScopeSet, Refusal> {
    let Some(asked) = parameters.get("scope").filter(|asked| !asked.is_empty()) else {
        return Ok(ScopeSet::up_to(Tier::Read));
    };
    let granted = ScopeSet::parse_list(asked).intersection(&offered());
    if granted.is_empty() {
        return Err(Refusal::bad("invalid_scope", "none of the scopes is offered"));
    }
    Ok(granted)
}

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let granted = parameters(&body).and_then(|parameters| match text(&parameters, "grant_type") {
        "authorization_code" => redeem(&shared, &parameters),
        "client_credentials" => credentials(&shared, &headers, &parameters),
        _ => Err(Refusal::bad("unsupported_grant_type", "see the metadata")),
    });
    match granted {
        Ok(grant) => {
            let token = shared.signer.access_token(&shared.claims(&grant));
            let answer = json!({
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": grant.life.as_secs(),
                "scope": grant.scopes.to_string(),
            });
            ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Turns a code into a grant. Whatever is wrong, the code is used up.
fn redeem(shared: &Shared, parameters: &BTreeMap<String, String>) -> Result<Grant, Refusal> {
    let refuse = || Refusal::bad("invalid_grant", "the code is used, expired or another client's");
    let code = shared.codes().remove(text(parameters, "code")).ok_or_else(refuse)?;
    check_resource(shared, parameters)?;
    let verifier = text(parameters, "code_verifier");
    let challenge = signer::encode(Digest::of(verifier.as_bytes()).as_bytes());
    let holds = code.expires > Instant::now()
        && (43..=128).contains(&verifier.len())
        && challenge == code.challenge
        && text(parameters, "client_id") == code.client
        && text(parameters, "redirect_uri") == code.redirect_uri;
    if !holds {
        return Err(refuse());
    }
    Ok(Grant::login(code.scopes, TOKEN_LIFE))
}

fn credentials(
    shared: &Shared,
    headers: &HeaderMap,
    parameters: &BTreeMap<String, String>,
) -> Result<Grant, Refusal> {
    let refuse = || Refusal(StatusCode::UNAUTHORIZED, "invalid_client", "wrong client or secret");
    let (client, secret) = match headers.get(AUTHORIZATION) {
        Some(header) => header.to_str().ok().and_then(basic).ok_or_else(refuse)?,
        None => {
            (text(parameters, "client_id").to_owned(), text(parameters, "client_secret").to_owned())
        }
    };
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(
        secret.as_bytes(),
        shared.secret.as_bytes(),
    );
    if client != SERVICE_CLIENT || same.is_err() {
        return Err(refuse());
    }
    check_resource(shared, parameters)?;
    Ok(Grant::service(scopes(parameters)?, TOKEN_LIFE))
}

/// Name and password of a `Basic` header. The demo's own values need no percent-decoding.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
