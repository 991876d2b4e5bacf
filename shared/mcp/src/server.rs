//! The MCP handler: lists tools and runs calls for whoever the door says is calling.

use crate::instructions;
use crate::reply::tool_result;
use crate::resources;
use crate::subscriptions::Subscriptions;
use core::time::Duration;
use http::request::Parts;
use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_protocol::catalogue::{Listing, ToolSpec, find};
use ibkr_agent_protocol::relay::frame::MAX_TOOL_NAME_BYTES;
use ibkr_agent_protocol::service::{
    DEFAULT_TIMEOUT, ErrorBody, Progress, ProgressUpdate, ToolCall, ToolReply, ToolService,
    fresh_call_id,
};
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProgressToken, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    ToolAnnotations, UnsubscribeRequestParams,
};
use rmcp::service::{Peer, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long clients may keep a tool list.
const LIST_TTL_MS: u64 = 60_000;

/// Longest text of a progress update, in characters.
const MAX_PROGRESS_CHARS: usize = 200;

/// Progress updates that wait for a slow client; more are dropped.
const PROGRESS_QUEUE: usize = 16;

/// How long an answer waits for its last progress updates to leave.
const PROGRESS_DRAIN: Duration = Duration::from_millis(500);

/// How much longer than its time-out we wait for a service that must always answer.
const GRACE: Duration = Duration::from_secs(5);

/// The authenticated caller, put into the HTTP request's extensions by the front layer.
#[derive(Debug, Clone)]
pub struct CallerExtension<C>(pub C);

/// Which tools this request's caller wants listed, put into the HTTP request's extensions by the
/// front layer; without it the server's own choice holds.
#[derive(Debug, Clone)]
pub struct ListingExtension(pub Listing);

/// How the door knows who calls.
type CallerOf<C> = dyn Fn(&RequestContext<RoleServer>) -> Option<C> + Send + Sync;

/// An MCP server over a tool service.
pub struct McpServer<S: ToolService> {
    service: Arc<S>,
    caller: Arc<CallerOf<S::Caller>>,
    listing: Listing,
    subscriptions: Arc<Subscriptions>,
}

impl<S: ToolService> Clone for McpServer<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            caller: Arc::clone(&self.caller),
            listing: self.listing.clone(),
            subscriptions: Arc::clone(&self.subscriptions),
        }
    }
}

impl<S: ToolService> core::fmt::Debug for McpServer<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("McpServer")
    }
}

impl<S: ToolService> McpServer<S> {
    /// A server whose caller comes with each HTTP request, as a [`CallerExtension`].
    #[must_use]
    pub fn for_http(service: Arc<S>) -> Self {
        let caller = |context: &RequestContext<RoleServer>| {
            let parts = context.extensions.get::<Parts>()?;
            let CallerExtension(caller) = parts.extensions.get::<CallerExtension<S::Caller>>()?;
            Some(caller.clone())
        };
        let (caller, listing) = (Arc::new(caller), Listing::everything());
        Self { service, caller, listing, subscriptions: Arc::default() }
    }

    /// The same server that lists only some tools; every other one can still be called by name.
    #[must_use]
    pub fn with_listing(self, listing: Listing) -> Self {
        Self { listing, ..self }
    }

    /// The tools to list for a request.
    fn listed(&self, caller: &S::Caller, context: &RequestContext<RoleServer>) -> Vec<Tool> {
        let parts = context.extensions.get::<Parts>();
        let asked = parts.and_then(|parts| parts.extensions.get::<ListingExtension>());
        let listing = asked.map_or(&self.listing, |ListingExtension(listing)| listing);
        let tools = self.service.tools(caller).into_iter();
        tools.filter(|tool| listing.shows(tool)).map(published).collect()
    }

    /// The same server for another session, which follows nothing yet.
    pub(crate) fn for_session(&self) -> Self {
        Self { subscriptions: Arc::default(), ..self.clone() }
    }

