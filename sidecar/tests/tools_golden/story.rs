//! The calls of the golden files, in one order: some need what an earlier one made.

use crate::run::Bench;
use serde_json::{Value, json};

/// A tool, its arguments and what it answered.
pub(crate) type Told = (String, Value, Result<Value, Value>);

const ACCOUNT: &str = "DU1234567";

/// Calls that need nothing from others.
fn plain() -> Vec<(&'static str, Value)> {
    let account = json!({"account_id": ACCOUNT});
    vec![
        ("ibkr_health", json!({})),
        ("ibkr_backend_status", json!({})),
        ("ibkr_session_requirements", json!({})),
        ("ibkr_session_renew", json!({})),
        ("ibkr_accounts_list", json!({})),
        ("ibkr_account_metadata", account.clone()),
        ("ibkr_account_summary", account.clone()),
        ("ibkr_account_ledger", account.clone()),
        ("ibkr_account_allocation", account.clone()),
        ("ibkr_account_performance", json!({"account_id": ACCOUNT, "period": "1M"})),
        ("ibkr_pnl_daily", account.clone()),
        ("ibkr_pnl_realtime", account.clone()),
        ("ibkr_positions_list", account.clone()),
        ("ibkr_combo_positions", account.clone()),
        ("ibkr_portfolio_snapshot", account.clone()),
        ("ibkr_portfolio_overview", json!({})),
        ("ibkr_transfer_history", json!({"account_id": ACCOUNT, "instrument": "AAPL"})),
        ("ibkr_contracts_search", json!({"query": "AAPL"})),
        ("ibkr_contract_resolve", json!({"symbol": "SPY 2027-01-15 C 600"})),
        ("ibkr_market_snapshot", json!({"instrument": "AAPL"})),
        ("ibkr_instrument_brief", json!({"instrument": "AAPL"})),
        (
            "ibkr_historical_bars",
            json!({"instrument": "AAPL", "duration": "1 D", "bar_size": "5 mins"}),
        ),
        ("ibkr_market_depth", json!({"instrument": "AAPL", "account_id": ACCOUNT})),
        ("ibkr_contract_details", json!({"instrument": "ESZ6"})),
        ("ibkr_futures_list", json!({"symbol": "ES"})),
        ("ibkr_market_session", json!({"exchange": "NASDAQ"})),
        ("ibkr_market_holidays", json!({"exchange": "NASDAQ"})),
        ("ibkr_currency_rate", json!({"base": "EUR", "quote": "USD"})),
        ("ibkr_currency_pairs", json!({"currency": "USD"})),
        ("ibkr_options_chain", json!({"symbol": "SPY"})),
        ("ibkr_option_greeks", json!({"instrument": "SPY 2027-01-15 C 600"})),
        ("ibkr_scanner_run", json!({"scanner_code": "TOP_PERC_GAIN"})),
        ("ibkr_scanner_parameters", json!({})),
        ("ibkr_fundamentals_get", json!({"symbol": "AAPL"})),
        ("ibkr_news_list", json!({"symbol": "AAPL"})),
        ("ibkr_news_article", json!({"article_id": "DJ-N$0001"})),
        ("ibkr_watchlists_list", json!({})),
        ("ibkr_alerts_list", account.clone()),
        ("ibkr_notifications_list", json!({})),
        ("ibkr_kill_switch_status", json!({})),
        ("ibkr_limits_status", account),
    ]
}

/// Runs every call; the answers come in the order of the calls.
pub(crate) async fn tell(bench: &Bench) -> Vec<Told> {
    let mut told = Vec::new();
    for (tool, arguments) in plain() {
        let answer = bench.call(tool, &arguments).await;
        told.push((tool.to_owned(), arguments, answer));
    }
    order(bench, &mut told).await;
    let last = [
        ("ibkr_changes_since", json!({})),
        (
            "ibkr_resources_wait",
            json!({
                "resources": [format!("ibkr://accounts/{ACCOUNT}/positions")], "wait_seconds": 0
            }),
        ),
        ("ibkr_audit_tail", json!({"limit": 3})),
        ("ibkr_audit_export", json!({"limit": 1})),
    ];
    for (tool, arguments) in last {
        let answer = bench.call(tool, &arguments).await;
        told.push((tool.to_owned(), arguments, answer));
    }
    told
}

/// One paper order from its preview to its cancel, and one that fills.
async fn order(bench: &Bench, told: &mut Vec<Told>) {
    let quote = bench.call("ibkr_market_snapshot", &json!({"instrument": "AAPL"})).await.unwrap();
    let ask = quote["quotes"][0]["ask"].as_str().unwrap().to_owned();
    // The signature sends it.
    let filled = approved(bench, &ask, &mut Vec::new()).await;
    let named = json!({"approval_id": filled});
    let mut looks = 0;
    while bench.call("ibkr_order_outcome", &named).await.unwrap()["status"] != "filled" {
        looks += 1;
        assert!(looks < 500, "the order doesn't fill");
    }

    let approval = approved(bench, "100", told).await;
    step(bench, told, "ibkr_approval_status", json!({"approval_id": approval})).await;
    let submit =
        json!({"account_id": ACCOUNT, "approval_id": approval, "idempotency_key": "example-1"});
    // Whether a look at the broker overtakes the answer is chance: the same request again tells the
    // order as it was seen.
    let named = json!({"approval_id": approval});
    let mut looks = 0;
    while bench.call("ibkr_order_outcome", &named).await.unwrap()["seen_at"].is_null() {
        looks += 1;
        assert!(looks < 500, "the broker doesn't show the order");
    }
    let placed = step(bench, told, "ibkr_paper_order_submit", submit).await;
    let order = placed["broker_order_id"].clone();
    step(bench, told, "ibkr_orders_list", json!({"account_id": ACCOUNT})).await;
    let named = json!({"account_id": ACCOUNT, "broker_order_id": order});
    step(bench, told, "ibkr_order_status", named.clone()).await;
    step(bench, told, "ibkr_paper_order_cancel", named).await;
    step(bench, told, "ibkr_order_outcome", json!({"approval_id": approval})).await;
    step(bench, told, "ibkr_orders_history", json!({"account_id": ACCOUNT})).await;
    step(bench, told, "ibkr_executions_list", json!({"account_id": ACCOUNT})).await;
}

async fn step(bench: &Bench, told: &mut Vec<Told>, tool: &str, arguments: Value) -> Value {
    let answer = bench.call(tool, &arguments).await;
    let value = answer.clone().unwrap_or_else(|error| panic!("{tool} {arguments}: {error:#}"));
    told.push((tool.to_owned(), arguments, answer));
    value
}

/// An approval of a limit order for one share, given by a human.
async fn approved(bench: &Bench, limit: &str, told: &mut Vec<Told>) -> String {
    let order = json!({"account_id": ACCOUNT, "symbol": "AAPL", "side": "buy", "quantity": 1,
        "order_type": "limit", "limit_price": limit});
    let preview = step(bench, told, "ibkr_order_preview", order).await;
    let ask = json!({"account_id": ACCOUNT, "preview_id": preview["preview_id"],
        "reason": "The user wants one share more."});
    let asked = step(bench, told, "ibkr_approvals_create", ask).await;
    let id = asked["approval_id"].as_str().unwrap().to_owned();
    bench.approve(&id, asked["order_digest"].as_str().unwrap()).await;
    id
}
