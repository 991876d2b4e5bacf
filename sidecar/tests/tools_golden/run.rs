//! A sidecar on a simulator whose clocks stand still, and texts that don't differ between runs.

use ibkr_agent_domain::{Digest, Door, Timestamp, Untrusted};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig, demo_key_path};
use ibkr_agent_gateway::operator::{Challenge, OperatorDoor, Verb, load_key};
use ibkr_agent_gateway::tools::Agent;
use ibkr_agent_protocol::service::{LocalCaller, Progress, ToolCall, ToolService};
use ibkr_agent_simulator::{ClockMode, Precautions, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tempfile::TempDir;
use tiktoken_rs::CoreBPE;
use tokio_util::sync::CancellationToken;

/// A Monday morning at the exchange: 2026-11-23T15:00:00Z.
pub(crate) const START_MS: i64 = 1_795_446_000_000;

static TOKENIZER: LazyLock<CoreBPE> = LazyLock::new(|| tiktoken_rs::o200k_base().unwrap());

/// Tokens of a text in a vocabulary that is in wide use.
pub(crate) fn tokens(text: &str) -> usize {
    TOKENIZER.encode_ordinary(text).len()
}

/// A simulator and a sidecar on it.
pub(crate) struct Bench {
    pub(crate) simulator: Simulator,
    sidecar: Sidecar,
    folder: TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let clock = ClockMode::Manual(START_MS);
        let simulator = SimulatorConfig { clock, ..SimulatorConfig::default() };
        Self::start_with(simulator).await
    }

    pub(crate) async fn start_with(simulator: SimulatorConfig) -> Self {
        let simulator = Simulator::start(simulator).await.unwrap();
        simulator.control().set_precautions(Precautions::Off);
        let folder = tempfile::tempdir().unwrap();
        let url = simulator.base_url();
        let mut config = SidecarConfig::simulator(folder.path().join("state"), &url);
        config.standing_clock = Some(Timestamp::from_millis(START_MS));
        let sidecar = Sidecar::start(config).await.unwrap();
        Self { simulator, sidecar, folder }
    }

    pub(crate) async fn stop(self) {
        self.sidecar.shutdown().await;
        self.simulator.shutdown().await;
    }

    /// Calls a tool; an error is the JSON that clients see.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value) -> Result<Value, Value> {
        let caller = LocalCaller { client: Untrusted::new("golden") };
        let agent = Agent::Local { caller, door: Door::Sdk };
        let arguments = serde_json::value::to_raw_value(arguments).unwrap();
        let call = ToolCall::new(tool, arguments);
        let agents = self.sidecar.agents();
        let token = CancellationToken::new();
        let reply =
            ToolService::call(agents.as_ref(), agent, call, Progress::ignored(), token).await;
        reply
            .result
            .map(|body| serde_json::from_str(body.get()).unwrap())
            .map_err(|error| serde_json::to_value(error).unwrap())
    }

    pub(crate) async fn approve(&self, id: &str, digest: &str) {
        let state = self.folder.path().join("state");
        let desk = self.sidecar.desk();
        let signer = load_key(&demo_key_path(&state), desk.domain(), None).unwrap();
        let shown = desk.perform(Verb::Approval { id: id.to_owned() }, None).await.unwrap();
        assert_eq!(shown["order_digest"], digest);
        let covered = Digest::of(shown["approval_bytes"].as_str().unwrap().as_bytes());
        let verb = signer.approve(id, &covered).unwrap();
        let challenge = Challenge("00".repeat(32));
        let proof = signer.prove(&desk.sidecar(), &challenge, &verb).unwrap();
        let key = desk.keyring().verify(&desk.sidecar(), &challenge, &verb, &proof).unwrap();
        desk.perform(verb, Some(key)).await.unwrap();
    }
}

