//! `ibkr_changes_since`: nothing lost, nothing told twice, over restarts and the broker's failures.

use crate::support::{DU, World, column, rows};
use ibkr_agent_gateway::operator::Verb;
use ibkr_agent_simulator::{Endpoint, Misbehaviour, Session};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TOOL: &str = "ibkr_changes_since";

async fn present(world: &World) -> Value {
    let answer = world.get(TOOL, json!({})).await;
    assert_eq!(answer["basis"], "present");
    assert_eq!(answer["has_more"], false);
    answer
}

async fn since(world: &World, answer: &Value) -> Value {
    world.get(TOOL, json!({"cursor": answer["next_cursor"]})).await
}

fn is_empty(answer: &Value) -> bool {
    let told = ["fills", "orders", "gone_orders", "requests", "approvals", "sessions"];
    told.iter().all(|key| answer.get(*key).is_none()) && answer["halt_changed"] == false
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_followed_from_the_question_to_the_fill() {
    let world = World::start().await;
    let start = present(&world).await;
    assert!(start.get("orders").is_none() && start.get("fills").is_none(), "{start:#}");
    assert!(is_empty(&since(&world, &start).await), "nothing happened");

    let (approval, digest) = world.asked("100").await;
    let asked = since(&world, &start).await;
    assert_eq!(column(&asked["approvals"], "approval_id"), [Some(approval.as_str())]);
    assert_eq!(column(&asked["approvals"], "status"), [Some("pending")]);
    assert!(asked.get("orders").is_none(), "{asked:#}");
    world.approve(&approval, &digest).await;
    let approved = since(&world, &asked).await;
    assert_eq!(column(&approved["approvals"], "status"), [Some("approved")]);

    let submit = json!({"account_id": DU, "approval_id": approval});
    let placed = world.get("ibkr_paper_order_submit", submit).await;
    let working = since(&world, &approved).await;
    assert_eq!(working["basis"], "complete");
    let orders = &working["orders"];
    assert_eq!(column(orders, "broker_order_id"), [placed["broker_order_id"].as_str()]);
    assert_eq!(column(orders, "client_order_id"), [placed["client_order_id"].as_str()]);
    assert_eq!(column(orders, "account_id"), [Some(DU)]);
    assert_eq!(column(&working["approvals"], "status"), [Some("consumed")]);
    assert_eq!(column(&working["requests"], "status"), [Some("working")]);
    let again = since(&world, &approved).await;
    assert_eq!(again["orders"], working["orders"], "the same cursor tells the same");

    let ask = world.ask_price().await;
    world.submitted(&ask).await;
    let filled = since(&world, &working).await;
    assert_eq!(rows(&filled["fills"]), 1, "{filled:#}");
    assert_eq!(column(&filled["fills"], "symbol"), [Some("AAPL")]);
    let after = since(&world, &filled).await;
    assert!(after.get("fills").is_none(), "a fill is told once: {after:#}");

    let now = present(&world).await;
    assert_eq!(rows(&now["orders"]), 1, "only the open one is the present: {now:#}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_and_a_lost_session_are_told() {
    let world = World::start().await;
    let start = present(&world).await;
    world.operate(Verb::Halt { reason: "test".to_owned() }).await;
    let halted = since(&world, &start).await;
    assert_eq!((&halted["trading_halted"], &halted["halt_changed"]), (&json!(true), &json!(true)));
    let later = since(&world, &halted).await;
    assert_eq!((&later["trading_halted"], &later["halt_changed"]), (&json!(true), &json!(false)));

    world.control.set_session(Session::LoggedOut);
    let renewed = world.get("ibkr_session_renew", json!({})).await;
    assert_eq!(renewed["ready"], false, "{renewed:#}");
    let lost = since(&world, &later).await;
    assert_eq!(lost["sessions"][0]["state"], "login_required", "{lost:#}");
    assert!(lost["missing"].to_string().contains("BROKER_SESSION_REQUIRED"), "{lost:#}");
    world.control.set_session(Session::Ready);
    world.get("ibkr_session_renew", json!({})).await;
    let back = since(&world, &lost).await;
    assert_eq!(back["sessions"][0]["state"], "ready", "that it is back is a change: {back:#}");
    assert!(back.get("missing").is_none(), "{back:#}");
    let quiet = since(&world, &back).await;
    assert!(quiet.get("sessions").is_none(), "{quiet:#}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_come_in_pages_each_told_once() {
    let world = World::start().await;
    let start = present(&world).await;
    let mut placed = BTreeSet::new();
    for limit in ["100", "101", "102", "103", "104"] {
        let order = world.submitted(limit).await;
        placed.insert(order["broker_order_id"].as_str().unwrap().to_owned());
    }
    let mut told = Vec::new();
    let mut cursor = start["next_cursor"].clone();
    for page in 0.. {
        assert!(page < 30, "it never ends");
        let answer = world.get(TOOL, json!({"cursor": cursor, "limit": 2})).await;
        assert!(rows(&answer["orders"]) <= 2 && rows(&answer["approvals"]) <= 2);
        told.extend(column_or_none(&answer["orders"]));
        cursor = answer["next_cursor"].clone();
        if answer["has_more"] == false {
            break;
        }
    }
    let unique: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(unique, placed);
    assert_eq!(told.len(), placed.len(), "told twice: {told:?}");
    world.stop().await;
}

fn column_or_none(table: &Value) -> Vec<String> {
    if table.is_null() {
        return Vec::new();
    }
    column(table, "broker_order_id").into_iter().flatten().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_named_and_told_later() {
    let world = World::start().await;
    let start = present(&world).await;
    let placed = world.submitted("100").await;
    world.control.misbehave(Endpoint::Orders, Misbehaviour::Unavailable);
    let blind = since(&world, &start).await;
    assert!(blind.get("orders").is_none());
    let missing = blind["missing"].to_string();
    assert!(missing.contains("orders of DU1234567"), "{missing}");
    world.control.behave_everywhere();
    let seen = since(&world, &blind).await;
    assert_eq!(column(&seen["orders"], "broker_order_id"), [placed["broker_order_id"].as_str()]);
    assert!(seen.get("missing").is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_survives_a_restart() {
    let world = World::start().await;
    let start = present(&world).await;
    let ask = world.ask_price().await;
    world.submitted(&ask).await;
    let resting = world.submitted("100").await;
    let world = world.restarted().await;
    let answer = since(&world, &start).await;
    assert_eq!(answer["basis"], "by_time");
    assert_eq!(rows(&answer["fills"]), 1, "{answer:#}");
    let orders = column(&answer["orders"], "broker_order_id");
    assert!(orders.contains(&resting["broker_order_id"].as_str()), "{answer:#}");
    assert_eq!(rows(&answer["requests"]), 2);
    assert_eq!(answer["halt_changed"], false, "a restart is no halt");
    let next = since(&world, &answer).await;
    assert_eq!(next["basis"], "complete", "counted from here on");
    assert!(next.get("fills").is_none() && next.get("orders").is_none(), "{next:#}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_many_changes_is_told_in_pages_too() {
    let world = World::start().await;
    let start = present(&world).await;
    let mut placed = BTreeSet::new();
    for limit in ["100", "101", "102"] {
        let order = world.submitted(limit).await;
        placed.insert(order["broker_order_id"].as_str().unwrap().to_owned());
    }
    let world = world.restarted().await;
    let mut told = BTreeSet::new();
    let mut answer = world.get(TOOL, json!({"cursor": start["next_cursor"], "limit": 2})).await;
    told.extend(column_or_none(&answer["orders"]));
    assert_eq!(answer["has_more"], true, "{answer:#}");
    let between = world.submitted("104").await;
    while answer["has_more"] == true {
        answer = world.get(TOOL, json!({"cursor": answer["next_cursor"], "limit": 2})).await;
        told.extend(column_or_none(&answer["orders"]));
    }
    answer = since(&world, &answer).await;
    told.extend(column_or_none(&answer["orders"]));
    placed.insert(between["broker_order_id"].as_str().unwrap().to_owned());
    assert_eq!(told, placed, "what came between the pages isn't lost");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_too_old_or_not_ours_is_refused_with_what_to_do() {
    let world = World::start().await;
    let old = world.refused(TOOL, json!({"cursor": "c1.0123abcd.4.1600000000000.0"})).await;
    assert_eq!(old.code, "INPUT_INVALID");
    assert!(old.message.contains("call without cursor"), "{}", old.message);
    for cursor in ["1", "c1.x", "e1.1.2", "c2.0123abcd.4.1600000000000.0"] {
        assert_eq!(world.refused(TOOL, json!({"cursor": cursor})).await.code, "INPUT_INVALID");
    }
    for limit in [json!(0), json!(201), json!("x")] {
        assert_eq!(world.refused(TOOL, json!({"limit": limit})).await.code, "INPUT_INVALID");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_the_same_time_share_looks() {
    let world = World::start().await;
    let start = present(&world).await;
    let reads = |world: &World| {
        let log = world.control.requests();
        log.iter().filter(|request| request.path.ends_with("/trades")).count()
    };
    let before = reads(&world);
    let calls = (0..20).map(|_| since(&world, &start));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(is_empty));
    let looks = reads(&world) - before;
    assert!(looks <= 12, "{looks} reads of trades for 20 callers and two accounts");
    world.stop().await;
}
