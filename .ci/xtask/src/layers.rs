//! `cargo xtask layers`: the closed table of internal edges, and what pure crates may never reach.
//!
//! Flow: `cargo metadata --no-deps` -> every declared edge between workspace members (normal, dev
//! and build; optional ones too) is looked up in the table -> the graph of the lock file is walked
//! from each pure crate -> the internal closure of the remote is searched for crates that it may
//! never hold.
//!
//! It doesn't judge external dependencies beyond the forbidden list: cargo-deny does.
//! Invariants: a workspace member outside the table fails, and so does a crate of the table that is
//! missing from the workspace (a renamed crate would lose its guard); no edges at all fails, and so
//! does a declared dependency that the lock file lacks. Every platform's edges count. Nothing but
//! the checkout is read: no registry, no network, nothing that another command fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::lock::{Lock, LockError, name_of};

/// How an edge of the table may be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// In any section.
    Always(&'static str),
    /// Only in `[dev-dependencies]`.
    DevOnly(&'static str),
    /// As an optional dependency (behind a feature), or in `[dev-dependencies]`.
    Optional(&'static str),
}

use Allowed::{Always, DevOnly, Optional};

const DOMAIN: &str = "ibkr-agent-domain";
const TLOG: &str = "ibkr-agent-tlog";
const PROTOCOL: &str = "ibkr-agent-protocol";
const TOKEN: &str = "ibkr-agent-token";
const MCP: &str = "ibkr-agent-mcp";
const GATES: &str = "ibkr-agent-gates";
const AUDIT: &str = "ibkr-agent-audit";
const ENGINE: &str = "ibkr-agent-engine";
const BROKER: &str = "ibkr-agent-broker";
const GATEWAY: &str = "ibkr-agent-gateway";
const REMOTE: &str = "ibkr-agent-remote";
const SIMULATOR: &str = "ibkr-agent-simulator";
const CLI: &str = "ibkr-agent";
const HARNESS: &str = "ibkr-agent-harness";
const XTASK: &str = "xtask";

/// The allowed internal edges, as docs/ARCHITECTURE.md gives them.
const TABLE: &[(&str, &[Allowed])] = &[
    (DOMAIN, &[]),
    (TLOG, &[]),
    (PROTOCOL, &[Always(DOMAIN)]),
    (TOKEN, &[Always(DOMAIN)]),
    (MCP, &[Always(DOMAIN), Always(PROTOCOL)]),
    (GATES, &[Always(DOMAIN)]),
    (AUDIT, &[Always(DOMAIN), Always(TLOG)]),
    (ENGINE, &[Always(DOMAIN), Always(PROTOCOL), Always(GATES), Always(AUDIT)]),
    (BROKER, &[Always(DOMAIN), Always(GATES), Always(AUDIT), DevOnly(SIMULATOR)]),
    (
        GATEWAY,
        &[
            Always(DOMAIN),
            Always(PROTOCOL),
            Always(TOKEN),
            Always(MCP),
            Always(TLOG),
            Always(GATES),
            Always(AUDIT),
            Always(ENGINE),
            Always(BROKER),
            Optional(SIMULATOR),
        ],
    ),
    (REMOTE, &[Always(DOMAIN), Always(PROTOCOL), Always(TOKEN), Always(MCP), Always(TLOG)]),
    (SIMULATOR, &[Always(DOMAIN)]),
    (
        CLI,
        &[
            Always(GATEWAY),
            Always(REMOTE),
            Always(SIMULATOR),
            Always(DOMAIN),
            Always(PROTOCOL),
            Always(TOKEN),
            Always(MCP),
        ],
    ),
    (
        HARNESS,
        &[
            Always(DOMAIN),
            Always(TLOG),
            Always(PROTOCOL),
            Always(TOKEN),
            Always(MCP),
            Always(GATES),
            Always(AUDIT),
            Always(ENGINE),
            Always(BROKER),
            Always(GATEWAY),
            Always(REMOTE),
            Always(SIMULATOR),
            Always(CLI),
        ],
    ),
    (XTASK, &[]),
];

/// Crates whose normal closure holds no I/O and no async runtime.
const PURE: &[&str] = &[DOMAIN, TLOG, GATES];
/// Crates that name no runtime and no I/O themselves: the ledger below them has a writer thread,
/// but nothing here can wait for it.
const SANS_IO: &[&str] = &[ENGINE];
const IMPURE: &[&str] = &["tokio", "hyper", "axum", "reqwest", "rustls", "mio", "socket2"];
/// What no path from the remote may reach, over dependencies of every kind.
const NEVER_REMOTE: &[&str] = &[BROKER, GATES, AUDIT];

/// Why the layers check didn't pass.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// `cargo metadata` couldn't be started.
    #[error("can't run cargo metadata: {0}")]
    Start(std::io::Error),
    /// `cargo metadata` failed; its own words follow.
    #[error("cargo metadata failed: {0}")]
    Metadata(String),
    /// The JSON isn't what `cargo metadata --format-version 1` prints.
    #[error("cargo metadata printed something unexpected: {0}")]
    Parse(#[from] serde_json::Error),
    /// Not one internal edge was seen, so nothing was checked.
    #[error("layers saw no internal edge: nothing was checked")]
    NoEdges,
    /// The lock file can't be read.
    #[error("can't read Cargo.lock: {0}")]
    LockFile(std::io::Error),
    /// The lock file is no graph.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Every breach found, in order.
    #[error("layers: {} breach(es)\n{}", .0.len(), lines(.0))]
    Breaches(Vec<Breach>),
}

/// One breach of the layering.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A workspace member that the table doesn't know.
    #[error("{0} is not in the table of .ci/xtask/src/layers.rs: add it with its edges")]
    UnknownCrate(String),
    /// A crate of the table that the workspace lacks.
    #[error("{0} is in the table but not in the workspace: was it renamed?")]
    MissingCrate(String),
    /// A path dependency on something that is no workspace member.
    #[error("{from} has a path dependency on {to}, which is no workspace member")]
    OutsidePath {
        /// The crate that declares it.
        from: String,
        /// What it names.
        to: String,
    },
    /// An edge that the table doesn't allow.
    #[error("{from} -> {to} ({kind} dependency) is not an allowed edge")]
    Edge {
        /// The crate that declares the edge.
        from: String,
        /// The crate it points to.
        to: String,
        /// normal, optional, dev or build.
        kind: String,
    },
    /// A member's dependency that the lock file doesn't list for it.
    #[error("Cargo.lock lacks {from} -> {to}: run `cargo check` and commit it")]
    NotLocked {
        /// The crate that declares it.
        from: String,
        /// What it names.
        to: String,
    },
    /// The domain crate asks for serde, itself or through a feature.
    #[error("{from} derives no serde, but its dependency {to} brings it in")]
    Serde {
        /// The crate that must not.
        from: String,
        /// The dependency, or its feature.
        to: String,
    },
    /// A pure crate that reaches an impure one; `path` names each step.
    #[error("{from} must stay pure but reaches {to}: {path}")]
    Impure {
        /// The pure crate.
        from: String,
        /// The crate it may not reach.
        to: String,
        /// The way there.
        path: String,
    },
    /// The remote reaches a crate that decides or trades.
    #[error("{from} must never hold {to} but reaches it: {path}")]
    Forbidden {
        /// The crate that must not.
        from: String,
        /// What it reaches.
        to: String,
        /// The way there.
        path: String,
    },
}

fn lines(breaches: &[Breach]) -> String {
    breaches.iter().map(|breach| format!("  {breach}\n")).collect()
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    #[serde(default)]
    optional: bool,
    path: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }

    fn kind_name(&self) -> &str {
        match (self.kind.as_deref(), self.optional) {
            (Some(kind), _) => kind,
            (None, true) => "optional",
            (None, false) => "normal",
        }
    }
}

