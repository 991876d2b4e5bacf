//! The one printer: data to stdout, errors to stderr, for people or as JSON.
//!
//! A reader that closed its end is no failure: the verb's work is done by then.

use ibkr_agent_protocol::service::ErrorBody;
use serde::Serialize;
use std::io::Write as _;

/// Prints in the chosen form.
#[derive(Debug)]
pub(super) struct Printer {
    /// JSON instead of text.
    pub(super) json: bool,
}

impl Printer {
    /// Prints a verb's data.
    pub(super) fn data(&self, data: &impl Serialize, text: &str) {
        let mut line = if self.json {
            serde_json::to_string_pretty(data).unwrap_or_default()
        } else {
            text.to_owned()
        };
        line.push('\n');
        drop(std::io::stdout().lock().write_all(line.as_bytes()));
    }

    /// Prints an error and what to do next.
    pub(super) fn error(&self, error: &ErrorBody) {
        let line = if self.json {
            serde_json::to_string(error).unwrap_or_default()
        } else {
            format!("error: {}: {}\n  next: {}", error.code, error.message, error.user_action)
        };
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
}
