//! What the sidecar itself knows, asked through its own doors: session, accounts, market data,
//! pacing, clock, halt and log.
//!
//! Answers are read tolerantly: a field that isn't there makes a check say so, not fail.

use super::report::Finding;
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::open::Opened;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::operator::Verb as Act;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Time to verify the log; a long one takes longer than a check should.
const VERIFY: Duration = Duration::from_secs(60);
/// Instruments whose market data is looked at.
const INSTRUMENTS: usize = 3;
/// What is looked at when the account holds nothing: AAPL.
const EXAMPLE: &str = "265598";
/// Difference of the clocks that stops new risk, and one that somebody should know of.
const MAX_SKEW_MS: u64 = 30_000;
const SOME_SKEW_MS: u64 = 5_000;

/// The checks that need a session.
const READS: [&str; 3] = ["accounts", "market_data", "pacing"];

/// Asks the sidecar everything.
pub(super) async fn examine(opened: &Opened) -> Vec<Finding> {
    let mut findings = vec![log(opened).await];
    let health = ask(opened, "ibkr_health", Arguments::new()).await;
    findings.extend(health.as_ref().map_or_else(
        |failure| vec![Finding::failure("health", failure)],
        |health| vec![writable(health), halt(health)],
    ));
    let status = ask(opened, "ibkr_backend_status", Arguments::new()).await;
    let brokers = match &status {
        Ok(status) => list(status, "brokers"),
        Err(failure) => {
            findings.push(Finding::failure("session", failure));
            Vec::new()
        }
    };
    let steps = ask(opened, "ibkr_session_requirements", Arguments::new()).await;
    let steps = steps.map(|answer| texts(&answer, "steps").join(" ")).unwrap_or_default();
    for broker in &brokers {
        findings.push(session(broker, &steps));
        findings.push(clock(broker));
    }
    if has_ready(&brokers) {
        findings.extend(Box::pin(reads(opened)).await);
    } else {
        let why = "No session is ready.";
        findings.extend(READS.map(|check| Finding::skipped(check, why)));
    }
    findings
}

async fn ask(opened: &Opened, tool: &str, arguments: Arguments) -> Result<Value, Failure> {
    let answer = opened.call(tool, arguments, None).await?;
    serde_json::from_str(answer.get())
        .map_err(|_| Failure::new(ErrorCode::InternalError, format!("{tool} isn't JSON")))
}

async fn log(opened: &Opened) -> Finding {
    const CHECK: &str = "log";
    match timeout(VERIFY, opened.perform(Act::AuditVerify {}, None)).await {
        Ok(Ok(answer)) => {
            let size = answer.get("size").and_then(Value::as_u64).unwrap_or_default();
            Finding::ok(CHECK, format!("All {size} records fit the signed checkpoint."))
        }
        Ok(Err(failure)) => Finding::failure(CHECK, &failure),
        Err(_) => {
            let says = format!("The log is too long to be verified in {} s.", VERIFY.as_secs());
            Finding::warn(CHECK, says).next("Verify it apart: ibkr-agent audit verify.")
        }
    }
}

fn writable(health: &Value) -> Finding {
    const CHECK: &str = "log.writable";
    if health.pointer("/audit/writable").and_then(Value::as_bool) == Some(true) {
        return Finding::ok(CHECK, "Records can be written.");
    }
    let says = "Records can't be written: nothing but cancels and halts passes.";
    Finding::fail(CHECK, ErrorCode::AuditWriteFailed, says)
        .next("Check the disk and restart the sidecar.")
}

fn halt(health: &Value) -> Finding {
    const CHECK: &str = "kill_switch";
    if health.get("halted").and_then(Value::as_bool) == Some(false) {
        return Finding::ok(CHECK, "Trading isn't halted.");
    }
    Finding::warn(CHECK, "Trading is halted; reads and cancels pass.").next(
        "ibkr-agent kill-switch status tells why; kill-switch open ends it, or state accept when \
               it names files of the state folder.",
    )
}

