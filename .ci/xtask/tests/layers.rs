//! Sabotage of `layers`: each forbidden edge, and each way of checking nothing, must be told.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use xtask::layers::{self, Breach, LayersError};

/// What an edge of the fake workspace looks like.
struct Edge {
    from: &'static str,
    to: &'static str,
    kind: Option<&'static str>,
    optional: bool,
    features: &'static [&'static str],
}

fn normal(from: &'static str, to: &'static str) -> Edge {
    Edge { from, to, kind: None, optional: false, features: &[] }
}

const MEMBERS: &[&str] = &[
    "ibkr-agent-domain",
    "ibkr-agent-tlog",
    "ibkr-agent-protocol",
    "ibkr-agent-token",
    "ibkr-agent-mcp",
    "ibkr-agent-gates",
    "ibkr-agent-audit",
    "ibkr-agent-engine",
    "ibkr-agent-broker",
    "ibkr-agent-gateway",
    "ibkr-agent-remote",
    "ibkr-agent-simulator",
    "ibkr-agent",
    "ibkr-agent-harness",
    "xtask",
];
const EXTERNAL: &[&str] = &["tokio", "innocent", "serde", "rust_decimal"];

/// A workspace that obeys every rule.
fn lawful() -> Vec<Edge> {
    vec![
        normal("ibkr-agent-protocol", "ibkr-agent-domain"),
        normal("ibkr-agent-gates", "ibkr-agent-domain"),
        normal("ibkr-agent-mcp", "ibkr-agent-protocol"),
        normal("ibkr-agent-remote", "ibkr-agent-mcp"),
        normal("ibkr-agent-broker", "ibkr-agent-gates"),
        normal("ibkr-agent-broker", "tokio"),
        normal("ibkr-agent-domain", "rust_decimal"),
        Edge { kind: Some("dev"), ..normal("ibkr-agent-broker", "ibkr-agent-simulator") },
        Edge { optional: true, ..normal("ibkr-agent-gateway", "ibkr-agent-simulator") },
        normal("ibkr-agent", "ibkr-agent-gateway"),
    ]
}

/// The JSON that cargo would print for `members` with these edges.
fn metadata(members: &[&str], edges: &[Edge]) -> Value {
    let packages: Vec<Value> = members
        .iter()
        .map(|name| {
            let own = edges.iter().filter(|edge| edge.from == *name);
            let dependencies: Vec<Value> = own
                .map(|edge| {
                    let path = (!EXTERNAL.contains(&edge.to)).then(|| format!("/x/{}", edge.to));
                    json!({"name": edge.to, "kind": edge.kind, "optional": edge.optional,
                           "features": edge.features, "path": path})
                })
                .collect();
            json!({"id": format!("id {name}"), "name": name, "dependencies": dependencies})
        })
        .collect();
    let ids: Vec<String> = members.iter().map(|name| format!("id {name}")).collect();
    json!({"packages": packages, "workspace_members": ids})
}

/// The lock file that cargo would write for them.
fn lock(members: &[&str], edges: &[Edge]) -> String {
    let package = |name: &&str| {
        let own = edges.iter().filter(|edge| edge.from == *name);
        let listed: String = own.map(|edge| format!(" \"{}\",\n", edge.to)).collect();
        let dependencies =
            if listed.is_empty() { listed } else { format!("dependencies = [\n{listed}]\n") };
        format!("\n[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n{dependencies}")
    };
    let named = edges.iter().map(|edge| &edge.to);
    let everyone: BTreeSet<&&str> = members.iter().chain(EXTERNAL).chain(named).collect();
    everyone.into_iter().map(package).collect()
}

fn check(edges: &[Edge]) -> Result<String, LayersError> {
    layers::check(&metadata(MEMBERS, edges).to_string(), &lock(MEMBERS, edges))
}

fn with(edge: Edge) -> Vec<Edge> {
    let mut edges = lawful();
    edges.push(edge);
    edges
}

fn breaches(result: Result<String, LayersError>) -> Vec<Breach> {
    match result {
        Err(LayersError::Breaches(breaches)) => breaches,
        other => panic!("expected breaches, got {other:?}"),
    }
}

#[test]
fn a_lawful_workspace_passes() {
    let summary = check(&lawful()).expect("lawful");
    assert!(summary.contains("15 crates"), "{summary}");
}

#[test]
fn the_real_workspace_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let summary = layers::run(&root).unwrap_or_else(|error| panic!("{error}"));
    assert!(summary.ends_with("ok"), "{summary}");
}

