//! The gateway's process: started without a shell and in a group of its own, so that a key typed
//! at the terminal reaches us alone and its end takes everything with it that it started.
//!
//! Its lines are outside text and may show session material: they are cut, escaped, and what looks
//! like a key, a cookie or a session id is left out before anybody sees them.

use super::Ready;
use super::conf::OURS;
use crate::failure::Failure;
use crate::home::Environment;
use ibkr_agent_domain::{ErrorCode, Untrusted};
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// What the gateway prints when it can't listen. The process stays alive then.
const LISTEN_FAILED: &str = "Server listen failed";
/// Its main class.
const MAIN: &str = "ibgroup.web.core.clientportal.gw.GatewayStart";
/// Variables of ours that it gets; everything else, secrets included, stays here.
const VARIABLES: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
];
/// Longest line in bytes; the rest of a longer one is dropped.
const MAX_LINE: usize = 2048;
/// Lines that wait to be looked at.
const WAITING_LINES: usize = 256;
/// A run of letters and digits from this length on is taken for a key.
const KEY_LENGTH: usize = 16;
/// Words of lines that are withheld altogether.
const WITHHELD: [&str; 7] =
    ["cookie", "session", "token", "authorization", "passw", "credential", "x-sess"];
/// Time for what it said before it ended; something that it started may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Time to end after being asked.
const GRACE: Duration = Duration::from_secs(10);

/// A running gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    pid: u32,
    lines: mpsc::Receiver<Line>,
    /// How it ended, and until when its last words are waited for.
    ended: Option<(Option<ExitStatus>, Instant)>,
}

/// A line of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Whether it says that it can't listen.
    pub(super) is_listen_failure: bool,
    /// What may be shown of it.
    pub(super) text: String,
}

impl Gateway {
    /// Starts it as its own script does.
    pub(super) fn start(ready: &Ready, environment: Environment<'_>) -> Result<Self, Failure> {
        let conf = Path::new("..").join(OURS);
        let mut command = Command::new(&ready.java);
        command
            .args([
                "-server",
                "-Dvertx.disableDnsResolver=true",
                "-Djava.net.preferIPv4Stack=true",
                "-Dvertx.logger-delegate-factory-class-name=\
                 io.vertx.core.logging.SLF4JLogDelegateFactory",
                "-cp",
                "root:dist/*:build/lib/runtime/*",
                MAIN,
                "--conf",
            ])
            .arg(conf)
            .current_dir(&ready.root)
            .env_clear()
            .envs(VARIABLES.iter().filter_map(|name| Some((*name, environment(name)?))))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let what = format!("{} can't be started", ready.java.display());
            Failure::because(ErrorCode::BrokerBackendUnavailable, &what, &error)
        })?;
        let (told, lines) = mpsc::channel(WAITING_LINES);
        if let Some(out) = child.stdout.take() {
            tokio::spawn(read_lines(out, told.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(read_lines(err, told));
        }
        let pid = child.id().unwrap_or_default();
        Ok(Self { child, pid, lines, ended: None })
    }

    /// Its process id, which also names its group.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its next line, or its end after its last words.
    pub(super) async fn next(&mut self) -> Happened {
        loop {
            if let Some((status, until)) = self.ended {
                return match timeout_at(until, self.lines.recv()).await {
                    Ok(Some(line)) => Happened::Said(line),
                    Ok(None) | Err(_) => Happened::Ended(status),
                };
            }
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => return Happened::Said(line),
                ended = self.child.wait() => {
                    self.ended = Some((ended.ok(), Instant::now() + LAST_WORDS));
                }
            }
        }
    }

    /// Asks it to end, insists after a while, and takes its exit. What it still says is dropped.
    pub(super) async fn end(mut self) -> Option<ExitStatus> {
        self.lines.close();
        self.signal(Signal::TERM);
        let ended = match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(pid = self.pid, "gateway.insisted_on_end");
                self.signal(Signal::KILL);
                self.child.wait().await
            }
        };
        ended.ok()
    }

    /// Signals the whole group, as long as its leader's number can't have become another's.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(group) = pid
            && let Err(error) = kill_process_group(group, signal)
        {
            // A group that is gone has ended, which is what was wanted.
            tracing::debug!(pid = self.pid, %error, "gateway.not_signalled");
        }
    }
}