/// The session of one login.
fn session(broker: &Value, steps: &str) -> Finding {
    const CHECK: &str = "session";
    let text = |pointer| broker.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/broker");
    let (state, mode, since) = (text("/session/state"), text("/mode"), text("/session/since"));
    let is_paper = broker.pointer("/session/is_paper").and_then(Value::as_bool);
    if mode == "paper" && is_paper == Some(false) {
        let says = "A LIVE login is active where the configuration expects paper.";
        return Finding::fail(CHECK, ErrorCode::ConfigInvalid, says)
            .next("Log out at the gateway and log in with the paper username.")
            .of(name);
    }
    let login = match is_paper {
        Some(true) => "a paper login",
        Some(false) => "a LIVE login",
        None => "paper or live isn't known",
    };
    let finding = match state {
        "ready" => Finding::ok(CHECK, format!("Ready since {since}: {login}, used as {mode}.")),
        "brokerage_down" => {
            Finding::warn(CHECK, format!("The brokerage session is down since {since}."))
                .next("ibkr-agent session renew brings it up without a login.")
        }
        "unreachable" => {
            let says = format!("The gateway isn't reached since {since}.");
            Finding::fail(CHECK, ErrorCode::BrokerBackendUnavailable, says).next(steps)
        }
        other => {
            let says = format!("The session is {other} since {since}.");
            Finding::fail(CHECK, ErrorCode::BrokerSessionRequired, says).next(steps)
        }
    };
    finding.of(name)
}

fn clock(broker: &Value) -> Finding {
    const CHECK: &str = "clock";
    let name = broker.pointer("/broker").and_then(Value::as_str).unwrap_or_default();
    let Some(skew) = broker.pointer("/session/clock_skew_ms").and_then(Value::as_i64) else {
        return Finding::skipped(CHECK, "The broker hasn't told its time yet.").of(name);
    };
    let says = format!("The broker's clock is {skew} ms from ours.");
    let next = "Set this machine's clock by NTP: a difference over 30 s stops new orders.";
    let finding = match skew.unsigned_abs() {
        MAX_SKEW_MS.. => Finding::fail(CHECK, ErrorCode::BrokerResponseInvalid, says).next(next),
        SOME_SKEW_MS.. => Finding::warn(CHECK, says).next(next),
        _ => Finding::ok(CHECK, says),
    };
    finding.of(name)
}

/// Whether any login serves reads.
fn has_ready(brokers: &[Value]) -> bool {
    let state = |broker: &Value| broker.pointer("/session/state") == Some(&Value::from("ready"));
    brokers.iter().any(state)
}

/// What can be read: accounts, positions, market data; and whether the broker limits us.
async fn reads(opened: &Opened) -> Vec<Finding> {
    let answer = ask(opened, "ibkr_accounts_list", Arguments::new()).await;
    let seen = match &answer {
        Ok(answer) => list(answer, "accounts"),
        Err(failure) => {
            let skipped = Finding::skipped("market_data", "The accounts can't be read.");
            return vec![Finding::failure("accounts", failure), skipped, pacing(Some(failure))];
        }
    };
    let ids: Vec<&str> = seen
        .iter()
        .filter_map(|account| account.get("account_id").and_then(Value::as_str))
        .collect();
    let listed = opened.plan().settings.accounts.iter();
    let missing: Vec<&str> = listed.map(|id| id.as_str()).filter(|id| !ids.contains(id)).collect();
    let accounts = accounts(&ids, &missing);
    let (market, failure) = Box::pin(market_data(opened, ids.first().copied())).await;
    vec![accounts, market, pacing(failure.as_ref())]
}

fn accounts(ids: &[&str], missing: &[&str]) -> Finding {
    const CHECK: &str = "accounts";
    let next = "accounts.allowed lists what may be seen; the login must have it. Log in with the \
        username of that account, or correct the list.";
    if ids.is_empty() {
        let says = "The login shows none of the configured accounts.";
        return Finding::fail(CHECK, ErrorCode::InputUnauthorizedAccount, says).next(next);
    }
    let seen = ids.join(", ");
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("Visible: {seen}."));
    }
    let says = format!("Visible: {seen}. Configured but not shown: {}.", missing.join(", "));
    Finding::warn(CHECK, says).next(next)
}

