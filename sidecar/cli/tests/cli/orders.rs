//! The order workflow as printed, between invocations and between processes.

use crate::support::{Home, finish};
use serde_json::Value;

const PREVIEW: &str = "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
    --limit-price 100 --enable-preview";

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}")).to_owned()
}

/// A limit just under the market, which the broker doesn't question.
fn near_the_market(home: &Home) -> String {
    let quote = home.json("market snapshot --contract-id 265598").json();
    let bid: f64 = text(&quote["quotes"][0], "bid").parse().unwrap();
    format!("{:.2}", bid * 0.99)
}

fn approved(home: &Home, limit: &str) -> String {
    let line = PREVIEW.replace("--limit-price 100", &format!("--limit-price {limit}"));
    let preview = home.json(&line).json();
    assert_eq!(preview["would_pass"], true, "{preview}");
    let id = text(&preview, "preview_id");
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ttl-seconds 300");
    let approval = home.json(&line).json();
    assert_eq!(approval["status"], "approved");
    text(&approval, "approval_id")
}

fn orders_of_the_day(home: &Home) -> Vec<Value> {
    let list = home.json("orders list --account DU1234567 --status all --full").json();
    list["orders"].as_array().unwrap().clone()
}

#[test]
fn the_printed_workflow_goes_from_preview_to_a_cancelled_order() {
    let home = Home::new();
    let preview = home.json(PREVIEW).json();
    assert_eq!(preview["would_pass"], true, "{preview}");
    assert_eq!(preview["order"]["symbol"], "AAPL");
    let line = format!(
        "approvals create --account DU1234567 --preview-id {} --ttl-seconds 300",
        text(&preview, "preview_id")
    );
    let approval = home.json(&line).json();
    assert_eq!(approval["order_digest"], preview["order_digest"]);
    assert_eq!(approval["orders"][0]["limit_price"], "100");
    let submit = format!(
        "orders submit --account DU1234567 --approval-id {} \
         --idempotency-key paper-submit-001 --enable-paper",
        text(&approval, "approval_id")
    );
    let order = home.json(&submit).json();
    assert_eq!(order["status"], "working", "{order}");
    let id = text(&order, "broker_order_id");
    // The same line again is the same order.
    assert_eq!(text(&home.json(&submit).json(), "broker_order_id"), id);
    let line = format!("orders status --account DU1234567 --broker-order-id {id}");
    assert_eq!(home.json(&line).json()["order"]["broker_order_id"], id.as_str());
    let line = format!(
        "orders cancel --account DU1234567 --broker-order-id {id} \
         --idempotency-key paper-cancel-001 --enable-paper"
    );
    home.json(&line).json();
    let line = format!("orders outcome --approval-id {}", text(&approval, "approval_id"));
    assert_eq!(home.json(&line).json()["status"], "cancelled");
    assert_eq!(orders_of_the_day(&home).len(), 1);
    home.json("audit verify").json();
}

#[test]
fn people_see_the_whole_order_before_it_is_signed() {
    let home = Home::new();
    let preview = home.json(PREVIEW).json();
    let id = text(&preview, "preview_id");
    let create = ["approvals", "create", "--account", "DU1234567", "--preview-id", &id];
    let ran = home.run(&create);
    assert_eq!(ran.code, 0, "{ran:?}");
    for shown in ["BUY 1 AAPL", "limit_price=100", &text(&preview, "order_digest")] {
        assert!(ran.stderr.contains(shown), "{shown}: {}", ran.stderr);
    }
}

#[test]
fn an_approval_can_be_asked_for_shown_denied_and_then_not_spent() {
    let home = Home::new();
    let id = text(&home.json(PREVIEW).json(), "preview_id");
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ask-only");
    let asked = home.json(&line).json();
    assert_eq!(asked["status"], "pending");
    let approval = text(&asked, "approval_id");
    let submit = format!("orders submit --account DU1234567 --approval-id {approval}");
    assert_eq!(home.json(&submit).error(), (1, "APPROVAL_PENDING".to_owned()));
    assert_eq!(home.json("approvals list").json()["approvals"].as_array().unwrap().len(), 1);
    let wrong = format!("approvals approve {approval} --order-digest {}", "0".repeat(64));
    assert_eq!(home.json(&wrong).error(), (1, "APPROVAL_PREVIEW_MISMATCH".to_owned()));
    assert_eq!(home.json(&format!("approvals deny {approval}")).json()["status"], "denied");
    assert_eq!(home.json(&submit).error(), (1, "APPROVAL_DENIED".to_owned()));
    let status = home.json(&format!("approvals status {approval}")).json();
    assert_eq!(status["status"], "denied");
    assert_eq!(orders_of_the_day(&home).len(), 0);
}

