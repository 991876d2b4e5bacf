//! Both protocol eras through the whole front end, and who may use a legacy session.

use crate::world::{READS, World, body, modern, modern_headers};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn the_current_revision_discovers_lists_and_calls_without_a_session() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let discover = world.post(&token, &modern("server/discover", json!({})));
    let response = modern_headers(discover, "server/discover").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("mcp-session-id").is_none());
    let discovered = body(response).await;
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");

    let list = world.post(&token, &modern("tools/list", json!({})));
    let listed = body(modern_headers(list, "tools/list").send().await.unwrap()).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "ibkr_accounts_list"));
    assert!(!tools.iter().any(|tool| tool["name"] == "ibkr_paper_order_submit"));

    let called = body(world.call(&token, "ibkr_accounts_list").send().await.unwrap()).await;
    assert_eq!(called["result"]["structuredContent"]["answered"], true, "{called}");
    assert_eq!(called["id"], 7);
}

pub(crate) fn legacy(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params})
}

pub(crate) async fn open_session(world: &World, token: &str) -> String {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let response = world.post(token, &legacy("initialize", &params)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let answer = body(response).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let noted = in_session(world, token, &session, &initialized).await;
    assert_eq!(noted.status(), StatusCode::ACCEPTED);
    session
}

async fn in_session(world: &World, token: &str, session: &str, message: &Value) -> Response {
    let request = world.post(token, message).header("mcp-session-id", session);
    request.header("mcp-protocol-version", "2025-11-25").send().await.unwrap()
}

#[tokio::test]
async fn a_legacy_session_initializes_lists_calls_and_ends() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let session = open_session(&world, &token).await;
    let listed = in_session(&world, &token, &session, &legacy("tools/list", &json!({}))).await;
    let listed = body(listed).await;
    assert!(!listed["result"]["tools"].as_array().unwrap().is_empty(), "{listed}");
    let params = json!({"name": "ibkr_health", "arguments": {}});
    let called = in_session(&world, &token, &session, &legacy("tools/call", &params)).await;
    assert_eq!(body(called).await["result"]["structuredContent"]["answered"], true);
    let end = || {
        let request = world.client.delete(&world.url).bearer_auth(&token);
        request.header("mcp-session-id", &session).send()
    };
    assert_eq!(end().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(end().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_serves_nobody_but_the_user_and_client_that_opened_it() {
    let world = World::start().await;
    let alice = world.issuer.token("alice", READS);
    let session = open_session(&world, &alice).await;
    let mut other_client = world.issuer.claims("alice", READS);
    other_client["client_id"] = json!("agent-2");
    let params = json!({"name": "ibkr_health", "arguments": {}});
    let call = legacy("tools/call", &params);
    for token in [world.issuer.token("bob", READS), world.issuer.sign(&other_client)] {
        let response = in_session(&world, &token, &session, &call).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(body(response).await["id"], 3);
        for request in [world.client.get(&world.url), world.client.delete(&world.url)] {
            let request = request.bearer_auth(&token).header("mcp-session-id", &session);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_FOUND);
        }
    }
    let unknown = in_session(&world, &alice, "no-such-session", &call).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert!(world.door.calls().is_empty());
    // A refreshed token of the same user and client goes on.
    let refreshed = world.issuer.token("alice", "ibkr:health:read");
    let response = in_session(&world, &refreshed, &session, &call).await;
    assert_eq!(response.status(), StatusCode::OK);
    body(response).await;
    assert_eq!(world.door.calls().len(), 1);
}

#[tokio::test]
async fn the_current_revision_ignores_a_session_id() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let request = world.call(&token, "ibkr_health").header("mcp-session-id", "whatever");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn sessions_that_nobody_ends_give_way_to_new_ones() {
    let world = World::with(|setup| setup.front.session_caps = (2, 100)).await;
    let alice = world.issuer.token("alice", READS);
    let bob = world.issuer.token("bob", READS);
    let of_bob = open_session(&world, &bob).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(open_session(&world, &alice).await);
    }
    let list = legacy("tools/list", &json!({}));
    let mut statuses = Vec::new();
    for session in &sessions {
        statuses.push(in_session(&world, &alice, session, &list).await.status().as_u16());
    }
    assert_eq!(statuses, [404, 404, 200, 200]);
    let untouched = in_session(&world, &bob, &of_bob, &list).await;
    assert_eq!(untouched.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_scope_is_checked_in_a_session_too() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let session = open_session(&world, &token).await;
    let params = json!({"name": "ibkr_paper_order_submit", "arguments": {}});
    let response = in_session(&world, &token, &session, &legacy("tools/call", &params)).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(world.door.calls().is_empty());
}