/// Runs `cargo metadata` in `root` and checks what it says.
///
/// # Errors
/// [`LayersError`] when metadata can't be had or a rule is broken.
pub fn run(root: &Path) -> Result<String, LayersError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(LayersError::Start)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LayersError::Metadata(words));
    }
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).map_err(LayersError::LockFile)?;
    check(&String::from_utf8_lossy(&output.stdout), &lock)
}

/// Checks the JSON of `cargo metadata --no-deps --format-version 1` and the text of the lock file;
/// the summary says how much was seen.
///
/// # Errors
/// [`LayersError`] when the JSON isn't usable or a rule is broken.
pub fn check(metadata: &str, lock: &str) -> Result<String, LayersError> {
    let metadata: Metadata = serde_json::from_str(metadata)?;
    let members: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let packages: Vec<&Package> =
        metadata.packages.iter().filter(|package| members.contains(package.id.as_str())).collect();
    let mut breaches = membership(&packages);
    let edges = internal_edges(&packages, &mut breaches);
    if edges.is_empty() {
        return Err(LayersError::NoEdges);
    }
    breaches.extend(edges.iter().filter_map(edge_breach));
    breaches.extend(packages.iter().flat_map(|package| serde_in_domain(package)));
    breaches.extend(impure_closures(&packages, &Lock::parse(lock)?));
    breaches.extend(packages.iter().flat_map(|package| runtime_named(package)));
    breaches.extend(remote_closure(&edges));
    if breaches.is_empty() {
        let count = edges.len();
        return Ok(format!("layers: {} crates, {count} internal edges, ok", packages.len()));
    }
    Err(LayersError::Breaches(breaches))
}

fn membership(packages: &[&Package]) -> Vec<Breach> {
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let known: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    let unknown = names.difference(&known).map(|name| Breach::UnknownCrate((*name).to_owned()));
    let missing = known.difference(&names).map(|name| Breach::MissingCrate((*name).to_owned()));
    unknown.chain(missing).collect()
}

/// One declared edge between two workspace members.
#[derive(Debug)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    dependency: &'a Dependency,
}