/// A value whose random parts are replaced by fixed ones of the same shape, and whose counts of
/// records, which background work may raise, by zero.
pub(crate) fn normalised(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let is_log = map.contains_key("log_size");
            let entries = map.into_iter().map(|(key, value)| {
                let steady = match (key.as_str(), value) {
                    ("size" | "log_size", Value::Number(_)) => Value::from(0),
                    ("next_cursor", Value::String(_)) if is_log => "0".into(),
                    ("cursor" | "next_cursor", Value::String(text)) => cursor(&text).into(),
                    (_, value) => normalised(value),
                };
                (key, steady)
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalised).collect()),
        Value::String(text) => Value::String(steady(&text)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// What stands for random characters.
const PATTERN: &str = "019c0f5e7a3b7d218c46e1f09b82d57a";

fn patterned(length: usize) -> String {
    PATTERN.chars().cycle().take(length).collect()
}

/// A cursor of several parts: the first one is its kind, the others are positions and marks.
fn cursor(text: &str) -> String {
    let Some((kind, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let kind = if kind.len() > 8 { patterned(8) } else { kind.to_owned() };
    format!("{kind}.{}", patterned(rest.len().min(16)))
}

/// Replaces long runs of base64, which hexadecimal hashes look like too; then random ids.
fn steady(text: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let keys = each_run(text, is_base64, |run| {
        let body = run.trim_end_matches('=');
        (run.len() >= 40).then(|| patterned(body.len()) + &run[body.len()..])
    });
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ids = each_run(&keys, is_word, steady_word);
    // A checkpoint says how many records there are.
    let mut lines = ids.split('\n').map(|line| match line.parse::<u64>() {
        Ok(_) if ids.contains('\n') => "0",
        _ => line,
    });
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |all, line| all + "\n" + line)
}

/// A text in which some runs of like characters are replaced.
fn each_run(
    text: &str,
    is_in: impl Fn(char) -> bool,
    replace: impl Fn(&str) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_in(c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        out.push_str(&replace(run).unwrap_or_else(|| run.to_owned()));
        let next = tail.find(&is_in).unwrap_or(tail.len());
        out.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    out
}

/// A random id: a UUID, or a kind with a number perhaps and at least twelve hexadecimal digits.
fn steady_word(word: &str) -> Option<String> {
    let parts: Vec<&str> = word.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths == [8, 4, 4, 4, 12] && parts.iter().all(is_hex) {
        return Some("019c0f5e-7a3b-7d21-8c46-e1f09b82d57a".to_owned());
    }
    if let [only] = parts.as_slice() {
        // An order's reference: two letters before the digits of a hash.
        let (kind, digits) = only.split_at_checked(2)?;
        let is_reference = digits.len() == 32 && is_hex(&digits);
        return is_reference.then(|| format!("{kind}{}", patterned(digits.len())));
    }
    if let ["ev", number] = parts.as_slice()
        && number.parse::<u64>().is_ok()
    {
        return Some("ev-1".to_owned());
    }
    let (last, kind) = parts.split_last()?;
    (!kind.is_empty() && last.len() >= 12 && is_hex(last)).then(|| {
        let kind = kind.iter().map(|part| part.parse::<u64>().map_or(*part, |_| "1"));
        let kind: Vec<&str> = kind.collect();
        format!("{}-{}", kind.join("-"), patterned(last.len()))
    })
}

#[test]
fn only_what_is_random_is_replaced() {
    let same = [
        "2026-11-23T15:00:00.000Z",
        "DU1234567",
        "BROKER_CAPABILITY_UNAVAILABLE",
        "1795446000000",
        "SPY 2027-01-15 C 600",
        "ibkr://accounts/DU1234567/positions",
    ];
    for text in same {
        assert_eq!(steady(text), text);
    }
    assert_eq!(steady("ev-37-d2b0d45f8eb1, ev-9"), "ev-1-019c0f5e7a3b, ev-1");
    assert_eq!(steady("iaffc23a9a0a7b1819cea6998e68d7ac4c"), format!("ia{PATTERN}"));
    assert_eq!(
        steady("a 019ab3c4-1111-7222-8333-444455556666"),
        format!("a {}", steady("019c0f5e-7a3b-7d21-8c46-e1f09b82d57a"))
    );
    assert_eq!(
        steady("log\n69\nH4ELbHLkA+1OhOOLiqbkFPap/KoPqY+ucRPDWj2JYV4="),
        format!("log\n0\n{}=", patterned(43))
    );
    let value = json!([{"next_cursor": "c1.160e4014.0", "cursor": "1795376752687.25", "size": 7}]);
    let fixed = json!([{"next_cursor": "c1.019c0f5e7a", "cursor": "019c0f5e.01", "size": 0}]);
    assert_eq!(normalised(value), fixed);
}
