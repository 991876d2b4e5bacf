//! Metadata, challenges, bad tokens, scopes.

use crate::issuer::{encode, now};
use crate::world::{READS, World, body, challenge, modern_call};
use ibkr_agent_domain::{ErrorCode, ScopeSet, Tier};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn the_resource_metadata_is_open_json_at_both_paths() {
    let world = World::start().await;
    for path in ["", "/mcp"] {
        let url = world.at(&format!("/.well-known/oauth-protected-resource{path}"));
        let response = world.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["content-type"], "application/json");
        let metadata = body(response).await;
        assert_eq!(metadata["resource"], world.url);
        assert_eq!(metadata["authorization_servers"], json!([world.issuer.url]));
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
        let scopes = metadata["scopes_supported"].as_array().unwrap();
        assert!(scopes.contains(&json!("ibkr:health:read")));
        let acting = |scope: &&Value| !scope.as_str().unwrap().ends_with(":read");
        assert_eq!(scopes.iter().find(acting), None);
    }
}

#[tokio::test]
async fn this_host_is_no_authorization_server_and_says_so_in_json() {
    let world = World::start().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
        "/elsewhere",
    ] {
        let response = world.client.get(world.at(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        assert_eq!(body(response).await["error"], "not_found");
    }
}

#[tokio::test]
async fn without_a_token_the_challenge_names_metadata_and_scopes() {
    let world = World::start().await;
    let response = world.post_bare(&modern_call("ibkr_health")).send().await.unwrap();
    let header = challenge(&response, StatusCode::UNAUTHORIZED);
    let metadata = world.at("/.well-known/oauth-protected-resource/mcp");
    assert!(header.starts_with(&format!("Bearer resource_metadata=\"{metadata}\"")), "{header}");
    assert!(header.contains("scope=\"ibkr:health:read "), "{header}");
    assert!(!header.contains("error="), "{header}");
    let error = body(response).await;
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["data"]["code"], "AUTH_TOKEN_MISSING");
    // The same for whoever only probes, with or without a usable message.
    let probes = [
        world.client.get(&world.url),
        world.client.delete(&world.url),
        world.client.post(&world.url),
        world.client.post(&world.url).body("not json"),
    ];
    for probe in probes {
        challenge(&probe.send().await.unwrap(), StatusCode::UNAUTHORIZED);
    }
    assert!(world.door.calls().is_empty());
}

/// The claims of a good token with one replaced, or taken away by null.
fn with(world: &World, name: &str, value: Value) -> Value {
    let mut claims = world.issuer.claims("alice", READS);
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    claims
}

fn bad_tokens(world: &World) -> Vec<(&'static str, &'static str, String)> {
    let issuer = &world.issuer;
    let good = issuer.claims("alice", READS);
    let header = |alg: &str, typ: &str, kid: &str| json!({"alg": alg, "typ": typ, "kid": kid});
    let claim = |name: &str, value: Value| issuer.sign(&with(world, name, value));
    let unsigned = format!(
        "{}.{}.",
        encode(header("none", "at+jwt", "k1").to_string()),
        encode(good.to_string())
    );
    let mut flipped = issuer.sign(&good);
    let place = flipped.len() - 20..flipped.len() - 19;
    let other = if &flipped[place.clone()] == "A" { "B" } else { "A" };
    flipped.replace_range(place, other);
    let critical = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1", "crit": ["x"], "x": 1});
    vec![
        ("garbage", "AUTH_TOKEN_INVALID", "garbage".to_owned()),
        ("opaque", "AUTH_TOKEN_INVALID", "0123456789abcdef".repeat(4)),
        ("expired", "AUTH_TOKEN_EXPIRED", claim("exp", json!(now() - 60))),
        ("not yet valid", "AUTH_TOKEN_INVALID", claim("nbf", json!(now() + 600))),
        ("issued in the future", "AUTH_TOKEN_INVALID", claim("iat", json!(now() + 600))),
        ("ten years", "AUTH_TOKEN_INVALID", claim("exp", json!(now() + 315_360_000))),
        ("another issuer", "AUTH_INVALID_ISSUER", claim("iss", json!("https://evil.test"))),
        (
            "issuer with a slash",
            "AUTH_INVALID_ISSUER",
            claim("iss", json!(format!("{}/", issuer.url))),
        ),
        ("issuer as a list", "AUTH_TOKEN_INVALID", claim("iss", json!([issuer.url]))),
        (
            "another audience",
            "AUTH_INVALID_AUDIENCE",
            claim("aud", json!("https://other.test/mcp")),
        ),
        (
            "audiences without us",
            "AUTH_INVALID_AUDIENCE",
            claim("aud", json!(["https://other.test"])),
        ),
        ("no subject", "AUTH_TOKEN_INVALID", claim("sub", Value::Null)),
        ("no expiry", "AUTH_TOKEN_INVALID", claim("exp", Value::Null)),
        ("unsigned", "AUTH_TOKEN_INVALID", unsigned),
        ("HS256 with the public key", "AUTH_TOKEN_INVALID", issuer.confused(&good)),
        (
            "unknown key",
            "AUTH_TOKEN_INVALID",
            issuer.sign_as(&header("ES256", "at+jwt", "k2"), &good),
        ),
        ("an ID token", "AUTH_TOKEN_INVALID", issuer.sign_as(&header("ES256", "JWT", "k1"), &good)),
        ("critical header", "AUTH_TOKEN_INVALID", issuer.sign_as(&critical, &good)),
        ("flipped signature", "AUTH_TOKEN_INVALID", flipped),
        ("too long", "AUTH_TOKEN_INVALID", "a".repeat(9000)),
    ]
}