#[test]
fn a_yes_can_be_given_separately_and_taken_back() {
    let home = Home::new();
    let id = text(&home.json(PREVIEW).json(), "preview_id");
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ask-only");
    let approval = text(&home.json(&line).json(), "approval_id");
    let shown = home.json(&format!("approvals show {approval}")).json();
    let line =
        format!("approvals approve {approval} --order-digest {}", text(&shown, "order_digest"));
    assert_eq!(home.json(&line).json()["status"], "approved");
    assert_eq!(home.json(&format!("approvals revoke {approval}")).json()["status"], "denied");
    let submit = format!("orders submit --account DU1234567 --approval-id {approval}");
    assert_eq!(home.json(&submit).error(), (1, "APPROVAL_DENIED".to_owned()));
}

#[test]
fn two_processes_with_one_approval_make_one_order() {
    let home = Home::new();
    let limit = near_the_market(&home);
    let approval = approved(&home, &limit);
    let submit = |key: &'static str| {
        home.start(&[
            "orders",
            "submit",
            "--account",
            "DU1234567",
            "--approval-id",
            &approval,
            "--idempotency-key",
            key,
            "--enable-paper",
            "--json",
        ])
    };
    let (first, second) = (submit("key-a"), submit("key-b"));
    let ran = [finish(first), finish(second)];
    let (won, lost): (Vec<_>, Vec<_>) = ran.iter().partition(|ran| ran.code == 0);
    assert_eq!((won.len(), lost.len()), (1, 1), "{ran:?}");
    assert_eq!(lost[0].error(), (1, "APPROVAL_CONSUMED".to_owned()));
    let orders = orders_of_the_day(&home);
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0]["broker_order_id"], won[0].json()["broker_order_id"]);
}

#[test]
fn two_processes_with_one_key_are_told_of_the_same_order() {
    let home = Home::new();
    let limit = near_the_market(&home);
    let approval = approved(&home, &limit);
    let submit = || {
        home.start(&[
            "orders",
            "submit",
            "--account",
            "DU1234567",
            "--approval-id",
            &approval,
            "--idempotency-key",
            "one-key",
            "--json",
        ])
    };
    let (first, second) = (submit(), submit());
    let (first, second) = (finish(first).json(), finish(second).json());
    assert_eq!(first["client_order_id"], second["client_order_id"]);
    assert_eq!(orders_of_the_day(&home).len(), 1);
}

#[test]
fn the_kill_switch_stops_orders_lets_cancels_pass_and_survives_the_process() {
    let home = Home::new();
    let (spent, unspent) = (approved(&home, "100"), approved(&home, "100"));
    let submit =
        |id: &str| home.json(&format!("orders submit --account DU1234567 --approval-id {id}"));
    let order = submit(&spent).json();
    assert_eq!(order["status"], "working", "{order}");
    home.json("kill-switch close --reason drill").json();
    let status = home.json("kill-switch status").json();
    assert_eq!((&status["halted"], &status["halts"][0]["reason"]), (&true.into(), &"drill".into()));
    assert_eq!(submit(&unspent).error(), (1, "KILL_SWITCH_CLOSED".to_owned()));
    let id = text(&order, "broker_order_id");
    home.json(&format!("orders cancel --account DU1234567 --broker-order-id {id}")).json();
    home.json("kill-switch open --reason over").json();
    assert_eq!(home.json("kill-switch status").json()["halted"], false);
    // A halt gives the approval back.
    assert_eq!(submit(&unspent).json()["status"], "working");
}

#[test]
fn the_operator_cancels_any_order() {
    let home = Home::new();
    let approval = approved(&home, "100");
    let submit = format!("orders submit --account DU1234567 --approval-id {approval}");
    let id = text(&home.json(&submit).json(), "broker_order_id");
    let cancel = |id: &str| {
        home.json(&format!(
            "orders cancel --account DU1234567 --broker-order-id {id} --as-operator"
        ))
    };
    assert_eq!(cancel(&id).json()["requested"], true);
    let outcome = format!("orders outcome --approval-id {approval}");
    assert_eq!(home.json(&outcome).json()["status"], "cancelled");
    let (code, _) = cancel("999").error();
    assert_ne!(code, 0);
}

