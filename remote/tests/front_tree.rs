//! The remote can't reach what only a sidecar may hold: no crate of broker, gates, audit or
//! sidecar is in its dependency graph, by any kind of edge, on any platform.
//!
//! The graph is the lock file's. Cargo's own would need the sources of other platforms' packages,
//! which a build on this one never fetches.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

const LOCK: &str = include_str!("../../Cargo.lock");
const FORBIDDEN: [&str; 5] = [
    "ibkr-agent-broker",
    "ibkr-agent-gates",
    "ibkr-agent-audit",
    "ibkr-agent-gateway",
    "ibkr-agent-simulator",
];

/// Every locked package by name, with the names of what it depends on. Two versions of a package
/// count as one, so this graph reaches more than the real one, never less.
fn graph() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut graph: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for package in LOCK.split("[[package]]").skip(1) {
        let mut lines = package.lines();
        let name = lines.find_map(|line| line.strip_prefix("name = \"")).unwrap();
        let listed = lines.skip_while(|line| *line != "dependencies = [").skip(1);
        let listed = listed.filter_map(|line| line.strip_prefix(" \""));
        let names = listed.filter_map(|line| line.split(['"', ' ']).next());
        graph.entry(name.trim_end_matches('"')).or_default().extend(names);
    }
    graph
}

/// Names of every package that can be reached from one, dev and build edges included for it.
fn reachable(root: &'static str) -> BTreeSet<&'static str> {
    let graph = graph();
    let mut open = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if seen.insert(name) {
            open.extend(graph.get(name).unwrap());
        }
    }
    seen
}

#[test]
fn the_remote_reaches_no_crate_of_the_sidecar() {
    let names = reachable("ibkr-agent-remote");
    assert!(names.contains("ibkr-agent-protocol"), "the graph was read");
    assert!(names.contains("tempfile"), "dev edges count");
    for name in FORBIDDEN {
        assert!(!names.contains(name), "{name} is reachable");
    }
    // The same walk does find them where they belong.
    assert!(reachable("ibkr-agent-gateway").contains("ibkr-agent-broker"));
}
