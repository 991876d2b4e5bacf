//! Rules for member manifests (`Cargo.toml`) and lock files.
//!
//! Manifests are read line by line: cargo has already parsed them, so only the shapes that a valid
//! manifest can have need to be told apart. A manifest with its own `[workspace]` table is a root,
//! where versions belong, and is exempt.

use super::{File, Finding, Rule};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM: &str = concat!("https://registry.np", "mjs.org/");

/// Every finding of the manifest and lock-file rules in one file.
#[must_use]
pub fn inspect(file: &File<'_>) -> Vec<Finding> {
    match file.base() {
        "Cargo.toml" => member(file),
        "Cargo.lock" => sources(file, "source = \"", CRATES_IO),
        "package-lock.json" => sources(file, "\"resolved\": \"", NPM),
        _ => Vec::new(),
    }
}

fn sources(file: &File<'_>, key: &str, expected: &str) -> Vec<Finding> {
    let strange = file.numbered().filter(|(_, line)| {
        line.split_once(key).is_some_and(|(_, source)| !source.starts_with(expected))
    });
    let detail = "not from the public registry";
    strange.map(|(number, _)| file.finding(number, Rule::LockSource, detail)).collect()
}

fn member(file: &File<'_>) -> Vec<Finding> {
    let headings = || file.text.lines().filter_map(heading);
    if headings().any(|name| name == "workspace" || name.starts_with("workspace.")) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut section = "";
    let mut has_lints = false;
    for (number, line) in file.numbered() {
        let line = line.trim();
        if let Some(name) = heading(line) {
            section = name;
        } else if section == "lints" && squeezed(line) == "workspace=true" {
            has_lints = true;
        } else if let Some(detail) = own_version(section, line) {
            findings.push(file.finding(number, Rule::RootTable, detail));
        }
    }
    if !has_lints {
        findings.push(file.finding(0, Rule::Lints, "lacks `[lints]` with `workspace = true`"));
    }
    findings
}

fn heading(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim_matches('['))
}

fn squeezed(line: &str) -> String {
    line.chars().filter(|character| !character.is_whitespace()).collect()
}

/// What is wrong with a line of a dependency section, if it doesn't inherit from the root table.
fn own_version(section: &str, line: &str) -> Option<String> {
    let parts: Vec<&str> = section.split('.').collect();
    let place = parts.iter().position(|part| part.ends_with("dependencies"))?;
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let (key, value) = (key.trim(), squeezed(value));
    let one_dependency = place + 1 < parts.len();
    let origin = ["version", "path", "git", "registry"];
    let own = if one_dependency {
        origin.contains(&key)
    } else {
        let inherits = key.ends_with(".workspace") && value == "true";
        let table = value.contains("workspace=true");
        let addition = key.ends_with(".features") || key.ends_with(".optional");
        !(inherits || table || addition)
    };
    own.then(|| format!("`{key}` doesn't take its version from the root table"))
}
