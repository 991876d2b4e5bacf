//! Contracts, options, futures and currency pairs: found, resolved and described.

use crate::scripted::{Scripted, say};
use crate::support::{AAPL, World, client, config, conid, dec};
use ibkr_agent_broker::{Broker, BrokerError, Resolution, ResolveFilters};
use ibkr_agent_domain::{
    AssetClass, Contract, Currency, Instrument, Mode, OptionRight, Side, Timestamp, TradingNow,
};
use ibkr_agent_simulator::{ClockMode, MarketHours, SimulatorConfig};

const FORD: u64 = 9_599_491;
const SAP: u64 = 14_204;
const SPY: u64 = 756_733;
const ES_DECEMBER: u64 = 649_180_695;
const EUR_USD: u64 = 12_087_792;
const SPX: u64 = 416_904;

async fn resolve(world: &World, text: &str, filters: &ResolveFilters) -> Resolution {
    let instrument = Instrument::parse(text).unwrap();
    world.broker.resolve(&instrument, filters).await.unwrap()
}

async fn one(world: &World, text: &str) -> Contract {
    let resolution = resolve(world, text, &ResolveFilters::default()).await;
    let Resolution::One(contract) = resolution else { panic!("{text}: {resolution:?}") };
    contract
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

#[tokio::test]
async fn every_class_resolves_by_its_name() {
    let world = World::ready().await;
    for (text, id, class) in [
        ("AAPL", AAPL, AssetClass::Stock),
        ("EUR.USD", EUR_USD, AssetClass::Forex),
        ("eur/usd", EUR_USD, AssetClass::Forex),
        ("ESZ6", ES_DECEMBER, AssetClass::Future),
        ("ESZ26", ES_DECEMBER, AssetClass::Future),
        ("ESZ2026", ES_DECEMBER, AssetClass::Future),
        ("SPX", SPX, AssetClass::Index),
    ] {
        let found = one(&world, text).await;
        assert_eq!((found.conid, found.class), (conid(id), class), "{text}");
    }
    let option = one(&world, "SPY 2027-01-15 C 600").await;
    assert_eq!((option.conid, option.class), (conid(742_110_111), AssetClass::Option));
    assert_eq!(one(&world, "SPY 2027-01-15 C 600.00").await.conid, option.conid);
    let future_option = one(&world, "ES 2026-12-18 P 6000").await;
    assert_eq!(future_option.class, AssetClass::FutureOption);
    for text in ["ESZ9", "USD.EUR", "SPY 2027-01-16 C 600", "SPY 2027-01-15 C 601", "NOSUCH"] {
        let none = resolve(&world, text, &ResolveFilters::default()).await;
        assert_eq!(none, Resolution::NotFound, "{text}");
    }
}

#[tokio::test]
async fn a_product_without_a_month_lists_its_futures_soonest_first() {
    let world = World::ready().await;
    let filters = ResolveFilters { class: Some(AssetClass::Future), ..ResolveFilters::default() };
    let Resolution::Ambiguous(all) = resolve(&world, "ES", &filters).await else {
        panic!("not ambiguous")
    };
    assert!(all.len() >= 2);
    assert_eq!(all[0].conid, conid(ES_DECEMBER));
}

#[tokio::test]
async fn a_filter_that_does_not_fit_finds_nothing() {
    let world = World::ready().await;
    let euros = ResolveFilters { currency: Some(currency("EUR")), ..ResolveFilters::default() };
    for text in ["AAPL", "ESZ6", "SPY 2027-01-15 C 600"] {
        assert_eq!(resolve(&world, text, &euros).await, Resolution::NotFound, "{text}");
    }
    let stock = ResolveFilters { class: Some(AssetClass::Stock), ..ResolveFilters::default() };
    assert_eq!(resolve(&world, "EUR.USD", &stock).await, Resolution::NotFound);
}

#[tokio::test]
async fn foreign_listings_are_narrowed_by_currency_and_never_guessed_between() {
    let stocks = r#"{"AAPL":[{"name":"APPLE","contracts":[{"conid":265598,"exchange":"NASDAQ",
        "isUS":true},{"conid":"38708077","exchange":"MEXI","isUS":false}]},
        {"name":"APPLE","contracts":{"conid":532640894,"exchange":"TSE"}}]}"#;
    let row = |id: u64, currency: &str, venue: &str, is_us: bool| {
        format!(
            r#"{{"conid":{id},"ticker":"AAPL","name":"APPLE","assetClass":"STK","isUS":{is_us},
            "currency":"{currency}","listingExchange":"{venue}","allExchanges":"{venue}"}}"#
        )
    };
    let secdef = format!(
        r#"{{"secdef":[{},{},{}]}}"#,
        row(38_708_077, "MXN", "MEXI", false),
        row(532_640_894, "CAD", "AEQLIT", false),
        row(265_598, "USD", "NASDAQ.NMS", true)
    );
    let answers = [say("200 OK", "", stocks), say("200 OK", "", &secdef)];
    let server = Scripted::start(answers.iter().cloned().cycle().take(4)).await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    let apple = Instrument::parse("AAPL").unwrap();
    let all = broker.resolve(&apple, &ResolveFilters::default()).await.unwrap();
    let Resolution::Ambiguous(all) = all else { panic!("{all:?}") };
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].conid, conid(265_598), "the listing in the United States comes first");
    let dollars = ResolveFilters {
        currency: Some(Currency::USD),
        exchange: Some("SMART".to_owned()),
        ..ResolveFilters::default()
    };
    let one = broker.resolve(&apple, &dollars).await.unwrap();
    assert!(matches!(one, Resolution::One(contract) if contract.conid == conid(265_598)));
}