#[tokio::test]
async fn every_bad_token_is_challenged_and_nothing_is_forwarded() {
    let world = World::start().await;
    for (name, code, token) in bad_tokens(&world) {
        let response = world.call(&token, "ibkr_health").send().await.unwrap();
        let header = challenge(&response, StatusCode::UNAUTHORIZED);
        assert!(header.contains("error=\"invalid_token\""), "{name}: {header}");
        assert!(header.contains("resource_metadata="), "{name}: {header}");
        let text = response.text().await.unwrap();
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["data"]["code"], code, "{name}");
        assert_eq!(error["id"], 7, "{name}");
        assert!(!text.contains(&token), "{name}: the token came back");
    }
    assert!(world.door.calls().is_empty());
    let counted: u64 = world.log.counts().values().sum();
    assert_eq!(counted, u64::try_from(bad_tokens(&world).len()).unwrap());
    // The table is about the tokens, not about the world: a good one passes.
    let good = world.issuer.token("alice", READS);
    let response = world.call(&good, "ibkr_health").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.door.calls(), [("alice".to_owned(), "ibkr_health".to_owned())]);
}

#[tokio::test]
async fn a_token_in_the_url_or_twice_is_refused_even_beside_a_good_one() {
    let world = World::start().await;
    let good = world.issuer.token("alice", READS);
    let message = modern_call("ibkr_health").to_string();
    let post = |url: String| {
        world.client.post(url).header("content-type", "application/json").body(message.clone())
    };
    let requests = [
        post(format!("{}?access_token={good}", world.url)),
        post(format!("{}?access_token={good}", world.url)).bearer_auth(&good),
        post(world.url.clone()).bearer_auth(&good).bearer_auth(&good),
    ];
    for request in requests {
        let header = challenge(&request.send().await.unwrap(), StatusCode::BAD_REQUEST);
        assert!(header.contains("error=\"invalid_request\""), "{header}");
    }
    let basic = post(world.url.clone()).basic_auth("alice", Some("x")).send().await.unwrap();
    challenge(&basic, StatusCode::UNAUTHORIZED);
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn a_missing_scope_is_challenged_with_that_scope_and_told() {
    let mut world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let response = world.call(&token, "ibkr_paper_order_submit").send().await.unwrap();
    let header = challenge(&response, StatusCode::FORBIDDEN);
    let metadata = world.at("/.well-known/oauth-protected-resource/mcp");
    assert_eq!(
        header,
        format!(
            "Bearer error=\"insufficient_scope\", scope=\"ibkr:orders:paper:submit\", \
             resource_metadata=\"{metadata}\""
        )
    );
    assert_eq!(body(response).await["error"]["data"]["code"], "AUTH_MISSING_SCOPE");
    assert!(world.door.calls().is_empty());
    let refusal = world.refusals.recv().await.unwrap();
    assert_eq!(refusal.reason, ErrorCode::AuthMissingScope);
    assert_eq!(refusal.subject, "alice");
    assert_eq!(refusal.tool.unwrap().as_str(), "ibkr_paper_order_submit");
    // A name that is spelled with escapes is the same tool.
    let escaped =
        modern_call("ibkr_paper_order_submit").to_string().replace("paper", "p\\u0061per");
    let request = world.client.post(&world.url).bearer_auth(&token);
    let request = request.header("content-type", "application/json").body(escaped);
    challenge(&request.send().await.unwrap(), StatusCode::FORBIDDEN);
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn a_scope_that_the_operator_disallows_offers_no_step_up() {
    let world = World::start().await;
    let token = world.issuer.token("alice", "ibkr:orders:paper:cancel");
    let response = world.call(&token, "ibkr_paper_order_cancel").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.headers().get("www-authenticate").is_none());
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn forbidden_and_unknown_tools_reach_the_service_which_records_them() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    for tool in ["ibkr_order_submit", "no_such_tool"] {
        world.call(&token, tool).send().await.unwrap();
    }
    let tools: Vec<_> = world.door.calls().into_iter().map(|(_, tool)| tool).collect();
    assert_eq!(tools, ["ibkr_order_submit", "no_such_tool"]);
}

#[tokio::test]
async fn an_unreachable_issuer_leaves_metadata_and_challenge_and_is_not_ready() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = format!("http://{}/keys", closed.local_addr().unwrap());
    drop(closed);
    let world = World::with(|setup| setup.keys_url = Some(keys)).await;
    let metadata = world.client.get(world.at("/.well-known/oauth-protected-resource"));
    assert_eq!(metadata.send().await.unwrap().status(), StatusCode::OK);
    let bare = world.post_bare(&modern_call("ibkr_health")).send().await.unwrap();
    challenge(&bare, StatusCode::UNAUTHORIZED);
    let token = world.issuer.token("alice", READS);
    let response = world.call(&token, "ibkr_health").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(body(response).await["error"]["data"]["code"], "AUTH_KEYS_UNAVAILABLE");
    let live = world.client.get(world.at("/healthz")).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    let ready = world.client.get(world.at("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body(ready).await["problems"][0]["component"], "issuer");
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn readiness_needs_keys_and_whatever_else_is_asked() {
    for unready in [false, true] {
        let world = World::with(|setup| setup.unready = unready).await;
        let token = world.issuer.token("alice", READS);
        world.call(&token, "ibkr_health").send().await.unwrap();
        let ready = world.client.get(world.at("/readyz")).send().await.unwrap();
        let status = ready.status();
        let report = body(ready).await;
        assert_eq!(status.is_success(), !unready, "{report}");
        assert_eq!(report["ready"], !unready);
        let reason = &report["problems"][0]["reason"];
        assert_eq!(reason == "no sidecar is connected", unready, "{report}");
    }
}

/// A world whose operator allows everything on paper, and a token of some age.
async fn trading(limit: Option<Duration>) -> World {
    World::with(|setup| {
        setup.front.allowed_scopes = ScopeSet::up_to(Tier::Paper);
        if let Some(limit) = limit {
            setup.front.max_submit_token_age = limit;
        }
    })
    .await
}

fn aged(world: &World, seconds: Option<u64>) -> String {
    let mut claims = world.issuer.claims("alice", &ScopeSet::up_to(Tier::Paper).to_string());
    claims["iat"] = json!(seconds.map(|seconds| now() - seconds));
    if seconds.is_none() {
        claims.as_object_mut().unwrap().remove("iat");
    }
    world.issuer.sign(&claims)
}

const SUBMIT: &str = "ibkr_paper_order_submit";

#[tokio::test]
async fn a_submit_by_an_old_token_is_answered_as_clients_act_on_it_and_goes_no_further() {
    let mut world = trading(None).await;
    for seconds in [Some(15 * 60 + 30), Some(12 * 3600), None] {
        let token = aged(&world, seconds);
        let response = world.call(&token, SUBMIT).send().await.unwrap();
        let header = challenge(&response, StatusCode::UNAUTHORIZED);
        assert!(header.starts_with("Bearer "), "{header}");
        assert!(header.contains("error=\"invalid_token\""), "{header}");
        assert!(header.contains("resource_metadata="), "{header}");
        // Whoever logs in anew for it asks for what the token could do, not for reads alone.
        let scopes = header.split("scope=\"").nth(1).unwrap();
        assert!(scopes.split('"').next().unwrap().contains("ibkr:orders:paper:submit"), "{header}");
        let error = body(response).await;
        assert_eq!(error["error"]["data"]["code"], "AUTH_TOKEN_TOO_OLD");
        assert_eq!(error["id"], 7);
        let refusal = world.refusals.recv().await.unwrap();
        assert_eq!(refusal.reason, ErrorCode::AuthTokenTooOld);
        assert_eq!(refusal.tool.unwrap().to_string(), SUBMIT);
    }
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn what_is_no_submit_passes_by_the_same_old_token() {
    let world = trading(None).await;
    let tools = ["ibkr_paper_order_cancel", "ibkr_approvals_create", "ibkr_order_preview"];
    for token in [aged(&world, Some(12 * 3600)), aged(&world, None)] {
        for tool in tools {
            let response = world.call(&token, tool).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{tool}");
        }
    }
    let called = world.door.calls().into_iter().map(|(_, tool)| tool).collect::<Vec<_>>();
    assert_eq!(called, [tools, tools].concat());
}

#[tokio::test]
async fn how_old_a_submitting_token_may_be_is_configured() {
    for (limit, age, passes) in [
        (None, 14 * 60, true),
        (Some(60), 30, true),
        (Some(60), 90, false),
        (Some(3600), 1800, true),
    ] {
        let world = trading(limit.map(Duration::from_secs)).await;
        let response = world.call(&aged(&world, Some(age)), SUBMIT).send().await.unwrap();
        let expected = if passes { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(response.status(), expected, "{age} s of {limit:?}");
        assert_eq!(world.door.calls().len(), usize::from(passes));
    }
}
