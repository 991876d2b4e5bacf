//! A tool service that records its calls and answers by the tool's name.

use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet, Tier};
use ibkr_agent_protocol::catalogue::{FORBIDDEN, ToolSpec, all, find};
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, Progress, Receipt, ToolCall, ToolEvent, ToolReply, ToolService,
};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Waits until it is cancelled.
pub(crate) const WAITS: &str = "ibkr_market_snapshot";
/// Reports two steps of progress.
pub(crate) const PROGRESSES: &str = "ibkr_positions_list";
/// Reads that are never answered.
pub(crate) const NEVER_READ: &str = "ibkr_account_summary";
/// Writes that are never answered.
pub(crate) const NEVER_WRITE: &str = "ibkr_paper_order_submit";
/// Answers something that isn't an object.
pub(crate) const SENSELESS: &str = "ibkr_orders_list";

/// Who calls the fake.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) scopes: ScopeSet,
}

impl Caller {
    pub(crate) fn new(name: &str, tier: Tier) -> Self {
        Self { name: name.to_owned(), scopes: ScopeSet::up_to(tier) }
    }

    pub(crate) fn with(name: &str, scope: Scope) -> Self {
        Self { name: name.to_owned(), scopes: [scope].into_iter().collect() }
    }
}

/// The service.
#[derive(Default)]
pub(crate) struct Fake {
    calls: Mutex<Vec<(String, String, String)>>,
    // A write that goes on after its answer keeps its end of the progress queue.
    kept: Mutex<Vec<Progress>>,
    pub(crate) started: Notify,
    pub(crate) cancelled: Notify,
    /// Lets a wait for a change end with its first resource.
    pub(crate) changed: Notify,
    pub(crate) waiting: Notify,
}

impl Fake {
    /// What was called so far: caller, tool and arguments.
    pub(crate) fn calls(&self) -> Vec<(String, String, String)> {
        self.calls.lock().unwrap().clone()
    }
}

struct NoEvents;

impl futures_core::Stream for NoEvents {
    type Item = ToolEvent;
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<ToolEvent>> {
        Poll::Ready(None)
    }
}

fn object(tool: &str, caller: &Caller, arguments: &RawValue) -> Box<RawValue> {
    to_raw_value(&json!({"tool": tool, "caller": caller.name, "arguments": arguments})).unwrap()
}

impl Fake {
    async fn wait_for_change(&self, call: ToolCall, cancelled: CancellationToken) -> ToolReply {
        let asked: serde_json::Value = serde_json::from_str(call.arguments.get()).unwrap();
        let mut changed = Vec::new();
        if asked["cursor"].is_string() {
            self.waiting.notify_one();
            tokio::select! {
                () = self.changed.notified() => changed.push(asked["resources"][0].clone()),
                () = cancelled.cancelled() => self.cancelled.notify_one(),
            }
        }
        let answer = json!({"changed": changed, "cursor": "1"});
        ToolReply::success(call.call_id, to_raw_value(&answer).unwrap())
    }
}

impl ToolService for Fake {
    type Caller = Caller;

    fn tools(&self, caller: &Caller) -> Vec<&'static ToolSpec> {
        all().iter().filter(|spec| caller.scopes.contains(spec.scope)).collect()
    }

    async fn call(
        &self,
        caller: Caller,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let arguments = call.arguments.get().to_owned();
        self.calls.lock().unwrap().push((caller.name.clone(), call.tool.clone(), arguments));
        self.started.notify_one();
        let id = call.call_id.clone();
        let fail = |code| ToolReply::failure(id.clone(), ErrorBody::new(code, "refused"));
        match call.tool.as_str() {
            WAITS => {
                cancelled.cancelled().await;
                self.cancelled.notify_one();
                return fail(ErrorCode::CallCancelled);
            }
            NEVER_READ | NEVER_WRITE => return std::future::pending().await,
            "ibkr_accounts_list" => {
                let accounts = json!({"accounts": [{"account_id": "DU1"}]});
                return ToolReply::success(id, to_raw_value(&accounts).unwrap());
            }
            "ibkr_resources_wait" => return self.wait_for_change(call, cancelled).await,
            SENSELESS => return ToolReply::success(id, to_raw_value(&json!([1])).unwrap()),
            PROGRESSES => {
                progress.report(1, "reading");
                // As a hostile sidecar might.
                progress.report(2, &format!("more\u{202e}\u{1b}[2J{}", "x".repeat(1000)));
                self.kept.lock().unwrap().push(progress);
            }
            name if FORBIDDEN.contains(&name) => {
                return fail(ErrorCode::ReadonlyWriteForbidden);
            }
            name if find(name).is_none() => return fail(ErrorCode::InputUnknownTool),
            _ => {}
        }
        let body = object(&call.tool, &caller, &call.arguments);
        let mut reply = ToolReply::success(id, body);
        reply.audit_event_id = Some("ev-1".to_owned());
        reply.receipt = Some(Receipt { key: "aa".to_owned(), signature: "bb".to_owned() });
        reply
    }

    fn events(&self, _: &Caller) -> EventStream {
        Box::pin(NoEvents)
    }
}
