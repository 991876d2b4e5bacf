//! A program that keeps what it is told, and a receiver of webhooks.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that adds each message as a line to a file.
pub(crate) struct Hook {
    pub(crate) command: Vec<String>,
    file: PathBuf,
}

impl Hook {
    pub(crate) fn new(folder: &Path) -> Self {
        let (program, file) = (folder.join("hook.sh"), folder.join("told.jsonl"));
        // The arguments must arrive as they are: no shell may look at them.
        let script = "#!/bin/sh\n[ \"$2\" = '$(touch pwned)' ] || exit 3\n\
                      line=$(cat)\nprintf '%s\\n' \"$line\" >> \"$1\"\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let command = vec![text(&program), text(&file), "$(touch pwned)".to_owned()];
        Self { command, file }
    }

    pub(crate) fn told(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for the first message of a kind.
    pub(crate) async fn wait_for(&self, kind: &str) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.told().into_iter().find(|message| message["kind"] == kind);
            if let Some(message) = found {
                return message;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {kind} in {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.told().iter().filter(|message| message["kind"] == kind).count()
    }
}

/// One request as the webhook's receiver saw it.
pub(crate) struct Posted {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: String,
}

/// Takes webhooks; refuses the first `refuse` of them.
pub(crate) async fn receiver(mut refuse: usize) -> (String, mpsc::UnboundedReceiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/notices", listener.local_addr().unwrap());
    let (sender, posted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0_u8; 4096];
                let read = stream.read(&mut chunk).await.unwrap_or(0);
                bytes.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && body.len() >= header(head, "content-length").parse().unwrap()
                {
                    break (head.to_owned(), body.to_owned());
                }
                assert!(read > 0, "the request was cut");
            };
            let status = if refuse > 0 { "503 Busy" } else { "204 No Content" };
            refuse = refuse.saturating_sub(1);
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let posted = Posted {
                id: header(&head, "webhook-id"),
                timestamp: header(&head, "webhook-timestamp"),
                signature: header(&head, "webhook-signature"),
                body,
            };
            drop(sender.send(posted));
        }
    });
    (url, posted)
}

fn header(head: &str, name: &str) -> String {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned()).unwrap_or_default()
}
