//! Who owns the state: a daemon, verbs beside it, and what a crash leaves behind.

use crate::support::{Home, Server, finish};
use std::process::Stdio;

#[test]
fn verbs_attach_to_a_running_sidecar_and_go_on_when_it_has_crashed() {
    let home = Home::new();
    let mut server = Server::start(&home, &["sidecar", "run", "--json"]);
    assert_eq!(server.line()["running"], true);
    assert_eq!(home.json("sidecar status").json()["process"]["running"], true);
    assert_eq!(home.json("health").json()["status"], "ok");
    assert_eq!(home.json("status").json()["domain"], "simulator");
    server.kill();
    assert_eq!(home.json("sidecar status").json()["process"]["running"], false);
    assert_eq!(home.json("health").json()["status"], "ok");
    home.json("audit verify").json();
}

#[test]
fn a_second_sidecar_on_the_same_state_says_that_it_is_locked() {
    let home = Home::new();
    let mut server = Server::start(&home, &["sidecar", "run", "--json"]);
    server.line();
    assert_eq!(home.json("sidecar run").error(), (7, "STORE_LOCKED".to_owned()));
    assert_eq!(server.terminate().0, 0);
}

#[test]
fn files_that_cannot_be_opened_are_not_called_a_broken_log() {
    let home = Home::new();
    home.json("health").json();
    let store = home.state().join("store.redb");
    // A folder in the store's place can't be opened by anybody, not even by root.
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    for verb in ["health", "audit verify"] {
        let ran = home.json(verb);
        assert_eq!(ran.error(), (7, "STORE_UNAVAILABLE".to_owned()), "{verb}");
        assert_eq!(ran.stderr.matches("os error").count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn many_verbs_at_once_all_answer() {
    let home = Home::new();
    let runs: Vec<_> = (0..6).map(|_| home.start(&["accounts", "list", "--json"])).collect();
    for run in runs {
        assert_eq!(finish(run).json()["accounts"][0]["account_id"], "DU1234567");
    }
}

#[test]
fn a_relayed_call_is_rehearsed_with_exactly_its_scopes() {
    let home = Home::new();
    let line = "sidecar relay accept --remote-instance-id remote-1 --sidecar-id sidecar-example \
        --tool-name ibkr_accounts_list --scope ibkr:accounts:read --payload-json {}";
    let answer = home.json(line).json();
    assert_eq!(answer["result"]["accounts"][0]["account_id"], "DU1234567");
    assert!(answer["receipt"]["signature"].is_string() && answer["audit_event_id"].is_string());
    let other = line.replace("accounts_list", "session_renew");
    assert_eq!(home.json(&other).error(), (4, "AUTH_MISSING_SCOPE".to_owned()));
    let none = line.replace("ibkr_accounts_list", "ibkr_no_such_tool");
    assert_eq!(home.json(&none).error(), (2, "INPUT_UNKNOWN_TOOL".to_owned()));
    let write = line
        .replace("ibkr_accounts_list", "ibkr_order_submit")
        .replace("ibkr:accounts:read", "ibkr:orders:paper:submit");
    assert_eq!(home.json(&write).error(), (1, "READONLY_WRITE_FORBIDDEN".to_owned()));
    let scope = line.replace("ibkr:accounts:read", "ibkr:everything");
    assert_eq!(home.json(&scope).error(), (2, "INPUT_INVALID".to_owned()));
    // The log names the door and the rehearsing caller.
    let log = home.json("audit tail --limit 200").json().to_string();
    assert!(log.contains("relay") && log.contains("rehearsal:remote-1"), "{log}");
}

#[test]
fn a_sidecar_that_was_never_paired_says_so() {
    let home = Home::new();
    let config = "safety:\n  sidecar_enabled: true\nsidecar:\n  enabled: true\n\
        remote_mcp:\n  issuer: https://issuer.example.invalid\n  audiences: [https://a.example]\n";
    let path = home.file("sidecar.yaml", config);
    for verb in ["sidecar run", "sidecar session create"] {
        let error = home.json(&format!("--config {path} {verb}")).error();
        assert_eq!(error, (4, "SIDECAR_PAIRING_REQUIRED".to_owned()), "{verb}");
    }
    assert_eq!(home.json("sidecar session create").error().1, "CONFIG_SIDECAR_FORBIDDEN");
    let error = home.json("sidecar pair --relay-url wss://localhost:1").error();
    assert_eq!(error, (2, "INPUT_INVALID".to_owned()), "an empty token");
}

#[test]
fn pairing_tokens_are_made_and_revoked_on_the_remotes_host() {
    let home = Home::new();
    let config = format!(
        "safety:\n  remote_mcp_enabled: true\nremote_mcp:\n  enabled: true\n  \
         issuer: https://issuer.example.invalid\n  resource: https://mcp.example.com/mcp\n\
         relay:\n  state_dir: {}/remote\n",
        home.path().display()
    );
    let path = home.file("remote.yaml", &config);
    let create = format!("--config {path} sidecar pairing create --sidecar-id home --subject ann");
    let made = home.json(&create).json();
    assert!(made["join_token"].as_str().unwrap().contains("home"), "{made}");
    let revoke = format!("--config {path} sidecar pairing revoke --sidecar-id home");
    assert_ne!(home.json(&revoke).code, 0, "nothing was paired yet");
}

#[test]
fn the_simulator_serves_alone_and_ends_when_told() {
    let home = Home::new();
    let words = ["simulator", "run", "--bind", "127.0.0.1:0", "--tls", "--json"];
    let mut server = Server::start_with(&home, &words, Stdio::null());
    let ready = server.line();
    assert!(ready["base_url"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    assert_eq!(ready["certificate_sha256"].as_str().unwrap().len(), 64);
    assert!(ready["socket_url"].as_str().unwrap().starts_with("wss://127.0.0.1:"));
    assert_eq!(server.terminate().0, 0);
}

#[test]
fn the_simulator_follows_a_scenario_and_refuses_a_wrong_one_with_its_step() {
    let home = Home::new();
    let wrong = "version: 1\nsteps:\n  - {endpoint: any, do: hang}\n  - {endpoint: any, do: hum}\n";
    let wrong = home.file("wrong.yaml", wrong);
    let refused = home.json(&format!("simulator run --port 0 --scenario {wrong}"));
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(refused.stderr.contains("step 2") && refused.stderr.contains("hum"), "{refused:?}");

    let script = "version: 1\nsteps:\n  - {endpoint: any, do: ip_denied}\n";
    let script = home.file("script.yaml", script);
    let words = ["simulator", "run", "--port", "0", "--json", "--scenario", &script];
    let mut server = Server::start_with(&home, &words, Stdio::null());
    let ready = server.line();
    let address = ready["base_url"].as_str().unwrap().trim_start_matches("http://");
    let (address, _) = address.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let request = "GET /v1/api/tickle HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\n\
                   Connection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let answer = std::io::read_to_string(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("Access Denied"), "{answer}");
    assert_eq!(server.terminate().0, 0);
}
