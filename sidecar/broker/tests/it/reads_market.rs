//! Bars, option quotes with greeks, company figures and scanners.

use crate::scripted::{Scripted, say};
use crate::support::{AAPL, World, client, config, conid, dec};
use ibkr_agent_broker::{Broker, BrokerError, Pacing};
use ibkr_agent_domain::{
    BarSource, BarsRequest, DataStatus, Mode, ScanRequest, Timestamp, Untrusted,
};
use ibkr_agent_simulator::{Quirk, SimulatorConfig};
use rust_decimal::Decimal;

const AAPL_CALL: u64 = 731_558_011;
const ES_DECEMBER: u64 = 649_180_695;
const EUR_USD: u64 = 12_087_792;

fn request(period: &str, bar: &str) -> BarsRequest {
    BarsRequest {
        period: period.to_owned(),
        bar: bar.to_owned(),
        outside_rth: true,
        end: None,
        source: BarSource::Trades,
    }
}

#[tokio::test]
async fn every_class_has_bars_in_both_notations() {
    let world = World::ready().await;
    for id in [AAPL, AAPL_CALL, ES_DECEMBER, EUR_USD] {
        for (period, bar) in [("1 D", "5 mins"), ("1d", "5min")] {
            let read = world.broker.bars(conid(id), &request(period, bar)).await.unwrap();
            assert!(!read.bars.is_empty() && read.bars.len() <= 1_000, "{id}");
            assert_eq!(read.bar_seconds, Some(300));
            assert!(read.bars.windows(2).all(|two| two[0].time < two[1].time));
            for bar in &read.bars {
                assert!(bar.low <= bar.open && bar.open <= bar.high, "{bar:?}");
                assert!(bar.low <= bar.close && bar.close <= bar.high, "{bar:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_end_of_the_window_is_its_end() {
    let world = World::ready().await;
    let end = Timestamp::from_millis(world.control.now_ms() - 40 * 86_400_000);
    let mut asked = request("5d", "1h");
    asked.end = Some(end);
    let read = world.broker.bars(conid(AAPL), &asked).await.unwrap();
    assert!(read.bars.iter().all(|bar| bar.time <= end), "{:?}", read.bars.last());
    let early = end.as_millis() - 8 * 86_400_000;
    assert!(read.bars.iter().all(|bar| bar.time.as_millis() >= early), "{:?}", read.bars.first());
}

#[tokio::test]
async fn midpoints_have_no_volume() {
    let world = World::ready().await;
    let mut asked = request("1d", "1h");
    asked.source = BarSource::Midpoint;
    let read = world.broker.bars(conid(AAPL), &asked).await.unwrap();
    assert!(!read.bars.is_empty() && read.bars.iter().all(|bar| bar.volume.is_none()));
}

#[tokio::test]
async fn senseless_spans_are_refused_without_a_request() {
    let world = World::ready().await;
    let before = world.requests().len();
    for (period, bar) in [("1 fortnight", "1d"), ("1d", "7min"), ("1d", "1w"), ("", "")] {
        let refused = world.broker.bars(conid(AAPL), &request(period, bar)).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "INPUT_INVALID");
    }
    assert_eq!(world.requests().len(), before);
}

#[tokio::test]
async fn a_cold_history_is_asked_for_once_more_and_not_again() {
    let world = World::ready().await;
    world.control.enable(Quirk::ColdHistory);
    let read = world.broker.bars(conid(AAPL), &request("1d", "1h")).await.unwrap();
    assert!(!read.bars.is_empty());
    let asked = |requests: Vec<String>| {
        requests.iter().filter(|line| line.ends_with("/marketdata/history")).count()
    };
    assert_eq!(asked(world.requests()), 2);
    let broken = r#"{"error":"Internal Server Error"}"#;
    let server = Scripted::start(vec![say("500 Internal Server Error", "", broken); 5]).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let failed = broker.bars(conid(AAPL), &request("1d", "1h")).await.unwrap_err();
    assert_eq!(failed.code().as_str(), "BROKER_BACKEND_UNAVAILABLE");
    assert_eq!(server.count("GET /v1/api/iserver/marketdata/history"), 2);
}

#[tokio::test]
async fn no_data_is_told_apart_from_a_failure() {
    for (status, body) in [
        ("200 OK", r#"{"error":"No data."}"#),
        ("500 Internal Server Error", r#"{"error":"No data."}"#),
        ("500 Internal Server Error", r#"{"error":"Chart data unavailable"}"#),
    ] {
        let server = Scripted::start(vec![say(status, "", body); 2]).await;
        let (broker, _) = client(config(&server.url, Mode::Paper));
        let none = broker.bars(conid(AAPL), &request("1d", "1h")).await.unwrap_err();
        assert_eq!(none, BrokerError::NoHistory, "{status} {body}");
        assert_eq!(none.code().as_str(), "HISTORICAL_BARS_UNAVAILABLE");
    }
}

#[tokio::test]
async fn options_have_their_greeks_on_the_first_call_of_a_cold_session() {
    let world = World::ready().await;
    let asked = [conid(AAPL_CALL), conid(731_558_014)];
    let read = world.broker.option_quotes(&asked).await.unwrap();
    assert_eq!(read.iter().map(|row| row.quote.conid).collect::<Vec<_>>(), asked);
    let (call, put) = (&read[0], &read[1]);
    let within = |value: Option<Decimal>, low: Decimal, high: Decimal| {
        value.is_some_and(|value| low <= value && value <= high)
    };
    assert!(within(call.delta, dec!(0), dec!(1)), "{call:?}");
    assert!(within(put.delta, dec!(-1), dec!(0)), "{put:?}");
    assert!(call.gamma.is_some() && call.theta.is_some() && call.vega.is_some());
    assert!(within(call.implied_volatility, dec!(1), dec!(300)), "{call:?}");
    assert!(call.quote.bid.is_some() && call.quote.status == DataStatus::RealTime);
    assert!(world.requests().contains(&"GET /iserver/secdef/search".to_owned()));
}

#[tokio::test]
async fn a_derivative_that_was_defined_before_is_opened_ahead_of_its_first_snapshot() {
    let world = World::ready().await;
    world.broker.contract(conid(ES_DECEMBER)).await.unwrap();
    let before = world.requests().len();
    let quote = world.broker.quotes(&[conid(ES_DECEMBER)]).await.unwrap().remove(0);
    assert!(quote.bid.is_some(), "{quote:?}");
    let made = world.requests();
    assert_eq!(made[before], "GET /iserver/secdef/search");
    assert!(made[before + 1..].iter().all(|line| line == "GET /iserver/marketdata/snapshot"));
}

#[tokio::test]
async fn the_same_contract_asked_for_twice_is_answered_twice() {
    let world = World::ready().await;
    let quotes = world.broker.quotes(&[conid(AAPL), conid(AAPL)]).await.unwrap();
    assert_eq!(quotes.len(), 2);
    assert_eq!(quotes[0], quotes[1]);
    assert!(quotes[1].bid.is_some());
}

#[tokio::test]
async fn a_company_has_its_figures_and_a_pair_has_none() {
    let world = World::ready().await;
    let apple = world.broker.fundamentals(conid(AAPL)).await.unwrap();
    assert!(apple.market_cap.is_some() && apple.price_earnings.is_some(), "{apple:?}");
    assert!(apple.high_52_weeks > apple.low_52_weeks);
    assert_eq!(apple.industry, Some(Untrusted::new("Technology")));
    let pair = world.broker.fundamentals(conid(EUR_USD)).await.unwrap();
    assert_eq!((pair.market_cap, pair.price_earnings), (None, None));
}

#[tokio::test]
async fn rows_are_matched_by_contract_and_sentinels_are_no_values() {
    let rows = r#"[{"conid":2,"31":"H7","84":-1,"86":"-1","85":"-1","88":"1,200","87":"-1",
        "6509":"DPB","_updated":5},{"conid":99,"31":"1"},
        {"conid":"1","31":"C5.50","84":"5.40","86":"5.60","6509":"ZPB"}]"#;
    let server = Scripted::start([say("200 OK", "", rows)]).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let quotes = broker.quotes(&[conid(1), conid(2)]).await.unwrap();
    assert_eq!((quotes[0].last, quotes[0].close), (None, Some(dec!(5.50))));
    assert_eq!((quotes[1].bid, quotes[1].ask, quotes[1].ask_size), (None, None, None));
    assert_eq!((quotes[1].bid_size, quotes[1].volume), (Some(dec!(1200)), None));
    assert_eq!((quotes[0].halted, quotes[1].halted), (None, Some(true)));
}

fn scan(code: &str) -> ScanRequest {
    ScanRequest {
        code: code.to_owned(),
        instrument: "STK".to_owned(),
        location: "STK.US.MAJOR".to_owned(),
        filters: vec![("priceAbove".to_owned(), dec!(100))],
    }
}

#[tokio::test]
async fn a_scanner_runs_and_its_parameters_are_read_once() {
    let world = World::ready().await;
    let parameters = world.broker.scanner_parameters().await.unwrap();
    assert!(parameters.kinds.iter().any(|kind| kind.code == "TOP_PERC_GAIN"));
    assert!(parameters.locations.iter().any(|(code, _)| code == "STK.US.MAJOR"));
    let hits = world.broker.scan(&scan("TOP_PERC_GAIN")).await.unwrap();
    assert!(!hits.is_empty() && hits.len() <= 50);
    assert!(hits.iter().all(|hit| hit.class.is_some() && !hit.symbol.as_str().is_empty()));
    let refused = world.broker.scan(&scan("NO_SUCH_SCAN")).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "INPUT_INVALID");
    let asked = world.requests();
    let count = |end: &str| asked.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!((count("/scanner/params"), count("/scanner/run")), (1, 1));
}

#[tokio::test]
async fn scanner_parameters_are_kept_when_the_broker_would_take_no_second_request() {
    let world = World::start_with(SimulatorConfig::default(), |config| {
        config.pacing = Pacing::On;
    })
    .await;
    let first = world.broker.scanner_parameters().await.unwrap();
    let second = world.broker.scanner_parameters().await.unwrap();
    assert!(first.as_of.is_some());
    assert_eq!(first.as_of, second.as_of, "the time of the real read");
}