    /// A server for one client, which is called by the name that it gives itself.
    #[must_use]
    pub fn for_client(
        service: Arc<S>,
        caller: impl Fn(&Untrusted) -> S::Caller + Send + Sync + 'static,
    ) -> Self {
        let caller = move |context: &RequestContext<RoleServer>| {
            let name = context.client_info().map(|info| info.name).unwrap_or_default();
            Some(caller(&Untrusted::bounded(&name, 64)))
        };
        let (caller, listing) = (Arc::new(caller), Listing::everything());
        Self { service, caller, listing, subscriptions: Arc::default() }
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Result<S::Caller, ErrorData> {
        (self.caller)(context).ok_or_else(|| {
            tracing::error!("a request reached MCP without an authenticated caller");
            ErrorData::internal_error("the caller is not known", None)
        })
    }

    /// Runs a read of ours for the caller of a request.
    async fn read(
        &self,
        tool: &str,
        arguments: &Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<ToolReply, ErrorData> {
        let caller = self.caller(context)?;
        let call = resources::call(tool, arguments, DEFAULT_TIMEOUT)
            .ok_or_else(|| ErrorData::internal_error("the call can't be written", None))?;
        Ok(self.run(caller, call, Progress::ignored(), context).await)
    }

    /// Runs a call; answers even when the service doesn't.
    async fn run(
        &self,
        caller: S::Caller,
        call: ToolCall,
        progress: Progress,
        context: &RequestContext<RoleServer>,
    ) -> ToolReply {
        let call_id = call.call_id.clone();
        let spec = find(&call.tool);
        let bound = call.timeout.saturating_add(GRACE);
        let answer = self.service.call(caller, call, progress, context.ct.clone());
        match tokio::time::timeout(bound, answer).await {
            Ok(reply) => reply,
            Err(_) => {
                tracing::error!(call.id = %call_id, "a tool call wasn't answered in time");
                ToolReply::failure(call_id, unanswered(spec))
            }
        }
    }
}

/// What is said of a call that nobody answered: of a write, nothing is known.
fn unanswered(spec: Option<&ToolSpec>) -> ErrorBody {
    if spec.is_some_and(|spec| spec.risk.is_write()) {
        ErrorBody::new(ErrorCode::CallOutcomeUnknown, "the call wasn't answered in time")
    } else {
        ErrorBody::new(ErrorCode::CallTimedOut, "the call wasn't answered in time")
    }
}

fn published(spec: &ToolSpec) -> Tool {
    let annotations = ToolAnnotations::with_title(spec.title)
        .read_only(spec.read_only)
        .destructive(spec.destructive)
        .idempotent(spec.idempotent)
        .open_world(spec.open_world);
    Tool::new(spec.name, spec.description, Arc::clone(spec.input_schema()))
        .with_title(spec.title)
        .with_raw_output_schema(Arc::clone(spec.output_schema()))
        .with_annotations(annotations)
}

/// The call that a request asks for. The transport's JSON parser merges repeated names and rounds
/// long numbers: the HTTP front refuses both before; over streams, whose peer is a local process,
/// the last value counts. Everything else is as the client sent it.
fn tool_call(request: CallToolRequestParams) -> Result<ToolCall, ErrorData> {
    let arguments = to_raw_value(&request.arguments.unwrap_or_default())
        .map_err(|_| ErrorData::invalid_params("the arguments can't be read", None))?;
    // Longer names are cut, which leaves them unknown. Counted in bytes, as every door behind does.
    let end = request.name.floor_char_boundary(MAX_TOOL_NAME_BYTES);
    let tool = request.name.get(..end).unwrap_or_default().to_owned();
    Ok(ToolCall { call_id: fresh_call_id(), tool, arguments, timeout: DEFAULT_TIMEOUT })
}

/// Passes progress on to the client while its call runs.
struct Forwarder {
    task: JoinHandle<()>,
    answered: CancellationToken,
}

impl Forwarder {
    /// Starts, if the client asked for progress.
    fn start(context: &RequestContext<RoleServer>) -> (Progress, Option<Self>) {
        let Some(token) = context.meta.get_progress_token() else {
            return (Progress::ignored(), None);
        };
        let (sender, updates) = mpsc::channel(PROGRESS_QUEUE);
        let answered = CancellationToken::new();
        let task = forward(context.peer.clone(), token, updates, answered.clone());
        (Progress::to(sender), Some(Self { task: tokio::spawn(task), answered }))
    }

    /// Lets what is queued leave. Nothing may follow the answer, so the rest is dropped.
    async fn finish(mut self) {
        self.answered.cancel();
        if tokio::time::timeout(PROGRESS_DRAIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn forward(
    peer: Peer<RoleServer>,
    token: ProgressToken,
    mut updates: mpsc::Receiver<ProgressUpdate>,
    answered: CancellationToken,
) {
    loop {
        // A service may keep its end of the queue longer than the call lasts.
        let update = tokio::select! {
            biased;
            update = updates.recv() => update,
            () = answered.cancelled() => None,
        };
        let Some(update) = update else { return };
        let steps = u32::try_from(update.progress).unwrap_or(u32::MAX);
        let note = ProgressNotificationParam::new(token.clone(), f64::from(steps))
            .with_message(Untrusted::bounded(&update.message, MAX_PROGRESS_CHARS).to_string());
        if peer.notify_progress(note).await.is_err() {
            return;
        }
    }
}

impl<S: ToolService> ServerHandler for McpServer<S> {
    fn get_info(&self) -> ServerConfig {
        let implementation = Implementation::new("ibkr-agent", env!("CARGO_PKG_VERSION"))
            .with_title("IBKR Agent Gateway (unofficial)");
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(instructions())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context)?;
        let tools = self.listed(&caller, &context);
        // What is listed depends on the caller's permissions, so nobody else may be served it.
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context)?;
        let call = tool_call(request)?;
        let (progress, forwarder) = Forwarder::start(&context);
        let reply = self.run(caller, call, progress, &context).await;
        if let Some(forwarder) = forwarder {
            forwarder.finish().await;
        }
        Ok(tool_result(reply).into())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.caller(&context)?;
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates())
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let reply = self.read("ibkr_accounts_list", &json!({}), &context).await?;
        let body = reply.result.map_err(|error| resources::refused(&error))?;
        let answer = serde_json::from_str(body.get()).unwrap_or_default();
        Ok(ListResourcesResult::with_all_items(resources::of_accounts(&answer))
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let (tool, arguments) = resources::named(&request.uri)?.reading();
        let reply = self.read(tool, &arguments, &context).await?;
        let contents = resources::contents(&request.uri, reply)?;
        // What is read is the caller's own and changes at any time.
        Ok(contents.with_ttl_ms(0).with_cache_scope(CacheScope::Private).into())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let uris = requested.resource_subscriptions.as_deref().unwrap_or_default();
        Some(
            SubscriptionFilter::builder()
                .resource_subscriptions(resources::followable(uris))
                .build(),
        )
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let caller = self.caller(context.request_context())?;
        let accepted = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        if accepted.is_empty() {
            context.cancelled().await;
            return Ok(());
        }
        let ended = context.request_context().ct.clone();
        let sink = context.sink();
        let told = |uri: String| async move { sink.notify_resource_updated(uri).await.is_ok() };
        resources::follow(Arc::clone(&self.service), caller, accepted, ended, told).await;
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(&context)?;
        resources::named(&request.uri)?;
        let added = self.subscriptions.add(request.uri, &self.service, caller, &context.peer);
        added.map_err(|_| ErrorData::invalid_params("too many resources are followed", None))
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(&context)?;
        self.subscriptions.remove(&request.uri, &self.service, caller, &context.peer);
        Ok(())
    }
}
