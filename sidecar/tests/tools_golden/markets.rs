//! The market tools against the simulator: every class, every way to name it, and what is said when
//! a part is missing.

use crate::run::Bench;
use serde_json::{Value, json};

async fn answer(bench: &Bench, tool: &str, arguments: Value) -> Value {
    let answer = bench.call(tool, &arguments).await;
    answer.unwrap_or_else(|error| panic!("{tool} {arguments}: {error:#}"))
}

async fn code(bench: &Bench, tool: &str, arguments: Value) -> String {
    match bench.call(tool, &arguments).await {
        Ok(answer) => panic!("{tool} {arguments}: {answer:#}"),
        Err(error) => error["code"].as_str().unwrap().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stocks_options_futures_and_pairs_are_named_in_one_way_everywhere() {
    let bench = Bench::start().await;
    let classes = [
        ("AAPL", "stock"),
        ("SPY 2027-01-15 C 600", "option"),
        ("ESZ6", "future"),
        ("EUR.USD", "forex"),
    ];
    for (name, class) in classes {
        let named = json!({"instrument": name});
        let brief = answer(&bench, "ibkr_instrument_brief", named.clone()).await;
        assert_eq!(brief["contract"]["asset_class"], class, "{brief:#}");
        assert!(brief["quote"]["bid"].is_string(), "{brief:#}");
        assert!(brief["unavailable"].is_null(), "{brief:#}");
        // Whatever the real time: the simulated market is always open, and each quote says so.
        assert_eq!(brief["session"]["state"], "open", "{brief:#}");
        assert_eq!(brief["hours"], "simulated_open", "{brief:#}");
        assert_eq!(brief["events"].is_object(), class == "stock", "{brief:#}");
        let id = brief["contract"]["contract_id"].as_u64().unwrap();
        let by_id = answer(&bench, "ibkr_instrument_brief", json!({"contract_id": id})).await;
        assert_eq!(by_id["contract"], brief["contract"]);

        let details = answer(&bench, "ibkr_contract_details", named.clone()).await;
        assert_eq!(details["contract"]["asset_class"], class);
        assert!(details["rules"]["price_increment"].is_string(), "{details:#}");
        assert!(details["unavailable"].is_null(), "{details:#}");
        let mut bars = named.clone();
        bars["duration"] = "1 D".into();
        bars["bar_size"] = "1 hour".into();
        if class == "forex" {
            bars["source"] = "midpoint".into();
        }
        let bars = answer(&bench, "ibkr_historical_bars", bars).await;
        assert!(bars["summary"]["bars"].as_u64().unwrap() > 1, "{bars:#}");
        assert_eq!(bars["contract"]["contract_id"], id);
        let session = answer(&bench, "ibkr_market_session", named).await;
        assert_eq!(session["contract"]["contract_id"], id);
    }
    let all = json!({"instruments": classes.map(|(name, _)| name)});
    let quotes = answer(&bench, "ibkr_market_snapshot", all).await;
    assert_eq!(quotes["table"]["rows"].as_array().unwrap().len(), 4);
    assert_eq!(quotes["hours"], "simulated_open", "{quotes:#}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_quotes_a_bad_name_is_an_error_of_its_row() {
    let bench = Bench::start().await;
    let several = json!({"instruments": ["AAPL", "NOSUCHTHING", "aapl", "ESZ6"]});
    let quotes = answer(&bench, "ibkr_market_snapshot", several).await;
    assert_eq!(quotes["table"]["rows"].as_array().unwrap().len(), 2, "AAPL once, ES");
    let errors = quotes["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{quotes:#}");
    assert_eq!(errors[0]["asked"], "NOSUCHTHING");
    assert_eq!(errors[0]["code"], "INPUT_INVALID_CONTRACT");

    let alone = json!({"instrument": "NOSUCHTHING"});
    assert_eq!(code(&bench, "ibkr_market_snapshot", alone).await, "INPUT_INVALID_CONTRACT");
    let none =
        answer(&bench, "ibkr_market_snapshot", json!({"instruments": ["NOSUCHTHING"]})).await;
    assert!(none["table"]["rows"].as_array().unwrap().is_empty());
    assert_eq!(none["errors"].as_array().unwrap().len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_follows_expiry_strikes_and_right() {
    let bench = Bench::start().await;
    let listed =
        answer(&bench, "ibkr_options_chain", json!({"symbol": "SPY", "list_expiries": true})).await;
    let expiries = listed["expiries"].as_array().unwrap();
    assert!(expiries.len() >= 3 && listed["table"].is_null(), "{listed:#}");
    assert!(listed["months"].as_array().unwrap().contains(&"JAN27".into()));

    let day = json!({"symbol": "SPY", "expiry": "2027-01-15", "strikes": 3, "right": "put"});
    let chain = answer(&bench, "ibkr_options_chain", day).await;
    assert_eq!(chain["expiry"], "2027-01-15");
    let rows = chain["table"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{chain:#}");
    let spot: f64 = chain["underlying_price"].as_str().unwrap().parse().unwrap();
    for row in rows {
        assert_eq!(row[1], "P");
        let strike: f64 = row[0].as_str().unwrap().parse().unwrap();
        assert!((strike - spot).abs() < spot * 0.03, "{strike} is far from {spot}");
        for cell in row.as_array().unwrap().iter().take(11) {
            assert!(cell.is_string(), "{row}");
        }
    }
    let month = answer(&bench, "ibkr_options_chain", json!({"symbol": "SPY", "expiry": "JAN27"}));
    assert!(month.await["expiry"].as_str().unwrap().starts_with("2027-01"));
    let one = json!({"contract_id": rows[0][2]});
    let greeks = answer(&bench, "ibkr_option_greeks", one).await;
    assert_eq!(greeks["greeks"]["delta"], rows[0][7]);

    for (arguments, expected) in [
        (json!({"symbol": "SPY", "expiry": "2031-01-17"}), "INPUT_INVALID_CONTRACT"),
        (json!({"symbol": "SPY", "expiry": "2027-01-14"}), "INPUT_INVALID_CONTRACT"),
        (json!({"symbol": "SPY", "expiry": "soon"}), "INPUT_INVALID"),
        (json!({"symbol": "KO"}), "INPUT_INVALID_CONTRACT"),
        (json!({}), "INPUT_INVALID"),
    ] {
        assert_eq!(
            code(&bench, "ibkr_options_chain", arguments.clone()).await,
            expected,
            "{arguments}"
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_or_is_not_served_has_its_own_code() {
    let bench = Bench::start().await;
    let nonsense = |duration: &str, bar: &str| {
        let (instrument, bar_size) = ("AAPL", bar);
        json!({"instrument": instrument, "duration": duration, "bar_size": bar_size})
    };
    for (tool, arguments, expected) in [
        ("ibkr_historical_bars", nonsense("1 parsec", "5 mins"), "INPUT_INVALID"),
        ("ibkr_historical_bars", nonsense("1 D", "7 furlongs"), "INPUT_INVALID"),
        ("ibkr_historical_bars", json!({"duration": "1 D", "bar_size": "1 min"}), "INPUT_INVALID"),
        ("ibkr_market_session", json!({"exchange": "MARS"}), "INPUT_INVALID"),
        ("ibkr_scanner_run", json!({"scanner_code": "NO_SUCH_SCAN"}), "INPUT_INVALID"),
        ("ibkr_futures_list", json!({"symbol": "NOPE"}), "INPUT_INVALID_CONTRACT"),
        ("ibkr_news_list", json!({"symbol": "AAPL"}), "BROKER_CAPABILITY_UNAVAILABLE"),
        ("ibkr_news_article", json!({"article_id": "1"}), "BROKER_CAPABILITY_UNAVAILABLE"),
        (
            "ibkr_option_greeks",
            json!({"instrument": "SPY 2027-01-15 C 1"}),
            "INPUT_INVALID_CONTRACT",
        ),
    ] {
        assert_eq!(code(&bench, tool, arguments.clone()).await, expected, "{tool} {arguments}");
    }
    let same = answer(&bench, "ibkr_currency_rate", json!({"base": "EUR", "quote": "EUR"})).await;
    assert_eq!(same["rate"], "1");
    let rate = |base: &str, quote: &str| json!({"base": base, "quote": quote});
    let there = answer(&bench, "ibkr_currency_rate", rate("EUR", "USD")).await;
    let back = answer(&bench, "ibkr_currency_rate", rate("USD", "EUR")).await;
    let number = |value: &Value| value["rate"].as_str().unwrap().parse::<f64>().unwrap();
    assert!((number(&there) * number(&back) - 1.0).abs() < 0.01, "{there} {back}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_bars_are_reached_with_next_end() {
    let bench = Bench::start().await;
    let mut asked =
        json!({"instrument": "AAPL", "duration": "1 D", "bar_size": "5 mins", "limit": 10});
    let newest = answer(&bench, "ibkr_historical_bars", asked.clone()).await;
    asked["end"] = newest["next_end"].clone();
    let older = answer(&bench, "ibkr_historical_bars", asked).await;
    let first = newest["table"]["rows"][0][0].as_str().unwrap();
    let rows = older["table"]["rows"].as_array().unwrap();
    let last = rows.last().unwrap()[0].as_str().unwrap();
    assert!(last <= first, "{last} {first}");
    assert!(rows.first().unwrap()[0].as_str().unwrap() < first);
    bench.stop().await;
}
