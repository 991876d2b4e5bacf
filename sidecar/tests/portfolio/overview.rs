//! `ibkr_portfolio_overview`: sums over accounts and currencies, and what it does when parts fail.

use crate::fake::{Account, Fake, Part};
use crate::support::{DU, World, ask_sidecar, column, rows};
use ibkr_agent_domain::{AccountId, Mode};
use ibkr_agent_gateway::app::{Sidecar, SidecarConfig};
use ibkr_agent_gateway::operator::{OperatorDomain, Verb};
use ibkr_agent_gateway::tools::estimated_tokens;
use ibkr_agent_simulator::{Endpoint, Misbehaviour};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOOL: &str = "ibkr_portfolio_overview";

fn number(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

fn cell(table: &Value, name: &str, row: usize) -> Decimal {
    column(table, name)[row].unwrap().parse().unwrap()
}

/// A sidecar on the fake, which serves these accounts.
async fn on_fake(folder: &std::path::Path, accounts: Vec<Account>) -> (Sidecar, Arc<Fake>) {
    serving(folder, accounts.clone(), Fake::new(accounts)).await
}

async fn serving(
    folder: &std::path::Path,
    accounts: Vec<Account>,
    fake: Fake,
) -> (Sidecar, Arc<Fake>) {
    let mut config = SidecarConfig::simulator(folder.join("state"), "");
    config.domain = OperatorDomain::Broker;
    config.brokers.clear();
    config.limits.modes = [Mode::Paper].into();
    config.limits.accounts =
        accounts.iter().map(|account| AccountId::parse(account.id).unwrap()).collect();
    let fake = Arc::new(fake);
    let sidecar = Sidecar::start_with(config, vec![fake.clone()]).await.unwrap();
    (sidecar, fake)
}

fn paper(id: &'static str, currency: &'static str, net_liquidation: i64) -> Account {
    Account { id, currency, is_paper: true, net_liquidation }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_accounts_are_summed_in_one_currency_with_their_largest_positions() {
    let world = World::start().await;
    let answer = world.get(TOOL, json!({"top": "3"})).await;
    assert!(answer.get("missing").is_none(), "{answer:#}");
    assert_eq!(answer["currency"], "USD");
    let accounts = &answer["accounts"];
    assert_eq!(column(accounts, "currency"), [Some("USD"), Some("EUR")]);
    let rate = number(
        &world.get("ibkr_currency_rate", json!({"base": "EUR", "quote": "USD"})).await["rate"],
    );
    for (total, part) in [("net_liquidation", "net_liquidation"), ("daily_pnl", "daily_pnl")] {
        let expected = cell(accounts, part, 0) + cell(accounts, part, 1) * rate;
        let off = (number(&answer[total]) - expected).abs();
        assert!(off < expected.abs() / Decimal::from(200), "{total}: {off} in {answer:#}");
    }
    let top = &answer["top_positions"];
    assert_eq!(rows(top), 3);
    let values: Vec<Decimal> = (0..3).map(|row| cell(top, "value", row).abs()).collect();
    assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    let weight = cell(top, "value", 0) / number(&answer["net_liquidation"]) * Decimal::ONE_HUNDRED;
    assert_eq!(cell(top, "weight_percent", 0), weight.round_dp(2));
    assert_eq!(top["broker_text"], json!(["symbol"]));
    assert!(answer["positions"].as_u64().unwrap() > 3);
    assert_eq!(column(&answer["cash_by_currency"], "currency").len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_and_another_currency_can_be_asked_for() {
    let world = World::start().await;
    let answer = world.get(TOOL, json!({"account_id": DU, "currency": "EUR"})).await;
    assert_eq!(answer["currency"], "EUR");
    assert_eq!(column(&answer["accounts"], "account_id"), [Some(DU)]);
    let own = cell(&answer["accounts"], "net_liquidation", 0);
    assert!(number(&answer["net_liquidation"]) < own, "a euro is more than a dollar: {answer:#}");
    let refused = world.refused(TOOL, json!({"account_id": "DU0000001"})).await;
    assert_eq!(refused.code, "INPUT_UNAUTHORIZED_ACCOUNT");
    for top in [json!(0), json!(51), json!("many")] {
        assert_eq!(world.refused(TOOL, json!({"top": top})).await.code, "INPUT_INVALID");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_open_orders_pending_approvals_and_a_halt() {
    let world = World::start().await;
    let placed = world.submitted("100").await;
    let (approval, _) = world.asked("101").await;
    world.operate(Verb::Halt { reason: "test".to_owned() }).await;
    let answer = world.get(TOOL, json!({})).await;
    assert_eq!(answer["open_order_count"], 1);
    let order = &answer["open_orders"];
    assert_eq!(column(order, "broker_order_id"), [placed["broker_order_id"].as_str()]);
    assert_eq!(column(order, "account_id"), [Some(DU)]);
    assert_eq!(column(&answer["pending_approvals"], "approval_id"), [Some(approval.as_str())]);
    assert_eq!(answer["trading_halted"], true);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_named_and_the_rest_stands() {
    let world = World::start().await;
    world.control.misbehave(Endpoint::Orders, Misbehaviour::Unavailable);
    let answer = world.get(TOOL, json!({})).await;
    let missing: Vec<&str> =
        answer["missing"].as_array().unwrap().iter().map(|m| m["part"].as_str().unwrap()).collect();
    assert_eq!(missing, ["orders of DU1234567", "orders of DU7654321"]);
    assert_eq!(answer["missing"][0]["code"], "BROKER_BACKEND_UNAVAILABLE");
    assert!(answer.get("open_order_count").is_none(), "unknown isn't zero");
    assert!(answer["net_liquidation"].is_string(), "what doesn't need it is there");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_total_is_given_that_needs_a_part_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = vec![paper("DU1", "USD", 1000), paper("DU2", "EUR", 500)];
    let (sidecar, fake) = on_fake(folder.path(), accounts).await;
    let whole = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert_eq!(whole["net_liquidation"], "2000", "1000 USD and 500 EUR at 2: {whole:#}");
    assert_eq!(whole["cash"], "1000");
    assert_eq!(whole["daily_pnl"], "-15");
    assert!(whole.get("unrealized_pnl").is_none(), "the broker told none");
    let untold = "unrealized profit and loss of DU1";
    assert_eq!(whole["missing"][0]["part"], untold, "{whole:#}");
    let top = &whole["top_positions"];
    assert_eq!(column(top, "quantity"), [Some("20")], "one row per contract over accounts");
    assert_eq!(column(top, "value"), [Some("300")]);
    let symbol = column(top, "symbol")[0].unwrap();
    assert!(!symbol.contains('\u{1b}') && symbol.contains("\\u{1b}"), "{symbol}");

    fake.fail(Part::Rate);
    let unrated = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert!(unrated.get("net_liquidation").is_none(), "{unrated:#}");
    let usd_only = column(&unrated["cash_by_currency"], "value");
    assert!(usd_only.contains(&None) && usd_only.contains(&Some("500")), "{usd_only:?}");
    let missing = unrated["missing"].to_string();
    assert!(missing.contains("exchange rate of EUR in USD"), "{missing}");

    fake.fail(Part::Positions);
    fake.fail(Part::Summary);
    let bare = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    for absent in ["net_liquidation", "cash", "positions"] {
        assert!(bare.get(absent).is_none(), "{absent}: {bare:#}");
    }
    assert_eq!(rows(&bare["top_positions"]), 0);
    sidecar.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_hangs_costs_its_part_and_not_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (sidecar, fake) = on_fake(folder.path(), vec![paper("DU1", "USD", 1000)]).await;
    fake.hang(Part::Orders);
    let began = Instant::now();
    let answer = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "inside the call's ten seconds");
    assert_eq!(answer["net_liquidation"], "1000");
    assert_eq!(answer["missing"][0]["part"], "orders of DU1", "{answer:#}");
    assert_eq!(answer["missing"][0]["code"], "CALL_TIMED_OUT");
    sidecar.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_money_and_paper_money_are_never_added() {
    let folder = tempfile::tempdir().unwrap();
    let live = Account { id: "U1", currency: "USD", is_paper: false, net_liquidation: 700 };
    let (sidecar, _fake) = on_fake(folder.path(), vec![paper("DU1", "USD", 1000), live]).await;
    let answer = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert_eq!(answer["net_liquidation"], "700", "{answer:#}");
    assert_eq!(column(&answer["accounts"], "account_id"), [Some("U1")]);
    assert_eq!(column(&answer["accounts"], "mode"), [Some("live")]);
    assert_eq!(answer["missing"][0]["part"], "account DU1");
    let one = ask_sidecar(&sidecar, TOOL, json!({"account_id": "DU1"})).await.unwrap();
    assert_eq!(one["net_liquidation"], "1000");
    sidecar.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pseudo_account_all_is_shown_never_traded_on_and_never_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = vec![paper("All", "USD", 1000), paper("DU1", "USD", 1000)];
    let (sidecar, _fake) = on_fake(folder.path(), accounts).await;
    let list = ask_sidecar(&sidecar, "ibkr_accounts_list", json!({})).await.unwrap();
    assert_eq!(list["accounts"][0]["account_id"], "All");
    assert_eq!(list["accounts"][0]["can_trade"], false);
    assert_eq!(list["accounts"][1]["can_trade"], true);
    let summary = ask_sidecar(&sidecar, "ibkr_account_summary", json!({})).await.unwrap();
    assert_eq!(summary["account_id"], "DU1", "the only account besides All");
    let answer = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert_eq!(answer["net_liquidation"], "1000", "not counted twice");
    let named = ask_sidecar(&sidecar, "ibkr_account_summary", json!({"account_id": "All"})).await;
    assert_eq!(named.unwrap()["account_id"], "All", "it can be looked at by its name");
    sidecar.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_positions_come_in_pages_that_a_model_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = vec![paper("DU1", "USD", 1000)];
    let fake = Fake::new(accounts.clone()).with_positions(1000);
    let (sidecar, _fake) = serving(folder.path(), accounts, fake).await;
    let overview = ask_sidecar(&sidecar, TOOL, json!({})).await.unwrap();
    assert_eq!(overview["positions"], 1000);
    assert!(estimated_tokens(&overview.to_string()) <= 1_500, "{overview}");
    let tool = "ibkr_positions_list";
    let usual = ask_sidecar(&sidecar, tool, json!({})).await.unwrap();
    assert_eq!((usual["total"].as_u64(), rows(&usual["table"])), (Some(1000), 20));
    for detail in ["compact", "full"] {
        let mut arguments = json!({"limit": 200, "detail": detail});
        let (mut seen, mut pages) = (0, 0);
        loop {
            let page = ask_sidecar(&sidecar, tool, arguments.clone()).await.unwrap();
            let tokens = estimated_tokens(&page.to_string());
            assert!(tokens <= 25_000, "{tokens} tokens in one answer");
            seen += rows(&page["table"]) + page["positions"].as_array().map_or(0, Vec::len);
            pages += 1;
            match page.get("next_cursor") {
                Some(cursor) => arguments["cursor"] = cursor.clone(),
                None => break,
            }
        }
        assert_eq!(seen, 1000, "{detail}: nothing is lost where an answer is cut");
        assert!(pages >= 5, "{pages}");
    }
    sidecar.shutdown().await;
}
