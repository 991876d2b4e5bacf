//! Shows an answer, and again whenever something in it changed, until interrupted.
//!
//! The answer itself says what to follow: its account's positions and orders, its contracts'
//! quotes. With `--json` each answer is one line. Asks no more often than something changes.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::open::Opened;
use crate::run::Context;
use crate::signals::stop_token;
use crate::verbs::tool::Planned;
use ibkr_agent_domain::Conid;
use ibkr_agent_protocol::catalogue::resources::{MAX_WATCHED, Resource, ResourcesWaitOutput};
use serde_json::Value;
use std::time::Duration;

/// Seconds that one wait takes at most.
const WAIT_SECONDS: u64 = 30;
/// Pause when nothing can be followed, and before the next try after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// Failures in a row after which watching ends.
const MAX_FAILURES: u32 = 12;

/// Runs until interrupted, or until the answer fails for good.
pub(crate) async fn run(
    context: &Context<'_>,
    opened: &Opened,
    (tool, arguments): Planned,
) -> Result<(), Failure> {
    let stop = stop_token();
    let watching = async {
        let mut cursor: Option<String> = None;
        let mut failures = 0;
        loop {
            match opened.call(tool, arguments.clone(), context.request_id.clone()).await {
                Ok(answer) => {
                    failures = 0;
                    context.printer.frame(answer.get())?;
                    let resources = followed(tool, answer.get());
                    wait(context, opened, &resources, &mut cursor).await;
                }
                Err(failure) if failure.0.retryable && failures < MAX_FAILURES => {
                    failures += 1;
                    context.printer.notice(&failure.0.message);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    };
    tokio::select! {
        ended = watching => ended,
        () = stop.cancelled() => Ok(()),
    }
}

/// Waits until one of the resources changed; a while when they can't be followed.
async fn wait(
    context: &Context<'_>,
    opened: &Opened,
    resources: &[String],
    cursor: &mut Option<String>,
) {
    if resources.is_empty() {
        return tokio::time::sleep(PAUSE).await;
    }
    loop {
        let arguments = Arguments::new()
            .list("resources", resources)
            .text("cursor", cursor.as_deref())
            .number("wait_seconds", Some(WAIT_SECONDS));
        let call = opened.call("ibkr_resources_wait", arguments, context.request_id.clone());
        let answer = call.await.ok();
        let told =
            answer.and_then(|body| serde_json::from_str::<ResourcesWaitOutput>(body.get()).ok());
        let Some(told) = told else {
            *cursor = None;
            return tokio::time::sleep(PAUSE).await;
        };
        *cursor = Some(told.cursor);
        if !told.changed.is_empty() {
            return;
        }
    }
}

/// What an answer is about, as resources.
fn followed(tool: &str, answer: &str) -> Vec<String> {
    let Ok(answer) = serde_json::from_str::<Value>(answer) else {
        return Vec::new();
    };
    if tool == "ibkr_market_snapshot" {
        let mut conids = Vec::new();
        contract_ids(&answer, &mut conids);
        conids.sort_unstable();
        conids.dedup();
        let quotes = conids.into_iter().filter_map(|id| Conid::new(id).ok()).map(Resource::Quote);
        return quotes.map(|quote| quote.to_string()).take(MAX_WATCHED).collect();
    }
    let Some(account) = answer.get("account_id").and_then(Value::as_str) else {
        return Vec::new();
    };
    let leaf = if tool == "ibkr_orders_list" { "orders" } else { "positions" };
    let mut uris = vec![format!("ibkr://accounts/{account}/{leaf}")];
    if leaf == "positions" {
        uris.push(format!("ibkr://accounts/{account}/pnl"));
    }
    uris
}

/// Every `contract_id` in an answer, in objects and in tables.
fn contract_ids(value: &Value, found: &mut Vec<u64>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("contract_id").and_then(number));
            let columns = map.get("columns").and_then(Value::as_array);
            let rows = map.get("rows").and_then(Value::as_array);
            if let (Some(columns), Some(rows)) = (columns, rows) {
                let at = columns.iter().position(|column| column == "contract_id");
                let cells = rows.iter().filter_map(|row| row.get(at?));
                found.extend(cells.filter_map(number));
            }
            map.values().for_each(|inner| contract_ids(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|item| contract_ids(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_says_what_to_follow() {
        let quotes = json!({"quotes": [{"contract_id": 5}], "table":
            {"columns": ["symbol", "contract_id"], "rows": [["AAPL", "265598"]]}});
        assert_eq!(
            followed("ibkr_market_snapshot", &quotes.to_string()),
            ["ibkr://contracts/5/quote", "ibkr://contracts/265598/quote"]
        );
        let orders = json!({"account_id": "DU1"}).to_string();
        assert_eq!(followed("ibkr_orders_list", &orders), ["ibkr://accounts/DU1/orders"]);
        assert_eq!(followed("ibkr_positions_list", &orders).len(), 2);
        assert!(followed("ibkr_positions_list", "{").is_empty());
    }
}
