//! Profit and loss, allocation, performance, transactions, watchlists, alerts, notifications.

use crate::scripted::{Scripted, say};
use crate::support::{AAPL, PAPER, World, account, client, config, conid, dec, order};
use ibkr_agent_broker::{Broker, BrokerError, Pacing, PlaceOutcome};
use ibkr_agent_domain::{AssetClass, Currency, Mode, NotSent, PerformancePeriod};
use ibkr_agent_simulator::{Quirk, SimulatorConfig};

#[tokio::test]
async fn profit_and_loss_is_there_on_the_first_call_of_a_session() {
    let world = World::ready().await;
    let read = world.broker.profit_and_loss(&account(PAPER)).await.unwrap();
    assert!(read.daily.is_some() && read.unrealized.is_some() && read.net_liquidation.is_some());
    assert_eq!(read.account, account(PAPER));
    let other = world.broker.profit_and_loss(&account("DU7654321")).await.unwrap();
    assert_ne!(read.net_liquidation, other.net_liquidation);
}

#[tokio::test]
async fn an_account_that_the_broker_tells_nothing_of_has_no_zeroes() {
    let body = r#"{"upnl":{"DU7654321.Core":{"dpl":5}}}"#;
    let server = Scripted::start([say("200 OK", "", body)]).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let read = broker.profit_and_loss(&account(PAPER)).await.unwrap();
    assert_eq!((read.daily, read.unrealized, read.market_value), (None, None, None));
}

#[tokio::test]
async fn allocation_is_told_by_class_sector_and_group() {
    let world = World::ready().await;
    let read = world.broker.allocation(&account(PAPER)).await.unwrap();
    assert!(read.by_class.iter().any(|slice| slice.name.as_str() == "STK"));
    assert!(!read.by_sector.is_empty() && !read.by_group.is_empty());
    assert!(read.by_class.iter().all(|slice| slice.long.is_some() || slice.short.is_some()));
}

#[tokio::test]
async fn performance_is_read_once_in_its_window_and_tells_when() {
    let world = World::start_with(SimulatorConfig::default(), |config| {
        config.pacing = Pacing::On;
    })
    .await;
    let read = |period| {
        let broker = world.broker.clone();
        async move { broker.performance(&account(PAPER), period).await }
    };
    let first = read(PerformancePeriod::Month).await.unwrap();
    assert!(first.points.len() >= 10 && first.start_value.is_some(), "{first:?}");
    assert_eq!(first.currency, Some(Currency::USD));
    assert!(first.points.windows(2).all(|two| two[0].date < two[1].date));
    let again = read(PerformancePeriod::Month).await.unwrap();
    assert_eq!(again, first, "the first answer, with its own time");
    let other = read(PerformancePeriod::Year).await.unwrap_err();
    let wait = other.retry_after().expect("how long to wait").as_secs();
    assert!((600..=1_000).contains(&wait), "{wait}");
    let asked = world.requests().iter().filter(|line| line.ends_with("/pa/performance")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn transactions_of_a_held_contract_are_listed_and_kept() {
    let world = World::ready().await;
    let read = || world.broker.transactions(&PAPER_ACCOUNT, conid(AAPL), Currency::USD, 365);
    let first = read().await.unwrap();
    assert!(!first.rows.is_empty());
    assert!(first.rows.iter().all(|row| row.date.is_some() && row.currency.is_some()));
    assert!(first.rows.iter().any(|row| row.quantity.is_some() && row.price.is_some()));
    assert_eq!(read().await.unwrap(), first);
    let asked = world.requests().iter().filter(|line| line.ends_with("/pa/transactions")).count();
    assert_eq!(asked, 1);
    for days in [0, 3_651] {
        let account = account(PAPER);
        let refused = world.broker.transactions(&account, conid(AAPL), Currency::USD, days).await;
        assert_eq!(refused.unwrap_err().code().as_str(), "INPUT_INVALID");
    }
}

static PAPER_ACCOUNT: std::sync::LazyLock<ibkr_agent_domain::AccountId> =
    std::sync::LazyLock::new(|| account(PAPER));

#[tokio::test]
async fn combinations_have_legs_with_signed_ratios() {
    let rows = r#"[{"name":"combo1","description":"Vertical","legs":[{"conid":"731558010",
        "ratio":1},{"conid":731558012,"ratio":"-1"}],"positions":[{"conid":731558010,
        "position":2,"currency":"USD","contractDesc":"AAPL JAN2027 220 C","assetClass":"OPT"}]}]"#;
    let server = Scripted::start([say("200 OK", "", rows), say("200 OK", "", "[]")]).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let read = broker.combos(&account(PAPER)).await.unwrap();
    let ratios: Vec<_> = read[0].legs.iter().map(|(_, ratio)| *ratio).collect();
    assert_eq!(ratios, [dec!(1), dec!(-1)]);
    assert_eq!(read[0].positions[0].class, Some(AssetClass::Option));
    assert_eq!(broker.combos(&account(PAPER)).await.unwrap(), []);
}

