//! The reads of one account: filters that filter, cursors that lose nothing, refusals that say why.

use crate::support::{DU, OTHER, World, column, rows};
use ibkr_agent_domain::AccountId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn of(more: &Value) -> Value {
    let mut arguments = json!({"account_id": DU});
    for (key, value) in more.as_object().unwrap() {
        arguments[key] = value.clone();
    }
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_every_class_are_listed_and_filters_filter() {
    let world = World::start().await;
    let tool = "ibkr_positions_list";
    let all = world.get(tool, of(&json!({}))).await;
    let classes: BTreeSet<_> = column(&all["table"], "asset_class").into_iter().flatten().collect();
    assert!(classes.is_superset(&["stock", "option", "future"].into()), "{classes:?}");
    let total = rows(&all["table"]);
    assert_eq!(all["total"], total);

    let options = world.get(tool, of(&json!({"asset_class": "OPTION"}))).await;
    assert!(rows(&options["table"]) > 0 && rows(&options["table"]) < total);
    let found = column(&options["table"], "asset_class");
    assert!(found.iter().all(|class| *class == Some("option")), "{found:?}");
    let apple = world.get(tool, of(&json!({"symbol": "aapl"}))).await;
    let shown: Vec<_> = column(&apple["table"], "symbol").into_iter().flatten().collect();
    assert!(shown.len() >= 2, "the stock and its option: {shown:?}");
    assert!(shown.iter().all(|symbol| symbol.starts_with("AAPL")), "{shown:?}");
    let large = world.get(tool, of(&json!({"min_value": "20000"}))).await;
    let values = column(&large["table"], "market_value");
    let values: Vec<f64> = values.iter().flatten().map(|value| value.parse().unwrap()).collect();
    assert!(!values.is_empty() && values.len() < total);
    assert!(values.iter().all(|value| value.abs() >= 20_000.0), "{values:?}");
    assert_eq!(world.get(tool, of(&json!({"symbol": "ZZZ"}))).await["total"], 0);

    let mut paged = Vec::new();
    let mut arguments = of(&json!({"limit": "3"}));
    loop {
        let page = world.get(tool, arguments.clone()).await;
        assert!(rows(&page["table"]) <= 3);
        let ids = column(&page["table"], "contract_id");
        paged.extend(ids.into_iter().flatten().map(str::to_owned));
        match page.get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => break,
        }
    }
    let whole: Vec<_> = column(&all["table"], "contract_id").into_iter().flatten().collect();
    assert_eq!(paged, whole, "pages lose nothing and double nothing");
    let full = world.get(tool, of(&json!({"detail": "full"}))).await;
    assert_eq!(full["positions"].as_array().unwrap().len(), total);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_be_left_out_only_when_one_is_visible() {
    let world = World::start().await;
    let tools = [
        "ibkr_pnl_daily",
        "ibkr_account_ledger",
        "ibkr_account_allocation",
        "ibkr_account_performance",
        "ibkr_combo_positions",
        "ibkr_orders_history",
        "ibkr_alerts_list",
    ];
    for tool in tools {
        let refused = world.refused(tool, json!({})).await;
        assert_eq!(refused.code, "INPUT_AMBIGUOUS_ACCOUNT", "{tool}");
        let foreign = world.refused(tool, json!({"account_id": "U999"})).await;
        assert_eq!(foreign.code, "INPUT_UNAUTHORIZED_ACCOUNT", "{tool}");
    }
    world.stop().await;
    let only = |config: &mut ibkr_agent_gateway::app::SidecarConfig| {
        config.limits.accounts = [AccountId::parse(OTHER).unwrap()].into();
    };
    let world = World::start_with(only).await;
    for tool in tools {
        assert_eq!(world.get(tool, json!({})).await["account_id"], OTHER, "{tool}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_with_currency_time_and_source() {
    let world = World::start().await;
    for tool in ["ibkr_pnl_daily", "ibkr_pnl_realtime"] {
        let pnl = world.get(tool, of(&json!({}))).await;
        assert_eq!(pnl["currency"], "USD");
        assert!(pnl["daily"].is_string() && pnl["unrealized"].is_string(), "{pnl:#}");
        assert!(["read", "kept"].contains(&pnl["source"].as_str().unwrap()));
        assert!(pnl["age_ms"].as_u64().unwrap() < 10_000, "{pnl:#}");
    }
    let ledger = world.get("ibkr_account_ledger", of(&json!({}))).await;
    let currencies: BTreeSet<_> =
        column(&ledger["table"], "currency").into_iter().flatten().collect();
    assert_eq!(currencies, BTreeSet::from(["BASE", "EUR", "USD"]));
    let allocation = world.get("ibkr_account_allocation", of(&json!({}))).await;
    let names: BTreeSet<_> =
        column(&allocation["by_class"], "name").into_iter().flatten().collect();
    assert!(names.contains("STK") && names.contains("CASH"), "{names:?}");
    assert!(rows(&allocation["by_sector"]) > 0 && rows(&allocation["by_group"]) > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn performance_is_told_newest_first_over_the_asked_period() {
    let world = World::start().await;
    let tool = "ibkr_account_performance";
    let year = world.get(tool, of(&json!({"period": "1y", "limit": 5}))).await;
    assert_eq!(year["period"], "1Y");
    let dates: Vec<_> = column(&year["table"], "date").into_iter().flatten().collect();
    assert_eq!(dates.len(), 5);
    assert!(dates.is_sorted_by(|a, b| a > b), "{dates:?}");
    assert_eq!(column(&year["table"], "net_asset_value")[0], year["end_value"].as_str());
    assert_eq!(column(&year["table"], "return_percent")[0], year["return_percent"].as_str());
    let older = of(&json!({"period": "1Y", "limit": 5, "cursor": year["next_cursor"]}));
    let older = world.get(tool, older).await;
    assert!(column(&older["table"], "date")[0].unwrap() < *dates.last().unwrap());
    assert_eq!(older["as_of"], year["as_of"], "one request in 15 minutes: the kept answer");
    let month = world.get(tool, of(&json!({}))).await;
    assert_eq!(month["period"], "1M");
    assert_eq!(world.refused(tool, of(&json!({"period": "5Y"}))).await.code, "INPUT_INVALID");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_need_a_contract_and_deposits_are_told_to_be_unavailable() {
    let world = World::start().await;
    let tool = "ibkr_transfer_history";
    let refused = world.refused(tool, of(&json!({}))).await;
    assert_eq!(refused.code, "BROKER_CAPABILITY_UNAVAILABLE");
    assert!(refused.message.contains("deposits and withdrawals"), "{}", refused.message);
    let all = world.get(tool, of(&json!({"instrument": "AAPL", "days": 365}))).await;
    assert_eq!(all["contract"]["contract_id"], 265_598, "the resolution is echoed");
    let dates: Vec<_> = column(&all["table"], "date").into_iter().flatten().collect();
    assert!(dates.len() > 1 && dates.is_sorted_by(|a, b| a >= b), "newest first: {dates:?}");
    let sold = of(&json!({"contract_id": "265598", "days": "365", "kind": "sell"}));
    let sold = world.get(tool, sold).await;
    assert!(rows(&sold["table"]) > 0 && rows(&sold["table"]) < dates.len());
    assert!(column(&sold["table"], "kind").iter().all(|kind| *kind == Some("Sell")));
    let both = of(&json!({"contract_id": 265_598, "instrument": "AAPL"}));
    assert_eq!(world.refused(tool, both).await.code, "INPUT_INVALID");
    for days in [json!(0), json!(366)] {
        let wrong = of(&json!({"contract_id": 265_598, "days": days}));
        assert_eq!(world.refused(tool, wrong).await.code, "INPUT_INVALID");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_is_listed_and_its_texts_are_marked_as_the_brokers() {
    let world = World::start().await;
    let lists = world.get("ibkr_watchlists_list", json!({})).await;
    let id = column(&lists["watchlists"], "watchlist_id")[0].unwrap().to_owned();
    let items = world.get("ibkr_watchlists_list", json!({"watchlist_id": id})).await;
    assert!(rows(&items["items"]) > 0 && items["name"].is_string(), "{items:#}");
    assert!(column(&items["items"], "contract_id").iter().all(Option::is_some));
    assert!(items.get("watchlists").is_none());
    world.refused("ibkr_watchlists_list", json!({"watchlist_id": "999999"})).await;

    let tool = "ibkr_notifications_list";
    let notes = world.get(tool, json!({})).await;
    let kinds = column(&notes["table"], "kind");
    assert!(kinds.len() > 1 && notes.get("body").is_none(), "{notes:#}");
    let kind = kinds[0].unwrap();
    let some = world.get(tool, json!({"kind": kind.to_ascii_lowercase()})).await;
    assert!(column(&some["table"], "kind").iter().all(|found| *found == Some(kind)));
    let id = column(&notes["table"], "notification_id")[0].unwrap();
    let one = world.get(tool, json!({"notification_id": id})).await;
    assert_eq!(one["body"]["source"], "broker");
    let text = one["body"]["text"].as_str().unwrap();
    assert!(!text.is_empty() && !text.contains('<'), "HTML is shown as text: {text}");
    assert_eq!(rows(&one["table"]), 1);
    let unknown = world.refused(tool, json!({"notification_id": "1"})).await;
    assert_eq!(unknown.code, "INPUT_INVALID");

    let alerts = world.get("ibkr_alerts_list", of(&json!({}))).await;
    assert!(alerts.get("conditions").is_none(), "{alerts:#}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_with_what_the_ledger_knows_of_it() {
    let world = World::start().await;
    let placed = world.submitted("100").await;
    let id = placed["broker_order_id"].as_str().unwrap();
    let status = world.get("ibkr_order_status", of(&json!({"broker_order_id": id}))).await;
    assert_eq!(status["is_open"], true);
    assert_eq!(status["order"]["broker_order_id"], id);
    assert_eq!(status["request"]["client_order_id"], placed["client_order_id"]);
    assert_eq!(status["request"]["status"], "working");
    let other = json!({"account_id": OTHER, "broker_order_id": id});
    assert_eq!(world.refused("ibkr_order_status", other).await.code, "ORDER_NOT_FOUND");
    let unknown = of(&json!({"broker_order_id": "1"}));
    assert_eq!(world.refused("ibkr_order_status", unknown).await.code, "ORDER_NOT_FOUND");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_from_elsewhere_under_an_id_that_ours_had_is_not_told_as_ours() {
    let world = World::start().await;
    let ask = world.ask_price().await;
    let filled = world.submitted(&ask).await;
    let id = filled["broker_order_id"].as_str().unwrap();
    // IBKR's gateway forgets and begins its ids anew.
    world.control.happen(ibkr_agent_simulator::Misbehaviour::OrderIdsStartOver);
    let url = format!("{}/iserver/account/{DU}/orders", world.simulator.base_url());
    let order = json!({"orders": [{"conid": 272_093, "orderType": "LMT", "price": 1,
        "side": "BUY", "quantity": 1, "tif": "DAY"}]});
    let phone = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build();
    let sent = phone.unwrap().post(url).header("user-agent", "phone").json(&order).send().await;
    let answer = sent.unwrap().text().await.unwrap();
    assert!(answer.contains(id), "another order under an id that was used: {answer}");

    let status = world.get("ibkr_order_status", of(&json!({"broker_order_id": id}))).await;
    assert_eq!(status["order"]["contract_id"], 272_093);
    assert_eq!(status["request"], Value::Null, "{status:#}");
    let history = world.get("ibkr_orders_history", of(&json!({}))).await;
    let table = &history["table"];
    let known: BTreeSet<_> = column(table, "known_to").into_iter().flatten().collect();
    assert_eq!(known, ["broker", "gateway"].into(), "{history:#}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_joins_the_brokers_day_with_the_ledger() {
    let world = World::start().await;
    let ask = world.ask_price().await;
    let filled = world.submitted(&ask).await;
    let resting = world.submitted("100").await;
    let history = world.get("ibkr_orders_history", of(&json!({}))).await;
    let table = &history["table"];
    let ids: BTreeSet<_> = column(table, "client_order_id").into_iter().flatten().collect();
    let expected = [&filled, &resting].map(|order| order["client_order_id"].as_str().unwrap());
    assert_eq!(ids, expected.into());
    assert_eq!(rows(table), 2, "each order once: {history:#}");
    assert_eq!(column(table, "known_to"), [Some("both"), Some("both")]);
    let open = world.get("ibkr_orders_history", of(&json!({"status": "open"}))).await;
    let found = column(&open["table"], "broker_order_id");
    assert_eq!(found, [resting["broker_order_id"].as_str()]);
    let none = world.get("ibkr_orders_history", of(&json!({"symbol": "MSFT"}))).await;
    assert_eq!((none["total"].as_u64(), rows(&none["table"])), (Some(0), 0));
    let later = of(&json!({"from": "2999-01-01T00:00:00Z"}));
    assert_eq!(world.get("ibkr_orders_history", later).await["total"], 0);
    let reversed = of(&json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}));
    let refused = world.refused("ibkr_orders_history", reversed).await;
    assert_eq!(refused.code, "INPUT_INVALID_TIME_RANGE");

    let order = filled["broker_order_id"].as_str().unwrap();
    let fills = of(&json!({"broker_order_id": order}));
    let fills = world.get("ibkr_executions_list", fills).await;
    assert_eq!(column(&fills["table"], "broker_order_id"), [Some(order)]);
    let none = of(&json!({"broker_order_id": resting["broker_order_id"]}));
    assert_eq!(world.get("ibkr_executions_list", none).await["total"], 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_without_the_broker_is_the_ledger_and_says_so() {
    let world = World::start().await;
    let placed = world.submitted("100").await;
    let orders = ibkr_agent_simulator::Endpoint::Orders;
    world.control.misbehave(orders, ibkr_agent_simulator::Misbehaviour::Unavailable);
    let history = world.get("ibkr_orders_history", of(&json!({}))).await;
    assert_eq!(history["missing"][0]["part"], "orders at the broker");
    let table = &history["table"];
    assert_eq!(column(table, "client_order_id"), [placed["client_order_id"].as_str()]);
    assert_eq!(column(table, "known_to"), [Some("gateway")]);
    world.stop().await;
}
