//! Findings of a check: a state, a sentence, a next step; and the report that they make.
//!
//! Outside text (paths, command lines, answers) is escaped where a finding is made, so a report is
//! safe to print. A warning never changes the exit code; the first failure decides it, since checks
//! are walked from the cause to its effects.

use crate::failure::Failure;
use crate::print::Printer;
use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_gateway::invocation::Invocation;
use serde_json::{Value, json};

/// Longest sentence in characters.
const MAX_SENTENCE: usize = 1200;
/// Columns of the text for people.
const WIDTH: usize = 100;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at, because something before it is missing or it doesn't apply.
    Skipped,
    /// It works, but somebody should know.
    Warn,
    /// It doesn't work or isn't safe.
    Fail(ErrorCode),
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail(_) => "fail",
        }
    }
}

/// One check's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Name of the check, such as `gateway.port`.
    pub(crate) check: &'static str,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// Which broker login it is about, if it is about one.
    broker: Option<String>,
    says: String,
    next_step: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, says: impl AsRef<str>) -> Self {
        let says = escaped(says.as_ref());
        Self { check, verdict, broker: None, says, next_step: None }
    }

    /// As it should be.
    pub(crate) fn ok(check: &'static str, says: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Ok, says)
    }

    /// Not looked at, and why.
    pub(crate) fn skipped(check: &'static str, says: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Skipped, says)
    }

    /// Somebody should know.
    pub(crate) fn warn(check: &'static str, says: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Warn, says)
    }

    /// Broken or unsafe; the code decides the exit code.
    pub(crate) fn fail(check: &'static str, code: ErrorCode, says: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Fail(code), says)
    }

    /// A failure of another part of the program as a finding.
    pub(crate) fn failure(check: &'static str, failure: &Failure) -> Self {
        let code = failure.0.error_code().unwrap_or(ErrorCode::InternalError);
        Self::fail(check, code, &failure.0.message).next(&failure.0.user_action)
    }

    /// What to do about it.
    pub(crate) fn next(mut self, step: impl AsRef<str>) -> Self {
        self.next_step = Some(escaped(step.as_ref()));
        self
    }

    /// The login that it is about.
    pub(crate) fn of(mut self, broker: &str) -> Self {
        self.broker = Some(escaped(broker));
        self
    }

    /// The sentence.
    #[cfg(test)]
    pub(crate) fn says(&self) -> &str {
        &self.says
    }

    fn value(&self) -> Value {
        let code = match self.verdict {
            Verdict::Fail(code) => Value::from(code.as_str()),
            Verdict::Ok | Verdict::Skipped | Verdict::Warn => Value::Null,
        };
        json!({
            "check": self.check,
            "broker": self.broker,
            "state": self.verdict.as_str(),
            "code": code,
            "says": self.says,
            "next_step": self.next_step,
        })
    }

    fn lines(&self, name_width: usize, lines: &mut Vec<String>) {
        let name = self.name();
        let head = format!("{:<8}{name:<name_width$}  ", self.verdict.as_str());
        let indent = head.chars().count();
        let room = WIDTH.saturating_sub(indent).max(40);
        let mut text = wrapped(&self.says, room);
        if let Some(step) = &self.next_step {
            text.extend(wrapped(&format!("Next: {step}"), room));
        }
        for (at, line) in text.iter().enumerate() {
            let front = if at == 0 { head.clone() } else { " ".repeat(indent) };
            lines.push(format!("{front}{line}"));
        }
    }

    fn name(&self) -> String {
        match &self.broker {
            Some(broker) => format!("{} ({broker})", self.check),
            None => self.check.to_owned(),
        }
    }
}

