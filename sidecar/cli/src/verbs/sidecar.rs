//! `sidecar …`: the on-prem half of the hosted mode: run, pair, state, rehearsal.

mod pairing;
mod rehearsal;

use crate::args::{IdentityVerb, PairArgs, RelayVerb, SidecarSessionVerb, SidecarVerb};
use crate::failure::Failure;
use crate::open::{self, LocalAgents, Owned, Plan};
use crate::run::Context;
use crate::signals;
use crate::world;
use ibkr_agent_domain::{ErrorCode, Timestamp};
use ibkr_agent_gateway::config::RelaySettings;
use ibkr_agent_gateway::folder;
use ibkr_agent_gateway::local::{open_agent_door, serve_agents};
use ibkr_agent_gateway::operator::OperatorClient;
use ibkr_agent_gateway::relay::{
    Credentials, CredentialsError, Dialler, DiallerConfig, DiallerHandle, Identity, RelayStatus,
    pair,
};
use ibkr_agent_gateway::tools::Agents;
use ibkr_agent_protocol::relay::JoinToken;
use ibkr_agent_token::{HttpOptions, SystemClock, Validator};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// Largest join token that is read, in bytes.
const MAX_TOKEN: u64 = 4096;
/// How long `sidecar session create` waits for a session.
const SESSION_WAIT: Duration = Duration::from_secs(30);

/// Runs a verb of `sidecar …`.
pub(crate) async fn run(context: &Context<'_>, verb: SidecarVerb) -> Result<(), Failure> {
    match verb {
        SidecarVerb::Run => Box::pin(serve(context)).await,
        SidecarVerb::Pair(how) => Box::pin(pair_now(context, &how)).await,
        SidecarVerb::Status => status(context).await,
        SidecarVerb::Identity(IdentityVerb::Create) => identity(context),
        SidecarVerb::Pairing(verb) => Box::pin(pairing::run(context, verb)).await,
        SidecarVerb::Session(SidecarSessionVerb::Create) => Box::pin(session(context)).await,
        SidecarVerb::Relay(RelayVerb::Accept(call)) => {
            Box::pin(rehearsal::accept(context, call)).await
        }
    }
}

/// `sidecar run`: engine, both local doors and the link, until interrupted.
async fn serve(context: &Context<'_>) -> Result<(), Failure> {
    let stop = signals::stop_token();
    let plan = open::prepared(context)?;
    world::announce(context, &plan);
    let owned = Box::pin(Owned::start(&plan)).await.map_err(Failure::from)?;
    let served = Box::pin(serve_owned(context, &plan, &owned, stop)).await;
    owned.close().await;
    served
}

async fn serve_owned(
    context: &Context<'_>,
    plan: &Plan,
    owned: &Owned,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let dialler = match &plan.settings.relay {
        Some(relay) => Some(dialler(plan, relay, owned.agents())?),
        None => None,
    };
    let door = open_agent_door(&plan.state_dir).await.map_err(|error| Failure(error.into()))?;
    let tracker = TaskTracker::new();
    let agents = Arc::new(LocalAgents::new(owned.agents()));
    tracker.spawn(serve_agents(door, agents, stop.clone()));
    let link = match dialler {
        Some((handle, dialler)) => {
            let id = handle.sidecar_id().as_str().to_owned();
            tracker.spawn(dialler.run(stop.clone()));
            tracker.spawn(tell_link(handle, stop.clone()));
            json!({ "enabled": true, "sidecar": id })
        }
        None => json!({ "enabled": false }),
    };
    let ready = context.printer.value(&json!({
        "running": true,
        "backend": plan.settings.domain().as_str(),
        "state_dir": plan.state_dir.display().to_string(),
        "relay": link,
    }));
    if ready.is_ok() {
        context.printer.say("Running until interrupted (ctrl-c).");
        stop.cancelled().await;
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    ready
}

/// Logs how the link changes.
async fn tell_link(handle: DiallerHandle, stop: CancellationToken) {
    let mut status = handle.status();
    loop {
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            changed = status.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let now = status.borrow_and_update().clone();
        match now {
            RelayStatus::Connected { replica_id, .. } => {
                tracing::info!(relay.replica = %replica_id, "relay.connected");
            }
            RelayStatus::Disconnected { reason, advice, .. } => {
                tracing::warn!(relay.reason = %reason, relay.advice = ?advice, "relay.down");
            }
            RelayStatus::Connecting => tracing::debug!("relay.connecting"),
        }
    }
}

fn dialler(
    plan: &Plan,
    relay: &RelaySettings,
    agents: Arc<Agents>,
) -> Result<(DiallerHandle, Dialler<Agents>), Failure> {
    let issuers: Vec<_> = plan.settings.issuers.iter().map(|(issuer, _)| issuer.clone()).collect();
    if issuers.is_empty() {
        let message = "remote_mcp.issuer: relayed callers need an issuer whose tokens are checked";
        return Err(Failure::new(ErrorCode::ConfigInvalid, message));
    }
    let validator = Validator::new(issuers, HttpOptions::default(), Arc::new(SystemClock))
        .map_err(|error| Failure::because(ErrorCode::ConfigInvalid, "remote_mcp", &error))?;
    let mut config = DiallerConfig::new(plan.state_dir.clone());
    if let Some(interval) = relay.heartbeat_interval {
        config.settings.heartbeat = interval;
        config.settings.silence = interval.saturating_mul(3);
    }
    if let Some(timeout) = relay.heartbeat_timeout {
        config.settings.silence = timeout;
    }
    Dialler::open(config, agents, validator).map_err(|error| credentials_failure(&error))
}

fn credentials_failure(error: &CredentialsError) -> Failure {
    let code = match error {
        CredentialsError::NotPaired { .. } => ErrorCode::SidecarPairingRequired,
        CredentialsError::Url => ErrorCode::InputInvalid,
        CredentialsError::Io { .. } | CredentialsError::Damaged { .. } | CredentialsError::Key => {
            ErrorCode::ConfigInvalid
        }
    };
    Failure::because(code, "the relay's credentials", error)
}

/// `sidecar pair`.
async fn pair_now(context: &Context<'_>, how: &PairArgs) -> Result<(), Failure> {
    let plan = open::prepared(context)?;
    let configured = context.taken.raw.sidecar.remote_relay_url.as_deref();
    let url = how.relay_url.as_deref().or(configured).ok_or_else(|| {
        Failure::input("give --relay-url, or sidecar.remote_relay_url in the configuration")
    })?;
    if how.token_file.is_none() {
        context.printer.say("Paste the join token and press enter:");
    }
    let text = token_text(how.token_file.as_deref())?;
    let token = JoinToken::parse(text.trim()).map_err(|_| {
        Failure::input("this isn't a join token")
            .next_step("Make one on the remote's host with ibkr-agent-remote pairing create.")
    })?;
    let paired = pair(&token, url, &plan.state_dir)
        .await
        .map_err(|error| Failure::because(error.code(), "pairing failed", &error))?;
    context.printer.value(&json!({
        "paired": true,
        "sidecar": paired.sidecar_id.as_str(),
        "identity_key": paired.identity,
        "certificate_expires_at": instant(paired.certificate_expires_at),
    }))
}

/// The token is a secret: it comes from a file or standard input, never from an argument.
fn token_text(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::because(ErrorCode::InputInvalid, "the join token can't be read", &error)
    };
    let mut text = Zeroizing::new(String::new());
    match file {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(MAX_TOKEN).read_to_string(&mut text).map_err(failed)?;
        }
        None => {
            std::io::stdin().read_line(&mut text).map_err(failed)?;
        }
    }
    Ok(text)
}

