//! Idle, broken and drained connections.

use crate::world::{READS, World, modern_call};
use ibkr_agent_remote::serve::ServeOptions;
use reqwest::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn idle(world: &World, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(TcpStream::connect(world.address).await.unwrap());
    }
    sockets
}

#[tokio::test]
async fn idle_sockets_block_nobody_even_when_they_fill_every_slot() {
    for max_connections in [1024, 64, 2] {
        let world = World::with(|setup| setup.serve.max_connections = max_connections).await;
        let sockets = idle(&world, 64).await;
        let token = world.issuer.token("alice", READS);
        let response = world.call(&token, "ibkr_health").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{max_connections}");
        drop(sockets);
    }
}

#[tokio::test]
async fn a_client_that_connects_and_leaves_harms_nobody() {
    let world = World::start().await;
    for round in 0..50 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        match round % 4 {
            0 => {}
            1 => stream.write_all(b"POST /mcp HT").await.unwrap(),
            2 => stream.write_all(b"\x16\x03\x01\x00\xff garbage \r\n\r\n").await.unwrap(),
            _ => {
                let head = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
                stream.write_all(head).await.unwrap();
            }
        }
    }
    let token = world.issuer.token("alice", READS);
    let response = world.call(&token, "ibkr_health").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!world.server.is_finished());
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed() {
    let world = World::with(|setup| {
        setup.serve = ServeOptions {
            header_read_timeout: Duration::from_millis(50),
            idle_timeout: Duration::from_millis(50),
            ..ServeOptions::default()
        };
    })
    .await;
    for start in ["", "P", "POST /mcp HTTP/1.1\r\nhost: x", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset; either way it ends.
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
        assert!(ended.await.is_ok(), "{start:?} was kept");
    }
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "an idle keep-alive connection ends too");
}

/// A whole HTTP/2 request whose sender never lets an answer's body through (RFC 9113 §6.5.2): the
/// first window is of no bytes.
fn request_without_a_window() -> Vec<u8> {
    let path = b"/healthz";
    let host = b"localhost";
    // HPACK (RFC 7541): GET, http, then path and authority as literals.
    let mut headers = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    headers.extend_from_slice(path);
    headers.extend_from_slice(&[0x01, u8::try_from(host.len()).unwrap()]);
    headers.extend_from_slice(host);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[0, 0, u8::try_from(headers.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend_from_slice(&headers);
    bytes
}

#[tokio::test]
async fn an_answer_that_nobody_takes_holds_no_connection_for_ever() {
    let world = World::with(|setup| {
        setup.serve.max_connections = 2;
        setup.serve.stall_timeout = Duration::from_millis(100);
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(&request_without_a_window()).await.unwrap();
        sockets.push(stream);
    }
    for mut stream in sockets {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
        assert!(ended.await.is_ok(), "the connection was kept");
        let served = rest.windows(9).any(|frame| frame[3] == 1 && frame[8] == 1);
        assert!(served, "the request wasn't served at all: {rest:?}");
    }
    let token = world.issuer.token("alice", READS);
    let response = world.call(&token, "ibkr_health").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_drain_lets_the_call_in_flight_finish_and_takes_no_new_one() {
    let mut world = World::start().await;
    let release = Arc::new(Notify::new());
    *world.door.hold.lock().unwrap() = Some(Arc::clone(&release));
    let token = world.issuer.token("alice", READS);
    let call = tokio::spawn(world.call(&token, "ibkr_health").send());
    world.reached().await;
    let lingering = idle(&world, 4).await;
    world.shutdown.cancel();
    // The listener closes before the call is released.
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut world.server).await;
    assert!(ended.is_ok(), "idle connections held up the drain");
    drop(lingering);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_call_cancels_only_its_own() {
    let world = World::start().await;
    let release = Arc::new(Notify::new());
    *world.door.hold.lock().unwrap() = Some(Arc::clone(&release));
    let token = world.issuer.token("alice", READS);
    let call = tokio::spawn(world.call(&token, "ibkr_health").send());
    world.reached().await;
    call.abort();
    *world.door.hold.lock().unwrap() = None;
    let response = world.post(&token, &modern_call("ibkr_health"));
    let response = response
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "ibkr_health");
    assert_eq!(response.send().await.unwrap().status(), StatusCode::OK);
}