#[test]
fn refused_verbs_are_refused_whatever_follows_them() {
    let home = Home::new();
    let generic = (1, "READONLY_WRITE_FORBIDDEN".to_owned());
    for line in ["orders modify --account DU1234567 7 --limit-price 3", "orders approve x"] {
        assert_eq!(home.json(line).error(), generic, "{line}");
    }
    let log = home.json("audit tail --limit 200").json().to_string();
    assert!(log.contains("ibkr_order_modify") && log.contains("READONLY_WRITE_FORBIDDEN"));
    let live = "orders live-submit --account DU1234567 --approval-id a --idempotency-key \
        live-submit-001 --enable-live --live-scope --open-kill-switch \
        --acknowledge-paper-to-live --live-broker local-candidate";
    assert_eq!(home.json(live).error(), (1, "LIVE_TRADING_DISABLED".to_owned()));
    let cancel = "orders live-cancel --account DU1234567 --broker-order-id 1";
    assert_eq!(home.json(cancel).error(), (1, "LIVE_TRADING_DISABLED".to_owned()));
}

/// The demo's accounts hold 100 AAPL: each of these went through in silence once.
#[test]
fn an_order_that_its_consequence_forbids_is_refused_with_what_would_pass() {
    let home = Home::new();
    let preview = |terms: &str| {
        let line = format!("orders preview --account DU1234567 --symbol {terms} --enable-preview");
        home.json(&line).json()
    };
    let denied = |preview: &Value, gate: &str| {
        let checks = preview["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|c| c["gate"] == gate && c["passed"] == false);
        found.unwrap_or_else(|| panic!("{gate} passes: {preview:#}"))
    };
    let short = preview("AAPL --side sell --quantity 300 --limit-price 260");
    assert_eq!(short["would_pass"], false);
    let check = denied(&short, "short");
    assert_eq!(check["observed"], "opens a short of 200: 100 held");
    assert_eq!(check["nearest"], "sell 100 would pass");
    assert!(check["how_to_allow"].as_str().unwrap().contains("exposure.shorts"), "{check}");
    denied(&preview("TSLA --side sell --quantity 10 --limit-price 900"), "short");
    denied(&preview("AAPL --side buy --quantity 0.00000001 --limit-price 100"), "size_step");
    denied(&preview("AAPL --side buy --quantity 1 --limit-price 300"), "price_collar");
    assert_eq!(preview("AAPL --side sell --quantity 100 --limit-price 260")["would_pass"], true);
    // Checks that pass are counted, and listed on request only.
    let passed = preview("AAPL --side buy --quantity 1 --limit-price 100");
    assert!(passed["checks"].as_array().unwrap().len() < 5, "{passed:#}");
    assert!(passed["checks_passed"].as_u64().unwrap() > 35, "{passed:#}");
}

#[test]
fn an_order_that_is_repeated_or_meets_its_own_is_refused_and_names_the_other() {
    let home = Home::new();
    let preview = |terms: &str| {
        let line =
            format!("orders preview --account DU1234567 --symbol AAPL {terms} --enable-preview");
        home.json(&line).json()
    };
    let first = preview("--side buy --quantity 1 --limit-price 100");
    let id = first["preview_id"].as_str().unwrap();
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ttl-seconds 300");
    let approval = home.json(&line).json()["approval_id"].as_str().unwrap().to_owned();
    let line = format!("orders submit --account DU1234567 --approval-id {approval} --enable-paper");
    let placed = home.json(&line).json();
    let order = placed["broker_order_id"].as_str().unwrap();
    for (terms, gate) in [
        ("--side buy --quantity 1 --limit-price 100", "duplicate"),
        ("--side sell --quantity 1 --limit-price 100", "self_match"),
    ] {
        let again = preview(terms);
        assert_eq!(again["would_pass"], false, "{again:#}");
        let checks = again["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["gate"] == gate).unwrap();
        assert!(check["observed"].as_str().unwrap().contains(order), "{check}");
        assert!(
            check["nearest"].as_str().unwrap().contains(&format!("cancel order {order}")),
            "{check}"
        );
    }
}

#[test]
fn every_limit_is_shown_and_another_configuration_is_compared_with_it() {
    let home = Home::new();
    let shown = home.json("policy show").json();
    let limits = shown["policies"][0]["limits"].as_array().unwrap();
    assert!(limits.len() > 40 && limits.iter().all(|limit| limit["key"].is_string()), "{shown:#}");
    assert_eq!(home.json("policy check").json()["valid"], true);
    let other = home.path().join("other.yaml");
    std::fs::write(&other, "risk:\n  policies:\n  - id: other\n    exposure: {shorts: warn}\n")
        .unwrap();
    let line = format!("policy diff {}", other.display());
    let found = home.json(&line).json();
    assert_eq!(found["looser"], 1, "{found:#}");
    std::fs::write(&other, "risk:\n  policies:\n  - id: other\n    mandates: {}\n").unwrap();
    assert_eq!(home.json(&line).error(), (7, "CONFIG_INVALID".to_owned()));
}
