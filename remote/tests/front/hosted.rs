//! The hosted service behind the front end: routing by issuer and subject, the token that goes
//! along, what is answered without a sidecar.

use crate::world::{Door, READS, Setup, World, body};
use ibkr_agent_domain::SidecarId;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::service::{Progress, ToolCall, ToolReply};
use ibkr_agent_remote::relay::{RouteError, SidecarRoute};
use ibkr_agent_remote::service::HostedService;
use ibkr_agent_token::BearerToken;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Routes alice to a sidecar that notes the token and the tool; nobody else is paired.
#[derive(Clone)]
struct OneSidecar(Arc<Door>);

impl SidecarRoute for OneSidecar {
    fn route_for(&self, _issuer: &str, subject: &str) -> Result<SidecarId, RouteError> {
        match subject {
            "alice" => Ok(SidecarId::parse("home").unwrap()),
            _ => Err(RouteError::NotPaired),
        }
    }

    async fn call(
        &self,
        sidecar: &SidecarId,
        token: &BearerToken,
        call: ToolCall,
        _progress: Progress,
        _cancelled: CancellationToken,
    ) -> ToolReply {
        assert_eq!(sidecar.as_str(), "home");
        self.0.calls.lock().unwrap().push((token.expose().to_owned(), call.tool));
        let text = call.arguments.get().to_owned();
        ToolReply::success(call.call_id, RawValue::from_string(text).unwrap())
    }

    fn connected(&self) -> Vec<SidecarId> {
        Vec::new()
    }

    fn is_connected(&self, _sidecar: &SidecarId) -> bool {
        true
    }
}

async fn world() -> World {
    let lists_all = |setup: &mut Setup| setup.front.listing = Listing::everything();
    World::over(lists_all, |door, allowed| Arc::new(HostedService::new(OneSidecar(door), allowed)))
        .await
}

/// The error of a tool result.
async fn tool_error(world: &World, token: &str, tool: &str) -> Value {
    let answer = body(world.call(token, tool).send().await.unwrap()).await;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(answer["result"].get("structuredContent").is_none(), "{answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_call_goes_to_the_callers_sidecar_with_the_callers_own_token() {
    let world = world().await;
    let token = world.issuer.token("alice", READS);
    let answer = body(world.call(&token, "ibkr_health").send().await.unwrap()).await;
    assert_eq!(answer["result"]["structuredContent"], json!({}), "{answer}");
    assert_eq!(world.door.calls(), [(token.clone(), "ibkr_health".to_owned())]);
    assert!(!answer.to_string().contains(&token));
}

#[tokio::test]
async fn without_a_pairing_the_answer_says_so_and_generic_writes_stay_forbidden() {
    let world = world().await;
    let token = world.issuer.token("bob", READS);
    for (tool, code) in [
        ("ibkr_health", "SIDECAR_PAIRING_REQUIRED"),
        ("ibkr_order_submit", "READONLY_WRITE_FORBIDDEN"),
    ] {
        let error = tool_error(&world, &token, tool).await;
        assert_eq!(error["code"], code);
        assert!(error["call_id"].is_string());
    }
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn tools_are_listed_by_token_and_ceiling_together() {
    let world = world().await;
    let scopes = "ibkr:health:read ibkr:orders:paper:submit ibkr:orders:paper:cancel";
    let token = world.issuer.token("alice", scopes);
    let list = world.post(&token, &crate::world::modern("tools/list", json!({})));
    let list = crate::world::modern_headers(list, "tools/list").send().await.unwrap();
    let listed = body(list).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let has = |name: &str| tools.iter().any(|tool| tool["name"] == name);
    assert!(has("ibkr_health") && has("ibkr_paper_order_submit"), "{listed}");
    // Granted by the token, disallowed by the operator.
    assert!(!has("ibkr_paper_order_cancel"), "{listed}");
    // Allowed by the operator, not granted by the token.
    assert!(!has("ibkr_accounts_list"), "{listed}");
}

#[tokio::test]
async fn oversized_arguments_never_leave_for_the_sidecar() {
    let world = world().await;
    let token = world.issuer.token("alice", READS);
    let mut message = crate::world::modern_call("ibkr_health");
    message["params"]["arguments"]["x"] = json!("x".repeat(70_000));
    let request = crate::world::modern_headers(world.post(&token, &message), "tools/call");
    let answer = body(request.header("mcp-name", "ibkr_health").send().await.unwrap()).await;
    assert!(answer.to_string().contains("INPUT_INVALID"), "{answer}");
    assert!(world.door.calls().is_empty());
}
