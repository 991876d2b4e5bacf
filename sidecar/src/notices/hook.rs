//! Runs the configured program: no shell, a bare environment, the message on standard input.

use crate::notices::Message;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long the program may run.
const RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs it once; it must end well and in time.
pub(super) async fn run(command: &[String], message: &Message) -> Result<(), &'static str> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program is configured");
    };
    let body = serde_json::to_vec(message).map_err(|_| "the message can't be written")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| "the program can't be started")?;
    let input = child.stdin.take();
    let run = async {
        if let Some(mut input) = input {
            // A program that doesn't read its input may still do its work.
            let written = input.write_all(&body).await;
            drop(written.and(input.shutdown().await));
        }
        child.wait().await
    };
    match tokio::time::timeout(RUN_TIMEOUT, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err("the program failed"),
        Ok(Err(_)) => Err("the program can't be waited for"),
        Err(_) => Err("the program took too long"),
    }
}
