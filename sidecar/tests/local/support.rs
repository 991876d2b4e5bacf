//! A tool service that does what a call's arguments say.

use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_protocol::catalogue::{self, ToolSpec};
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, LocalCaller, Progress, ToolCall, ToolEvent, ToolReply, ToolService,
};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// A tool that only reads.
pub(crate) const READ: &str = "ibkr_health";

/// A tool that changes orders.
pub(crate) const WRITE: &str = "ibkr_paper_order_submit";

/// `{"wait": true}` waits for [`Probe::go_on`] or for being cancelled; `{"panic": true}` panics;
/// anything else is answered at once with what arrived.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) go_on: Notify,
    pub(crate) cancelled: Notify,
    pub(crate) finished: Notify,
    pub(crate) events: broadcast::Sender<ToolEvent>,
}

impl Probe {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            go_on: Notify::new(),
            cancelled: Notify::new(),
            finished: Notify::new(),
            events: broadcast::channel(16).0,
        })
    }
}

impl ToolService for Probe {
    type Caller = LocalCaller;

    fn tools(&self, _caller: &LocalCaller) -> Vec<&'static ToolSpec> {
        catalogue::all().iter().filter(|tool| [READ, WRITE].contains(&tool.name)).collect()
    }

    async fn call(
        &self,
        caller: LocalCaller,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let asked: Value = serde_json::from_str(call.arguments.get()).unwrap();
        assert!(asked["panic"] != true, "told to");
        if asked["wait"] == true {
            progress.report(1, "began");
            tokio::select! {
                () = self.go_on.notified() => {}
                () = cancelled.cancelled() => {
                    self.cancelled.notify_one();
                    let error = ErrorBody::new(ErrorCode::CallCancelled, "withdrawn");
                    return ToolReply::failure(call.call_id, error);
                }
            }
            self.finished.notify_one();
        }
        let length = usize::try_from(asked["length"].as_u64().unwrap_or(0)).unwrap();
        let said = serde_json::json!({
            "by": self.name,
            "tool": call.tool,
            "client": caller.client.as_str(),
            "arguments": call.arguments.get(),
            "timeout_ms": u64::try_from(call.timeout.as_millis()).unwrap(),
            "padding": "x".repeat(length),
        });
        let mut reply = ToolReply::success(call.call_id, to_raw_value(&said).unwrap());
        reply.audit_event_id = Some("event-7".to_owned());
        reply
    }

    fn events(&self, _caller: &LocalCaller) -> EventStream {
        let stream = futures_util::stream::unfold(self.events.subscribe(), |mut events| async {
            events.recv().await.ok().map(|event| (event, events))
        });
        Box::pin(stream)
    }
}

pub(crate) fn caller(name: &str) -> LocalCaller {
    LocalCaller { client: Untrusted::bounded(name, 64) }
}

pub(crate) fn call(tool: &str, arguments: &str) -> ToolCall {
    ToolCall::new(tool, RawValue::from_string(arguments.to_owned()).unwrap())
}

/// Calls without progress and without cancelling.
pub(crate) async fn ask<S: ToolService<Caller = LocalCaller>>(
    service: &S,
    tool: &str,
    arguments: &str,
) -> Result<Value, String> {
    let call = call(tool, arguments);
    let reply =
        service.call(caller("test"), call, Progress::ignored(), CancellationToken::new()).await;
    match reply.result {
        Ok(body) => Ok(serde_json::from_str(body.get()).unwrap()),
        Err(error) => Err(error.code),
    }
}
