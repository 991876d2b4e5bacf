//! An example of every tool, from one run against the simulator, and what it costs a model to read.
//!
//! `fixtures/tools/<tool>.json` holds what is `published` of a tool (the catalogue's own test
//! checks that), an `example` call with its answer, and how many `tokens` the answer has. The run's
//! clocks stand still and its seed is fixed; ids, keys and hashes that differ from run to run are
//! replaced by ones of the same shape. `UPDATE_GOLDEN=1` rewrites example and tokens.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod markets;
mod run;
mod sizes;
mod story;

use ibkr_agent_gateway::tools::estimated_tokens;
use ibkr_agent_protocol::catalogue::all;
use run::{Bench, normalised, tokens};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Most tokens of an answer to a call without special wishes.
const MOST: usize = 1_500;

fn golden_file(tool: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tools");
    folder.join(format!("{tool}.json"))
}

/// What a golden file should hold besides what is published.
fn example(arguments: &Value, answer: &Result<Value, Value>) -> Value {
    match answer {
        Ok(result) => json!({"arguments": arguments, "result": result}),
        Err(error) => json!({"arguments": arguments, "error": error}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_has_an_example_that_repeats_and_is_small_enough_for_a_model() {
    let bench = Bench::start().await;
    let told = story::tell(&bench).await;
    bench.stop().await;

    let named: BTreeSet<&str> = told.iter().map(|(tool, ..)| tool.as_str()).collect();
    let declared: BTreeSet<&str> = all().iter().map(|spec| spec.name).collect();
    assert_eq!(named, declared, "each tool has one example");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for (tool, arguments, answer) in told {
        let sent = match &answer {
            Ok(result) => result.to_string(),
            Err(error) => error.to_string(),
        };
        let answer = answer.map(normalised).map_err(normalised);
        let example = example(&normalised(arguments), &answer);
        let shown = answer.unwrap_or_else(|error| error).to_string();
        let count = tokens(&shown);
        assert!(estimated_tokens(&sent) >= tokens(&sent), "{tool}: the estimate is too low");
        let most = if tool == "ibkr_market_snapshot" { 120 } else { MOST };
        if count > most {
            wrong.push(format!("{tool} takes {count} tokens of {most}"));
        }
        let text = std::fs::read_to_string(golden_file(&tool)).unwrap_or_default();
        let mut file: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        let (known, cost) = (file.get("example").cloned(), file.get("tokens").cloned());
        if update {
            file.insert("example".to_owned(), example);
            file.insert("tokens".to_owned(), count.into());
            let text = serde_json::to_string_pretty(&file).unwrap();
            std::fs::write(golden_file(&tool), format!("{text}\n")).unwrap();
        } else if known.as_ref() != Some(&example) || cost != Some(count.into()) {
            let known = known.unwrap_or_default();
            wrong.push(format!("{tool} changed:\n{known:#}\nis now ({count} tokens)\n{example:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 takes this as right", wrong.join("\n"));
}
