//! `ibkr_audit_export`: lines that a third party can check with hashes and one key alone.

use crate::support::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibkr_agent_tlog::{Checkpoint, Hash, Verifier, leaf_hash, parse_note, verify_inclusion};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const TOOL: &str = "ibkr_audit_export";

#[derive(Deserialize)]
struct Line {
    index: u64,
    proof: Vec<String>,
    record: Box<RawValue>,
}

impl Line {
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap()
    }

    fn record(&self) -> Value {
        serde_json::from_str(self.record.get()).unwrap()
    }

    fn verifies(&self, leaf: &str, checkpoint: &Checkpoint) -> bool {
        let hash =
            |text: &String| Hash::from_bytes(STANDARD.decode(text).unwrap().try_into().unwrap());
        let proof: Vec<Hash> = self.proof.iter().map(hash).collect();
        let leaf = leaf_hash(leaf.as_bytes());
        verify_inclusion(&leaf, self.index, checkpoint.size(), &proof, &checkpoint.root()).is_ok()
    }
}

/// Checks an answer as an auditor does, with the key known beforehand.
fn checked(answer: &Value, key: &Verifier) -> Vec<Line> {
    assert_eq!(answer["key"], key.to_string());
    let note = parse_note(answer["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    note.verify_by(key).unwrap();
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    let lines = answer["lines"].as_array().unwrap().iter();
    let lines: Vec<Line> = lines.map(|line| Line::parse(line.as_str().unwrap())).collect();
    for line in &lines {
        let leaf = line.record.get();
        assert!(line.verifies(leaf, &checkpoint), "record {} isn't proved", line.index);
        assert!(!line.verifies(&leaf.replacen("\"v\":1", "\"v\":2", 1), &checkpoint), "altered");
        assert_eq!(line.record()["index"], line.index);
    }
    lines
}

/// Every page of an export.
async fn exported(world: &World, mut arguments: Value) -> Vec<Line> {
    let key = world.sidecar.ledger().verifier().clone();
    let mut lines = Vec::new();
    for page in 0.. {
        assert!(page < 100, "it never ends");
        let answer = world.get(TOOL, arguments.clone()).await;
        lines.extend(checked(&answer, &key));
        match answer.get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => return lines,
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn every_own_record_is_exported_once_and_proved() {
    let world = World::start().await;
    for _ in 0..12 {
        world.get("ibkr_health", json!({})).await;
    }
    for arguments in [json!({}), json!({"limit": 5}), json!({"limit": "200"})] {
        let lines = exported(&world, arguments.clone()).await;
        let indexes: Vec<u64> = lines.iter().map(|line| line.index).collect();
        assert!(indexes.is_sorted_by(|a, b| a < b), "{arguments}: {indexes:?}");
        let is_health = |line: &&Line| line.record()["tool"] == "ibkr_health";
        assert_eq!(lines.iter().filter(is_health).count(), 12, "{arguments}");
    }
    let first = world.get(TOOL, json!({})).await;
    assert!(first["lines"].as_array().unwrap().len() < 12, "a default answer is small");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gets_what_concerns_it_and_not_what_others_did() {
    let world = World::start().await;
    world.ask_as("somebody-else", "ibkr_health", json!({})).await.unwrap();
    let placed = world.submitted("100").await;
    let lines = exported(&world, json!({"limit": 200})).await;
    let kinds: Vec<String> = lines
        .iter()
        .map(|line| line.record())
        .map(|record| format!("{} {}", record["actor"].as_str().unwrap(), record["kind"]))
        .collect();
    assert!(!kinds.iter().any(|kind| kind.contains("somebody-else")), "{kinds:?}");
    assert!(!kinds.iter().any(|kind| kind.contains("genesis")), "{kinds:?}");
    let by_operator =
        kinds.iter().any(|k| k.starts_with("operator:") && k.contains("\"approved\""));
    assert!(by_operator, "the yes to its own approval: {kinds:?}");
    let reference = placed["client_order_id"].as_str().unwrap();
    let outcome = lines.iter().map(Line::record).find(|record| record["kind"] == "outcome");
    assert_eq!(outcome.unwrap()["references"]["client_order_id"], reference);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_range_is_kept_and_nonsense_is_refused() {
    let world = World::start().await;
    world.get("ibkr_health", json!({})).await;
    let all = exported(&world, json!({"limit": 200})).await;
    let time = all[0].record()["time"].clone();
    let before = exported(&world, json!({"to": time})).await;
    assert!(before.is_empty(), "to is exclusive");
    let from = exported(&world, json!({"from": time, "limit": 200})).await;
    assert_eq!(from[0].index, all[0].index, "from is inclusive");
    let later = exported(&world, json!({"from": "2999-01-01T00:00:00Z"})).await;
    assert!(later.is_empty());
    let reversed = json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"});
    assert_eq!(world.refused(TOOL, reversed).await.code, "INPUT_INVALID_TIME_RANGE");
    for cursor in ["5", "e1.5", "e1.9.3", "e1.a.b", "c1.0123abcd.1.1.0"] {
        assert_eq!(world.refused(TOOL, json!({"cursor": cursor})).await.code, "INPUT_INVALID");
    }
    world.stop().await;
}
