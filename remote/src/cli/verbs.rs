//! What each verb does.
//!
//! A pairing verb asks the running remote; with none it opens the store itself, which fails while
//! another process holds it.

use super::print::Printer;
use super::{Create, Failure};
use crate::admin::{self, AdminError, Answer, PairingView, Request};
use crate::config::RemoteConfig;
use crate::pairing::{self, NewPairing};
use crate::pki::Pki;
use crate::start::{Remote, StartError};
use crate::store::{Store, Subject};
use ibkr_agent_domain::{ErrorCode, SidecarId};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Serialize)]
struct Started<'a> {
    http_address: String,
    relay_address: String,
    resource: &'a str,
}

#[derive(Serialize)]
struct Checked<'a> {
    bind_address: String,
    resource: &'a str,
    metadata_url: String,
    issuer: &'a str,
    audiences: &'a [String],
    allowed_scopes: Vec<&'static str>,
    relay_bind_address: String,
}

#[derive(Serialize)]
struct Created<'a> {
    sidecar_id: &'a str,
    join_token: &'a str,
    ca_fingerprint: &'a str,
    ttl_seconds: u64,
}

#[derive(Serialize)]
struct Revoked<'a> {
    sidecar_id: &'a str,
    revoked: bool,
}

pub(super) async fn serve(config: RemoteConfig, printer: &Printer) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::from_error(ErrorCode::InternalError, &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let remote = Remote::start(config).await.map_err(|error| start_failure(&error))?;
    let started = Started {
        http_address: remote.http_addr().to_string(),
        relay_address: remote.relay_addr().to_string(),
        resource: remote.resource(),
    };
    let text = format!(
        "MCP endpoint {} for {}; sidecars connect to {}",
        started.http_address, started.resource, started.relay_address
    );
    printer.data(&started, &text);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    remote.shutdown().await;
    Ok(())
}

fn start_failure(error: &StartError) -> Failure {
    Failure::from_error(error.code(), error)
}

pub(super) async fn create(
    config: &RemoteConfig,
    create: Create,
    printer: &Printer,
) -> Result<(), Failure> {
    let issuer = create.issuer.as_deref().unwrap_or(&config.issuer.issuer);
    let subjects = create.subjects.iter().map(|subject| Subject::new(issuer, subject)).collect();
    let request = Request::Create {
        sidecar_id: create.sidecar_id,
        subjects,
        ttl_seconds: create.ttl.as_secs(),
    };
    let answer = run(config, request).await?;
    let Answer::Created { join_token, ttl_seconds, ca_fingerprint, sidecar_id } = &answer else {
        return Err(unexpected(answer));
    };
    let document = Created { sidecar_id, join_token, ca_fingerprint, ttl_seconds: *ttl_seconds };
    let text = format!(
        "{join_token}\n\nOne-time join token of sidecar {sidecar_id}, good for {ttl_seconds} s.\n\
         CA fingerprint: {ca_fingerprint}\n\
         On the sidecar's host: ibkr-agent sidecar pair, and give it this token."
    );
    printer.data(&document, &text);
    Ok(())
}

pub(super) async fn revoke(
    config: &RemoteConfig,
    sidecar_id: String,
    printer: &Printer,
) -> Result<(), Failure> {
    let answer = run(config, Request::Revoke { sidecar_id }).await?;
    let Answer::Revoked { sidecar_id } = &answer else {
        return Err(unexpected(answer));
    };
    let text = format!("sidecar {sidecar_id} is revoked and its link is cut");
    printer.data(&Revoked { sidecar_id, revoked: true }, &text);
    Ok(())
}

pub(super) async fn list(config: &RemoteConfig, printer: &Printer) -> Result<(), Failure> {
    let answer = run(config, Request::List {}).await?;
    let Answer::Pairings(pairings) = &answer else {
        return Err(unexpected(answer));
    };
    let lines: Vec<String> = pairings.iter().map(line).collect();
    let text = if lines.is_empty() { "no sidecar is paired".to_owned() } else { lines.join("\n") };
    printer.data(pairings, &text);
    Ok(())
}

