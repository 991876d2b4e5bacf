//! Host and origin, bodies, messages, rates.

use crate::world::{READS, World, body, challenge, modern_call};
use ibkr_agent_remote::front::{MAX_BODY_BYTES, MAX_STRANGER_BODY_BYTES, RateLimit};
use reqwest::StatusCode;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_and_own_ones_served() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    for (header, value, served) in [
        ("host", "evil.test", false),
        ("host", "localhost:1", true),
        ("origin", "https://evil.test", false),
        ("origin", "null", false),
        ("origin", "http://localhost:3000", true),
        // Forwarding headers decide nothing.
        ("x-forwarded-host", "evil.test", true),
        ("forwarded", "host=evil.test;for=10.0.0.1", true),
    ] {
        let request = world.call(&token, "ibkr_health").header(header, value);
        let response = request.send().await.unwrap();
        let expected = if served { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(response.status(), expected, "{header}: {value}");
        let shared = response.headers().get("access-control-allow-origin").cloned();
        assert_eq!(shared.is_some(), header == "origin" && served, "{header}: {value}");
    }
    let preflight = world.client.request(reqwest::Method::OPTIONS, &world.url);
    let preflight = preflight.header("origin", "http://localhost:3000").send().await.unwrap();
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "http://localhost:3000");
}

#[tokio::test]
async fn forwarded_hosts_do_not_open_a_foreign_one() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let request = world.call(&token, "ibkr_health").header("host", "evil.test");
    let request = request.header("x-forwarded-host", world.address.to_string());
    assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_not_a_message_is_told_in_json_rpc_to_who_is_logged_in() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    for (text, code, id) in [
        ("{", -32700, json!(null)),
        ("", -32700, json!(null)),
        ("[]", -32600, json!(null)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#, -32600, json!(null)),
        (r#"{"id":5,"method":"tools/list"}"#, -32600, json!(5)),
        (r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{}}"#, -32602, json!("a")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}"#, -32600, json!(null)),
    ] {
        let request = world.client.post(&world.url).bearer_auth(&token);
        let request = request.header("content-type", "application/json").body(text);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{text}");
        let error = body(response).await;
        assert_eq!(error["error"]["code"], code, "{text}");
        assert_eq!(error["id"], id, "{text}");
        assert_eq!(error["jsonrpc"], "2.0", "{text}");
    }
    let typed = world.client.post(&world.url).bearer_auth(&token);
    let typed = typed.body(modern_call("ibkr_health").to_string()).send().await.unwrap();
    assert_eq!(typed.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let method = world.client.put(&world.url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(method.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_declared_or_not() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let mut message = modern_call("ibkr_health");
    message["params"]["arguments"]["x"] = json!("x".repeat(MAX_BODY_BYTES));
    let declared = world.post(&token, &message).send().await.unwrap();
    assert_eq!(declared.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.door.calls().is_empty());
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        world.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 256 * 1024, " ".repeat(256 * 1024));
    for _ in 0..5 {
        // The server may have answered and closed before the last chunk.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let world = World::with(|setup| setup.front.body_timeout = Duration::from_millis(50)).await;
    let token = world.issuer.token("alice", READS);
    for (authorization, status) in
        [(format!("authorization: Bearer {token}\r\n"), 408), (String::new(), 401)]
    {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\n{authorization}content-length: 10\r\n\r\n{{",
            world.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_stranger_is_challenged_before_more_than_a_little_of_its_body_is_read() {
    let world = World::start().await;
    for (size, id) in [(1024, json!(7)), (MAX_STRANGER_BODY_BYTES, json!(null))] {
        let mut message = modern_call("ibkr_health");
        message["params"]["arguments"]["x"] = json!("x".repeat(size));
        let response = world.post("garbage", &message).send().await.unwrap();
        challenge(&response, StatusCode::UNAUTHORIZED);
        assert_eq!(body(response).await["id"], id, "{size}");
    }
    // What it declares isn't waited for.
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
        world.address, MAX_BODY_BYTES
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[tokio::test]
async fn arguments_that_could_be_read_in_two_ways_never_reach_the_service() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let plain = modern_call("ibkr_health").to_string();
    for arguments in [
        r#"{"side":"BUY","side":"SELL"}"#,
        r#"{"a":[{"b":1,"\u0062":2}]}"#,
        r#"{"quantity":100.00000000000000001}"#,
    ] {
        let text = plain.replace(r#""arguments":{}"#, &format!(r#""arguments":{arguments}"#));
        assert_ne!(text, plain);
        let request = world.call(&token, "ibkr_health").body(text);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{arguments}");
        let error = body(response).await;
        assert_eq!(error["error"]["code"], -32602, "{arguments}");
        assert_eq!(error["id"], 7);
    }
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn accept_is_repaired_and_a_trailing_slash_is_no_redirect() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let urls = [world.url.clone(), format!("{}/", world.url)];
    for (url, accept) in urls.iter().zip(["*/*", "application/json"]) {
        let request = world.client.post(url).bearer_auth(&token).header("accept", accept);
        let request = request
            .header("content-type", "application/json; charset=utf-8")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "ibkr_health")
            .body(modern_call("ibkr_health").to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{url} {accept}");
        assert_eq!(response.headers()["content-type"], "application/json");
    }
    assert_eq!(world.door.calls().len(), 2);
}

#[tokio::test]
async fn headers_that_contradict_the_body_are_refused() {
    let world = World::start().await;
    let token = world.issuer.token("alice", READS);
    let request = world.post(&token, &modern_call("ibkr_health"));
    let request = request
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "ibkr_accounts_list");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(body(response).await["error"]["code"], -32020);
    assert!(world.door.calls().is_empty());
}

#[tokio::test]
async fn a_user_over_the_rate_waits_whatever_client_they_use() {
    let limit = RateLimit::new(3, HOUR).unwrap();
    let mut world = World::with(|setup| setup.front.rate_limit = limit).await;
    let mut statuses = Vec::new();
    for client in 0..5 {
        let mut claims = world.issuer.claims("alice", READS);
        claims["client_id"] = json!(format!("client-{client}"));
        let token = world.issuer.sign(&claims);
        let response = world.call(&token, "ibkr_health").send().await.unwrap();
        statuses.push(response.status().as_u16());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=1200).contains(&wait), "{wait}");
            let error = body(response).await;
            assert_eq!(error["error"]["data"]["code"], "AUTH_RATE_LIMITED");
            assert_eq!(error["id"], 7);
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(world.refusals.recv().await.unwrap().subject, "alice");
    let bob = world.issuer.token("bob", READS);
    assert_eq!(world.call(&bob, "ibkr_health").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_peer_that_keeps_failing_waits_and_good_tokens_still_pass() {
    let limit = RateLimit::new(2, HOUR);
    let world = World::with(|setup| setup.front.failure_limit = limit).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = world.call("garbage", "ibkr_health").send().await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 429]);
    // Neither a good token nor the first request without one is held up by it.
    let good = world.issuer.token("alice", READS);
    assert_eq!(world.call(&good, "ibkr_health").send().await.unwrap().status(), StatusCode::OK);
    let bare = world.post_bare(&modern_call("ibkr_health")).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
}