async fn market_data(opened: &Opened, account: Option<&str>) -> (Finding, Option<Failure>) {
    const CHECK: &str = "market_data";
    let held = Arguments::new().text("account_id", account).number("limit", Some(20));
    let positions = ask(opened, "ibkr_positions_list", held).await;
    let mut ids: Vec<String> = match &positions {
        Ok(answer) => column(answer, "contract_id"),
        Err(failure) => return (Finding::failure("positions", failure), Some(failure.clone())),
    };
    ids.truncate(INSTRUMENTS);
    if ids.is_empty() {
        ids.push(EXAMPLE.to_owned());
    }
    let wanted = Arguments::new().list("contract_ids", &ids);
    match ask(opened, "ibkr_market_snapshot", wanted).await {
        Ok(answer) => (subscriptions(&quotes(&answer)), None),
        Err(failure) if failure.0.error_code() == Some(ErrorCode::MarketDataUnavailable) => {
            (subscriptions(&[]), None)
        }
        Err(failure) => (Finding::failure(CHECK, &failure), Some(failure)),
    }
}

/// Symbol and status of each quote, whether the answer came as a table or as objects.
fn quotes(answer: &Value) -> Vec<(String, String)> {
    let symbols = column(answer, "symbol");
    let statuses = column(answer, "data_status");
    if !statuses.is_empty() {
        return symbols.into_iter().zip(statuses).collect();
    }
    let text = |quote: &Value, key| {
        quote.get(key).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    let quotes = list(answer, "quotes");
    quotes.iter().map(|quote| (text(quote, "symbol"), text(quote, "data_status"))).collect()
}

/// What the account may see of a few instruments.
fn subscriptions(quotes: &[(String, String)]) -> Finding {
    const CHECK: &str = "market_data";
    let next = "Subscribe to the exchange's market data at IBKR. A paper login sees the live \
        username's subscriptions only when they are shared with it: Client Portal, Settings, Paper \
        Trading Account, share real-time market data; it takes effect the next day.";
    let list = quotes.iter().map(|(symbol, status)| format!("{symbol} {status}"));
    let list = list.collect::<Vec<_>>().join(", ");
    let is_live = |status: &str| matches!(status, "real_time" | "frozen");
    if quotes.is_empty() {
        return Finding::warn(CHECK, "No quote can be seen.").next(next);
    }
    if quotes.iter().all(|(_, status)| is_live(status)) {
        return Finding::ok(CHECK, format!("Real time where it was looked at: {list}."));
    }
    Finding::warn(CHECK, format!("Not everything is in real time: {list}.")).next(next)
}

fn pacing(failure: Option<&Failure>) -> Finding {
    const CHECK: &str = "pacing";
    match failure {
        Some(failure) if failure.0.error_code() == Some(ErrorCode::BrokerRateLimited) => {
            let seconds = failure.0.retry_after_ms.unwrap_or_default().div_ceil(1000);
            let says = format!("IBKR's limit is reached; reads wait for {seconds} s.");
            Finding::warn(CHECK, says).next(
                "Stop other programs that use this login or this address: they share the limit.",
            )
        }
        Some(_) => Finding::skipped(CHECK, "No read got through."),
        None => Finding::ok(CHECK, "Reads pass; nobody is in IBKR's penalty box."),
    }
}

fn list(answer: &Value, key: &str) -> Vec<Value> {
    answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn texts(answer: &Value, key: &str) -> Vec<String> {
    list(answer, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One column of the answer's table.
fn column(answer: &Value, name: &str) -> Vec<String> {
    let columns = answer.pointer("/table/columns").and_then(Value::as_array);
    let at = columns.and_then(|columns| columns.iter().position(|column| column == name));
    let rows = answer.pointer("/table/rows").and_then(Value::as_array);
    let (Some(at), Some(rows)) = (at, rows) else {
        return Vec::new();
    };
    let cell = |row: &Value| {
        let cell = row.as_array().and_then(|row| row.get(at));
        cell.and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    rows.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;
    use serde_json::json;

    fn broker(state: &str, mode: &str, is_paper: bool, skew: i64) -> Value {
        json!({"broker": "b", "mode": mode, "session": {"state": state, "since": "now",
            "is_paper": is_paper, "clock_skew_ms": skew}})
    }

    #[test]
    fn a_live_login_where_paper_is_expected_fails() {
        let wrong = session(&broker("ready", "paper", false, 0), "");
        assert_eq!(wrong.verdict, Verdict::Fail(ErrorCode::ConfigInvalid));
        assert!(wrong.says().contains("LIVE"));
        assert_eq!(session(&broker("ready", "paper", true, 0), "").verdict, Verdict::Ok);
        assert_eq!(session(&broker("ready", "live", false, 0), "").verdict, Verdict::Ok);
        let human = session(&broker("login_required", "paper", true, 0), "Log in.");
        assert_eq!(human.verdict, Verdict::Fail(ErrorCode::BrokerSessionRequired));
        assert!(format!("{human:?}").contains("Log in."));
        let gone = session(&broker("unreachable", "paper", true, 0), "");
        assert_eq!(gone.verdict, Verdict::Fail(ErrorCode::BrokerBackendUnavailable));
        assert_eq!(session(&broker("brokerage_down", "paper", true, 0), "").verdict, Verdict::Warn);
        let down = broker("login_required", "paper", true, 0);
        assert!(!has_ready(std::slice::from_ref(&down)) && !has_ready(&[]));
        assert!(has_ready(&[down, broker("ready", "live", false, 0)]));
    }

    #[test]
    fn both_sides_of_each_clock_bound() {
        let verdict = |skew| clock(&broker("ready", "paper", true, skew)).verdict;
        let wrong = Verdict::Fail(ErrorCode::BrokerResponseInvalid);
        for sign in [1, -1] {
            assert_eq!(verdict(4_999 * sign), Verdict::Ok);
            assert_eq!(verdict(5_000 * sign), Verdict::Warn);
            assert_eq!(verdict(29_999 * sign), Verdict::Warn);
            assert_eq!(verdict(30_000 * sign), wrong);
        }
        assert_eq!(clock(&json!({"broker": "b"})).verdict, Verdict::Skipped);
    }

    #[test]
    fn missing_subscriptions_are_named_with_the_sharing_hint() {
        let table = json!({"table": {"columns": ["symbol", "data_status"],
            "rows": [["AAPL", "real_time"], ["ES", "delayed"]]}});
        let finding = subscriptions(&quotes(&table));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.says().contains("ES delayed"));
        assert!(format!("{finding:?}").contains("Paper Trading Account"));
        let one = json!({"quotes": [{"symbol": "AAPL", "data_status": "frozen"}]});
        assert_eq!(subscriptions(&quotes(&one)).verdict, Verdict::Ok);
        assert_eq!(subscriptions(&quotes(&json!({}))).verdict, Verdict::Warn);
    }

    #[test]
    fn accounts_that_the_login_does_not_show_are_named() {
        assert_eq!(accounts(&["DU1"], &[]).verdict, Verdict::Ok);
        let some = accounts(&["DU1"], &["DU2"]);
        assert!(some.verdict == Verdict::Warn && some.says().contains("not shown: DU2"));
        let none = accounts(&[], &["DU2"]);
        assert_eq!(none.verdict, Verdict::Fail(ErrorCode::InputUnauthorizedAccount));
    }

    #[test]
    fn the_penalty_box_and_a_full_or_halted_gateway_are_told() {
        let mut limited = Failure::new(ErrorCode::BrokerRateLimited, "x");
        limited.0.retry_after_ms = Some(61_500);
        let finding = pacing(Some(&limited));
        assert!(finding.verdict == Verdict::Warn && finding.says().contains("62 s"), "{finding:?}");
        assert_eq!(pacing(None).verdict, Verdict::Ok);
        assert_eq!(pacing(Some(&Failure::input("x"))).verdict, Verdict::Skipped);
        let health = json!({"audit": {"writable": false}, "halted": true});
        assert_eq!(writable(&health).verdict, Verdict::Fail(ErrorCode::AuditWriteFailed));
        assert_eq!(halt(&health).verdict, Verdict::Warn);
        let fine = json!({"audit": {"writable": true}, "halted": false});
        assert_eq!((writable(&fine).verdict, halt(&fine).verdict), (Verdict::Ok, Verdict::Ok));
    }
}
