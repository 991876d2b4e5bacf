//! The hosted endpoint as a whole: starting, the admin socket, the binary's exit codes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_remote::admin::{self, AdminError, Answer, Request, SOCKET_FILE};
use ibkr_agent_remote::store::Subject;
use ibkr_agent_remote::{Remote, RemoteConfig, RemoteHandle, StartError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const ISSUER: &str = "http://127.0.0.1:1";

fn config(state: &Path, extra: &str) -> String {
    format!(
        "safety: {{ remote_mcp_enabled: true }}\n\
         remote_mcp:\n  enabled: true\n  bind_address: 127.0.0.1:0\n  issuer: {ISSUER}\n  \
         resource: http://127.0.0.1:8080/mcp\n\
         relay:\n  bind_address: 127.0.0.1:0\n  state_dir: {}\n{extra}",
        state.display()
    )
}

async fn start(state: &Path) -> Result<RemoteHandle, StartError> {
    Remote::start(RemoteConfig::parse(&config(state, ""), &|_| None).unwrap()).await
}

fn create(sidecar_id: &str) -> Request {
    let subjects = vec![Subject::new(ISSUER, "alice")];
    Request::Create { sidecar_id: sidecar_id.to_owned(), subjects, ttl_seconds: 900 }
}

#[tokio::test]
async fn it_starts_with_an_unreachable_issuer_and_says_that_it_is_not_ready() {
    let state = tempfile::tempdir().unwrap();
    let remote = start(state.path()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = |path: &str| format!("http://{}{path}", remote.http_addr());
    let ready = client.get(at("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), reqwest::StatusCode::SERVICE_UNAVAILABLE);
    let report = ready.text().await.unwrap();
    assert!(report.contains("issuer") && report.contains("no sidecar is connected"), "{report}");
    let mcp = client.post(at("/mcp")).body("{}").send().await.unwrap();
    assert_eq!(mcp.status(), reqwest::StatusCode::UNAUTHORIZED);
    let metadata = client.get(at("/.well-known/oauth-protected-resource")).send().await.unwrap();
    assert!(metadata.text().await.unwrap().contains(ISSUER));
    remote.shutdown().await;
}

#[tokio::test]
async fn pairings_are_made_over_the_private_socket_of_a_running_remote() {
    let state = tempfile::tempdir().unwrap();
    let asked = admin::ask(state.path(), &Request::List {}).await;
    assert!(matches!(asked, Err(AdminError::NotRunning { .. })), "{asked:?}");
    let remote = start(state.path()).await.unwrap();
    let socket = state.path().join(SOCKET_FILE);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let created = admin::ask(state.path(), &create("home")).await.unwrap();
    let Answer::Created { join_token, ca_fingerprint, .. } = created else {
        panic!("{created:?}");
    };
    assert!(!join_token.is_empty() && ca_fingerprint.len() == 64);
    let bad = admin::ask(state.path(), &create("no such id!")).await.unwrap();
    assert!(matches!(bad, Answer::Failed(error) if error.code == "INPUT_INVALID"));
    let unknown = Request::Revoke { sidecar_id: "other".to_owned() };
    let unknown = admin::ask(state.path(), &unknown).await.unwrap();
    assert!(matches!(unknown, Answer::Failed(error) if error.code == "SIDECAR_PAIRING_REQUIRED"));
    let listed = admin::ask(state.path(), &Request::List {}).await.unwrap();
    assert_eq!(listed, Answer::Pairings(Vec::new()));
    remote.shutdown().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_second_remote_on_the_same_state_is_refused_and_a_later_one_starts() {
    let state = tempfile::tempdir().unwrap();
    let first = start(state.path()).await.unwrap();
    let second = start(state.path()).await.unwrap_err();
    assert_eq!(second.code(), ErrorCode::StoreLocked);
    first.shutdown().await;
    // As after a crash: a socket that nobody listens on is replaced.
    std::fs::write(state.path().join(SOCKET_FILE), "").unwrap();
    start(state.path()).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_remote_without_a_state_folder_does_not_start() {
    let text = format!(
        "safety: {{ remote_mcp_enabled: true }}\n\
         remote_mcp: {{ enabled: true, bind_address: 127.0.0.1:0, issuer: {ISSUER}, \
         resource: http://127.0.0.1:8080/mcp }}\n"
    );
    let error = Remote::start(RemoteConfig::parse(&text, &|_| None).unwrap()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConfigInvalid);
}

fn binary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ibkr-agent-remote"))
        .args(arguments)
        .env_remove("IBKR_CONFIG")
        .output()
        .unwrap()
}

#[test]
fn the_binary_makes_a_join_token_without_a_running_remote() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("remote.yaml");
    std::fs::write(&file, config(&state.path().join("state"), "")).unwrap();
    let file = file.to_str().unwrap();
    let arguments =
        ["--config", file, "--json", "pairing", "create", "--sidecar-id", "home", "--subject", "*"];
    let output = binary(&arguments);
    assert!(output.status.success(), "{output:?}");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["ttl_seconds"], 900);
    assert!(made["join_token"].as_str().is_some_and(|token| !token.is_empty()), "{made}");
    let revoked = ["--config", file, "--json", "pairing", "revoke", "--sidecar-id", "home"];
    let output = binary(&revoked);
    assert_eq!(output.status.code(), Some(4));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "SIDECAR_PAIRING_REQUIRED");
    assert!(output.stdout.is_empty());
    let check = binary(&["--config", file, "config", "check"]);
    assert!(String::from_utf8(check.stdout).unwrap().starts_with("ok: http://127.0.0.1:8080/mcp"));
}

#[test]
fn exit_codes_and_help_are_as_documented() {
    let state = tempfile::tempdir().unwrap();
    let off = state.path().join("off.yaml");
    std::fs::write(&off, "remote_mcp: { enabled: true }\n").unwrap();
    let output = binary(&["--config", off.to_str().unwrap(), "--json", "serve"]);
    assert_eq!(output.status.code(), Some(7));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "CONFIG_REMOTE_MCP_FORBIDDEN");
    assert_eq!(binary(&["serve"]).status.code(), Some(7));
    assert_eq!(binary(&["no-such-verb"]).status.code(), Some(2));
    let help = String::from_utf8(binary(&["--help"]).stdout).unwrap();
    let words: Vec<_> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("not affiliated with Interactive Brokers"), "{help}");
    let version = String::from_utf8(binary(&["--version"]).stdout).unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}
