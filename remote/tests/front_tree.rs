//! The remote can't reach what only a sidecar may hold: no crate of broker, gates, audit or
//! sidecar is in its dependency graph, by any kind of edge.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::indexing_slicing, reason = "an absent member of JSON is null")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

const FORBIDDEN: [&str; 5] = [
    "ibkr-agent-broker",
    "ibkr-agent-gates",
    "ibkr-agent-audit",
    "ibkr-agent-gateway",
    "ibkr-agent-simulator",
];

/// Names of every package that can be reached from one, dev and build edges included for it.
fn reachable(metadata: &Value, root: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let name_of = |id: &str| {
        let package = packages.iter().find(|package| package["id"] == id).unwrap();
        package["name"].as_str().unwrap().to_owned()
    };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let start = packages.iter().find(|package| package["name"] == root).unwrap();
    let mut open = vec![start["id"].as_str().unwrap()];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        open.extend(node["dependencies"].as_array().unwrap().iter().filter_map(Value::as_str));
    }
    seen.into_iter().map(name_of).collect()
}

#[test]
fn the_remote_reaches_no_crate_of_the_sidecar() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = reachable(&metadata, "ibkr-agent-remote");
    assert!(names.contains("ibkr-agent-protocol"), "the graph was read");
    for name in FORBIDDEN {
        assert!(!names.contains(name), "{name} is reachable");
    }
    // The same walk does find them where they belong.
    assert!(reachable(&metadata, "ibkr-agent-gateway").contains("ibkr-agent-broker"));
}
