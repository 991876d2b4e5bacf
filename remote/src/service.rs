//! The hosted endpoint's tool service: finds the caller's sidecar and relays the call to it.
//!
//! It filters tools by the token's scopes and the operator's ceiling, which is a convenience: the
//! sidecar checks the caller's own token again and decides. It keeps no payload and logs ids only.
//! A call is never sent twice.

use crate::front::Bearer;
use crate::relay::{RouteError, SidecarRoute};
use futures_util::stream;
use ibkr_agent_domain::{ErrorCode, ScopeSet};
use ibkr_agent_protocol::catalogue::{self, FORBIDDEN, ToolSpec};
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, MAX_ARGUMENT_BYTES, MAX_TIMEOUT, Progress, ToolCall, ToolReply,
    ToolService,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How much longer than the call's own time this side waits for the sidecar's own answer.
const GRACE: Duration = Duration::from_secs(2);

/// Answers tool calls through the caller's sidecar.
#[derive(Debug)]
pub struct HostedService<R> {
    routes: R,
    allowed: ScopeSet,
}

impl<R: SidecarRoute> HostedService<R> {
    /// A service over some routes, with the operator's ceiling.
    #[must_use]
    pub const fn new(routes: R, allowed: ScopeSet) -> Self {
        Self { routes, allowed }
    }

    fn granted(&self, caller: &Bearer) -> ScopeSet {
        caller.verified.scopes().intersection(&self.allowed)
    }

    async fn relay(
        &self,
        caller: &Bearer,
        mut call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let call_id = call.call_id.clone();
        let spec = catalogue::find(&call.tool);
        if let Some(error) = self.refusal(caller, &call, spec) {
            return ToolReply::failure(call_id, error);
        }
        let sidecar =
            match self.routes.route_for(caller.verified.issuer(), caller.verified.subject()) {
                Ok(sidecar) => sidecar,
                Err(error) => return ToolReply::failure(call_id, no_route(&error, &call.tool)),
            };
        call.timeout = call.timeout.min(MAX_TIMEOUT);
        let limit = call.timeout.saturating_add(GRACE);
        let answer = self.routes.call(&sidecar, &caller.raw, call, progress, cancelled);
        match tokio::time::timeout(limit, answer).await {
            Ok(reply) => reply,
            Err(_) => ToolReply::failure(call_id, timed_out(spec)),
        }
    }

    /// What stops a call here; the front layer has checked scopes, and this holds without it.
    fn refusal(
        &self,
        caller: &Bearer,
        call: &ToolCall,
        spec: Option<&'static ToolSpec>,
    ) -> Option<ErrorBody> {
        if let Some(scope) = spec.map(|spec| spec.scope)
            && !self.granted(caller).contains(scope)
        {
            let message = format!("the call needs {scope}, which isn't granted here");
            return Some(ErrorBody::new(ErrorCode::AuthMissingScope, message));
        }
        let size = call.arguments.get().len();
        (size > MAX_ARGUMENT_BYTES).then(|| {
            let message = format!("the arguments have {size} bytes; {MAX_ARGUMENT_BYTES} may be");
            ErrorBody::new(ErrorCode::InputInvalid, message)
        })
    }
}

/// Generic write names are refused as such, whether or not a sidecar can be asked.
fn no_route(error: &RouteError, tool: &str) -> ErrorBody {
    if FORBIDDEN.contains(&tool) {
        let message = "generic order tools don't exist here";
        return ErrorBody::new(ErrorCode::ReadonlyWriteForbidden, message);
    }
    ErrorBody::new(error.code(), error.to_string())
}

fn timed_out(spec: Option<&'static ToolSpec>) -> ErrorBody {
    if spec.is_some_and(|spec| spec.read_only) {
        let message = "the sidecar didn't answer in time";
        return ErrorBody::new(ErrorCode::CallTimedOut, message);
    }
    let message = "the sidecar didn't answer in time: the call may have had an effect";
    ErrorBody::new(ErrorCode::CallOutcomeUnknown, message)
}

impl<R: SidecarRoute> ToolService for HostedService<R> {
    type Caller = Bearer;

    fn tools(&self, caller: &Bearer) -> Vec<&'static ToolSpec> {
        let granted = self.granted(caller);
        catalogue::all().iter().filter(|spec| granted.contains(spec.scope)).collect()
    }

    async fn call(
        &self,
        caller: Bearer,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let call_id = call.call_id.clone();
        let tool = catalogue::find(&call.tool).map_or("unknown", |spec| spec.name);
        let reply = self.relay(&caller, call, progress, cancelled).await;
        // A sidecar's text isn't logged, only a code that we know.
        let known = |error: &ErrorBody| error.error_code().map_or("unknown", ErrorCode::as_str);
        let code = reply.result.as_ref().err().map(known);
        tracing::info!(call.id = %call_id, tool, error.code = code, "call answered");
        reply
    }

    fn events(&self, _caller: &Bearer) -> EventStream {
        Box::pin(stream::empty())
    }
}
