//! `cargo xtask tidy`: the house rules, over every tracked file.
//!
//! Flow: `git ls-files` -> each file is read once -> the rule sets look at it: [`text`]
//! (characters, white space, leftovers, secrets, machine paths), [`source`] (Rust files),
//! [`manifest`] (member manifests and lock files).
//!
//! It doesn't parse Rust: rules look at lines, so a rule that needs types belongs to clippy.
//! Invariants: a run that scanned no file fails; a tracked file that can't be read fails; patterns
//! are written so that this crate's own sources don't match them.

pub mod manifest;
pub mod source;
pub mod text;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A house rule; the name is what a finding shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A Rust file over [`source::MAX_LINES`] lines.
    FileLength,
    /// A line of code over [`text::MAX_COLUMNS`] columns.
    LineLength,
    /// A Rust file that doesn't open with `//!`.
    ModuleDoc,
    /// A marker of unfinished work, or an ignored test.
    Leftover,
    /// A tab, or white space at the end of a line.
    WhiteSpace,
    /// A control, bidirectional or zero-width character.
    HiddenCharacter,
    /// A file named `mod.rs`.
    ModFile,
    /// A member crate without `[lints] workspace = true`.
    Lints,
    /// A dependency that doesn't come from the root table.
    RootTable,
    /// A lock file entry from somewhere other than the public registry.
    LockSource,
    /// Printing outside the one printer.
    Printer,
    /// A clock read in a crate or module that takes `now` as an argument.
    Clock,
    /// Something that looks like a secret.
    Secret,
    /// A path of somebody's machine.
    MachinePath,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileLength => "file-length",
            Self::LineLength => "line-length",
            Self::ModuleDoc => "module-doc",
            Self::Leftover => "leftover",
            Self::WhiteSpace => "white-space",
            Self::HiddenCharacter => "hidden-character",
            Self::ModFile => "mod-file",
            Self::Lints => "lints",
            Self::RootTable => "root-table",
            Self::LockSource => "lock-source",
            Self::Printer => "printer",
            Self::Clock => "clock",
            Self::Secret => "secret",
            Self::MachinePath => "machine-path",
        })
    }
}

/// One breach of a rule. `line` counts from 1; 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the root.
    pub file: String,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// The rule.
    pub rule: Rule,
    /// What is wrong, in a few words; never the text of a suspected secret.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, detail } = self;
        write!(f, "{file}:{line}: {rule}: {detail}")
    }
}

/// Why tidy didn't pass.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// git couldn't be started.
    #[error("can't run git ls-files: {0}")]
    Start(std::io::Error),
    /// git refused; its own words follow.
    #[error("git ls-files failed: {0}")]
    Git(String),
    /// A tracked file couldn't be read.
    #[error("can't read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// There was nothing to scan.
    #[error("tidy scanned no files: nothing was checked")]
    NoFiles,
    /// Every finding, by file and line.
    #[error("tidy: {} finding(s)\n{}", .0.len(), lines(.0))]
    Findings(Vec<Finding>),
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("  {finding}\n")).collect()
}

/// A text file under inspection.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Relative to the root, with forward slashes.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl File<'_> {
    /// The part of the name after the last slash.
    #[must_use]
    pub fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    /// The extension, or nothing.
    #[must_use]
    pub fn extension(&self) -> &str {
        self.base().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Whether a folder of the path has this name.
    #[must_use]
    pub fn is_under(&self, folder: &str) -> bool {
        let parent = self.name.rsplit_once('/').map_or("", |(parent, _)| parent);
        parent.split('/').any(|part| part == folder)
    }

    /// A finding in this file.
    #[must_use]
    pub fn finding(&self, line: usize, rule: Rule, detail: impl Into<String>) -> Finding {
        Finding { file: self.name.to_owned(), line, rule, detail: detail.into() }
    }

    /// The lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.split('\n').enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Scans every file that git tracks in `root`.
///
/// # Errors
/// [`TidyError`] with every finding, or why the scan couldn't be made.
pub fn run(root: &Path) -> Result<String, TidyError> {
    check(root, &tracked(root)?)
}

/// Scans the given files of `root`; the summary says how many were read.
///
/// # Errors
/// [`TidyError`] with every finding, or why the scan couldn't be made.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<String, TidyError> {
    let mut findings = Vec::new();
    let mut scanned = 0_usize;
    for path in files {
        let name = path.to_string_lossy().replace('\\', "/");
        let file = root.join(path);
        let deleted = std::fs::symlink_metadata(&file).is_err();
        if deleted || file.is_dir() || file.is_symlink() {
            continue;
        }
        let bytes = std::fs::read(&file)
            .map_err(|source| TidyError::Read { file: name.clone(), source })?;
        scanned += 1;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(inspect(&File { name: &name, text: &text }));
    }
    if scanned == 0 {
        return Err(TidyError::NoFiles);
    }
    if findings.is_empty() {
        return Ok(format!("tidy: {scanned} files, ok"));
    }
    findings.sort_by(|a, b| (&a.file, a.line, a.rule).cmp(&(&b.file, b.line, b.rule)));
    Err(TidyError::Findings(findings))
}

/// Every finding in one file.
#[must_use]
pub fn inspect(file: &File<'_>) -> Vec<Finding> {
    let mut findings = text::inspect(file);
    findings.extend(source::inspect(file));
    findings.extend(manifest::inspect(file));
    findings
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>, TidyError> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(TidyError::Start)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(TidyError::Git(words));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}
