//! `mcp serve --transport http`: the hosted endpoint's front layer over a sidecar in this process.

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::open::{self, LocalAgents, Owned};
use crate::run::Context;
use crate::signals;
use ibkr_agent_domain::{Door, ErrorCode, ScopeSet, Untrusted};
use ibkr_agent_gateway::local::{open_agent_door, serve_agents};
use ibkr_agent_gateway::tools::{Agent, Agents};
use ibkr_agent_protocol::catalogue::ToolSpec;
use ibkr_agent_protocol::service::{EventStream, Progress, ToolCall, ToolReply, ToolService};
use ibkr_agent_remote::config::RemoteConfig;
use ibkr_agent_remote::front::{Bearer, ReadinessCheck, RefusalSink, router};
use ibkr_agent_remote::serve::serve;
use ibkr_agent_token::{HttpOptions, SystemClock, Validator, Verified};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Refusals that may wait to be recorded; more are dropped and said so.
const REFUSALS: usize = 256;

/// Serves until interrupted.
pub(super) async fn serve_local(context: &Context<'_>, how: &ServeArgs) -> Result<(), Failure> {
    let remote = endpoint(context, how)?;
    let stop = signals::stop_token();
    let mut plan = open::prepared(context)?;
    // One issuer for the front layer and the sidecar behind it: the audience follows --bind.
    plan.settings.issuers = vec![(remote.issuer.clone(), remote.front.allowed_scopes.clone())];
    let listener = TcpListener::bind(remote.bind_address).await.map_err(|error| {
        let what = format!("{} can't be listened on", remote.bind_address);
        Failure::because(ErrorCode::ConfigInvalid, &what, &error)
            .next_step("Choose another address with --bind.")
    })?;
    let owned = Box::pin(Owned::start(&plan)).await.map_err(Failure::from)?;
    let served = Box::pin(serve_owned(context, &plan, &owned, remote, listener, stop)).await;
    owned.close().await;
    served
}

/// The checked endpoint; only what the file enables, whatever the flags say.
fn endpoint(context: &Context<'_>, how: &ServeArgs) -> Result<RemoteConfig, Failure> {
    if context.taken.found.is_none() {
        let message = "serving over HTTP needs an issuer, and so a configuration";
        return Err(Failure::new(ErrorCode::ConfigRemoteMcpForbidden, message).next_step(
            "Give --config with remote_mcp.issuer, or try everything with ibkr-agent demo --serve.",
        ));
    }
    let refused = |error: ibkr_agent_remote::config::ConfigError| {
        Failure::new(error.code(), error.to_string())
    };
    let mut raw = context.taken.raw.clone();
    if let Some(address) = how.bind {
        raw.remote_mcp.bind_address = Some(address.to_string());
    }
    RemoteConfig::try_from_raw(&raw, context.environment).map_err(refused)
}

async fn serve_owned(
    context: &Context<'_>,
    plan: &open::Plan,
    owned: &Owned,
    remote: RemoteConfig,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let issuers = vec![remote.issuer.clone()];
    let validator = Validator::new(issuers, HttpOptions::default(), Arc::new(SystemClock))
        .map_err(|error| Failure::because(ErrorCode::ConfigInvalid, "remote_mcp", &error))?;
    let bound = listener.local_addr().unwrap_or(remote.bind_address);
    let door = open_agent_door(&plan.state_dir).await.map_err(|error| Failure(error.into()))?;
    let agents = owned.agents();
    let tracker = TaskTracker::new();
    tracker.spawn(serve_agents(
        door,
        Arc::new(LocalAgents::new(Arc::clone(&agents))),
        stop.clone(),
    ));
    let (refusals, waiting) = mpsc::channel(REFUSALS);
    tracker.spawn(record_refusals(Arc::clone(&agents), waiting));
    // Keys are fetched now so that the first caller needn't wait; a failure is readiness' to say.
    let warming = validator.clone();
    let warm_stop = stop.clone();
    tracker.spawn(async move {
        tokio::select! {
            () = warm_stop.cancelled() => {}
            _ = warming.warm() => {}
        }
    });
    let mut front = remote.front;
    front.shutdown = stop.clone();
    let shown = json!({ "url": front.resource.as_str(), "bind_address": bound.to_string(),
        "issuer": front.issuer });
    let service = HttpAgents { agents, allowed: front.allowed_scopes.clone() };
    let sink = Arc::new(AuditedRefusals(refusals));
    let router = router(front, Arc::new(service), validator, ReadinessCheck::none(), sink);
    let printed = context.printer.value(&shown);
    if printed.is_ok() {
        context.printer.say("Serving until interrupted (ctrl-c).");
        serve(listener, router, remote.serve, stop.clone()).await;
    } else {
        drop(router);
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    printed
}

/// The sidecar's tool service for callers with a token that this process verified.
struct HttpAgents {
    agents: Arc<Agents>,
    /// The operator's ceiling for this endpoint.
    allowed: ScopeSet,
}

impl HttpAgents {
    fn agent(caller: Bearer) -> Agent {
        Agent::Token { verified: Arc::new(caller.verified), door: Door::LocalHttp }
    }
}

impl ToolService for HttpAgents {
    type Caller = Bearer;

    fn tools(&self, caller: &Bearer) -> Vec<&'static ToolSpec> {
        let mut tools = self.agents.tools(&Self::agent(caller.clone()));
        tools.retain(|tool| self.allowed.contains(tool.scope));
        tools
    }

    async fn call(
        &self,
        caller: Bearer,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let spec = ibkr_agent_protocol::catalogue::find(&call.tool);
        if spec.is_some_and(|spec| !self.allowed.contains(spec.scope)) {
            // The front layer refuses this before; it holds without it too.
            let claimed = claimed(Some(&caller.verified));
            let code = ErrorCode::AuthMissingScope;
            return self.agents.refuse(&claimed, Door::LocalHttp, code, &call).await;
        }
        let agent = Self::agent(caller);
        ToolService::call(self.agents.as_ref(), agent, call, progress, cancelled).await
    }

    fn events(&self, caller: &Bearer) -> EventStream {
        self.agents.events(&Self::agent(caller.clone()))
    }
}

/// A refusal at the front layer, on its way to the audit log.
struct Refused {
    code: ErrorCode,
    claimed: Untrusted,
    tool: String,
}

/// Passes refusals on without ever waiting.
struct AuditedRefusals(mpsc::Sender<Refused>);

impl RefusalSink for AuditedRefusals {
    fn refused(&self, reason: ErrorCode, subject: Option<&Verified>, tool: Option<&str>) {
        let tool = Untrusted::bounded(tool.unwrap_or_default(), 64).as_str().to_owned();
        let refused = Refused { code: reason, claimed: claimed(subject), tool };
        if self.0.try_send(refused).is_err() {
            tracing::warn!(reason = reason.as_str(), "a refusal was not recorded: too many");
        }
    }
}

fn claimed(subject: Option<&Verified>) -> Untrusted {
    match subject {
        Some(verified) => {
            Untrusted::bounded(&format!("{}|{}", verified.issuer(), verified.subject()), 256)
        }
        None => Untrusted::new("no valid token"),
    }
}

async fn record_refusals(agents: Arc<Agents>, mut waiting: mpsc::Receiver<Refused>) {
    while let Some(Refused { code, claimed, tool }) = waiting.recv().await {
        let call = ToolCall::new(&tool, empty());
        agents.refuse(&claimed, Door::LocalHttp, code, &call).await;
    }
}

/// Arguments that hold nothing: a refused request's own are never kept.
fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
