//! Answers about markets: what is cut is said, what differs is shown, and each reads back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ibkr_agent_domain::{
    AssetClass, Bar, Bars, Conid, Currency, CurrencyPair, DataStatus, Date, Depth, DepthLevel,
    Fundamentals, FutureContract, OptionContract, OptionQuote, OptionRight, Quote, ScanHit,
    ScannerKind, ScannerParameters, Timestamp, Untrusted,
};
use ibkr_agent_protocol::catalogue::bars::{
    HistoricalBars, HistoricalBarsInput, HistoricalBarsOutput, MarketDepth, MarketDepthOutput,
};
use ibkr_agent_protocol::catalogue::calendar::{
    CurrencyPairs, CurrencyPairsOutput, CurrencyRate, CurrencyRateInput, CurrencyRateOutput,
    MarketCalendarInput, Venue,
};
use ibkr_agent_protocol::catalogue::market::{
    MarketSnapshotInput, MarketSnapshotOutput, subscription_hint,
};
use ibkr_agent_protocol::catalogue::options::{AskedExpiry, OptionsChainInput, chain_table};
use ibkr_agent_protocol::catalogue::reference::{FuturesList, FuturesListOutput};
use ibkr_agent_protocol::catalogue::research::{
    CompanyInput, FundamentalsGet, FundamentalsGetOutput, ScannerParametersInput, ScannerRun,
    ScannerRunInput, ScannerRunOutput,
};
use ibkr_agent_protocol::catalogue::{Backend, ResolvedOutput, Tool, spec};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_millis(1_795_446_000_000);

fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

fn conid(number: u64) -> Conid {
    Conid::new(number).unwrap()
}

fn input<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

/// Checks an answer against its published schema, and that it reads back.
fn check<T: Tool>(answer: &T::Output)
where
    T::Output: DeserializeOwned + PartialEq + core::fmt::Debug,
{
    let text = serde_json::to_string(answer).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let schema = Value::Object(spec::<T>().unwrap().output_schema().as_ref().clone());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    if let Err(error) = validator.validate(&value) {
        panic!("{error} in {text}");
    }
    assert_eq!(&serde_json::from_str::<T::Output>(&text).unwrap(), answer);
}

fn bar(minute: i64, price: &str, volume: Option<&str>) -> Bar {
    let price = dec(price);
    Bar {
        time: Timestamp::from_millis(NOW.as_millis() + minute * 60_000),
        open: price,
        high: price + Decimal::ONE,
        low: price - Decimal::ONE,
        close: price,
        volume: volume.map(dec),
    }
}

fn bars(bars: Vec<Bar>) -> Bars {
    Bars {
        conid: conid(265_598),
        symbol: Some(Untrusted::new("AAPL")),
        bar_seconds: Some(60),
        delay_ms: Some(0),
        bars,
        as_of: NOW,
    }
}

#[test]
fn the_newest_bars_are_shown_the_summary_covers_all_and_the_cut_is_said() {
    let read = bars((0..5).map(|n| bar(n, &format!("{}", 100 + n), Some("10"))).collect());
    let of_id = ResolvedOutput::of_id(conid(265_598));
    let cut = HistoricalBarsOutput::new(&read, of_id.clone(), Backend::Simulator, 2).unwrap();
    check::<HistoricalBars>(&cut);
    assert!(cut.truncated);
    assert_eq!(cut.table.rows.len(), 2);
    assert_eq!(cut.table.rows[0][0].as_deref(), Some("2026-11-23T15:03:00Z"));
    assert_eq!(cut.next_end.unwrap().0, read.bars[3].time, "what is left ends where this begins");
    let summary = &cut.summary;
    assert_eq!((summary.bars, summary.high.0, summary.low.0), (5, dec("105"), dec("99")));
    assert_eq!((summary.open.0, summary.close.0), (dec("100"), dec("104")));
    assert_eq!(summary.volume.unwrap().0, dec("50"));
    assert_eq!(cut.delay_ms, None, "no delay isn't told");
    assert_eq!(cut.contract.symbol.as_ref().unwrap().0.as_str(), "AAPL");

    let whole = HistoricalBarsOutput::new(&read, of_id.clone(), Backend::Simulator, 5).unwrap();
    assert!(!whole.truncated && whole.next_end.is_none());
    assert!(HistoricalBarsOutput::new(&bars(Vec::new()), of_id, Backend::Simulator, 5).is_none());
}

