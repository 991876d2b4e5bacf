//! MCP resources over tool calls: listing, reading, and following in both protocol eras.
//!
//! Following is a call of `ibkr_resources_wait` again and again with the caller's own identity, so
//! that scope, budget, revocation and record are the same as of any call, over every door. A
//! follower ends when its session or request does, when the caller may no longer read, or when the
//! service stays away.

use core::time::Duration;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::catalogue::resources::{
    MAX_WAIT, MAX_WATCHED, Resource, ResourcesWaitOutput, TEMPLATES,
};
use ibkr_agent_protocol::service::{
    ErrorBody, Progress, ToolCall, ToolReply, ToolService, fresh_call_id,
};
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource as Listed, ResourceContents, ResourceTemplate};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What every resource holds.
const MIME: &str = "application/json";
/// How much longer than its wait a call may take.
const CALL_GRACE: Duration = Duration::from_secs(10);
/// Pause after a call that failed and may succeed later, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Shortest time between two calls of a follower.
const BREATH: Duration = Duration::from_millis(100);

/// The families, as MCP shows them.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let shown = TEMPLATES.iter().map(|template| {
        ResourceTemplate::new(template.uri, template.name)
            .with_title(template.title)
            .with_description(template.description)
            .with_mime_type(MIME)
    });
    shown.collect()
}

/// The resources of the accounts in an answer of `ibkr_accounts_list`.
pub(crate) fn of_accounts(answer: &Value) -> Vec<Listed> {
    let accounts = answer.get("accounts").and_then(Value::as_array);
    let ids = accounts.into_iter().flatten().filter_map(|account| account.get("account_id"));
    let mut listed = Vec::new();
    for id in ids.filter_map(Value::as_str) {
        for template in TEMPLATES.iter().filter(|template| template.uri.contains("{account_id}")) {
            let uri = template.uri.replace("{account_id}", id);
            let name = format!("{} of {id}", template.name);
            listed.push(
                Listed::new(uri, name)
                    .with_title(template.title)
                    .with_description(template.description)
                    .with_mime_type(MIME),
            );
        }
    }
    listed
}

/// The resource of a URI, or MCP's error for one that isn't there.
pub(crate) fn named(uri: &str) -> Result<Resource, ErrorData> {
    Resource::parse(uri).ok_or_else(|| {
        ErrorData::invalid_params("there is no such resource", Some(json!({"uri": uri})))
    })
}

/// A call of a tool with arguments of ours.
pub(crate) fn call(tool: &str, arguments: &Value, timeout: Duration) -> Option<ToolCall> {
    let arguments = to_raw_value(arguments).ok()?;
    Some(ToolCall { call_id: fresh_call_id(), tool: tool.to_owned(), arguments, timeout })
}

/// What a tool's answer is as the contents of a resource.
pub(crate) fn contents(uri: &str, reply: ToolReply) -> Result<ReadResourceResult, ErrorData> {
    match reply.result {
        Ok(body) => {
            let text = ResourceContents::text(body.get(), uri).with_mime_type(MIME);
            Ok(ReadResourceResult::new(vec![text]))
        }
        Err(error) => Err(refused(&error)),
    }
}

/// A tool's error as MCP's error of a request.
pub(crate) fn refused(error: &ErrorBody) -> ErrorData {
    let data = serde_json::to_value(error).ok();
    let message = format!("{}: {}", error.code, error.message);
    match error.error_code() {
        Some(code) if code.as_str().starts_with("INPUT_") => {
            ErrorData::invalid_params(message, data)
        }
        Some(_) | None => ErrorData::internal_error(message, data),
    }
}

/// The resources of a list of URIs; at most [`MAX_WATCHED`], the rest and unknown ones left out.
pub(crate) fn followable(uris: &[String]) -> Vec<String> {
    let known = uris.iter().filter(|uri| Resource::parse(uri).is_some());
    let unique: BTreeSet<&String> = known.collect();
    unique.into_iter().take(MAX_WATCHED).cloned().collect()
}

/// One wait for a change, as its caller: what changed, and the cursor for the next.
async fn wait<S: ToolService>(
    service: &S,
    caller: S::Caller,
    resources: &[String],
    cursor: Option<&str>,
    ended: &CancellationToken,
) -> Result<ResourcesWaitOutput, ErrorBody> {
    let internal = |message: &str| ErrorBody::new(ErrorCode::InternalError, message);
    let mut arguments = json!({"resources": resources, "wait_seconds": MAX_WAIT.as_secs()});
    if let (Some(cursor), Value::Object(arguments)) = (cursor, &mut arguments) {
        arguments.insert("cursor".to_owned(), cursor.into());
    }
    let timeout = MAX_WAIT.saturating_add(CALL_GRACE);
    let call = call("ibkr_resources_wait", &arguments, timeout)
        .ok_or_else(|| internal("the call can't be written"))?;
    let reply = service.call(caller, call, Progress::ignored(), ended.child_token());
    let reply = tokio::time::timeout(timeout.saturating_add(CALL_GRACE), reply).await;
    let body = reply.map_err(|_| internal("the wait was not answered"))?.result?;
    serde_json::from_str(body.get()).map_err(|_| internal("the answer can't be read"))
}

/// Follows resources until `ended`, until `told` says that nobody listens any more, or until the
/// caller may not.
pub(crate) async fn follow<S, F, Fut>(
    service: Arc<S>,
    caller: S::Caller,
    resources: Vec<String>,
    ended: CancellationToken,
    told: F,
) where
    S: ToolService,
    F: Fn(String) -> Fut + Send,
    Fut: Future<Output = bool> + Send,
{
    let mut cursor: Option<String> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        // Cancelled with `ended`, and answered then: the service sees that nobody waits any more.
        let waited =
            wait(service.as_ref(), caller.clone(), &resources, cursor.as_deref(), &ended).await;
        if ended.is_cancelled() {
            return;
        }
        let rest = match waited {
            Ok(output) => {
                for resource in output.changed {
                    if !told(resource.0.to_string()).await {
                        return;
                    }
                }
                cursor = Some(output.cursor);
                pause = FIRST_PAUSE;
                BREATH
            }
            Err(error) if error.retryable => {
                let rest = error.retry_after_ms.map_or(pause, Duration::from_millis).max(pause);
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                rest.min(LONGEST_PAUSE)
            }
            Err(error) => {
                tracing::info!(code = error.code, "a subscription ended");
                return;
            }
        };
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}