#[test]
fn a_forbidden_edge_fails_whatever_its_kind() {
    for kind in [None, Some("dev"), Some("build")] {
        let edge = Edge { kind, ..normal("ibkr-agent-domain", "ibkr-agent-tlog") };
        let error = check(&with(edge)).expect_err("forbidden edge");
        let kind = kind.unwrap_or("normal");
        let expected = format!("ibkr-agent-domain -> ibkr-agent-tlog ({kind} dependency)");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn an_edge_from_the_checker_itself_fails() {
    let found = breaches(check(&with(normal("xtask", "ibkr-agent-domain"))));
    assert!(
        matches!(found.as_slice(), [Breach::Edge { from, .. }] if from == "xtask"),
        "{found:?}"
    );
}

#[test]
fn the_simulator_is_a_dev_dependency_of_the_broker_and_nothing_else() {
    let found = breaches(check(&with(normal("ibkr-agent-broker", "ibkr-agent-simulator"))));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn the_simulator_stands_behind_a_feature_of_the_gateway() {
    let found = breaches(check(&with(normal("ibkr-agent-gateway", "ibkr-agent-simulator"))));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn tokio_anywhere_below_a_pure_crate_fails_and_the_way_is_shown() {
    for pure in ["ibkr-agent-domain", "ibkr-agent-tlog", "ibkr-agent-gates"] {
        let mut edges = with(normal(pure, "innocent"));
        edges.push(normal("innocent", "tokio"));
        let error = check(&edges).expect_err("impure").to_string();
        assert!(error.contains(&format!("{pure} -> innocent -> tokio")), "{error}");
    }
}

#[test]
fn a_pure_crate_may_use_tokio_in_its_tests() {
    let edge = Edge { kind: Some("dev"), ..normal("ibkr-agent-gates", "tokio") };
    assert!(check(&with(edge)).is_ok());
}

#[test]
fn the_engine_names_no_runtime_outside_its_tests() {
    let found = breaches(check(&with(normal("ibkr-agent-engine", "tokio"))));
    assert!(matches!(found.as_slice(), [Breach::Impure { .. }]), "{found:?}");
    let in_tests = Edge { kind: Some("dev"), ..normal("ibkr-agent-engine", "tokio") };
    assert!(check(&with(in_tests)).is_ok());
    // What the ledger below uses for its own thread is the ledger's.
    let mut edges = with(normal("ibkr-agent-engine", "ibkr-agent-audit"));
    edges.push(normal("ibkr-agent-audit", "tokio"));
    assert!(check(&edges).is_ok());
}

#[test]
fn serde_in_the_domain_fails_by_name_and_by_feature() {
    let named = breaches(check(&with(normal("ibkr-agent-domain", "serde"))));
    assert!(matches!(named.as_slice(), [Breach::Serde { .. }]), "{named:?}");
    let edge = Edge { features: &["serde-str"], ..normal("ibkr-agent-domain", "rust_decimal") };
    let feature = check(&with(edge)).expect_err("serde feature").to_string();
    assert!(feature.contains("rust_decimal/serde-str"), "{feature}");
}

#[test]
fn the_remote_never_reaches_broker_gates_or_audit() {
    for kind in [None, Some("dev"), Some("build")] {
        for forbidden in ["ibkr-agent-broker", "ibkr-agent-gates", "ibkr-agent-audit"] {
            let mut edges = with(Edge { kind, ..normal("ibkr-agent-mcp", forbidden) });
            edges.push(normal("ibkr-agent-broker", "ibkr-agent-audit"));
            let error = check(&edges).expect_err("remote reaches it").to_string();
            let path = format!("ibkr-agent-remote -> ibkr-agent-mcp -> {forbidden}");
            assert!(error.contains(&path), "{error}");
        }
    }
}

#[test]
fn an_unknown_crate_and_a_missing_crate_fail() {
    let mut members = MEMBERS.to_vec();
    members.retain(|name| *name != "ibkr-agent-token");
    members.push("ibkr-agent-tokens");
    let metadata = metadata(&members, &lawful()).to_string();
    let found = breaches(layers::check(&metadata, &lock(&members, &lawful())));
    let unknown = Breach::UnknownCrate("ibkr-agent-tokens".to_owned());
    assert_eq!(found, [unknown, Breach::MissingCrate("ibkr-agent-token".to_owned())]);
}

#[test]
fn a_path_dependency_outside_the_workspace_fails() {
    let found = breaches(check(&with(normal("ibkr-agent-remote", "elsewhere"))));
    assert!(matches!(found.as_slice(), [Breach::OutsidePath { .. }]), "{found:?}");
}

#[test]
fn checking_nothing_fails() {
    assert!(matches!(check(&[]), Err(LayersError::NoEdges)));
    let empty = json!({"packages": [], "workspace_members": []});
    assert!(matches!(layers::check(&empty.to_string(), ""), Err(LayersError::NoEdges)));
    assert!(matches!(layers::check("not json", ""), Err(LayersError::Parse(_))));
    let broken = lock(MEMBERS, &lawful()).replace("name = \"tokio\"", "name = \"tokyo\"");
    let told = layers::check(&metadata(MEMBERS, &lawful()).to_string(), &broken);
    assert!(matches!(told, Err(LayersError::Lock(_))), "{told:?}");
}

#[test]
fn a_dependency_of_a_pure_crate_that_the_lock_file_lacks_fails() {
    let declared = metadata(MEMBERS, &with(normal("ibkr-agent-gates", "innocent"))).to_string();
    for lock in [lock(MEMBERS, &lawful()), String::new()] {
        let error = layers::check(&declared, &lock).expect_err("not locked").to_string();
        assert!(error.contains("Cargo.lock lacks ibkr-agent-gates -> innocent"), "{error}");
    }
}

#[test]
fn the_layers_are_read_where_no_package_was_ever_fetched() {
    let empty = tempfile::tempdir().expect("folder");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("layers")
        .env("CARGO_HOME", empty.path())
        .env("HOME", empty.path())
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("ok\n"), "{output:?}");
}