/// What the process did.
#[derive(Debug)]
pub(super) enum Happened {
    /// It printed a line.
    Said(Line),
    /// It ended.
    Ended(Option<ExitStatus>),
}

async fn read_lines(mut from: impl AsyncRead + Unpin, told: mpsc::Sender<Line>) {
    let mut buffer = [0_u8; 4096];
    let mut cutter = Cutter::default();
    loop {
        let bytes = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
        };
        for line in cutter.push(bytes) {
            // Nobody listens any more when it is being ended; its pipe is still emptied.
            drop(told.send(line).await);
        }
    }
    if let Some(line) = cutter.rest() {
        drop(told.send(line).await);
    }
}

/// Cuts bytes into bounded lines.
#[derive(Debug, Default)]
struct Cutter {
    line: Vec<u8>,
}

impl Cutter {
    fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                lines.extend(self.rest());
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
        lines
    }

    fn rest(&mut self) -> Option<Line> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        (!text.is_empty()).then(|| line(text))
    }
}

fn line(text: &str) -> Line {
    let small = text.to_ascii_lowercase();
    let shown = if WITHHELD.iter().any(|word| small.contains(word)) {
        "(a line about the session or credentials, not shown)".to_owned()
    } else {
        Untrusted::bounded(&without_keys(text), MAX_LINE).as_str().to_owned()
    };
    Line { is_listen_failure: text.contains(LISTEN_FAILED), text: shown }
}

/// The text without what looks like a key: a long run of letters and digits that has both.
fn without_keys(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-".contains(letter);
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for letter in text.chars().chain(std::iter::once('\n')) {
        if is_part(letter) {
            run.push(letter);
            continue;
        }
        let is_key =
            run.len() >= KEY_LENGTH && run.contains(|letter: char| letter.is_ascii_digit());
        shown.push_str(if is_key { "[hidden]" } else { &run });
        run.clear();
        shown.push(letter);
    }
    shown.pop();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_a_listen_failure_is_noticed() {
        let mut cutter = Cutter::default();
        let mut lines = cutter.push(b"Open https://localhost:5000 to log");
        assert!(lines.is_empty());
        lines.extend(cutter.push(b"in\r\n\nServer listen failed Address already in use\nrest"));
        lines.extend(cutter.rest());
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let failed = "Server listen failed Address already in use";
        assert_eq!(texts, ["Open https://localhost:5000 to login", failed, "rest"]);
        let failures: Vec<bool> = lines.iter().map(|line| line.is_listen_failure).collect();
        assert_eq!(failures, [false, true, false]);
        let endless = cutter.push(&vec![b'x'; 1 << 20]);
        assert!(endless.is_empty());
        assert_eq!(cutter.rest().unwrap().text.len(), MAX_LINE);
    }

    #[test]
    fn nothing_that_could_be_session_material_is_shown() {
        let secret = "7f953d2f6f6c7b92e80174ff31a783fb";
        for text in [
            format!("Set-Cookie: x-sess-uuid={secret}; path=/"),
            format!("upstream said {secret} just now"),
            format!("url=https://x/y?sid={secret}"),
            format!("SESSION {secret}"),
            secret.to_owned(),
        ] {
            let shown = line(&text).text;
            assert!(!shown.contains(secret), "{shown}");
        }
        let plain = "INFO ibgroup.web.core.iblink.router.GatewayVerticle: mount demo on /demo";
        assert_eq!(line(plain).text, plain);
        assert!(!line("\u{1b}[31mred\u{202e}").text.contains(['\u{1b}', '\u{202e}']));
    }
}
