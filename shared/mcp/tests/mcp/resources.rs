//! Resources: listed, read and followed in both eras, each as a call of its tool.

use crate::http::{result, serve_default};
use crate::streams::{Raw, serve};
use core::time::Duration;
use serde_json::{Value, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const ORDERS: &str = "ibkr://accounts/DU1/orders";
const QUOTE: &str = "ibkr://contracts/265598/quote";

#[tokio::test]
async fn resources_are_those_of_the_callers_accounts_and_reading_one_is_a_call() {
    let server = serve_default().await;
    let listed = result(server.modern("resources/list", json!({})).send().await.unwrap()).await;
    let uris: Vec<&str> = listed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["uri"].as_str().unwrap())
        .collect();
    assert!(uris.contains(&ORDERS) && uris.len() == 3, "{uris:?}");
    let templates = server.modern("resources/templates/list", json!({}));
    let templates = result(templates.send().await.unwrap()).await;
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 6);

    let uri = json!({"uri": "ibkr://approvals/ap-1"});
    let read = result(server.modern("resources/read", uri).send().await.unwrap()).await;
    let text = read["contents"][0]["text"].as_str().unwrap();
    let answer: Value = serde_json::from_str(text).unwrap();
    assert_eq!(answer["arguments"], json!({"approval_id": "ap-1"}));
    let called = server.fake.calls();
    assert!(called.iter().any(|(caller, ..)| caller == "alice"));
}

#[tokio::test]
async fn a_resource_that_does_not_exist_is_an_error_of_the_request() {
    let server = serve_default().await;
    for uri in ["ibkr://accounts/DU1/secrets", "file:///etc/passwd"] {
        let sent = server.modern("resources/read", json!({"uri": uri})).send().await.unwrap();
        let body: Value = sent.json().await.unwrap();
        assert_eq!(body["error"]["code"], json!(-32602), "{body}");
    }
    assert!(server.fake.calls().is_empty());
}

#[tokio::test]
async fn an_older_client_subscribes_is_told_and_unsubscribes() {
    let served = serve();
    let mut raw = Raw::new(served.client);
    raw.initialize("old").await;
    for (id, uri) in [(1, QUOTE), (2, ORDERS)] {
        let params = json!({"uri": uri});
        raw.send(json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe",
            "params": params}))
            .await;
        assert_eq!(raw.receive().await["result"], json!({}));
    }
    // The wait that knows both.
    loop {
        timeout(PATIENCE, served.fake.waiting.notified()).await.unwrap();
        if served.fake.calls().last().is_some_and(|(_, _, asked)| {
            asked.contains(QUOTE) && asked.contains(ORDERS) && asked.contains("cursor")
        }) {
            break;
        }
    }
    served.fake.changed.notify_one();
    let told = raw.receive().await;
    assert_eq!(told["method"], json!("notifications/resources/updated"));
    assert_eq!(told["params"]["uri"], json!(ORDERS), "the set is sorted");

    timeout(PATIENCE, served.fake.waiting.notified()).await.unwrap();
    for (id, uri) in [(3, QUOTE), (4, ORDERS)] {
        let params = json!({"uri": uri});
        raw.send(json!({"jsonrpc": "2.0", "id": id, "method": "resources/unsubscribe",
            "params": params}))
            .await;
        assert_eq!(raw.receive().await["result"], json!({}));
    }
    timeout(PATIENCE, served.fake.cancelled.notified()).await.unwrap();
}

#[tokio::test]
async fn a_modern_client_listens_until_it_goes_away() {
    let server = serve_default().await;
    let filter = json!({"notifications": {"resourceSubscriptions": [ORDERS, "file:///x"]}});
    let mut stream = server.modern("subscriptions/listen", filter).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut seen = String::new();
    let mut wait_for = async |what: &str| {
        while !seen.contains(what) {
            let chunk = timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap().unwrap();
            seen.push_str(core::str::from_utf8(&chunk).unwrap());
        }
        seen.clone()
    };
    let acknowledged = wait_for("notifications/subscriptions/acknowledged").await;
    assert!(acknowledged.contains(ORDERS) && !acknowledged.contains("file:///x"));
    timeout(PATIENCE, server.fake.waiting.notified()).await.unwrap();
    server.fake.changed.notify_one();
    let updated = wait_for("notifications/resources/updated").await;
    assert!(updated.contains("subscriptionId"), "{updated}");
    // Gone while it waits for the next change.
    timeout(PATIENCE, server.fake.waiting.notified()).await.unwrap();
    drop(stream);
    timeout(PATIENCE, server.fake.cancelled.notified()).await.unwrap();
}
