//! Real processes over a real store: each test runs this very test program again as its clients.
//!
//! A client opens the state folder, prints `@mode owner` or `@mode attached`, and then answers
//! lines on its standard input: `<tool> <arguments>` is called, progress and answer are printed.

use crate::support::{Probe, READ, WRITE, call, caller};
use ibkr_agent_audit::{Ledger, LedgerConfig, OpenError};
use ibkr_agent_domain::{ErrorCode, Timestamp};
use ibkr_agent_gateway::local::{LocalMode, LocalService, Owner, StartError};
use ibkr_agent_protocol::service::{ErrorBody, Progress, ProgressUpdate, ToolService as _};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const STATE: &str = "LOCAL_TEST_STATE";

/// A client process.
struct Client {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// Starts the test of this name again, which finds that it is a client.
    fn spawn(test: &str, state: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("processes::{test}"), "--nocapture"])
            .env(STATE, state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, input, output }
    }

    /// The next line of this kind.
    async fn heard(&mut self, kind: &str) -> String {
        let mark = format!("@{kind} ");
        while let Some(line) = self.output.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once(&mark) {
                return rest.to_owned();
            }
        }
        panic!("the client ended without saying {kind}");
    }

    async fn begin(&mut self, tool: &str, arguments: &str) {
        let line = format!("{tool} {arguments}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    /// Calls; `Ok` is who answered.
    async fn ask(&mut self, tool: &str, arguments: &str) -> Result<String, String> {
        self.begin(tool, arguments).await;
        self.answered().await
    }

    async fn answered(&mut self) -> Result<String, String> {
        let said: Value = serde_json::from_str(&self.heard("reply").await).unwrap();
        match said["code"].as_str() {
            Some(code) => Err(code.to_owned()),
            None => Ok(said["by"].as_str().unwrap().to_owned()),
        }
    }

    fn name(&self) -> String {
        self.process.id().unwrap().to_string()
    }
}

/// Runs as a client if this process was started as one.
async fn is_client() -> bool {
    let Some(state) = std::env::var_os(STATE).map(PathBuf::from) else {
        return false;
    };
    let at = state.clone();
    let service =
        LocalService::open(&state, move || core::future::ready(start(&at))).await.unwrap();
    tell("mode", mode(&service));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let (tool, arguments) = line.split_once(' ').unwrap();
        let (sender, mut updates) = mpsc::channel::<ProgressUpdate>(4);
        let telling = tokio::spawn(async move {
            while let Some(update) = updates.recv().await {
                tell("progress", &update.message);
            }
        });
        let progress = Progress::to(sender);
        let reply = service
            .call(caller("client"), call(tool, arguments), progress, CancellationToken::new())
            .await;
        telling.await.unwrap();
        let said = match reply.result {
            Ok(body) => body.get().to_owned(),
            Err(error) => serde_json::to_string(&error).unwrap(),
        };
        tell("reply", &said);
        tell("mode", mode(&service));
    }
    service.close().await;
    tell("closed", "now");
    true
}

#[expect(clippy::print_stdout, reason = "it is how the client answers its test")]
fn tell(kind: &str, what: &str) {
    // The test harness may have begun a line of its own.
    println!("\n@{kind} {what}");
}

fn mode(service: &LocalService<Probe>) -> &'static str {
    match service.mode() {
        Some(LocalMode::Owner) => "owner",
        Some(LocalMode::Attached) => "attached",
        None => "neither",
    }
}

fn start(state: &Path) -> Result<Owner<Probe>, StartError> {
    let config = LedgerConfig {
        path: Some(state.join("store.redb")),
        origin: "ibkr-agent/test".to_owned(),
        signing_seed: [7; 32].into(),
        account_key: vec![7; 32].into(),
        now: Timestamp::from_millis(0),
    };
    let ledger = match Ledger::open(config) {
        Ok(ledger) => ledger,
        Err(OpenError::Locked(_)) => return Err(StartError::Locked),
        Err(error) => {
            let body = ErrorBody::new(ErrorCode::StoreDamaged, error.to_string());
            return Err(StartError::Failed(body));
        }
    };
    let service = Probe::new(&std::process::id().to_string());
    Ok(Owner { service: Arc::clone(&service), close: Box::pin(async move { drop(ledger) }) })
}

