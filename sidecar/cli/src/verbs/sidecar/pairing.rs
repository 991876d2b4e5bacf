//! `sidecar pairing …`: join tokens and revocation, on the remote's own host.
//!
//! A running remote holds its store alone and is asked over its own socket, so that a revocation
//! cuts a live link at once; without one the store is opened here. The same verbs as
//! `ibkr-agent-remote pairing`.

use crate::args::PairingVerb;
use crate::failure::Failure;
use crate::run::Context;
use ibkr_agent_domain::{ErrorCode, SidecarId};
use ibkr_agent_remote::admin::{self, AdminError, Answer, Request};
use ibkr_agent_remote::config::RemoteConfig;
use ibkr_agent_remote::pairing::{self, DEFAULT_JOIN_TTL, NewPairing};
use ibkr_agent_remote::pki::Pki;
use ibkr_agent_remote::store::{Store, Subject};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Runs a verb of `sidecar pairing …`.
pub(super) async fn run(context: &Context<'_>, verb: PairingVerb) -> Result<(), Failure> {
    let remote = RemoteConfig::try_from_raw(&context.taken.raw, context.environment)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let Some(folder) = remote.relay.state_dir.clone() else {
        return Err(Failure::new(ErrorCode::ConfigInvalid, "relay.state_dir is missing"));
    };
    let request = request(verb, &remote.front.issuer);
    let answer = match admin::ask(&folder, &request).await {
        Ok(answer) => told(answer)?,
        Err(AdminError::NotRunning { .. }) => {
            let name = remote.relay.server_name.clone();
            let done = tokio::task::spawn_blocking(move || on_store(&folder, &name, request));
            let stopped = |_| Failure::new(ErrorCode::InternalError, "a background task failed");
            done.await.map_err(stopped)??
        }
        Err(error @ AdminError::Foreign { .. }) => {
            let what = "the running remote can't be asked";
            return Err(Failure::because(ErrorCode::OperatorOnly, what, &error));
        }
        Err(error @ (AdminError::Bind { .. } | AdminError::Exchange(_))) => {
            let what = "the running remote can't be asked";
            return Err(Failure::because(ErrorCode::InternalError, what, &error));
        }
    };
    context.printer.value(&answer)
}

fn request(verb: PairingVerb, configured_issuer: &str) -> Request {
    match verb {
        PairingVerb::Create { sidecar_id, subject, issuer, ttl_seconds } => {
            let issuer = issuer.as_deref().unwrap_or(configured_issuer);
            let subjects = subject.iter().map(|subject| Subject::new(issuer, subject)).collect();
            let ttl_seconds = ttl_seconds.unwrap_or(DEFAULT_JOIN_TTL.as_secs());
            Request::Create { sidecar_id, subjects, ttl_seconds }
        }
        PairingVerb::Revoke { sidecar_id } => Request::Revoke { sidecar_id },
    }
}

fn told(answer: Answer) -> Result<Value, Failure> {
    match answer {
        Answer::Created { sidecar_id, join_token, ca_fingerprint, ttl_seconds } => {
            Ok(created(&sidecar_id, &join_token, &ca_fingerprint, ttl_seconds))
        }
        Answer::Revoked { sidecar_id } => Ok(revoked(&sidecar_id)),
        Answer::Pairings(_) => {
            Err(Failure::new(ErrorCode::InternalError, "the remote answered something else"))
        }
        Answer::Failed(error) => Err(Failure(error)),
    }
}

fn created(sidecar: &str, token: &str, fingerprint: &str, ttl_seconds: u64) -> Value {
    json!({ "join_token": token, "sidecar": sidecar, "ca_fingerprint": fingerprint,
        "ttl_seconds": ttl_seconds })
}

fn revoked(sidecar: &str) -> Value {
    json!({ "revoked": true, "sidecar": sidecar })
}

fn on_store(folder: &Path, server_name: &str, request: Request) -> Result<Value, Failure> {
    let store = Store::open(folder)
        .map_err(|error| Failure::because(error.code(), "the remote's store", &error))?;
    let id = |text: &str| SidecarId::parse(text).map_err(|error| Failure::input(error.to_string()));
    match request {
        Request::Create { sidecar_id, subjects, ttl_seconds } => {
            let now = SystemTime::now();
            let pki = Pki::open(folder, server_name, now).map_err(|error| {
                Failure::because(ErrorCode::ConfigInvalid, "the remote's CA", &error)
            })?;
            let ttl = Duration::from_secs(ttl_seconds);
            let new = NewPairing { sidecar: id(&sidecar_id)?, subjects, ttl };
            let token = pairing::create(&store, &pki, new, now)
                .map_err(|error| Failure::because(error.code(), "no token was made", &error))?;
            let fingerprint = token.ca_fingerprint().to_string();
            Ok(created(&sidecar_id, token.expose().as_str(), &fingerprint, ttl_seconds))
        }
        Request::Revoke { sidecar_id } => {
            pairing::revoke(&store, &id(&sidecar_id)?)
                .map_err(|error| Failure::because(error.code(), "nothing was revoked", &error))?;
            Ok(revoked(&sidecar_id))
        }
        Request::List {} => {
            Err(Failure::new(ErrorCode::InternalError, "this verb isn't one of the command line"))
        }
    }
}
