//! Help, version, wrong command lines, configuration files, generated pages.

use crate::support::Home;
use std::path::Path;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");

/// A broker that nobody listens at: port 9 is discard, and no test machine serves it.
const BROKER: &str = "broker:\n  backend: client_portal_gateway\n  \
    base_url: http://127.0.0.1:9\naccounts:\n  allowed: [DU1234567]\n  simulated: true\n";

#[test]
fn help_says_what_it_is_and_what_it_is_not() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = help.stdout.lines().map(str::trim_end).collect();
    insta::assert_snapshot!("top_level_help", lines.join("\n"));
    assert!(help.stdout.contains("Unofficial"));
    let version = home.run(&["--version"]);
    assert_eq!(version.stdout, format!("ibkr-agent {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!home.path().join("simulator").exists(), "help touches nothing");
}

#[test]
fn a_wrong_command_line_is_exit_code_2_in_either_style() {
    let home = Home::new();
    for line in ["nonsense", "orders submit", "health --nonsense", "market snapshot", ""] {
        assert_eq!(home.json(line).error(), (2, "INPUT_INVALID".to_owned()), "{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let people = home.run(&words);
        assert_eq!((people.code, people.stdout.as_str()), (2, ""), "{line}");
        assert!(!people.stderr.is_empty(), "{line}");
    }
}

#[test]
fn every_example_configuration_passes_once_its_account_is_ones_own() {
    let home = Home::new();
    let (mut seen, mut stand_ins) = (0, 0);
    for entry in std::fs::read_dir(CONFIG).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let check = |path: &str| home.json(&format!("--config {path} config check"));
            let text = std::fs::read_to_string(&path).unwrap();
            // What stands for an owner's own account is refused until it is replaced.
            if let Some(line) = text.lines().position(|line| line.contains("[DU0000000]")) {
                let refused = check(path.to_str().unwrap());
                assert_eq!(refused.error(), (7, "CONFIG_INVALID".to_owned()), "{refused:?}");
                let place = format!("line {}: accounts.allowed: DU0000000", line + 1);
                assert!(refused.stderr.contains(&place), "{refused:?}");
                assert!(refused.stderr.contains("your own account's id"), "{refused:?}");
                stand_ins += 1;
            }
            let own = home.file("own.yaml", &text.replace("DU0000000", "DU7000001"));
            assert_eq!(check(&own).json()["valid"], true, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} files in {CONFIG}");
    assert_eq!(stand_ins, 2, "one for each real broker");
}

#[test]
fn a_wrong_configuration_is_exit_code_7_and_names_the_place() {
    let home = Home::new();
    let path = home.file("wrong.yaml", "paper:\n  enabled: true\n  nonsense: 1\n");
    let ran = home.json(&format!("--config {path} health"));
    assert_eq!(ran.error(), (7, "CONFIG_INVALID".to_owned()));
    assert!(ran.stderr.contains("line 3"), "{}", ran.stderr);
    let cases = [
        ("live_trading:\n  enabled: true\n", "CONFIG_LIVE_TRADING_FORBIDDEN"),
        ("safety:\n  sidecar_enabled: true\n", "CONFIG_SIDECAR_FORBIDDEN"),
        ("safety:\n  remote_mcp_enabled: true\n", "CONFIG_REMOTE_MCP_FORBIDDEN"),
        ("broker:\n  backend: client_portal_gateway\n", "CONFIG_MISSING_BROKER_BASE_URL"),
        (
            "broker:\n  backend: client_portal_gateway\n  base_url: https://10.0.0.1:5000\n  \
             allow_insecure_tls_for_localhost: true\n",
            "CONFIG_TLS_BYPASS_NON_LOCALHOST",
        ),
        (
            "auth:\n  enabled_scopes: [\"ibkr:orders:live:submit\"]\n",
            "CONFIG_WRITE_TOOLS_FORBIDDEN",
        ),
    ];
    for (text, code) in cases {
        let path = home.file("case.yaml", text);
        let error = home.json(&format!("--config {path} config check")).error();
        assert_eq!(error, (7, code.to_owned()), "{text}");
    }
    // The variable names a file as the flag does.
    let ran = home.command(&["health", "--json"]).env("IBKR_CONFIG", "absent.yaml").output();
    assert_eq!(ran.unwrap().status.code(), Some(7));
}

#[test]
fn a_real_broker_has_a_folder_keys_and_refusals_of_its_own() {
    let home = Home::new();
    let path = home.file("broker.yaml", BROKER);
    let with = |line: &str| home.json(&format!("--config {path} {line}"));
    assert_eq!(with("accounts list").error(), (3, "BROKER_BACKEND_UNAVAILABLE".to_owned()));
    assert!(home.path().join("broker").is_dir() && !home.path().join("simulator").exists());
    // No demo key is ever made here, and a passphrase can't come from anywhere but a terminal.
    assert!(!home.path().join("broker/operator-demo.key").exists());
    let create = "approvals create --account DU1234567 --preview-id pv-1";
    assert_eq!(with(create).error(), (4, "SIGNATURE_REQUIRED".to_owned()));
    assert_eq!(with("kill-switch open").error(), (4, "SIGNATURE_REQUIRED".to_owned()));
    assert_eq!(with("operator init").error(), (4, "SIGNATURE_REQUIRED".to_owned()));
    // Stopping needs no key. Paper isn't enabled, so the scope isn't there.
    with("kill-switch close --reason drill").json();
    let preview = "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
        --limit-price 100 --enable-preview";
    assert_eq!(with(preview).error(), (4, "AUTH_MISSING_SCOPE".to_owned()));
}

#[test]
fn the_generated_pages_are_whole() {
    let home = Home::new();
    let tools = home.run(&["docs", "tools"]).stdout;
    assert!(tools.contains("ibkr_paper_order_submit") && tools.ends_with('\n'));
    let codes = home.run(&["docs", "codes"]).stdout;
    assert!(codes.contains("### STORE_LOCKED\n"));
    let schema = home.run(&["docs", "config-schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(!Path::new(&home.state()).exists(), "pages touch no state");
}

#[test]
fn a_kind_of_record_that_does_not_exist_is_not_an_empty_log() {
    let home = Home::new();
    let ran = home.json("audit tail --kind approvals");
    assert_eq!(ran.error(), (2, "INPUT_INVALID".to_owned()));
    assert!(ran.stderr.contains("approved"), "the known ones are named: {}", ran.stderr);
    assert_eq!(home.json("audit tail --kind genesis").json()["events"][0]["index"], 0);
}

#[test]
fn a_caller_is_admitted_only_as_the_log_writes_it() {
    let home = Home::new();
    let admit = |caller: &str| home.run(&["callers", "admit", caller, "--json"]);
    for wrong in
        ["nonsense", "https://i.example|ann|app", "token:https://i.example|ann", "token:||"]
    {
        assert_eq!(admit(wrong).error(), (2, "INPUT_INVALID".to_owned()), "{wrong}");
    }
    for right in ["token:https://i.example|ann|app", "token:https://i.example|auth0|7|-"] {
        assert_eq!(admit(right).json()["done"], true, "{right}");
    }
}

#[test]
fn an_admitted_caller_is_listed_shown_and_revoked_for_good() {
    let home = Home::new();
    let caller = "token:https://i.example|ann|app";
    home.run(&["callers", "admit", caller, "--json"]).json();
    let list = home.json("callers list").json();
    let row = &list["callers"][0];
    assert_eq!((&row["caller"], &row["last_seen"]), (&caller.into(), &serde_json::Value::Null));
    let log = home.json("audit tail --kind admitted").json();
    assert_eq!(row["admitted_at"], log["events"][0]["time"], "{row}");
    assert!(row["admitted_by"].is_string(), "by the key that signed: {row}");
    let shown = home.run(&["callers", "show", caller, "--json"]).json();
    assert_eq!(shown["unspent_approvals"], serde_json::json!([]));
    assert_eq!(shown["calls_this_minute"][2]["kind"], "asks_and_submissions", "{shown}");

    let revoked = home.run(&["callers", "revoke", caller, "--json"]).json();
    assert_eq!((&revoked["done"], &revoked["domain"]), (&true.into(), &"simulator".into()));
    assert_eq!(revoked["denied_approvals"], serde_json::json!([]));
    assert_eq!(home.json("callers list").json()["callers"], serde_json::json!([]));
    let log = home.json("audit tail --kind caller_revoked").json();
    let references = log["events"][0]["references"].as_array().unwrap();
    assert!(references.contains(&format!("caller={caller}").into()), "{log}");
    for verb in ["show", "revoke"] {
        let again = home.run(&["callers", verb, caller, "--json"]);
        assert_eq!(again.error(), (2, "INPUT_INVALID".to_owned()));
        assert!(again.stderr.contains("callers list"), "{again:?}");
    }
}

#[test]
fn logs_go_to_standard_error_and_a_wrong_filter_is_refused() {
    let home = Home::new();
    let ran = home.run(&["health", "--json", "--log", "debug", "--log-format", "json"]);
    ran.json();
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(serde_json::from_str::<serde_json::Value>(first).is_ok(), "{first}");
    let wrong = home.run(&["health", "--json", "--log", "a=b=c"]);
    assert_eq!(wrong.error(), (2, "INPUT_INVALID".to_owned()));
}