#[test]
fn a_volume_that_is_unknown_once_makes_the_sum_unknown() {
    let read = bars(vec![bar(0, "100", Some("10")), bar(1, "101", None)]);
    let of_id = ResolvedOutput::of_id(conid(1));
    let output = HistoricalBarsOutput::new(&read, of_id, Backend::Simulator, 9).unwrap();
    assert_eq!(output.summary.volume, None);
    assert_eq!(output.table.rows[1][5], None);
}

#[test]
fn both_ends_of_each_count_are_checked() {
    let bars = |limit: &str| {
        input::<HistoricalBarsInput>(&format!(
            r#"{{"contract_id": 1, "duration": "1 D", "bar_size": "1 min", "limit": {limit}}}"#
        ))
        .limit()
    };
    assert_eq!(bars("1"), Ok(1));
    assert_eq!(bars("\"1000\""), Ok(1_000));
    for bad in ["0", "1001"] {
        assert_eq!(bars(bad).unwrap_err().code, "INPUT_INVALID");
    }
    let strikes = |count: &str| {
        input::<OptionsChainInput>(&format!(r#"{{"symbol": "SPY", "strikes": {count}}}"#)).strikes()
    };
    assert_eq!((strikes("1"), strikes("20")), (Ok(1), Ok(20)));
    assert!(strikes("0").is_err() && strikes("21").is_err());
}

#[test]
fn a_book_keeps_the_best_levels_of_each_side() {
    let level = |price: &str, bid: Option<&str>, ask: Option<&str>| DepthLevel {
        price: dec(price),
        bid_size: bid.map(dec),
        ask_size: ask.map(dec),
        is_last: false,
    };
    // In no order, as a stream may tell them.
    let levels = vec![
        level("99", Some("1"), None),
        level("102", None, Some("2")),
        level("101", None, Some("3")),
        level("103", None, Some("4")),
        level("100", Some("5"), None),
        level("98", Some("6"), None),
        level("100", None, None),
    ];
    let depth = Depth { conid: conid(265_598), levels, as_of: NOW };
    let of_id = ResolvedOutput::of_id(conid(265_598));
    let best = MarketDepthOutput::new(&depth, of_id.clone(), Backend::Simulator, 2);
    check::<MarketDepth>(&best);
    let prices: Vec<_> = best.table.rows.iter().map(|row| row[1].clone().unwrap()).collect();
    assert_eq!(prices, ["102", "101", "100", "99"]);
    assert!(best.truncated);
    assert!(!MarketDepthOutput::new(&depth, of_id, Backend::Simulator, 3).truncated);
}

fn quote(number: u64, status: DataStatus) -> Quote {
    Quote {
        conid: conid(number),
        symbol: Some(Untrusted::new("SPY")),
        bid: Some(dec("1.25")),
        bid_size: None,
        ask: Some(dec("1.3")),
        ask_size: None,
        last: None,
        close: None,
        change_percent: None,
        volume: None,
        halted: Some(false),
        status,
        updated: Some(NOW),
        as_of: NOW,
    }
}

fn option(
    number: u64,
    strike: &str,
    right: OptionRight,
    status: DataStatus,
) -> (OptionContract, OptionQuote) {
    let contract = OptionContract {
        conid: conid(number),
        symbol: Untrusted::new("SPY"),
        expiry: Date::parse("2027-01-15").unwrap(),
        right,
        strike: dec(strike),
        multiplier: dec("100"),
        trading_class: Untrusted::new("SPY"),
        currency: Currency::USD,
    };
    let quoted = OptionQuote {
        quote: quote(number, status),
        delta: Some(dec("0.5")),
        gamma: None,
        theta: None,
        vega: None,
        implied_volatility: Some(dec("18.5")),
        open_interest: None,
        mark: None,
    };
    (contract, quoted)
}

#[test]
fn a_chain_is_sorted_and_shows_its_status_once_or_per_row() {
    let (real, none) = (DataStatus::RealTime, DataStatus::NotSubscribed);
    let rows = [
        option(4, "610", OptionRight::Put, real),
        option(1, "600", OptionRight::Call, real),
        option(2, "600", OptionRight::Put, real),
        option(3, "610", OptionRight::Call, real),
    ];
    let (table, status) = chain_table(&rows);
    let ids: Vec<_> = table.rows.iter().map(|row| row[2].clone().unwrap()).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert_eq!(status, Some(real));
    assert!(!table.columns.contains(&"data_status".to_owned()));
    let gamma = table.columns.iter().position(|name| name == "gamma").unwrap();
    assert_eq!(table.rows[0][gamma], None, "an unknown greek is null, not zero");

    let (table, status) = chain_table(&[rows[1].clone(), option(9, "620", OptionRight::Put, none)]);
    assert_eq!(status, None);
    assert_eq!(table.rows[1].last().cloned().flatten().as_deref(), Some("not_subscribed"));
    assert_eq!(chain_table(&[]).1, None);
}

#[test]
fn an_expiry_is_a_day_a_month_or_nothing_else() {
    let expiry = |text: &str| {
        input::<OptionsChainInput>(&format!(r#"{{"symbol": "SPY", "expiry": "{text}"}}"#)).expiry()
    };
    let day = AskedExpiry::Day(Date::parse("2027-01-15").unwrap());
    assert_eq!((expiry("2027-01-15"), expiry("20270115")), (Ok(day.clone()), Ok(day)));
    assert_eq!(expiry("jan27"), Ok(AskedExpiry::Month("JAN27".to_owned())));
    for bad in ["JAN2027", "XXX27", "2027", "2027-02-30", "JANUA", "JAN2x"] {
        assert_eq!(expiry(bad).unwrap_err().code, "INPUT_INVALID", "{bad}");
    }
    let none = input::<OptionsChainInput>(r#"{"symbol": "SPY"}"#);
    assert_eq!(none.expiry(), Ok(AskedExpiry::Nearest));
    assert_eq!(none.rights(), [OptionRight::Call, OptionRight::Put]);
    let puts = input::<OptionsChainInput>(r#"{"symbol": "SPY", "right": "P"}"#);
    assert_eq!(puts.rights(), [OptionRight::Put]);
}

#[test]
fn exactly_one_instrument_is_named() {
    let company = |text: &str| input::<CompanyInput>(text).instrument().map_err(|e| e.code);
    assert!(company(r#"{"symbol": "AAPL"}"#).is_ok());
    assert!(company(r#"{"instrument": "ASML@AEB:EUR"}"#).is_ok());
    assert!(company(r#"{"contract_id": "265598"}"#).is_ok());
    for text in ["{}", r#"{"symbol": "AAPL", "contract_id": 1}"#] {
        assert_eq!(company(text), Err("INPUT_INVALID".to_owned()));
    }
    let venue = |text: &str| input::<MarketCalendarInput>(text).venue().map_err(|e| e.code);
    assert_eq!(venue(r#"{"exchange": "nyse"}"#), Ok(Venue::Exchange("NYSE".to_owned())));
    for text in ["{}", r#"{"exchange": "NYSE", "instrument": "AAPL"}"#] {
        assert_eq!(venue(text), Err("INPUT_INVALID".to_owned()));
    }
    let bars = r#"{"duration": "1 D", "bar_size": "1 day"}"#;
    assert!(input::<HistoricalBarsInput>(bars).instrument().is_err());
}

#[test]
fn a_missing_subscription_is_named_with_what_to_do() {
    let asked = input::<MarketSnapshotInput>(r#"{"contract_ids": [1, 2]}"#);
    let quotes = [quote(1, DataStatus::RealTime), quote(2, DataStatus::NotSubscribed)];
    let output = MarketSnapshotOutput::new(&asked, &quotes, Backend::Simulator, NOW);
    let hint = output.hint.unwrap();
    assert!(hint.contains("Subscribe") && hint.contains("paper"), "{hint}");
    let table = output.table.unwrap();
    let status = table.columns.iter().position(|name| name == "data_status").unwrap();
    assert_eq!(table.rows[1][status].as_deref(), Some("not_subscribed"));
    assert_eq!(subscription_hint([DataStatus::Delayed, DataStatus::Frozen]), None);
}

#[test]
fn rates_need_two_currencies_of_their_own() {
    let rate = |text: &str| input::<CurrencyRateInput>(text).pair().map_err(|error| error.code);
    assert!(rate(r#"{"base": "eur", "quote": "USD"}"#).is_ok());
    assert!(rate(r#"{"base": "EUR", "quote": "EUR"}"#).is_ok());
    assert_eq!(rate(r#"{"base": "BASE", "quote": "USD"}"#), Err("INPUT_INVALID".to_owned()));
    let pair = (Currency::parse("EUR").unwrap(), Currency::USD);
    check::<CurrencyRate>(&CurrencyRateOutput::new(pair, dec("1.0875"), Backend::Simulator, NOW));
    let pairs = ["EUR", "CHF", "JPY"].map(|name| CurrencyPair {
        conid: conid(12_087_792),
        symbol: Untrusted::new(&format!("USD.{name}")),
        quote: Currency::parse(name).unwrap(),
    });
    let shown = CurrencyPairsOutput::new(Currency::USD, &pairs, Backend::Simulator, 2);
    check::<CurrencyPairs>(&shown);
    assert!(shown.truncated && shown.table.rows.len() == 2);
}

#[test]
fn a_scan_says_its_cut_and_its_usual_market() {
    let filters = r#""[{\"code\": \"priceAbove\", \"value\": 5}]""#;
    let asked = input::<ScannerRunInput>(&format!(
        r#"{{"scanner_code": "TOP_PERC_GAIN", "filters": {filters}}}"#
    ));
    let request = asked.request();
    assert_eq!((request.instrument.as_str(), request.location.as_str()), ("STK", "STK.US.MAJOR"));
    assert_eq!(request.filters, [("priceAbove".to_owned(), dec("5"))]);
    let hit = |number| ScanHit {
        conid: conid(number),
        symbol: Untrusted::new("A\u{202e}B"),
        name: Untrusted::new("Company"),
        class: Some(AssetClass::Stock),
        listing_exchange: Untrusted::new("NYSE"),
        value: Some(Untrusted::new("+5.1%")),
    };
    let shown = ScannerRunOutput::new(&request, &[hit(1), hit(2)], Backend::Simulator, NOW, 1);
    check::<ScannerRun>(&shown);
    assert!(shown.truncated);
    assert_eq!(shown.table.rows[0][1].as_deref(), Some("A\\u{202e}B"));
    assert!(shown.table.broker_text.contains(&"value".to_owned()));
}

#[test]
fn scanner_codes_are_found_by_text_and_by_instrument_type() {
    let kind = |code: &str, name: &str, types: &[&str]| ScannerKind {
        code: code.to_owned(),
        name: Untrusted::new(name),
        instruments: types.iter().map(|name| (*name).to_owned()).collect(),
    };
    let parameters = ScannerParameters {
        kinds: vec![
            kind("TOP_PERC_GAIN", "Top % Gainers", &["STK", "FUT.US"]),
            kind("HOT_BY_VOLUME", "Hot by Volume", &["STK"]),
        ],
        locations: vec![("STK.US.MAJOR".to_owned(), Untrusted::new("US Stocks"))],
        ..ScannerParameters::default()
    };
    let codes = |text: &str| -> Vec<String> {
        let found = input::<ScannerParametersInput>(text).select(&parameters);
        found.into_iter().map(|(code, _)| code).collect()
    };
    assert_eq!(codes("{}"), ["TOP_PERC_GAIN", "HOT_BY_VOLUME"]);
    assert_eq!(codes(r#"{"search": "gainers"}"#), ["TOP_PERC_GAIN"]);
    assert_eq!(codes(r#"{"instrument": "fut.us"}"#), ["TOP_PERC_GAIN"]);
    assert_eq!(codes(r#"{"list": "locations"}"#), ["STK.US.MAJOR"]);
    assert!(codes(r#"{"list": "filters"}"#).is_empty());
    assert!(codes(r#"{"search": "nothing"}"#).is_empty());
}

#[test]
fn fundamentals_say_what_is_not_served() {
    let read = Fundamentals {
        conid: conid(265_598),
        market_cap: Some(Untrusted::new("3.41T")),
        price_earnings: Some(dec("35.1")),
        earnings_per_share: None,
        dividend_amount: None,
        dividend_yield_percent: None,
        ex_date: None,
        next_earnings: None,
        next_event: None,
        high_52_weeks: None,
        low_52_weeks: None,
        beta: None,
        industry: None,
        category: None,
        as_of: NOW,
    };
    let of_id = ResolvedOutput::of_id(conid(265_598));
    let output = FundamentalsGetOutput::new(&read, of_id, Backend::Simulator);
    check::<FundamentalsGet>(&output);
    assert!(output.unavailable.contains(&"financial_statements".to_owned()));
    let text = serde_json::to_string(&output).unwrap();
    assert!(text.contains("3.41T") && !text.contains("beta") && !text.contains("null"));
}

#[test]
fn futures_come_soonest_first_and_the_cut_is_said() {
    let future = |number, expiry: &str| FutureContract {
        conid: conid(number),
        symbol: Untrusted::new("ES"),
        underlying: Some(conid(11_004_968)),
        expiry: Date::parse(expiry).unwrap(),
        last_trading_day: Date::parse(expiry).ok(),
    };
    let all = [future(1, "2026-12-18"), future(2, "2027-03-19")];
    let shown = FuturesListOutput::new("ES", &all, Backend::Simulator, 1);
    check::<FuturesList>(&shown);
    assert!(shown.truncated && shown.table.rows[0][2].as_deref() == Some("2026-12-18"));
    assert!(!FuturesListOutput::new("ES", &all, Backend::Simulator, 2).truncated);
}
