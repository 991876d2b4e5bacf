//! A home for the binary, and one run of it.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longest time that one run may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ibkr-agent");

/// A temporary home.
pub(crate) struct Home(tempfile::TempDir);

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The one JSON document on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code, from the one JSON line on standard error.
    pub(crate) fn error(&self) -> (i32, String) {
        assert_eq!(self.stdout, "", "an error prints no data: {self:?}");
        let line = self.stderr.lines().last().unwrap_or_default();
        let body: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        for key in ["message", "retryable", "user_action", "audit_event_id"] {
            assert!(body.get(key).is_some(), "{key}: {body}");
        }
        (self.code, body["code"].as_str().unwrap().to_owned())
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The state folder of the simulator.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("simulator")
    }

    /// A file in the home.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A command in this home. In a session of its own: it has no terminal to ask at.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command
            .args(["--wait", BINARY])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("IBKR_AGENT_HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs words split at spaces, and `--json`.
    pub(crate) fn json(&self, line: &str) -> Ran {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.push("--json");
        self.run(&words)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.start(arguments))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
}

/// Waits for a run, but not for ever.
pub(crate) fn finish(child: Child) -> Ran {
    let id = child.id();
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || drop(told.send(child.wait_with_output())));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => {
            let output = output.unwrap();
            Ran {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8(output.stdout).unwrap(),
                stderr: String::from_utf8(output.stderr).unwrap(),
            }
        }
        Err(_) => {
            signal(id, "-KILL");
            panic!("the run didn't end in {PATIENCE:?}");
        }
    }
}

/// A process that serves, started without the session wrapper so that it can be signalled.
pub(crate) struct Server {
    child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::start_with(home, arguments, Stdio::null())
    }

    pub(crate) fn start_with(home: &Home, arguments: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .env_clear()
            .env("IBKR_AGENT_HOME", home.path())
            .current_dir(home.path())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Starts a command of one's own, with its standard output to read.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line on standard output, as JSON.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and gives its exit code and what it still wrote.
    pub(crate) fn terminate(mut self) -> (i32, String) {
        signal(self.child.id(), "-TERM");
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended in the good case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(id: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &id.to_string()]).status().unwrap();
    assert!(sent.success());
}
