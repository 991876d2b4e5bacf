//! How the story is told: a line per step with its time, or one JSON document at the end.

use std::future::Future;
use std::time::{Duration, Instant};

use ibkr_agent_domain::ErrorCode;
use serde_json::{Value, json};

use super::story::Unexpected;
use crate::failure::Failure;
use crate::print::Printer;

/// Longest time for a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Width of a step's title.
const TITLE: usize = 38;

/// Tells steps as they happen.
#[derive(Debug)]
pub(super) struct Teller {
    printer: Option<Printer>,
    steps: Vec<Value>,
    begun: Instant,
}

impl Teller {
    /// A teller to a printer; without one it only remembers.
    pub(super) fn new(printer: Option<Printer>) -> Self {
        Self { printer, steps: Vec::new(), begun: Instant::now() }
    }

    /// How many steps were told.
    pub(super) const fn told(&self) -> usize {
        self.steps.len()
    }

    /// Prints a line, unless the reader is a program.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        match self.printer {
            Some(printer) if !printer.is_json() => printer.page(text),
            Some(_) | None => Ok(()),
        }
    }

    /// Runs a step, in bounded time, and tells it; what is said may have further lines.
    ///
    /// # Errors
    /// A sentence that names the step and what was wrong.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<(T, String), Unexpected>>,
    ) -> Result<T, Failure> {
        let number = self.steps.len() + 1;
        let begun = Instant::now();
        let done = match tokio::time::timeout(STEP_TIMEOUT, Box::pin(work)).await {
            Ok(done) => done,
            Err(_) => Err(Unexpected::new("it took too long")),
        };
        let (value, said) = done.map_err(|unexpected| {
            let message = format!("step {number}, \"{title}\": {unexpected}");
            Failure::new(ErrorCode::InternalError, message)
                .next_step("The demo didn't behave as it should: report it with this line.")
        })?;
        let milliseconds = begun.elapsed().as_millis();
        let mut lines = said.lines();
        let first = lines.next().unwrap_or_default();
        self.line(&format!("{number:>3}. {title:TITLE$} {milliseconds:>6} ms  {first}"))?;
        for more in lines {
            self.line(&format!("       {more}"))?;
        }
        let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        self.steps.push(json!({"step": title, "milliseconds": milliseconds, "said": said}));
        Ok(value)
    }

    /// Ends the story: the JSON document, for a program.
    pub(super) fn end(&self) -> Result<(), Failure> {
        let seconds = self.begun.elapsed().as_secs_f64();
        if let Some(printer) = self.printer.filter(|printer| printer.is_json()) {
            return printer.value(&json!({"ok": true, "steps": self.steps}));
        }
        self.line(&format!("\n{} steps in {seconds:.1} s, each as it should be.", self.steps.len()))
    }
}
