//! The one printer. Standard output is data, standard error is talk.
//!
//! With `--json` a verb prints one JSON document on standard output, byte for byte what the tool
//! answered, and an error is one JSON line on standard error. Without it the same data is laid out
//! for people. Invariants: control characters never reach a terminal; nothing else in this crate
//! writes to standard output, except MCP over standard streams, which owns it.

mod render;

use crate::failure::Failure;
use ibkr_agent_domain::ErrorCode;
use serde_json::Value;
use std::io::{self, IsTerminal as _, Write};

/// How a verb shows what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Tables and sentences.
    People,
    /// JSON.
    Json,
}

/// The printer of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    style: Style,
}

impl Printer {
    /// A printer of a style.
    pub(crate) const fn new(style: Style) -> Self {
        Self { style }
    }

    /// Whether the reader is a program.
    pub(crate) fn is_json(self) -> bool {
        self.style == Style::Json
    }

    /// Prints a document: exactly these bytes with `--json`, laid out otherwise.
    pub(crate) fn document(self, json: &str) -> Result<(), Failure> {
        match self.style {
            Style::Json => stdout(json),
            Style::People => match serde_json::from_str(json) {
                Ok(value) => stdout(&render::coloured(&value, colour())),
                // Not JSON after all: better the bytes, escaped, than nothing.
                Err(_) => stdout(&render::plain(json)),
            },
        }
    }

    /// Prints one of several documents over time: a line with `--json`; on a terminal the screen
    /// is cleared before it.
    pub(crate) fn frame(self, json: &str) -> Result<(), Failure> {
        if self.style == Style::People && io::stdout().is_terminal() {
            stdout_raw("\u{1b}[2J\u{1b}[H")?;
        }
        self.document(json)
    }

    /// Prints a value that this program made itself.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        self.document(&value.to_string())
    }

    /// Prints an approval with the whole order.
    pub(crate) fn approval(self, shown: &Value) -> Result<(), Failure> {
        match self.style {
            Style::Json => stdout(&shown.to_string()),
            Style::People => stdout(&render::approval(shown)),
        }
    }

    /// Shows an approval to the person who is about to sign it, on standard error, in either style.
    pub(crate) fn show_approval(self, shown: &Value) {
        stderr(&render::approval(shown));
    }

    /// Prints text that is data in either style, such as a page or a help text.
    pub(crate) fn page(self, text: &str) -> Result<(), Failure> {
        stdout(text.trim_end_matches('\n'))
    }

    /// Says something to the person at the terminal. With `--json` nobody listens.
    pub(crate) fn say(self, text: &str) {
        if self.style == Style::People {
            stderr(&render::plain(text));
        }
    }

    /// Says something that must be seen in either style, on standard error.
    pub(crate) fn notice(self, text: &str) {
        stderr(&render::plain(text));
    }

    /// Shows a value to the person at the terminal, on standard error, in either style.
    pub(crate) fn show(self, value: &Value) {
        stderr(&render::people(value));
    }

    /// Prints why the verb failed.
    pub(crate) fn failure(self, failure: &Failure) {
        match self.style {
            Style::Json => {
                if let Ok(line) = serde_json::to_string(&failure.0) {
                    stderr(&line);
                }
            }
            Style::People => stderr(&sentences(failure)),
        }
    }
}

/// Colour for a terminal whose owner doesn't refuse it (<https://no-color.org>).
fn colour() -> render::Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !refused { render::Colour::On } else { render::Colour::Off }
}

/// The code, a sentence, every detail and the next step.
fn sentences(failure: &Failure) -> String {
    let body = &failure.0;
    let mut lines = vec![format!("{}: {}", body.code, body.message)];
    lines.extend(body.details.iter().map(|detail| format!("  - {detail}")));
    lines.push(format!("Next: {}", body.user_action));
    if let Some(event) = &body.audit_event_id {
        lines.push(format!("Audit record: {event}"));
    }
    render::plain(&lines.join("\n"))
}

fn stdout(text: &str) -> Result<(), Failure> {
    match write_line(io::stdout().lock(), text) {
        Ok(()) => Ok(()),
        // The reader had enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let what = "standard output can't be written";
            Err(Failure::because(ErrorCode::InternalError, what, &error))
        }
    }
}

/// A control sequence of our own, to a terminal only.
fn stdout_raw(sequence: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(sequence.as_bytes()).and_then(|()| out.flush());
    let what = "standard output can't be written";
    written.map_err(|error| Failure::because(ErrorCode::InternalError, what, &error))
}

fn write_line(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn stderr(text: &str) {
    // Nobody can be told that standard error is closed.
    drop(write_line(io::stderr().lock(), text));
}