fn internal_edges<'a>(packages: &[&'a Package], breaches: &mut Vec<Breach>) -> Vec<Edge<'a>> {
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut edges = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if names.contains(to) {
                edges.push(Edge { from, to, dependency });
            } else if dependency.path.is_some() {
                breaches.push(Breach::OutsidePath { from: from.to_owned(), to: to.to_owned() });
            }
        }
    }
    edges
}

fn edge_breach(edge: &Edge<'_>) -> Option<Breach> {
    let allowed = TABLE.iter().find(|(name, _)| *name == edge.from).map_or(&[][..], |row| row.1);
    let dependency = edge.dependency;
    let fits = allowed.iter().any(|entry| match *entry {
        Always(to) => to == edge.to,
        DevOnly(to) => to == edge.to && dependency.is_dev(),
        Optional(to) => to == edge.to && (dependency.optional || dependency.is_dev()),
    });
    (!fits).then(|| Breach::Edge {
        from: edge.from.to_owned(),
        to: edge.to.to_owned(),
        kind: dependency.kind_name().to_owned(),
    })
}

/// Looks at what the domain crate declares, not at the resolved graph: cargo unifies features over
/// the workspace, so another crate's serde feature would show there.
fn serde_in_domain(package: &Package) -> Vec<Breach> {
    let declared = package.dependencies.iter().filter(|dependency| !dependency.is_dev());
    let named = declared.flat_map(|dependency| {
        let feature = |feature: &String| format!("{}/{feature}", dependency.name);
        let features = dependency.features.iter().filter(|feature| feature.starts_with("serde"));
        let own = dependency.name.starts_with("serde").then(|| dependency.name.clone());
        own.into_iter().chain(features.map(feature)).collect::<Vec<String>>()
    });
    let found = named.map(|to| Breach::Serde { from: DOMAIN.to_owned(), to });
    if package.name == DOMAIN { found.collect() } else { Vec::new() }
}

fn impure_closures(packages: &[&Package], lock: &Lock) -> Vec<Breach> {
    let members: BTreeMap<&str, &Package> =
        packages.iter().map(|package| (package.name.as_str(), *package)).collect();
    let mut breaches = Vec::new();
    let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, edges) in lock.iter() {
        let mut edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        if let Some(package) = members.get(name_of(id)) {
            let normal = || package.dependencies.iter().filter(|declared| declared.kind.is_none());
            edges.retain(|to| normal().any(|declared| declared.name == name_of(to)));
        }
        graph.insert(id, edges);
    }
    for package in packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let start = graph.keys().copied().find(|id| name_of(id) == package.name);
        let paths = start.map(|start| closure(&graph, start)).unwrap_or_default();
        for path in &paths {
            let to = path.last().copied().map_or("", name_of);
            if IMPURE.contains(&to) {
                let path: Vec<&str> = path.iter().copied().map(name_of).collect();
                let (from, to) = (package.name.clone(), to.to_owned());
                breaches.push(Breach::Impure { from, to, path: path.join(" -> ") });
            }
        }
        for declared in package.dependencies.iter().filter(|declared| declared.kind.is_none()) {
            let locked = start.and_then(|start| graph.get(start)).into_iter().flatten();
            if !locked.into_iter().any(|to| name_of(to) == declared.name) {
                let (from, to) = (package.name.clone(), declared.name.clone());
                breaches.push(Breach::NotLocked { from, to });
            }
        }
    }
    breaches
}

/// What a sans-IO crate declares itself; its tests may run a runtime.
fn runtime_named(package: &Package) -> Vec<Breach> {
    let declared = package.dependencies.iter().filter(|dependency| !dependency.is_dev());
    let impure = declared.filter(|dependency| IMPURE.contains(&dependency.name.as_str()));
    let from = package.name.clone();
    let found = impure.map(|dependency| Breach::Impure {
        from: from.clone(),
        to: dependency.name.clone(),
        path: format!("{from} -> {}", dependency.name),
    });
    if SANS_IO.contains(&package.name.as_str()) { found.collect() } else { Vec::new() }
}

fn remote_closure(edges: &[Edge<'_>]) -> Vec<Breach> {
    let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        graph.entry(edge.from).or_default().push(edge.to);
    }
    let reached = closure(&graph, REMOTE).into_iter();
    reached
        .filter_map(|path| {
            let to = path.last().copied().filter(|to| NEVER_REMOTE.contains(to))?.to_owned();
            Some(Breach::Forbidden { from: REMOTE.to_owned(), to, path: path.join(" -> ") })
        })
        .collect()
}

/// Each node reachable from `start`, once, as the first path found to it (breadth first).
fn closure<'a>(graph: &BTreeMap<&'a str, Vec<&'a str>>, start: &'a str) -> Vec<Vec<&'a str>> {
    let mut seen = BTreeSet::from([start]);
    let mut frontier = vec![vec![start]];
    let mut paths = Vec::new();
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for path in frontier {
            let Some(last) = path.last().copied() else {
                continue;
            };
            for target in graph.get(last).into_iter().flatten().copied() {
                if seen.insert(target) {
                    let mut longer = path.clone();
                    longer.push(target);
                    paths.push(longer.clone());
                    next.push(longer);
                }
            }
        }
        frontier = next;
    }
    paths
}
