//! A simulated broker in a process of its own, driven over its control port, and what a sidecar
//! tells while it looks at it.

use crate::support::{Home, PATIENCE, Server};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longest time that a command may take.
const COMMAND: Duration = Duration::from_secs(20);

/// The broker.
pub(crate) struct Played {
    pub(crate) base_url: String,
    control: String,
    _process: Server,
}

impl Played {
    pub(crate) fn start(home: &Home) -> Self {
        let words = ["simulator", "run", "--port", "0", "--control-port", "0", "--json"];
        let mut process = Server::start(home, &words);
        let ready = process.line();
        let control = ready["control_url"].as_str().unwrap();
        let control = control.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let base_url = ready["base_url"].as_str().unwrap().to_owned();
        Self { base_url, control, _process: process }
    }

    /// Sends a command that must be carried out; what it tells.
    pub(crate) fn make(&self, command: &Value) -> Value {
        let body = command.to_string();
        let mut stream = TcpStream::connect(&self.control).unwrap();
        stream.set_read_timeout(Some(COMMAND)).unwrap();
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\n\r\n{body}",
            self.control,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, told) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{command}: {answer}");
        serde_json::from_str(told).unwrap()
    }
}

/// What a sidecar tells, through a program of ours and a pipe with a name.
pub(crate) struct Told {
    /// The section `notices` of the configuration.
    pub(crate) config: String,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Told {
    pub(crate) fn new(home: &Home) -> Self {
        let pipe = home.path().join("told");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = "#!/bin/sh\nline=$(cat)\nprintf '%s\\n' \"$line\" > \"$1\"\n";
        let program = PathBuf::from(home.file("tell.sh", script));
        let mode = Command::new("chmod").arg("700").arg(&program).status().unwrap();
        assert!(mode.success());
        let config = format!("notices:\n  command: [{}, {}]\n", program.display(), pipe.display());
        let (sender, lines) = mpsc::channel();
        // Opening waits for a writer, reading for its end. The thread ends with the process.
        std::thread::spawn(move || {
            while let Ok(text) = std::fs::read_to_string(&pipe) {
                for line in text.lines() {
                    if sender.send(serde_json::from_str(line).unwrap()).is_err() {
                        return;
                    }
                }
            }
        });
        Self { config, lines, seen: Vec::new() }
    }

    /// Waits for the first notice of a kind.
    pub(crate) fn wait_for(&mut self, kind: &str, within: Duration) -> Value {
        assert!(within <= PATIENCE);
        let begun = Instant::now();
        loop {
            let left = within.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(notice) if notice["kind"] == kind => return notice,
                Ok(other) => self.seen.push(other),
                Err(_) => panic!("no {kind} within {within:?}; told: {:?}", self.seen),
            }
        }
    }
}