#[tokio::test]
async fn the_account_of_all_accounts_is_shown_and_never_traded() {
    let world = World::start(SimulatorConfig::default()).await;
    world.control.enable(Quirk::AllAccount);
    let accounts = world.broker.accounts().await.unwrap();
    let can_trade = |id: &str| {
        accounts.iter().find(|account| account.id.as_str() == id).map(|account| account.can_trade)
    };
    assert_eq!(can_trade(PAPER), Some(true));
    // Some builds list it with the brokerage accounts only.
    assert_ne!(can_trade("All"), Some(true));
    let body = r#"[{"id":"DU1234567","accountId":"DU1234567","currency":"USD"},
        {"id":"All","accountId":"All","currency":"USD"}]"#;
    let server = Scripted::answering(move |path| match path {
        "GET /v1/api/iserver/accounts" => {
            say("200 OK", "", r#"{"accounts":["DU1234567","All"],"isPaper":true}"#)
        }
        "GET /v1/api/portfolio/accounts" => say("200 OK", "", body),
        _ => crate::scripted::session_answer(path, "", "x").unwrap_or(crate::scripted::Act::Close),
    })
    .await;
    let (broker, latch) = client(config(&server.url, Mode::Paper));
    latch.resume();
    let listed = broker.accounts().await.unwrap();
    assert_eq!(listed.iter().map(|one| one.can_trade).collect::<Vec<_>>(), [true, false]);
    let ledger = crate::support::ledger();
    let all = order("All", Mode::Paper, dec!(1));
    let permit = crate::support::place_permit(&ledger, all, "ia-all").await;
    let outcome = broker.place(permit).await;
    assert!(
        matches!(outcome, PlaceOutcome::NotSent { why: NotSent::AccountCannotTrade }),
        "{outcome:?}"
    );
    assert_eq!(server.count("POST /v1/api/iserver/account/All"), 0);
}

#[tokio::test]
async fn a_watchlist_is_whole_on_the_first_call_of_a_session() {
    let world = World::ready().await;
    let lists = world.broker.watchlists().await.unwrap();
    assert_eq!(lists[0].id.as_str(), "101");
    assert!(lists[0].items.is_empty());
    let list = world.broker.watchlist("101").await.unwrap();
    assert_eq!(list.items.len(), 3, "the headline is no contract");
    assert_eq!(list.items[0].conid, conid(AAPL));
    assert_eq!(list.items[0].class, Some(AssetClass::Stock));
    assert!(list.items.iter().all(|item| item.symbol.is_some()));
    for id in ["999", "../x", ""] {
        let unknown = world.broker.watchlist(id).await.unwrap_err();
        assert_eq!(unknown.code().as_str(), "INPUT_INVALID", "{id}");
    }
}