fn identity(context: &Context<'_>) -> Result<(), Failure> {
    let plan = open::prepared(context)?;
    folder::begin(&plan.state_dir)
        .map_err(|error| Failure::because(error.code(), "the state folder", &error))?;
    let identity =
        Identity::load_or_create(&plan.state_dir).map_err(|error| credentials_failure(&error))?;
    context.printer.value(&json!({ "identity_key": identity.public_hex() }))
}

/// `sidecar status`: what is on disk, and whether a sidecar runs.
async fn status(context: &Context<'_>) -> Result<(), Failure> {
    let plan = open::plan(context)?;
    let running = match OperatorClient::connect(&plan.state_dir).await {
        Ok(client) => json!({ "running": true, "installation": client.sidecar().as_str() }),
        Err(_) => json!({ "running": false }),
    };
    let pairing = match Credentials::load(&plan.state_dir) {
        Ok(credentials) => json!({
            "paired": true,
            "sidecar": credentials.sidecar_id().as_str(),
            "relay_url": credentials.url().to_string(),
            "certificate_expires_at": instant(credentials.expires_at()),
        }),
        Err(CredentialsError::NotPaired { .. }) => json!({ "paired": false }),
        Err(error) => return Err(credentials_failure(&error)),
    };
    context.printer.value(&json!({
        "backend": plan.settings.domain().as_str(),
        "state_dir": plan.state_dir.display().to_string(),
        "process": running,
        "pairing": pairing,
        "relay_enabled": plan.settings.relay.is_some(),
    }))
}

/// `sidecar session create`: one real session, told and closed.
async fn session(context: &Context<'_>) -> Result<(), Failure> {
    let plan = open::prepared(context)?;
    let Some(relay) = plan.settings.relay.clone() else {
        let message = "the relay is off: safety.sidecar_enabled and sidecar.enabled are false";
        return Err(Failure::new(ErrorCode::ConfigSidecarForbidden, message));
    };
    let owned = Box::pin(Owned::start(&plan)).await.map_err(Failure::from)?;
    let outcome = Box::pin(try_session(&plan, &relay, &owned)).await;
    owned.close().await;
    context.printer.value(&outcome?)
}

async fn try_session(plan: &Plan, relay: &RelaySettings, owned: &Owned) -> Result<Value, Failure> {
    let (handle, dialler) = dialler(plan, relay, owned.agents())?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(dialler.run(stop.clone()));
    let mut status = handle.status();
    let settled = status.wait_for(|status| !matches!(status, RelayStatus::Connecting));
    let settled = tokio::time::timeout(SESSION_WAIT, settled).await;
    let found = match settled {
        Ok(Ok(status)) => Some(status.clone()),
        Ok(Err(_)) | Err(_) => None,
    };
    stop.cancel();
    if running.await.is_err() {
        tracing::error!("relay.dialler_failed");
    }
    match found {
        Some(RelayStatus::Connected { replica_id, certificate_expires_at, .. }) => Ok(json!({
            "connected": true,
            "sidecar": handle.sidecar_id().as_str(),
            "replica": replica_id,
            "certificate_expires_at": instant(certificate_expires_at),
        })),
        Some(RelayStatus::Disconnected { reason, .. }) => {
            Err(Failure::new(ErrorCode::SidecarSessionInvalid, reason))
        }
        Some(RelayStatus::Connecting) | None => {
            Err(Failure::new(ErrorCode::SidecarUnavailable, "the remote didn't answer in time"))
        }
    }
}

fn instant(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).to_string()
}
