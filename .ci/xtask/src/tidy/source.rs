//! Rules for Rust sources: length, module docs, file names, printing, clocks, and what the engine
//! may use.
//!
//! Comment lines never count as code. Where a rule spares tests, the rest of a file after its first
//! `#[cfg(test)]` counts as tests, because tests stand last.

use super::{File, Finding, Rule};

/// The most lines of a Rust file.
pub const MAX_LINES: usize = 600;

/// The only sources that may print: the CLI's printer, and this checker's main.
const PRINTERS: &[&str] = &["sidecar/cli/src/print.rs", ".ci/xtask/src/main.rs"];
/// Folders whose programs print by nature.
const PRINTING_FOLDERS: &[&str] = &["benches", "examples", "tests"];
/// Sources that are given the time.
const CLOCKLESS: &[&str] =
    &["shared/domain/", "sidecar/gates/", "shared/tlog/", "sidecar/src/engine"];
const CLOCKS: &[&str] = &[
    concat!("SystemTime", "::now"),
    concat!("Instant", "::now"),
    concat!("Timestamp", "::now"),
    concat!("Zoned", "::now"),
    concat!("Utc", "::now"),
];
const PRINTS: &[&str] = &[concat!("print", "ln!("), concat!("print", "!(")];
const ENGINE: &str = "sidecar/src/engine";
/// What the engine may name of its own crate.
const ENGINE_MAY_USE: &[&str] = &["engine", "operator"];

/// Modules of the engine that only tests compile: they drive the engine together with the store
/// and may name it. [`test_modules`] sees to it that they are declared so.
const ENGINE_TESTS: &[&str] = &["attacks", "simulation"];

/// Every finding of the source rules in one file.
#[must_use]
pub fn inspect(file: &File<'_>) -> Vec<Finding> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    let mut findings = whole_file(file);
    let mut in_tests = PRINTING_FOLDERS.iter().any(|folder| file.is_under(folder))
        || matches!(file.base(), "tests.rs" | "build.rs");
    for (number, line) in file.numbered() {
        let code = line.trim_start();
        in_tests |= code.starts_with("#[cfg(test)]");
        if code.starts_with("//") {
            continue;
        }
        if !in_tests && !PRINTERS.contains(&file.name) && prints(code) {
            let detail = "prints; stdout belongs to the one printer";
            findings.push(file.finding(number, Rule::Printer, detail));
        }
        let is_clockless = CLOCKLESS.iter().any(|folder| file.name.starts_with(folder));
        if let Some(clock) = CLOCKS.iter().find(|clock| is_clockless && code.contains(**clock)) {
            let detail = format!("{clock} where the time is an argument");
            findings.push(file.finding(number, Rule::Clock, detail));
        }
        if is_engine(file.name) {
            findings.extend(siblings(file, number, code, in_tests));
        }
    }
    findings.extend(test_modules(file));
    findings
}

/// A module that is spared as a test must be one: `#[cfg(test)]` stands right before it.
fn test_modules(file: &File<'_>) -> Vec<Finding> {
    if file.name != "sidecar/src/engine.rs" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut before = "";
    for (number, line) in file.numbered() {
        let is_spared = |name: &&&str| line.ends_with(&format!("mod {name};"));
        if let Some(name) = ENGINE_TESTS.iter().find(is_spared)
            && before != "#[cfg(test)]"
        {
            let detail = format!("{name} is spared as a test but isn't under #[cfg(test)]");
            findings.push(file.finding(number, Rule::EngineSibling, detail));
        }
        before = line;
    }
    findings
}

fn whole_file(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let count = file.text.lines().count();
    if count > MAX_LINES {
        let detail = format!("{count} lines, at most {MAX_LINES}");
        findings.push(file.finding(0, Rule::FileLength, detail));
    }
    if !file.text.starts_with("//!") {
        findings.push(file.finding(1, Rule::ModuleDoc, "the file doesn't open with `//!`"));
    }
    if file.base() == "mod.rs" {
        findings.push(file.finding(0, Rule::ModFile, "use `name.rs` beside the folder `name/`"));
    }
    findings
}

/// `eprintln!` ends in the same letters, so the character before must not belong to a name.
fn prints(code: &str) -> bool {
    PRINTS.iter().any(|print| {
        code.match_indices(print).any(|(start, _)| {
            let before = code.get(..start).and_then(|text| text.chars().next_back());
            !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
        })
    })
}

fn is_engine(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(ENGINE) else {
        return false;
    };
    let module = rest.strip_prefix('/').and_then(|rest| rest.split(['/', '.']).next());
    rest == ".rs" || module.is_some_and(|module| !ENGINE_TESTS.contains(&module))
}

fn siblings(file: &File<'_>, number: usize, code: &str, in_tests: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (start, path) in code.match_indices("crate::") {
        let before = code.get(..start).and_then(|text| text.chars().next_back());
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
            continue;
        }
        let rest = code.get(start + path.len()..).unwrap_or("");
        for name in first_names(rest) {
            if !ENGINE_MAY_USE.contains(&name) {
                let detail = format!("the engine uses crate::{name}");
                findings.push(file.finding(number, Rule::EngineSibling, detail));
            }
        }
    }
    // Tests stand one module deeper; the compiler's own visibility is enough there.
    let depth = file.name.matches('/').count().saturating_sub(ENGINE.matches('/').count()) + 1;
    let climbs = code.match_indices("super::").count();
    if !in_tests && climbs >= depth && code.contains(&"super::".repeat(depth)) {
        let detail = "the engine climbs out of its module with super::";
        findings.push(file.finding(number, Rule::EngineSibling, detail));
    }
    findings
}

/// The names that follow `crate::`: one, or each at the top level of a brace group. A group that
/// goes on over several lines is refused as a whole, since its names stand elsewhere.
fn first_names(rest: &str) -> Vec<&str> {
    let name = |text: &str| {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        text.len().min(end)
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.get(..name(rest)).unwrap_or("")];
    };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut at_start = true;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !character.is_whitespace() => {
                let text = group.get(index..).unwrap_or("");
                names.push(text.get(..name(text)).unwrap_or(""));
                at_start = false;
            }
            _ => {}
        }
    }
    vec!["{ over several lines"]
}
