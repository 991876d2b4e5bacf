//! Finds the owner of the state or becomes it, and hands out the two things that verbs need: a tool
//! caller and an operator's client.
//!
//! Order of an owner's start: simulator, sidecar (takes the store's lock), operator's door; the
//! agents' door is opened by whoever uses the owner. It stops in the opposite order. Invariant: a
//! real broker and the simulator never share a folder, a key or a socket.

mod owner;

pub(crate) use owner::{LocalAgents, OwnError, Owned};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::home;
use crate::run::Context;
use crate::world;
use ibkr_agent_domain::{CallId, ErrorCode, Untrusted};
use ibkr_agent_gateway::config::{Backing, Settings};
use ibkr_agent_gateway::invocation::Invocation;
use ibkr_agent_gateway::local::{LocalMode, LocalService, Owner, StartError};
use ibkr_agent_gateway::operator::{OperatorClient, OperatorDomain, OperatorSigner, Verb};
use ibkr_agent_protocol::service::{LocalCaller, Progress, ToolCall, ToolService};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What this program calls itself at the agents' door.
pub(crate) const CLIENT: &str = "cli";

/// How long a verb waits for a tool: the longest wait of a tool and a margin.
const CALL_TIMEOUT: Duration = Duration::from_secs(55);

/// A checked configuration with its state folder.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What the sidecar is set up with.
    pub(crate) settings: Settings,
    /// Its folder.
    pub(crate) state_dir: PathBuf,
    /// How its commands are begun in another terminal.
    pub(crate) invocation: Invocation,
}

/// Checks the configuration. Makes no folder.
pub(crate) fn plan(context: &Context<'_>) -> Result<Plan, Failure> {
    let settings = Settings::try_from_raw(&context.taken.raw).map_err(|error| {
        let place = context.taken.place_of(error.value());
        let failure = Failure::new(error.code(), format!("{place}{error}"));
        match error.next_step() {
            Some(step) => failure.next_step(step),
            None => failure,
        }
    })?;
    let state_dir = context.base.join(settings.domain().as_str());
    Ok(Plan { settings, state_dir, invocation: context.invocation.clone() })
}

/// As [`plan`], with the folder made and private.
pub(crate) fn prepared(context: &Context<'_>) -> Result<Plan, Failure> {
    let plan = plan(context)?;
    home::prepare(&context.base, plan.settings.domain().as_str())?;
    Ok(plan)
}

impl Plan {
    /// What the configuration enables, for people who check it.
    pub(crate) fn describe(&self) -> Value {
        let settings = &self.settings;
        let brokers: Vec<Value> = match &settings.backing {
            Backing::Simulator => Vec::new(),
            Backing::Brokers(list) => list
                .iter()
                .map(|broker| {
                    json!({ "name": broker.name.as_str(), "base_url": broker.base_url,
                        "expect": broker.expect.as_str() })
                })
                .collect(),
        };
        let accounts: Vec<&str> = settings.accounts.iter().map(|id| id.as_str()).collect();
        let scopes: Vec<&str> = settings.local_scopes.iter().map(|scope| scope.as_str()).collect();
        let issuers: Vec<&str> =
            settings.issuers.iter().map(|(issuer, _)| issuer.issuer.as_str()).collect();
        json!({
            "backend": settings.domain().as_str(),
            "state_dir": self.state_dir.display().to_string(),
            "brokers": brokers,
            "accounts": accounts,
            "local_scopes": scopes,
            "preview_enabled": settings.preview_enabled,
            "paper_enabled": settings.paper_enabled,
            "live_enabled": false,
            "relay_enabled": settings.relay.is_some(),
            "token_issuers": issuers,
            "risk_policy": settings.limits.id,
            "max_quantity": settings.limits.max_quantity.to_string(),
            "max_notional": settings.limits.max_notional.to_string(),
        })
    }
}

/// The tool service of this process's user, wherever its owner is.
pub(crate) async fn service(plan: &Plan) -> Result<LocalService<LocalAgents>, Failure> {
    let owned = plan.clone();
    let start = move || {
        let plan = owned.clone();
        async move {
            let owned = Box::pin(Owned::start(&plan)).await.map_err(|error| match error {
                OwnError::Locked => StartError::Locked,
                OwnError::Failed(failure) => StartError::Failed(failure.0),
            })?;
            let service = Arc::new(LocalAgents::new(owned.agents()));
            Ok(Owner { service, close: Box::pin(owned.close()) })
        }
    };
    Ok(LocalService::open(&plan.state_dir, start).await?)
}

/// A sidecar within reach.
pub(crate) struct Opened {
    plan: Plan,
    service: LocalService<LocalAgents>,
}

/// A local caller logs in nowhere: its scopes are the configuration's.
fn here(failure: Failure) -> Failure {
    match failure.0.error_code() {
        Some(ErrorCode::AuthMissingScope) => failure.next_step(
            "The configuration gives local callers no such scope: see paper.enabled, \
             preview.enabled and auth.enabled_scopes.",
        ),
        _ => failure,
    }
}

/// Attaches to the running sidecar, or runs one for as long as the verb takes.
pub(crate) async fn open(context: &Context<'_>) -> Result<Opened, Failure> {
    let plan = prepared(context)?;
    world::announce(context, &plan);
    let service = service(&plan).await?;
    Ok(Opened { plan, service })
}

impl Opened {
    /// The configuration and folder.
    pub(crate) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What operators' signatures are good for here.
    pub(crate) const fn domain(&self) -> OperatorDomain {
        self.plan.settings.domain()
    }

    /// Whether the sidecar ends with this process.
    pub(crate) fn is_owner(&self) -> bool {
        self.service.mode() == Some(LocalMode::Owner)
    }

    /// Calls a tool as this program and gives the answer's exact bytes.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: Arguments,
        request_id: Option<CallId>,
    ) -> Result<Box<RawValue>, Failure> {
        let mut call = ToolCall::new(tool, arguments.into_raw()?);
        call.timeout = CALL_TIMEOUT;
        if let Some(id) = request_id {
            call.call_id = id;
        }
        let caller = LocalCaller { client: Untrusted::new(CLIENT) };
        let cancelled = CancellationToken::new();
        // An interrupted verb waits for nothing any more, and neither does the sidecar for it.
        let _interrupted = cancelled.clone().drop_guard();
        let reply = self.service.call(caller, call, Progress::ignored(), cancelled).await;
        reply.result.map_err(|body| here(Failure(body)))
    }

    /// Has an operator's verb performed, signed when a signer is given.
    pub(crate) async fn perform(
        &self,
        verb: Verb,
        signer: Option<&OperatorSigner>,
    ) -> Result<Value, Failure> {
        // A connection for each verb: the one before may have been silent while a human read.
        let mut client = OperatorClient::connect(&self.plan.state_dir)
            .await
            .map_err(|error| Failure(error.into()))?;
        Ok(client.call(verb, signer).await?)
    }

    /// Lets the sidecar go, if it was ours.
    pub(crate) async fn close(self) {
        self.service.close().await;
    }
}