#[tokio::test]
async fn the_chain_of_an_underlying_is_there_on_the_first_call_of_a_session() {
    let world = World::ready().await;
    let spy = world.broker.contract(conid(SPY)).await.unwrap();
    // Strikes are empty until the underlying was searched for: nothing of that is seen.
    let strikes = world.broker.strikes(&spy, "JAN27").await.unwrap();
    assert!(strikes.calls.len() >= 21 && strikes.calls.contains(&dec!(600)));
    assert_eq!(strikes.calls, strikes.puts);
    let series = world.broker.option_series(&spy).await.unwrap();
    assert!(series.months.len() >= 3);
    assert_eq!(series.months[..2], ["DEC26", "JAN27"]);
    assert_eq!(series.exchanges[0], "SMART");
    let calls = world.broker.options(&spy, "jan27", dec!(600), OptionRight::Call).await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].conid, calls[0].multiplier), (conid(742_110_111), dec!(100)));
    let none = world.broker.options(&spy, "JAN27", dec!(601), OptionRight::Call).await.unwrap();
    assert_eq!(none, []);
    for month in ["", "2027-01", "JANUARY"] {
        let refused = world.broker.strikes(&spy, month).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "INPUT_INVALID");
    }
}

#[tokio::test]
async fn a_month_with_several_expiries_lists_them_by_day() {
    let world = World::ready().await;
    let spy = world.broker.contract(conid(SPY)).await.unwrap();
    let puts = world.broker.options(&spy, "DEC26", dec!(600), OptionRight::Put).await.unwrap();
    let days: Vec<String> = puts.iter().map(|option| option.expiry.to_string()).collect();
    assert_eq!(days, ["2026-12-11", "2026-12-18"]);
}

#[tokio::test]
async fn a_lost_session_does_not_empty_the_chain() {
    let world = World::ready().await;
    let spy = world.broker.contract(conid(SPY)).await.unwrap();
    assert!(!world.broker.strikes(&spy, "JAN27").await.unwrap().calls.is_empty());
    world.control.set_session(ibkr_agent_simulator::Session::NoBridge);
    world.control.set_session(ibkr_agent_simulator::Session::Ready);
    assert!(!world.broker.strikes(&spy, "JAN27").await.unwrap().calls.is_empty());
    let calls = world.broker.options(&spy, "JAN27", dec!(600), OptionRight::Call).await.unwrap();
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn an_underlying_without_options_has_an_empty_series() {
    let world = World::ready().await;
    let euro = world.broker.contract(conid(EUR_USD)).await.unwrap();
    let series = world.broker.option_series(&euro).await.unwrap();
    assert!(series.months.is_empty());
    assert!(world.broker.strikes(&euro, "JAN27").await.unwrap().calls.is_empty());
}

#[tokio::test]
async fn options_on_a_future_are_found_through_its_product() {
    let world = World::ready().await;
    let future = world.broker.contract(conid(ES_DECEMBER)).await.unwrap();
    let series = world.broker.option_series(&future).await.unwrap();
    assert!(!series.months.is_empty(), "{series:?}");
    let strikes = world.broker.strikes(&future, &series.months[0]).await.unwrap();
    assert!(strikes.calls.contains(&dec!(6000)), "{strikes:?}");
}

#[tokio::test]
async fn futures_and_pairs_are_listed() {
    let world = World::ready().await;
    let futures = world.broker.futures("es").await.unwrap();
    assert!(futures.len() >= 3);
    assert!(futures.windows(2).all(|two| two[0].expiry <= two[1].expiry));
    assert_eq!(futures[0].underlying, Some(conid(11_004_968)));
    assert_eq!(world.broker.futures("NOSUCH").await.unwrap(), []);
    assert!(world.broker.futures("E;S").await.is_err());
    let pairs = world.broker.currency_pairs(Currency::USD).await.unwrap();
    let franc = pairs.iter().find(|pair| pair.symbol.as_str() == "USD.CHF").unwrap();
    assert_eq!((franc.conid, franc.quote), (conid(12_087_820), currency("CHF")));
    assert_eq!(world.broker.currency_pairs(currency("XXX")).await.unwrap(), []);
}

#[tokio::test]
async fn a_search_by_class_finds_that_class_only() {
    let world = World::ready().await;
    for (query, class) in [
        ("EUR.USD", AssetClass::Forex),
        ("SPX", AssetClass::Index),
        ("ES", AssetClass::Future),
        ("AAPL", AssetClass::Stock),
    ] {
        let found = world.broker.search(query, Some(class)).await.unwrap();
        assert!(!found.is_empty(), "{query}");
        assert!(found.iter().all(|contract| contract.class == class), "{query}: {found:?}");
    }
    let pair = world.broker.search("EUR.USD", None).await.unwrap();
    assert_eq!(pair.iter().map(|row| row.conid).collect::<Vec<_>>(), [conid(EUR_USD)]);
    let refused = world.broker.search("AAPL", Some(AssetClass::Option)).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "INPUT_INVALID");
}

