//! The operator at a terminal, before a broker that isn't the simulator's own domain: a key under a
//! typed passphrase, an order that is shown before it is signed, a question that a human answers.
//!
//! The broker is the simulator, served on its own and reached as a paper login.

use crate::support::{BINARY, Home, PATIENCE, Server};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

pub(crate) const PASSPHRASE: &str = "correct horse battery";

/// A process with a terminal of its own, made by script(1).
pub(crate) struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
    answered: usize,
}

impl Terminal {
    fn start(home: &Home, line: &str) -> Self {
        let state = home.path().to_str().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let environment = [("PATH", path.as_str()), ("IBKR_AGENT_HOME", state)];
        Self::shell(home.path(), &format!("{BINARY} {line}"), &environment)
    }

    /// Has a shell run a line, with exactly this environment.
    pub(crate) fn shell(folder: &Path, command: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", command, "/dev/null"])
            .env_clear()
            .env("SHELL", "/bin/sh")
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, output, seen: String::new(), answered: 0 }
    }

    /// Waits for a prompt, then types.
    pub(crate) fn answer(&mut self, prompt: &str, text: &str) {
        while !self.seen[self.answered..].contains(prompt) {
            let bytes = self.output.recv_timeout(PATIENCE);
            let bytes = bytes.unwrap_or_else(|_| panic!("no {prompt:?} in {}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.answered = self.seen.len();
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{text}").unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the end; gives the exit code and everything that the terminal showed.
    pub(crate) fn finish(mut self) -> (i32, String) {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (self.child.wait().unwrap().code().unwrap_or(-1), self.seen.clone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already ended in the good case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The JSON document that a terminal showed last.
fn last_json(shown: &str) -> Value {
    let line = shown.lines().rev().find(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("no JSON in {shown}"));
    serde_json::from_str(line.trim_end()).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// A home with a paper login.
pub(crate) struct Paper {
    home: Home,
    config: String,
    _broker: Option<Server>,
}

impl Paper {
    fn start() -> Self {
        let home = Home::new();
        let words = ["simulator", "run", "--bind", "127.0.0.1:0", "--json"];
        let mut broker = Server::start(&home, &words);
        let url = broker.line()["base_url"].as_str().unwrap().to_owned();
        Self { _broker: Some(broker), ..Self::over(home, &url, "") }
    }

    /// Over a broker that somebody else started, with more lines of configuration.
    pub(crate) fn over(home: Home, url: &str, more: &str) -> Self {
        let config = home.file(
            "paper.yaml",
            &format!(
                "broker:\n  backend: client_portal_gateway\n  base_url: {url}\n  expect: paper\n\
                 accounts:\n  allowed: [DU1234567]\n  simulated: true\n\
                 paper:\n  enabled: true\n{more}"
            ),
        );
        Self { home, config, _broker: None }
    }

    /// A sidecar that runs and looks by itself.
    pub(crate) fn sidecar(&self) -> Server {
        let words = ["--config", &self.config, "sidecar", "run", "--json"];
        let mut server = Server::start(&self.home, &words);
        assert_eq!(server.line()["running"], true);
        server
    }

    pub(crate) fn json(&self, line: &str) -> crate::support::Ran {
        self.home.json(&format!("--config {} {line}", self.config))
    }

    fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(&self.home, &format!("--config {} {line} --json", self.config))
    }

    pub(crate) fn init(&self) -> Value {
        let mut terminal = self.terminal("operator init --label ann");
        terminal.answer("New passphrase: ", PASSPHRASE);
        terminal.answer("Again: ", PASSPHRASE);
        let (code, shown) = terminal.finish();
        assert_eq!(code, 0, "{shown}");
        for entry in std::fs::read_dir(self.home.path().join("broker")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            let kept = bytes.windows(PASSPHRASE.len()).any(|part| part == PASSPHRASE.as_bytes());
            assert!(!kept, "the passphrase stands in {}", path.display());
        }
        last_json(&shown)
    }

    fn preview(&self) -> String {
        self.preview_of("--quantity 1 --limit-price 100")
    }

    fn preview_of(&self, terms: &str) -> String {
        let line = format!(
            "orders preview --account DU1234567 --symbol AAPL --side buy {terms} --enable-preview"
        );
        let preview = self.json(&line).json();
        assert_eq!((&preview["mode"], &preview["would_pass"]), (&"paper".into(), &true.into()));
        preview["preview_id"].as_str().unwrap().to_owned()
    }

    fn approved(&self) -> String {
        self.approve("BUY 1 AAPL", "--quantity 1 --limit-price 100")
    }

    /// Previews a purchase and approves it at a terminal that must show it; the approval's id.
    pub(crate) fn approve(&self, shown_as: &str, terms: &str) -> String {
        let preview = self.preview_of(terms);
        let line = format!("approvals create --account DU1234567 --preview-id {preview}");
        let mut terminal = self.terminal(&line);
        terminal.answer("Passphrase of the operator key: ", PASSPHRASE);
        let (code, shown) = terminal.finish();
        assert_eq!(code, 0, "{shown}");
        let order = shown.find(shown_as).unwrap();
        assert!(order < shown.find("Passphrase").unwrap(), "shown before it is signed: {shown}");
        let approval = last_json(&shown);
        assert_eq!(approval["status"], "approved");
        approval["approval_id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_paper_order_needs_a_typed_passphrase_and_a_typed_yes() {
    let paper = Paper::start();
    let key = paper.init();
    assert_eq!((&key["sealed"], &key["domain"]), (&true.into(), &"broker".into()));
    let approval = paper.approved();
    let line = format!("orders submit --account DU1234567 --approval-id {approval}");
    let mut terminal = paper.terminal(&line);
    terminal.answer("Type yes to send the order", "yes");
    terminal.answer("Passphrase of the operator key: ", PASSPHRASE);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(last_json(&shown)["status"], "working", "{shown}");
    paper.json("audit verify").json();
}

#[test]
fn a_question_that_nobody_can_answer_is_answered_with_no() {
    let paper = Paper::start();
    paper.init();
    let approval = paper.approved();
    // Without a terminal, and with the sidecar ending with the verb.
    let ran = paper.json(&format!("orders submit --account DU1234567 --approval-id {approval}"));
    assert_ne!(ran.code, 0, "{ran:?}");
    let outcome = paper.json(&format!("orders outcome --approval-id {approval}")).json();
    assert_eq!(outcome["status"], "rejected", "known, and never in doubt: {outcome}");
    let list = paper.json("orders list --account DU1234567 --status all --full").json();
    assert_eq!(list["orders"].as_array().unwrap().len(), 0, "{list}");
}

#[test]
fn a_wrong_passphrase_signs_nothing_and_a_second_first_key_is_refused() {
    let paper = Paper::start();
    paper.init();
    let preview = paper.preview();
    let line = format!("approvals create --account DU1234567 --preview-id {preview}");
    let mut terminal = paper.terminal(&line);
    terminal.answer("Passphrase of the operator key: ", "incorrect horse battery");
    let (code, shown) = terminal.finish();
    assert_eq!((code, &last_json(&shown)["code"]), (4, &"SIGNATURE_INVALID".into()), "{shown}");
    let list = paper.json("approvals list").json();
    assert_eq!(list["approvals"][0]["status"], "pending", "{list}");
    assert_eq!(paper.json("operator init").error(), (4, "SIGNATURE_REQUIRED".to_owned()));
    // Resuming is signed too.
    paper.json("kill-switch close").json();
    let mut terminal = paper.terminal("kill-switch open");
    terminal.answer("Passphrase of the operator key: ", PASSPHRASE);
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(paper.json("kill-switch status").json()["halted"], false);
}

#[test]
fn passphrases_that_differ_or_are_short_make_no_key() {
    let paper = Paper::start();
    for (first, second) in [(PASSPHRASE, "another passphrase"), ("short", "short")] {
        let mut terminal = paper.terminal("operator init");
        terminal.answer("New passphrase: ", first);
        terminal.answer("Again: ", second);
        let (code, shown) = terminal.finish();
        assert_eq!((code, &last_json(&shown)["code"]), (2, &"INPUT_INVALID".into()), "{shown}");
    }
    assert!(!paper.home.path().join("broker/operator.key").exists());
}
