//! `mcp serve --transport stdio` with real processes: several at once, and one that dies.

use crate::support::{Home, Server};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{ChildStdin, Stdio};

struct Client {
    server: Server,
    stdin: ChildStdin,
    next: u64,
}

impl Client {
    fn start(home: &Home) -> Self {
        let words = ["mcp", "serve", "--transport", "stdio", "--json"];
        let mut server = Server::start_with(home, &words, Stdio::piped());
        let stdin = server.stdin();
        let mut client = Self { server, stdin, next: 1 };
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        let answer = client.request("initialize", &hello);
        assert!(answer["serverInfo"].is_object(), "{answer}");
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").unwrap();
        self.stdin.flush().unwrap();
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let line = self.server.line();
            if line["id"] == id {
                assert!(line["error"].is_null(), "{line}");
                return line["result"].clone();
            }
        }
    }

    fn tool(&mut self, name: &str, arguments: &Value) -> Value {
        let result = self.request("tools/call", &json!({ "name": name, "arguments": arguments }));
        assert_ne!(result["isError"], true, "{name}: {result}");
        result["structuredContent"].clone()
    }
}

#[test]
fn three_clients_share_one_owner_and_outlive_it() {
    let home = Home::new();
    let mut first = Client::start(&home);
    let mut second = Client::start(&home);
    let mut third = Client::start(&home);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.tool("ibkr_health", &json!({}))["status"], "ok");
    }
    let order = json!({ "account_id": "DU1234567", "symbol": "AAPL", "side": "buy",
        "quantity": 1, "order_type": "limit", "limit_price": 100 });
    let preview = second.tool("ibkr_order_preview", &order);
    let asked = json!({ "account_id": "DU1234567", "preview_id": preview["preview_id"],
        "on_approval": "hold" });
    let approval = second.tool("ibkr_approvals_create", &asked)["approval_id"].clone();
    // A fourth process, the operator's, attaches to the same owner.
    let line = format!("approvals approve {}", approval.as_str().unwrap());
    assert_eq!(home.json(&line).json()["status"], "approved");
    let which = json!({ "approval_id": approval });
    assert_eq!(second.tool("ibkr_approval_status", &which)["status"], "approved");
    first.server.kill();
    for client in [&mut second, &mut third] {
        assert_eq!(client.tool("ibkr_health", &json!({}))["status"], "ok");
    }
    // What the dead owner knew, the next one knows.
    assert_eq!(third.tool("ibkr_approval_status", &which)["status"], "approved");
}

#[test]
fn a_server_whose_client_leaves_ends_well_and_writes_nothing_but_mcp() {
    let home = Home::new();
    let mut client = Client::start(&home);
    client.tool("ibkr_accounts_list", &json!({}));
    let Client { mut server, stdin, .. } = client;
    drop(stdin);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut server.lines, &mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(home.json("health").json()["status"], "ok");
}

#[test]
fn a_server_with_a_silent_client_ends_when_it_is_told_to() {
    let home = Home::new();
    let client = Client::start(&home);
    let Client { server, stdin: _open, .. } = client;
    assert_eq!(server.terminate(), (0, String::new()));
}
