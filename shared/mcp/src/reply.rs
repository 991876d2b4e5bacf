//! From a [`ToolReply`] to MCP's result.
//!
//! Success: the answer's exact bytes as text, which is what the receipt signs, and the same object
//! as structured content. Failure: the error's JSON as text, marked as an error, without structured
//! content, since clients would check that against the tool's output schema.

use ibkr_agent_domain::{CallId, ErrorCode};
use ibkr_agent_protocol::service::{ErrorBody, ToolReply};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Map, Value, json};

/// The result that a client gets.
pub(crate) fn tool_result(reply: ToolReply) -> CallToolResult {
    let meta = meta(&reply);
    let mut result = match reply.result {
        Ok(body) => success(&reply.call_id, body.get()),
        Err(error) => failure(&error),
    };
    result.meta = Some(meta);
    result
}

fn success(call_id: &CallId, body: &str) -> CallToolResult {
    match serde_json::from_str(body) {
        Ok(Value::Object(answer)) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(body)]);
            result.structured_content = Some(Value::Object(answer));
            result
        }
        Ok(_) | Err(_) => {
            tracing::error!(call.id = %call_id, "a tool answered something else than an object");
            let message = "the tool's answer wasn't a JSON object";
            let mut error = ErrorBody::new(ErrorCode::InternalError, message);
            error.call_id = Some(call_id.to_string());
            failure(&error)
        }
    }
}

fn failure(error: &ErrorBody) -> CallToolResult {
    let text = serde_json::to_string(error).unwrap_or_else(|_| error.code.clone());
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn meta(reply: &ToolReply) -> MetaObject {
    let mut meta = Map::new();
    let mut put = |key: &str, value: Value| meta.insert(format!("ibkr-agent/{key}"), value);
    put("call_id", reply.call_id.to_string().into());
    put("output_hash", reply.output_hash.to_string().into());
    if let Some(event) = &reply.audit_event_id {
        put("audit_event_id", event.clone().into());
    }
    if let Some(receipt) = &reply.receipt {
        put("receipt", json!({"key": receipt.key, "signature": receipt.signature}));
    }
    MetaObject(meta)
}