fn line(pairing: &PairingView) -> String {
    let state = if pairing.revoked { "revoked" } else { "paired" };
    let expiry = pairing.certificate_expires_at.as_deref().unwrap_or("-");
    let subjects = pairing.subjects.join(", ");
    format!(
        "{}  {state} {}  certificate until {expiry}  {subjects}",
        pairing.sidecar_id, pairing.paired_at
    )
}

fn unexpected(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(error) => Failure(error),
        Answer::Created { .. } | Answer::Revoked { .. } | Answer::Pairings(_) => {
            Failure::new(ErrorCode::InternalError, "the running remote answered something else")
        }
    }
}

/// Asks the running remote, or does it on the store.
async fn run(config: &RemoteConfig, request: Request) -> Result<Answer, Failure> {
    let Some(state_dir) = config.relay.state_dir.clone() else {
        return Err(start_failure(&StartError::NoStateDir));
    };
    match admin::ask(&state_dir, &request).await {
        Ok(answer) => return Ok(answer),
        Err(AdminError::NotRunning { .. }) => {}
        Err(error @ AdminError::Foreign { .. }) => {
            return Err(Failure::from_error(ErrorCode::OperatorOnly, &error));
        }
        Err(error @ (AdminError::Bind { .. } | AdminError::Exchange(_))) => {
            return Err(Failure::from_error(ErrorCode::InternalError, &error));
        }
    }
    let server_name = config.relay.server_name.clone();
    let offline = tokio::task::spawn_blocking(move || on_store(&state_dir, &server_name, request));
    offline.await.unwrap_or_else(|_| {
        Err(Failure::new(ErrorCode::InternalError, "the pairing verb was interrupted"))
    })
}

fn on_store(state_dir: &Path, server_name: &str, request: Request) -> Result<Answer, Failure> {
    let store = Store::open(state_dir).map_err(|error| start_failure(&error.into()))?;
    let sidecar = |text: &str| {
        SidecarId::parse(text).map_err(|error| Failure::from_error(ErrorCode::InputInvalid, &error))
    };
    Ok(match request {
        Request::Create { sidecar_id, subjects, ttl_seconds } => {
            let now = SystemTime::now();
            let pki = Pki::open(state_dir, server_name, now)
                .map_err(|error| start_failure(&error.into()))?;
            let ttl = Duration::from_secs(ttl_seconds);
            let new = NewPairing { sidecar: sidecar(&sidecar_id)?, subjects, ttl };
            admin::created(pairing::create(&store, &pki, new, now), ttl_seconds)
        }
        Request::Revoke { sidecar_id } => {
            let revoked = pairing::revoke(&store, &sidecar(&sidecar_id)?);
            admin::revoked(revoked, sidecar_id)
        }
        Request::List {} => admin::listed(pairing::list(&store)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has the same shape")]
pub(super) fn check(config: &RemoteConfig, printer: &Printer) -> Result<(), Failure> {
    let front = &config.front;
    let checked = Checked {
        bind_address: config.bind_address.to_string(),
        resource: front.resource.as_str(),
        metadata_url: front.resource.metadata_url(),
        issuer: &front.issuer,
        audiences: &config.issuer.audiences,
        allowed_scopes: front.allowed_scopes.iter().map(|scope| scope.as_str()).collect(),
        relay_bind_address: config.relay.bind_address.to_string(),
    };
    let text = format!(
        "ok: {} on {}, tokens of {}, {} scopes",
        checked.resource,
        checked.bind_address,
        checked.issuer,
        checked.allowed_scopes.len()
    );
    printer.data(&checked, &text);
    Ok(())
}

pub(super) fn schema(printer: &Printer) -> Result<(), Failure> {
    let schema = ibkr_agent_protocol::config::schema();
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Failure::from_error(ErrorCode::InternalError, &error))?;
    printer.data(&schema, &text);
    Ok(())
}
