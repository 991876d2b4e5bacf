//! `cargo xtask docs [--check]`: pages that the product generates about itself.
//!
//! Flow: build the `ibkr-agent` binary -> run it once per page -> write the page, or compare it
//! with the committed one. The binary is a child process: this crate links nothing of the product.
//! Invariants: an empty page is an error, so is a page without a final newline; `Check` writes
//! nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What to do with the generated pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Compare with the committed file; write nothing.
    Check,
    /// Write the file.
    Write,
}

/// A generated page: what to ask of the binary and where the answer stands.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The arguments of `ibkr-agent`.
    pub arguments: &'static [&'static str],
    /// The file, relative to the workspace root.
    pub file: &'static str,
}

/// Every generated page.
pub const PAGES: &[Page] = &[
    Page { arguments: &["docs", "tools"], file: "docs/reference/tools.md" },
    Page { arguments: &["docs", "codes"], file: "docs/reference/errors.md" },
    Page { arguments: &["docs", "config-schema"], file: "docs/reference/config.schema.json" },
];

const BINARY: &str = "ibkr-agent";

/// Why the pages couldn't be generated or don't match.
#[derive(Debug, thiserror::Error)]
pub enum DocsError {
    /// A program couldn't be started.
    #[error("can't start {program}: {source}")]
    Start {
        /// What was started.
        program: String,
        /// Why it didn't start.
        source: std::io::Error,
    },
    /// A program ended with a failure; its own words follow.
    #[error("{program} failed: {words}")]
    Failed {
        /// The command line.
        program: String,
        /// What it wrote on stderr.
        words: String,
    },
    /// The build succeeded but named no executable.
    #[error("cargo build -p {BINARY} named no executable")]
    NoBinary,
    /// A page came out empty, not as UTF-8, or without its final newline.
    #[error("{0} came out empty, not as UTF-8 text, or without a final newline")]
    BadPage(&'static str),
    /// A page couldn't be written.
    #[error("can't write {file}: {source}")]
    Write {
        /// The page.
        file: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Pages that differ from the committed ones, each with its first differing line.
    #[error("generated pages are stale; run `cargo xtask docs` and commit:\n  {}", .0.join("\n  "))]
    Stale(Vec<String>),
}

/// Builds the binary and writes or checks every page.
///
/// # Errors
/// [`DocsError`], naming the program or the page.
pub fn run(root: &Path, mode: Mode) -> Result<String, DocsError> {
    let binary = build(root)?;
    run_with(root, &binary, mode)
}

/// Writes or checks every page with a binary that is already built.
///
/// # Errors
/// [`DocsError`], naming the program or the page.
pub fn run_with(root: &Path, binary: &Path, mode: Mode) -> Result<String, DocsError> {
    let mut stale = Vec::new();
    for page in PAGES {
        let text = generate(root, binary, page)?;
        let file = root.join(page.file);
        match mode {
            Mode::Write => write(&file, &text)
                .map_err(|source| DocsError::Write { file: page.file, source })?,
            Mode::Check => stale.extend(difference(page.file, &file, &text)),
        }
    }
    if stale.is_empty() {
        let verb = if mode == Mode::Write { "written" } else { "up to date" };
        return Ok(format!("docs: {} pages {verb}", PAGES.len()));
    }
    Err(DocsError::Stale(stale))
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text)
}

fn difference(name: &str, file: &Path, generated: &str) -> Option<String> {
    let Ok(committed) = std::fs::read_to_string(file) else {
        return Some(format!("{name}: missing or unreadable"));
    };
    if committed == generated {
        return None;
    }
    let same = committed.lines().zip(generated.lines()).take_while(|(old, new)| old == new);
    let line = same.count() + 1;
    Some(format!("{name}: differs from line {line}"))
}

fn generate(root: &Path, binary: &Path, page: &Page) -> Result<String, DocsError> {
    let mut command = Command::new(binary);
    command.args(page.arguments);
    let output = output(command.current_dir(root))?;
    let text = String::from_utf8(output).map_err(|_| DocsError::BadPage(page.file))?;
    if text.trim().is_empty() || !text.ends_with('\n') {
        return Err(DocsError::BadPage(page.file));
    }
    Ok(text)
}

#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// The path comes from cargo's own messages, so that another target folder works too.
fn build(root: &Path) -> Result<PathBuf, DocsError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", BINARY, "--bin", BINARY]);
    command.arg("--message-format=json-render-diagnostics");
    let messages = output(command.current_dir(root))?;
    String::from_utf8_lossy(&messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == BINARY))
        .find_map(|message| message.executable)
        .ok_or(DocsError::NoBinary)
}

fn output(command: &mut Command) -> Result<Vec<u8>, DocsError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| DocsError::Start { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    Err(DocsError::Failed {
        program: format!("{program} {}", arguments.join(" ")),
        words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
