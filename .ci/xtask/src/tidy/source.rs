//! Rules for Rust sources: length, module docs, file names, printing, clocks.
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
/// Sources that are given the time; their benchmarks measure it.
const CLOCKLESS: &[&str] = &["shared/domain/", "sidecar/gates/", "shared/tlog/", "sidecar/engine/"];
const CLOCKS: &[&str] = &[
    concat!("SystemTime", "::now"),
    concat!("Instant", "::now"),
    concat!("Timestamp", "::now"),
    concat!("Zoned", "::now"),
    concat!("Utc", "::now"),
];
const PRINTS: &[&str] = &[concat!("print", "ln!("), concat!("print", "!(")];
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
        let is_clockless = CLOCKLESS.iter().any(|folder| file.name.starts_with(folder))
            && !file.is_under("benches");
        if let Some(clock) = CLOCKS.iter().find(|clock| is_clockless && code.contains(**clock)) {
            let detail = format!("{clock} where the time is an argument");
            findings.push(file.finding(number, Rule::Clock, detail));
        }
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