#[tokio::test]
async fn alerts_are_listed_and_shown_with_their_conditions() {
    let list = r#"[{"order_id":77,"account":"DU1234567","alert_name":"Up","alert_active":1,
        "order_time":"20260403-14:30:00","alert_triggered":false,"alert_repeatable":0},
        {"order_id":78,"account":"DU7654321","alert_name":"other","alert_active":1}]"#;
    let one = r#"{"account":"DU1234567","order_id":77,"alert_name":"Up","alert_active":1,
        "conditions":[{"condition_type":1,"conidex":"265598@SMART","contract_description_1":"AAPL",
        "condition_operator":">=","condition_value":"230","condition_logic_bind":"n"}]}"#;
    let gone = r#"{"error":"MTA alert tool ID is wrong =5"}"#;
    let foreign = r#"{"account":"DU7654321","order_id":78,"alert_active":1}"#;
    let script = [list, one, gone, foreign].map(|body| say("200 OK", "", body));
    let server = Scripted::start(script).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let alerts = broker.alerts(&account(PAPER)).await.unwrap();
    assert_eq!(alerts.len(), 1, "another account's alert is left out");
    assert!(alerts[0].is_active && alerts[0].conditions.is_empty());
    let alert = broker.alert(&account(PAPER), "77").await.unwrap();
    assert_eq!(alert.conditions[0].as_str(), "AAPL price >= 230");
    for id in ["5", "78", "0", "../1"] {
        let unknown = broker.alert(&account(PAPER), id).await.unwrap_err();
        assert_eq!(unknown.code().as_str(), "INPUT_INVALID", "{id}");
    }
}

#[tokio::test]
async fn notifications_come_newest_first_as_plain_text() {
    let world = World::ready().await;
    let notes = world.broker.notifications().await.unwrap();
    assert!(!notes.is_empty());
    assert!(notes.windows(2).all(|two| two[0].time >= two[1].time));
    for note in &notes {
        let text = format!("{} {}", note.title, note.body);
        assert!(!text.contains('<') && !text.contains("&nbsp;"), "{text}");
        assert!(note.time.is_some());
    }
}

#[tokio::test]
async fn every_new_read_refuses_an_account_that_the_login_does_not_show() {
    let world = World::ready().await;
    let before = world.requests().len();
    let foreign = account("U7777777");
    let broker = &world.broker;
    let errors = [
        broker.profit_and_loss(&foreign).await.unwrap_err(),
        broker.allocation(&foreign).await.unwrap_err(),
        broker.performance(&foreign, PerformancePeriod::Day).await.unwrap_err(),
        broker.transactions(&foreign, conid(AAPL), Currency::USD, 1).await.unwrap_err(),
        broker.combos(&foreign).await.unwrap_err(),
        broker.alerts(&foreign).await.unwrap_err(),
        broker.alert(&foreign, "1").await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| *error == BrokerError::UnknownAccount), "{errors:?}");
    assert_eq!(world.requests().len(), before);
}

#[tokio::test]
async fn hostile_text_of_every_new_read_arrives_as_escapes() {
    let evil = "\\u001b[31m\\u202eX\\u200b";
    let bodies = [
        format!(r#"{{"data":{{"user_lists":[{{"id":"1","name":"{evil}"}}]}}}}"#),
        format!(r#"[{{"ID":"1","MS":"{evil}","MD":"<b>{evil}</b>&#27;[1m","FC":"{evil}"}}]"#),
        format!(r#"[{{"order_id":1,"alert_name":"{evil}","alert_active":1}}]"#),
        format!(r#"{{"assetClass":{{"long":{{"{evil}":1}}}}}}"#),
        format!(r#"[{{"name":"{evil}","description":"{evil}"}}]"#),
    ];
    let server = Scripted::start(bodies.map(|body| say("200 OK", "", &body))).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let shown = [
        format!("{:?}", broker.watchlists().await.unwrap()),
        format!("{:?}", broker.notifications().await.unwrap()),
        format!("{:?}", broker.alerts(&account(PAPER)).await.unwrap()),
        format!("{:?}", broker.allocation(&account(PAPER)).await.unwrap()),
        format!("{:?}", broker.combos(&account(PAPER)).await.unwrap()),
    ];
    for text in shown {
        assert!(text.contains("u{1b}") && text.contains("u{202e}"), "{text}");
        let is_raw = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}');
        assert!(!text.contains(is_raw), "{text}");
    }
}
