//! `mcp serve --transport http`: the printed line starts, fails closed and ends well.

use crate::support::{Home, Server};
use std::io::{Read, Write};
use std::net::TcpStream;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/remote.example.yaml");

fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: ibkr-mcp.example.com\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_printed_line_serves_metadata_and_challenges_while_its_issuer_is_unreachable() {
    let home = Home::new();
    let words = [
        "--config",
        EXAMPLE,
        "mcp",
        "serve",
        "--transport",
        "http",
        "--enable-remote-mcp",
        "--bind",
        "127.0.0.1:0",
        "--json",
    ];
    let mut server = Server::start(&home, &words);
    let ready = server.line();
    let address = ready["bind_address"].as_str().unwrap().to_owned();
    let metadata = ask(&address, "GET /.well-known/oauth-protected-resource", "");
    assert!(metadata.starts_with("HTTP/1.1 200"), "{metadata}");
    assert!(metadata.contains("https://ibkr-mcp.example.com/mcp"), "{metadata}");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let refused = ask(&address, "POST /mcp", list);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("www-authenticate: bearer"), "{refused}");
    assert!(ask(&address, "GET /readyz", "").starts_with("HTTP/1.1 503"));
    assert!(ask(&address, "GET /healthz", "").starts_with("HTTP/1.1 200"));
    // The same state through the local door while the endpoint owns it.
    assert_eq!(home.json("health").json()["status"], "ok");
    assert_eq!(server.terminate().0, 0);
    let log = home.json("audit tail --limit 200").json().to_string();
    assert!(log.contains("AUTH_TOKEN_MISSING"), "the refusal is in the log: {log}");
}

#[test]
fn without_a_configuration_nothing_is_served_over_http() {
    let home = Home::new();
    let error = home.json("mcp serve --transport http --bind 127.0.0.1:0").error();
    assert_eq!(error, (7, "CONFIG_REMOTE_MCP_FORBIDDEN".to_owned()));
    let off = home.file("off.yaml", "remote_mcp:\n  issuer: https://issuer.example.invalid\n");
    let line = format!("--config {off} mcp serve --transport http --enable-remote-mcp");
    assert_eq!(home.json(&line).error(), (7, "CONFIG_REMOTE_MCP_FORBIDDEN".to_owned()));
}
