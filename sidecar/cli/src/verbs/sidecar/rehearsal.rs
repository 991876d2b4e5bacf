//! `sidecar relay accept`: one call through the sidecar's real acceptance, without a remote.
//!
//! A throw-away issuer on loopback signs a token for a caller with exactly the named scopes; the
//! token is verified as a relayed one is, and the call enters by the relay's own door. So scope
//! ceilings, admission, budgets and the audit log are the real ones. The issuer is trusted by this
//! run alone and gone with it; no token leaves the process.

use crate::args::RelayAcceptArgs;
use crate::failure::Failure;
use crate::open::{self, Owned};
use crate::run::Context;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::{Json, Router, routing::get};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet, SidecarId, Untrusted};
use ibkr_agent_gateway::relay::{Credentials, RelayDoor};
use ibkr_agent_protocol::service::{Progress, ToolCall, ToolReply};
use ibkr_agent_token::{BearerToken, HttpOptions, IssuerConfig, SystemClock, Validator};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Audience of the rehearsal's token.
const AUDIENCE: &str = "urn:ibkr-agent:rehearsal";
/// Life of the token in seconds.
const LIFE: u64 = 60;
/// Id of the issuer's only key.
const KEY_ID: &str = "rehearsal";

/// Runs the call and prints the answer with what would go back to the remote beside it.
pub(super) async fn accept(context: &Context<'_>, asked: RelayAcceptArgs) -> Result<(), Failure> {
    let scopes = parse_scopes(&asked.scope)?;
    let sidecar = SidecarId::parse(&asked.sidecar_id)
        .map_err(|error| Failure::input(format!("--sidecar-id: {error}")))?;
    let payload = RawValue::from_string(asked.payload_json.clone())
        .map_err(|_| Failure::input("--payload-json isn't JSON"))?;
    let plan = open::prepared(context)?;
    if let Ok(paired) = Credentials::load(&plan.state_dir)
        && *paired.sidecar_id() != sidecar
    {
        let message = format!("this sidecar is paired as {}", paired.sidecar_id());
        return Err(Failure::new(ErrorCode::SidecarSessionInvalid, message));
    }
    let stop = CancellationToken::new();
    let issuer = Issuer::start(stop.clone()).await?;
    let trusted = issuer.config();
    let started = Box::pin(Owned::start_with(&plan, vec![trusted.clone()])).await;
    let owned = started.map_err(Failure::from)?;
    let mut call = ToolCall::new(&asked.tool_name, payload);
    if let Some(id) = &context.request_id {
        call.call_id = id.clone();
    }
    let caller = format!("rehearsal:{}", Untrusted::bounded(&asked.remote_instance_id, 64));
    let answered = Box::pin(answer(&owned, &issuer, trusted, &caller, &scopes, call)).await;
    owned.close().await;
    stop.cancel();
    let reply = answered?;
    let result = reply.result.map_err(Failure)?;
    let result: serde_json::Value = serde_json::from_str(result.get()).map_err(|_| {
        Failure::new(ErrorCode::InternalError, "the sidecar's answer can't be read")
    })?;
    context.printer.value(&json!({
        "rehearsal": true,
        "remote_instance_id": asked.remote_instance_id,
        "sidecar_id": sidecar.as_str(),
        "tool_name": asked.tool_name,
        "call_id": reply.call_id.as_str(),
        "result": result,
        "output_hash": reply.output_hash.to_string(),
        "audit_event_id": reply.audit_event_id,
        "receipt": reply.receipt,
    }))
}

/// As a link's call does: verify the token, then enter by the relay's door.
async fn answer(
    owned: &Owned,
    issuer: &Issuer,
    trusted: IssuerConfig,
    caller: &str,
    scopes: &ScopeSet,
    call: ToolCall,
) -> Result<ToolReply, Failure> {
    let agents = owned.agents();
    let validator = Validator::new(vec![trusted], HttpOptions::default(), Arc::new(SystemClock))
        .map_err(|error| {
            Failure::because(ErrorCode::InternalError, "the rehearsal's issuer", &error)
        })?;
    let token = issuer.token(caller, scopes)?;
    match validator.verify(&token).await {
        Ok(verified) => {
            let (progress, cancelled) = (Progress::ignored(), CancellationToken::new());
            Ok(RelayDoor::call(agents.as_ref(), verified, call, progress, cancelled).await)
        }
        Err(error) => Ok(agents.refused(error.code(), &call).await),
    }
}

fn parse_scopes(texts: &[String]) -> Result<ScopeSet, Failure> {
    let parse = |text: &String| {
        let unknown = || Failure::input(format!("--scope: {text:?} isn't a scope"));
        Scope::parse(text).ok_or_else(unknown)
    };
    texts.iter().map(parse).collect()
}

/// The throw-away issuer.
struct Issuer {
    url: String,
    key: EncodingKey,
}

impl Issuer {
    async fn start(stop: CancellationToken) -> Result<Self, Failure> {
        let broken = |_| Failure::new(ErrorCode::InternalError, "a key can't be made");
        let pair = Ed25519KeyPair::generate().map_err(broken)?;
        let document = pair.to_pkcs8v1().map_err(broken)?;
        let key = EncodingKey::from_ed_der(document.as_ref());
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA",
            "use": "sig", "kid": KEY_ID, "x": public }] });
        let failed = |error: std::io::Error| {
            let what = "the rehearsal's issuer can't listen on loopback";
            Failure::because(ErrorCode::InternalError, what, &error)
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let router = Router::new().route("/jwks", get(move || async move { Json(keys) }));
        let serving = axum::serve(listener, router);
        tokio::spawn(async move {
            let served = serving.with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::warn!(error = %error, "rehearsal.issuer_failed");
            }
        });
        Ok(Self { url, key })
    }

    fn config(&self) -> IssuerConfig {
        let mut config = IssuerConfig::new(self.url.clone(), vec![AUDIENCE.to_owned()]);
        config.jwks_url = Some(format!("{}/jwks", self.url));
        config
    }

    fn token(&self, subject: &str, scopes: &ScopeSet) -> Result<BearerToken, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(KEY_ID.to_owned());
        let claims = json!({ "iss": self.url, "aud": AUDIENCE, "sub": subject,
            "client_id": "rehearsal", "scope": scopes.to_string(), "iat": now,
            "nbf": now, "exp": now.saturating_add(LIFE), "jti": uuid::Uuid::now_v7().to_string() });
        let unsigned = |_| Failure::new(ErrorCode::InternalError, "the token can't be signed");
        let text = jsonwebtoken::encode(&header, &claims, &self.key).map_err(unsigned)?;
        BearerToken::parse(&text)
            .map_err(|_| Failure::new(ErrorCode::InternalError, "the token can't be read"))
    }
}