#[tokio::test]
async fn three_at_once_all_work_and_when_the_first_is_killed_the_others_go_on() {
    if is_client().await {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let test = "three_at_once_all_work_and_when_the_first_is_killed_the_others_go_on";
    let mut clients: Vec<Client> = (0..3).map(|_| Client::spawn(test, state.path())).collect();
    let mut owner = None;
    for (index, client) in clients.iter_mut().enumerate() {
        if client.heard("mode").await == "owner" {
            assert_eq!(owner.replace(index), None, "two own the store");
        }
    }
    let mut first = clients.remove(owner.unwrap());
    let owned_by = first.name();
    assert_eq!(first.ask(READ, "{}").await.unwrap(), owned_by);
    for client in &mut clients {
        assert_eq!(client.ask(READ, "{}").await.unwrap(), owned_by);
        assert_eq!(client.ask(WRITE, "{}").await.unwrap(), owned_by);
    }

    first.process.kill().await.unwrap();
    let names: Vec<String> = clients.iter().map(Client::name).collect();
    let mut heirs = Vec::new();
    for client in &mut clients {
        heirs.push(client.ask(WRITE, "{}").await.unwrap());
        heirs.push(client.ask(READ, "{}").await.unwrap());
    }
    assert!(names.contains(&heirs[0]));
    assert!(heirs.iter().all(|heir| *heir == heirs[0]), "{heirs:?}");

    let mut late = Client::spawn(test, state.path());
    assert_eq!(late.heard("mode").await, "attached");
    assert_eq!(late.ask(READ, "{}").await.unwrap(), heirs[0]);
}

#[tokio::test]
async fn calls_in_flight_at_a_killed_owner_are_answered_and_not_repeated() {
    if is_client().await {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let test = "calls_in_flight_at_a_killed_owner_are_answered_and_not_repeated";
    let mut owner = Client::spawn(test, state.path());
    assert_eq!(owner.heard("mode").await, "owner");
    let mut reader = Client::spawn(test, state.path());
    let mut writer = Client::spawn(test, state.path());
    for (client, tool) in [(&mut reader, READ), (&mut writer, WRITE)] {
        assert_eq!(client.heard("mode").await, "attached");
        client.begin(tool, r#"{"wait":true}"#).await;
        assert_eq!(client.heard("progress").await, "began");
    }
    owner.process.kill().await.unwrap();
    assert_eq!(reader.answered().await.unwrap_err(), "SIDECAR_UNAVAILABLE");
    assert_eq!(writer.answered().await.unwrap_err(), "CALL_OUTCOME_UNKNOWN");
    // Had one been repeated it would wait, and this would not be answered.
    assert!(reader.ask(READ, "{}").await.is_ok());
    assert!(writer.ask(WRITE, "{}").await.is_ok());
}

#[tokio::test]
async fn an_owner_that_leaves_in_peace_hands_the_store_on() {
    if is_client().await {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let test = "an_owner_that_leaves_in_peace_hands_the_store_on";
    let mut owner = Client::spawn(test, state.path());
    assert_eq!(owner.heard("mode").await, "owner");
    let mut heir = Client::spawn(test, state.path());
    assert_eq!(heir.heard("mode").await, "attached");
    let Client { mut process, input, mut output } = owner;
    drop(input);
    while let Some(line) = output.next_line().await.unwrap() {
        if line.contains("@closed") {
            break;
        }
    }
    assert!(process.wait().await.unwrap().success());
    assert_eq!(heir.ask(WRITE, "{}").await.unwrap(), heir.name());
}