#[tokio::test]
async fn whether_it_trades_now_is_what_the_simulated_calendar_says_at_any_real_time() {
    let moment = |text: &str| Timestamp::parse(text).unwrap();
    let (sunday, monday) = (moment("2026-11-29T16:00:00Z"), moment("2026-11-30T14:30:00Z"));
    let clock = ClockMode::Manual(sunday.as_millis());
    let world = World::start(SimulatorConfig { clock, ..SimulatorConfig::default() }).await;
    world.broker.renew().await.unwrap();
    assert!(world.broker.is_always_open());
    let hours = world.broker.trading_hours(conid(AAPL)).await.unwrap();
    assert!(matches!(hours.at(sunday), TradingNow::Open { .. }), "{hours:?}");
    world.control.set_market_hours(MarketHours::Calendar);
    let (calendar, _) = client(config(&world.simulator.base_url(), Mode::Simulated));
    calendar.renew().await.unwrap();
    assert!(!calendar.is_always_open());
    let hours = calendar.trading_hours(conid(AAPL)).await.unwrap();
    assert_eq!(hours.at(sunday), TradingNow::Closed { opens: monday });
    assert!(matches!(hours.at(monday), TradingNow::Open { .. }));
}

#[tokio::test]
async fn contracts_are_described_with_rules_and_hours() {
    let world = World::ready().await;
    let details = world.broker.contract_details(conid(742_110_111)).await.unwrap();
    assert_eq!((details.strike, details.right), (Some(dec!(600)), Some(OptionRight::Call)));
    assert_eq!(details.expiry.unwrap().to_string(), "2027-01-15");
    assert_eq!(details.underlying, Some(conid(SPY)));
    assert!(details.exchanges.contains(&"SMART".to_owned()));
    for (id, step) in [(AAPL, dec!(0.01)), (ES_DECEMBER, dec!(0.25)), (EUR_USD, dec!(0.00005))] {
        let rules = world.broker.contract_rules(conid(id), Side::Buy).await.unwrap();
        assert_eq!(rules.price_increment, Some(step), "{id}");
        assert!(rules.order_types.iter().any(|kind| kind.as_str() == "limit"), "{id}");
        assert!(!rules.times_in_force.is_empty() && !rules.price_steps.is_empty(), "{id}");
        let hours = world.broker.trading_hours(conid(id)).await.unwrap();
        assert!(hours.time_zone.is_some() && hours.days.len() >= 5, "{id}");
        assert!(hours.days.windows(2).all(|two| two[0].date < two[1].date), "{id}");
        assert!(hours.days.iter().any(|day| !day.regular.is_empty()), "{id}");
    }
    let ford = world.broker.contract_rules(conid(FORD), Side::Buy).await.unwrap();
    assert_eq!(ford.increment_at(dec!(0.99)), Some(dec!(0.0001)));
    assert_eq!(ford.increment_at(dec!(10.85)), Some(dec!(0.01)));
    assert!(ford.takes_quantity(dec!(0.0001)) && !ford.takes_quantity(dec!(0.00001)));
    let sap = world.broker.contract_rules(conid(SAP), Side::Buy).await.unwrap();
    assert!(sap.takes_quantity(dec!(1)) && !sap.takes_quantity(dec!(0.5)));
    let unknown = conid(999_999_999);
    let unknowns = [
        world.broker.contract_details(unknown).await.unwrap_err(),
        world.broker.contract_rules(unknown, Side::Sell).await.unwrap_err(),
        world.broker.trading_hours(unknown).await.unwrap_err(),
    ];
    assert!(unknowns.iter().all(|error| *error == BrokerError::UnknownContract), "{unknowns:?}");
}
