//! Bounds of size that hold whatever is asked: what doesn't fit is cut, and the cut is said.

use crate::run::{Bench, tokens};
use ibkr_agent_gateway::tools::estimated_tokens;
use serde_json::{Value, json};

/// The most that any answer may take, in a vocabulary in wide use.
const CAP: usize = 25_000;

const ACCOUNT: &str = "DU1234567";

async fn size(bench: &Bench, tool: &str, arguments: Value) -> (usize, Value) {
    let answer = bench.call(tool, &arguments).await;
    let answer = answer.unwrap_or_else(|error| panic!("{tool} {arguments}: {error:#}"));
    let text = answer.to_string();
    let count = tokens(&text);
    assert!(estimated_tokens(&text) >= count, "{tool}: the estimate is too low");
    assert!(count <= CAP, "{tool} {arguments}: {count} tokens");
    (count, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_positions_and_bars_stay_under_the_cap_and_twenty_under_their_budget() {
    let bench = Bench::start().await;
    let held = bench.simulator.control().fill_account(ACCOUNT, 1_000);
    assert!(held >= 500, "{held} positions");

    let twenty = json!({"account_id": ACCOUNT, "limit": 20});
    let (count, answer) = size(&bench, "ibkr_positions_list", twenty).await;
    assert_eq!(answer["table"]["rows"].as_array().unwrap().len(), 20);
    assert!(count <= 1_200, "20 positions take {count} tokens");

    for detail in ["compact", "full"] {
        let all = json!({"account_id": ACCOUNT, "limit": 200, "detail": detail});
        let (_, answer) = size(&bench, "ibkr_positions_list", all).await;
        assert!(answer["next_cursor"].is_string(), "the cut is said");
        for tool in ["ibkr_portfolio_snapshot"] {
            let (_, answer) =
                size(&bench, tool, json!({"account_id": ACCOUNT, "detail": detail})).await;
            assert_eq!(answer["truncated"], true);
        }
    }
    let (count, _) = size(&bench, "ibkr_portfolio_overview", json!({})).await;
    assert!(count <= 1_500, "the overview takes {count} tokens");

    let bars = json!({"instrument": "AAPL", "duration": "3 D", "bar_size": "1 min", "limit": 1000});
    let (_, answer) = size(&bench, "ibkr_historical_bars", bars).await;
    let (shown, all) = (&answer["table"]["rows"], &answer["summary"]["bars"]);
    let shown = shown.as_array().unwrap().len();
    assert!(shown >= 300, "{shown} bars");
    assert!(u64::try_from(shown).unwrap() < all.as_u64().unwrap(), "{shown} of {all}");
    assert_eq!(answer["truncated"], true);
    assert_eq!(
        answer["next_end"].as_str().unwrap()[..19],
        answer["table"]["rows"][0][0].as_str().unwrap()[..19]
    );

    let chain = json!({"symbol": "SPY", "strikes": 20});
    let (_, answer) = size(&bench, "ibkr_options_chain", chain).await;
    assert_eq!(answer["table"]["rows"].as_array().unwrap().len(), 40);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_quotes_fit_in_one_answer() {
    let bench = Bench::start().await;
    let chain = bench.call("ibkr_options_chain", &json!({"symbol": "SPY", "strikes": 20})).await;
    let chain = chain.unwrap();
    let mut ids: Vec<Value> =
        chain["table"]["rows"].as_array().unwrap().iter().map(|row| row[2].clone()).collect();
    let names =
        ["265598", "272093", "756733", "8314", "8894", "6459", "13977", "10098", "1520593", "4391"];
    ids.extend(names.map(Value::from));
    let (count, answer) = size(&bench, "ibkr_market_snapshot", json!({"contract_ids": ids})).await;
    assert_eq!(answer["table"]["rows"].as_array().unwrap().len(), 50);
    assert!(count <= 4_000, "50 quotes take {count} tokens");
    let more = json!({"contract_ids": (1..=51).collect::<Vec<u32>>()});
    let refused = bench.call("ibkr_market_snapshot", &more).await.unwrap_err();
    assert_eq!(refused["code"], "INPUT_INVALID");
    bench.stop().await;
}
