//! Which tools are listed: the endpoint's choice, the caller's, and that neither permits anything.

use crate::mcp::{legacy, open_session};
use crate::world::{World, body, modern, modern_headers};
use ibkr_agent_domain::{ScopeSet, Tier};
use ibkr_agent_protocol::catalogue::{Listing, Toolset, all};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A token that holds every scope of paper trading.
fn token(world: &World) -> String {
    let scopes = ScopeSet::up_to(Tier::Paper).to_string();
    world.issuer.token("alice", &scopes)
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let url = format!("{}{query}", world.url);
    let list = modern("tools/list", json!({}));
    let request = world.client.post(url).header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.bearer_auth(token(world)).body(list.to_string());
    let answer = body(modern_headers(request, "tools/list").send().await.unwrap()).await;
    names(&answer)
}

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array();
    let tools = tools.unwrap_or_else(|| unreachable!("no tools: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn in_toolset(toolset: Toolset) -> Vec<String> {
    let own = all().iter().filter(|tool| tool.toolset == toolset);
    own.map(|tool| tool.name.to_owned()).collect()
}

#[tokio::test]
async fn the_default_set_is_listed_until_the_url_says_otherwise() {
    let world = World::start().await;
    let default: Vec<String> =
        all().iter().filter(|tool| tool.in_default).map(|tool| tool.name.to_owned()).collect();
    assert!(default.len() <= 22);
    for query in ["", "?toolsets=", "?toolsets=default", "?x=all&toolsets=default"] {
        assert_eq!(listed(&world, query).await, default, "{query}");
    }
    assert_eq!(listed(&world, "?toolsets=all").await.len(), all().len());
    assert_eq!(listed(&world, "?toolsets=options").await, in_toolset(Toolset::Options));
    let both = [in_toolset(Toolset::Options), in_toolset(Toolset::Research)].concat();
    for query in ["?toolsets=options,research", "?toolsets=research%2Coptions"] {
        assert_eq!(listed(&world, query).await, both, "{query}");
    }
}

#[tokio::test]
async fn the_endpoints_own_choice_holds_where_the_url_makes_none() {
    let world = World::with(|setup| {
        setup.front.listing = Listing::parse("control").unwrap();
    })
    .await;
    assert_eq!(listed(&world, "").await, in_toolset(Toolset::Control));
    assert_eq!(listed(&world, "?toolsets=session").await, in_toolset(Toolset::Session));
}

#[tokio::test]
async fn a_tool_that_is_not_listed_is_called_and_a_listed_one_still_needs_its_scope() {
    let world = World::start().await;
    let hidden = "ibkr_scanner_run";
    assert!(!listed(&world, "").await.contains(&hidden.to_owned()));
    let call = world.call(&token(&world), hidden).send().await.unwrap();
    assert_eq!(body(call).await["result"]["structuredContent"], json!({"answered": true}));

    let reader = world.issuer.token("bob", "ibkr:health:read");
    let mut request = world.call(&reader, hidden).build().unwrap();
    request.url_mut().set_query(Some("toolsets=all"));
    let refused = world.client.execute(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.door.calls().len(), 1);
}

#[tokio::test]
async fn an_unknown_or_doubled_choice_is_refused_with_the_known_names() {
    let world = World::start().await;
    for query in ["toolsets=nonsense", "toolsets=options&toolsets=all", "toolsets=all;drop"] {
        let mut request = world.call(&token(&world), "ibkr_health").build().unwrap();
        request.url_mut().set_query(Some(query));
        let refused = world.client.execute(request).await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
        let message = body(refused).await["error"]["message"].to_string();
        assert!(message.contains("toolsets"), "{message}");
    }
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn a_legacy_session_lists_what_each_request_asks_for() {
    let world = World::start().await;
    let token = token(&world);
    let session = open_session(&world, &token).await;
    let list = async |query| {
        let request = world.post(&token, &legacy("tools/list", &json!({})));
        let request = request.header("mcp-session-id", &session);
        let request = request.header("mcp-protocol-version", "2025-11-25");
        let mut request = request.build().unwrap();
        request.url_mut().set_query(Some(query));
        body(world.client.execute(request).await.unwrap()).await
    };
    let default = list("").await;
    let options = list("toolsets=options").await;
    assert!(names(&default).len() <= 22);
    assert_eq!(names(&options), in_toolset(Toolset::Options));
}