/// All findings, in the order of the walk.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds several.
    pub(crate) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Whether anything failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding.verdict, Verdict::Fail(_)))
    }

    /// The warnings, a sentence and a next step each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warned = self.findings.iter().filter(|finding| finding.verdict == Verdict::Warn);
        warned
            .map(|finding| match &finding.next_step {
                Some(step) => format!("{} {step}", finding.says),
                None => finding.says.clone(),
            })
            .collect()
    }

    fn count(&self, wanted: &str) -> usize {
        self.findings.iter().filter(|finding| finding.verdict.as_str() == wanted).count()
    }

    fn status(&self) -> &'static str {
        match (self.count("fail"), self.count("warn")) {
            (0, 0) => "ok",
            (0, _) => "warn",
            (_, _) => "fail",
        }
    }

    /// The report as JSON.
    pub(crate) fn value(&self) -> Value {
        let checks: Vec<Value> = self.findings.iter().map(Finding::value).collect();
        json!({ "status": self.status(), "checks": checks })
    }

    fn people(&self) -> String {
        let widths = self.findings.iter().map(|finding| finding.name().chars().count());
        let width = widths.max().unwrap_or(0);
        let mut lines = Vec::new();
        for finding in &self.findings {
            finding.lines(width, &mut lines);
        }
        let (failed, warned) = (self.count("fail"), self.count("warn"));
        lines.push(format!(
            "\n{} checks: {} ok, {warned} to know about, {failed} failed, {} not looked at.",
            self.findings.len(),
            self.count("ok"),
            self.count("skipped"),
        ));
        lines.join("\n")
    }

    /// Says every next step as it is typed in another terminal.
    pub(crate) fn spell(&mut self, invocation: &Invocation) {
        for step in self.findings.iter_mut().filter_map(|finding| finding.next_step.as_mut()) {
            *step = invocation.spell(step);
        }
    }

    /// Prints the report; a failed one is also an error, whose exit code is that of the first
    /// failure.
    pub(crate) fn print(&self, printer: Printer) -> Result<(), Failure> {
        if printer.is_json() {
            printer.value(&self.value())?;
        } else {
            printer.page(&self.people())?;
        }
        let failed = |finding: &&Finding| matches!(finding.verdict, Verdict::Fail(_));
        let Some(first) = self.findings.iter().find(failed) else {
            return Ok(());
        };
        let Verdict::Fail(code) = first.verdict else {
            return Ok(());
        };
        let message = format!(
            "{} of {} checks failed, first {}: {}",
            self.count("fail"),
            self.findings.len(),
            first.name(),
            first.says
        );
        let failure = Failure::new(code, message);
        Err(match &first.next_step {
            Some(step) => failure.next_step(step),
            None => failure,
        })
    }
}

fn escaped(text: &str) -> String {
    Untrusted::bounded(text, MAX_SENTENCE).as_str().to_owned()
}

/// Breaks at spaces; a word longer than a line keeps a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if length > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::Style;

    fn report(findings: Vec<Finding>) -> Report {
        Report { findings }
    }

    #[test]
    fn the_first_failure_decides_the_exit_code_and_warnings_dont() {
        let printer = Printer::new(Style::Json);
        let warned = report(vec![Finding::ok("a", "fine"), Finding::warn("b", "hm")]);
        assert!(warned.print(printer).is_ok());
        assert_eq!(warned.value()["status"], "warn");
        let failed = report(vec![
            Finding::warn("a", "hm"),
            Finding::fail("b", ErrorCode::BrokerBackendUnavailable, "down").next("Start it."),
            Finding::fail("c", ErrorCode::ConfigInvalid, "wrong"),
        ]);
        let failure = failed.print(printer).unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(failure.0.user_action, "Start it.");
        assert!(failure.0.message.starts_with("2 of 3 checks failed, first b: down"));
        assert_eq!(failed.value()["checks"][1]["code"], "BROKER_BACKEND_UNAVAILABLE");
    }

    #[test]
    fn outside_text_is_escaped_and_bounded_and_lines_are_wrapped() {
        let evil = format!("\u{1b}[2J\u{202e}{}", "word ".repeat(900));
        let finding = Finding::warn("a.b", &evil).next(&evil).of("paper");
        let text = report(vec![finding]).people();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("warn    a.b (paper)  "), "{text}");
        assert!(text.lines().count() < 60);
    }
}
