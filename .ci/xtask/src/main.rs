//! `cargo xtask layers | tidy | docs [--check]`: parses the verb, runs one check, prints its
//! result.
//!
//! Holds no rule of its own. Exit code 0 when the check passes, 1 when it finds something or can't
//! run, 2 for a verb that it doesn't know.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::{docs, layers, tidy};

const USAGE: &str = "usage: cargo xtask layers | tidy | docs [--check]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let result = match words.as_slice() {
        ["layers"] => layers::run(&root).map_err(|error| error.to_string()),
        ["tidy"] => tidy::run(&root).map_err(|error| error.to_string()),
        ["docs"] => docs::run(&root, docs::Mode::Write).map_err(|error| error.to_string()),
        ["docs", "--check"] => {
            docs::run(&root, docs::Mode::Check).map_err(|error| error.to_string())
        }
        _ => {
            report(&mut std::io::stderr(), USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(summary) => {
            report(&mut std::io::stdout(), &summary);
            ExitCode::SUCCESS
        }
        Err(message) => {
            report(&mut std::io::stderr(), &message);
            ExitCode::FAILURE
        }
    }
}

/// The workspace this binary was built from: two folders above its own manifest.
fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Writes one message; a closed pipe isn't this program's failure.
fn report(out: &mut dyn std::io::Write, message: &str) {
    let mut line = message.trim_end().to_owned();
    line.push('\n');
    if out.write_all(line.as_bytes()).is_ok() {
        drop(out.flush());
    }
}
