//! The reads, as printed in the contract.

use crate::support::Home;
use std::os::unix::fs::PermissionsExt;

const LINES: &[(&str, &str)] = &[
    ("health", "/status"),
    ("backend status", "/brokers"),
    ("session requirements", "/ready"),
    ("session renew", "/ready"),
    ("accounts list", "/accounts/0/account_id"),
    ("accounts metadata --account DU1234567", "/kind"),
    ("account metadata --account DU1234567", "/kind"),
    ("account summary --account DU1234567", "/figures/net_liquidation"),
    ("portfolio snapshot --account DU1234567", "/figures"),
    ("positions list --account DU1234567", "/table/rows/0"),
    ("contracts search AAPL", "/table/rows/0"),
    (
        "contracts resolve AAPL --asset-class stock --currency USD --exchange SMART",
        "/contract/contract_id",
    ),
    ("market snapshot --contract-id 265598", "/quotes/0/last"),
    ("market snapshot --instrument AAPL --instrument MSFT", "/table/rows/1"),
    ("orders list --account DU1234567", "/table/columns"),
    ("executions list --account DU1234567", "/table/columns"),
    ("kill-switch status", "/halted"),
    ("limits show --account DU1234567", "/limits/0/name"),
    ("audit tail --limit 20", "/events/0/kind"),
    ("audit tail --own --limit 20", "/log_size"),
    ("audit tail --tool ibkr_health --kind read", "/events/0/tool"),
    ("audit verify", "/verified"),
    ("approvals list", "/approvals"),
    ("questions list", "/questions"),
    ("status", "/domain"),
    ("config check", "/valid"),
    ("sidecar status", "/pairing/paired"),
    ("sidecar identity create", "/identity_key"),
    ("operator init", "/public_key"),
    ("mcp serve --describe", "/tools/0/name"),
];

#[test]
fn every_read_gives_one_json_document_and_a_layout_for_people() {
    let home = Home::new();
    for (line, pointer) in LINES {
        let ran = home.json(line);
        let answer = ran.json();
        assert!(answer.pointer(pointer).is_some(), "{line}: {pointer}: {answer}");
        assert_eq!(ran.stderr, "", "{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let people = home.run(&words);
        assert_eq!(people.code, 0, "{line}: {people:?}");
        assert!(!people.stdout.trim().is_empty(), "{line}");
        assert!(!people.stdout.starts_with('{'), "{line}: {}", people.stdout);
    }
}

#[test]
fn answers_name_the_simulator_and_its_state_is_private() {
    let home = Home::new();
    assert_eq!(home.json("health").json()["backend"], "simulator");
    assert_eq!(home.json("accounts list").json()["accounts"][0]["mode"], "simulated");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.state()), 0o700);
    for entry in std::fs::read_dir(home.state()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(path.clone()) & 0o077, 0, "{}", path.display());
    }
    assert!(!home.path().join("broker").exists());
}

#[test]
fn what_is_not_there_and_what_is_wrong_have_their_codes() {
    let home = Home::new();
    let error = |line: &str| home.json(line).error();
    let code = |number: i32, text: &str| (number, text.to_owned());
    let missing = "orders status --account DU1234567 --broker-order-id 123";
    assert_eq!(error(missing), code(2, "ORDER_NOT_FOUND"));
    let foreign = "account summary --account U7777777";
    assert_eq!(error(foreign), code(2, "INPUT_UNAUTHORIZED_ACCOUNT"));
    assert_eq!(error("account summary"), code(2, "INPUT_AMBIGUOUS_ACCOUNT"));
    assert_eq!(error("contracts resolve NOSUCHTHING"), code(2, "INPUT_INVALID_CONTRACT"));
    assert_eq!(error("approvals show ap-none"), code(2, "APPROVAL_NOT_FOUND"));
    assert_eq!(error("orders outcome --call-id none"), code(2, "ORDER_NOT_FOUND"));
}

#[test]
fn a_request_id_becomes_the_call_id_and_a_bad_one_is_refused() {
    let home = Home::new();
    let ran = home.json("account summary --account U7777777 --request-id my-call-7");
    let body: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(body["call_id"], "my-call-7");
    let error = home.run(&["health", "--json", "--request-id", "two words"]).error();
    assert_eq!(error, (2, "INPUT_INVALID".to_owned()));
}

#[test]
fn an_emptied_store_is_a_broken_chain_to_verify_and_damage_to_everybody_else() {
    let home = Home::new();
    home.json("health").json();
    std::fs::remove_file(home.state().join("store.redb")).unwrap();
    assert_eq!(home.json("audit verify").error(), (2, "AUDIT_CHAIN_INVALID".to_owned()));
    assert_eq!(home.json("health").error(), (7, "STORE_DAMAGED".to_owned()));
}
