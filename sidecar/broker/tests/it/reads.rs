//! Every read against the simulator, warm and cold.

use crate::scripted::{Scripted, say};
use crate::support::{AAPL, PAPER, World, account, client, config, conid, dec, order};
use ibkr_agent_broker::{Broker, BrokerError, Pacing, Resolution, ResolveFilters};
use ibkr_agent_domain::{
    AssetClass, BrokerOrderId, BrokerOrderStatus, Currency, DataStatus, Instrument, Mode, WhatIf,
};
use ibkr_agent_simulator::SimulatorConfig;
use rust_decimal::Decimal;

fn instrument(text: &str) -> Instrument {
    Instrument::parse(text).unwrap()
}

async fn resolve(world: &World, text: &str, filters: &ResolveFilters) -> Resolution {
    world.broker.resolve(&instrument(text), filters).await.unwrap()
}

async fn one(world: &World, text: &str) -> ibkr_agent_domain::Contract {
    let resolution = resolve(world, text, &ResolveFilters::default()).await;
    let Resolution::One(contract) = resolution else { panic!("{text}: {resolution:?}") };
    contract
}

#[tokio::test]
async fn accounts_are_listed_and_described_without_renewing_first() {
    let world = World::start(SimulatorConfig::default()).await;
    let accounts = world.broker.accounts().await.unwrap();
    let ids: Vec<&str> = accounts.iter().map(|account| account.id.as_str()).collect();
    assert_eq!(ids, ["DU1234567", "DU7654321"]);
    assert!(accounts.iter().all(|account| account.is_paper == Some(true) && account.can_trade));
    let described = world.broker.account_metadata(&account("DU7654321")).await.unwrap();
    assert_eq!(described.currency, Some(Currency::parse("EUR").unwrap()));
    assert_eq!(described.is_paper, Some(true));
}

#[tokio::test]
async fn an_account_that_the_login_does_not_show_is_refused_without_a_request() {
    let world = World::ready().await;
    let before = world.requests().len();
    for id in ["U1234567", "DU0000000", "..", "."] {
        let error = world.broker.summary(&account(id)).await.unwrap_err();
        assert_eq!(error, BrokerError::UnknownAccount);
        assert!(world.broker.orders(&account(id)).await.is_err());
    }
    assert_eq!(world.requests().len(), before);
}

#[tokio::test]
async fn summary_and_ledger_have_their_figures() {
    let world = World::ready().await;
    let summary = world.broker.summary(&account(PAPER)).await.unwrap();
    let net = summary.net_liquidation.unwrap();
    assert_eq!(net.currency, Currency::USD);
    assert!(net.amount > Decimal::ZERO);
    assert!(summary.buying_power.is_some() && summary.maintenance_margin.is_some());
    let ledger = world.broker.ledger(&account(PAPER)).await.unwrap();
    assert!(ledger.iter().any(|line| line.currency == Currency::BASE));
    assert!(ledger.iter().any(|line| line.currency == Currency::USD));
}

#[tokio::test]
async fn positions_have_exact_quantities_and_classes() {
    let world = World::ready().await;
    let positions = world.broker.positions(&account(PAPER)).await.unwrap();
    assert!(positions.len() >= 5, "{positions:?}");
    assert!(positions.iter().all(|position| position.class.is_some()));
    assert!(positions.iter().all(|position| !position.quantity.is_zero()));
    assert!(positions.iter().any(|position| position.class == Some(AssetClass::Option)));
}

#[tokio::test]
async fn without_the_live_list_positions_come_from_the_invalidated_paged_one() {
    let row = r#"{"acctId":"DU1234567","conid":265598,"contractDesc":"AAPL","position":3.0,
        "mktPrice":230.5,"mktValue":691.5,"currency":"USD","avgCost":200.0,"assetClass":"STK",
        "strike":"0"}"#;
    let server = Scripted::start([
        say("503 Service Unavailable", "", ""),
        say("200 OK", "", r#"{"message":"success"}"#),
        say("200 OK", "", &format!("[{row}]")),
        say("200 OK", "", "[]"),
        say("200 OK", "", "[]"),
    ])
    .await;
    let (broker, _) = client(config(&server.url, Mode::Paper));
    broker.renew().await.unwrap();
    let positions = broker.positions(&account(PAPER)).await.unwrap();
    assert_eq!(positions.len(), 1);
    assert_eq!(positions[0].quantity, dec!(3));
    assert_eq!(positions[0].market_price, Some(dec!(230.5)));
    assert_eq!(server.count("POST /v1/api/portfolio/DU1234567/positions/invalidate"), 1);
    assert_eq!(broker.positions(&account(PAPER)).await.unwrap(), []);
    assert_eq!(server.count("GET /v1/api/portfolio2/DU1234567/positions"), 3);
}

#[tokio::test]
async fn contracts_are_found_by_symbol_by_name_and_by_id() {
    let world = World::ready().await;
    let found = world.broker.search("AAPL", None).await.unwrap();
    assert!(found.iter().any(|contract| contract.conid == conid(AAPL)));
    let found = world.broker.search("apple", Some(AssetClass::Stock)).await.unwrap();
    assert!(found.iter().any(|contract| contract.conid == conid(AAPL)));
    assert_eq!(world.broker.search("NOSUCHNAME", None).await.unwrap(), []);
    let futures = world.broker.search("ES", Some(AssetClass::Future)).await.unwrap();
    assert!(futures.len() >= 2 && futures.iter().all(|row| row.multiplier == dec!(50)));
    let apple = world.broker.contract(conid(AAPL)).await.unwrap();
    assert_eq!((apple.symbol.as_str(), apple.exchange.as_str()), ("AAPL", ""));
    assert_eq!(apple.price_increment, Some(dec!(0.01)));
    let unknown = world.broker.contract(conid(999_999_999)).await.unwrap_err();
    assert_eq!(unknown, BrokerError::UnknownContract);
}

#[tokio::test]
async fn instruments_resolve_by_every_documented_name() {
    let world = World::ready().await;
    assert_eq!(one(&world, "AAPL").await.conid, conid(AAPL));
    assert_eq!(one(&world, "265598").await.conid, conid(AAPL));
    assert_eq!(one(&world, "BRK B").await.conid, conid(72_063_691));
    assert_eq!(one(&world, "EUR.USD").await.class, AssetClass::Forex);
    let future = one(&world, "ESZ6").await;
    assert_eq!((future.conid, future.multiplier), (conid(649_180_695), dec!(50)));
    let option = one(&world, "AAPL 2027-01-15 C 230").await;
    assert_eq!((option.conid, option.multiplier), (conid(731_558_011), dec!(100)));
    let none = resolve(&world, "NOSUCH", &ResolveFilters::default()).await;
    assert_eq!(none, Resolution::NotFound);
    let none = resolve(&world, "999999999", &ResolveFilters::default()).await;
    assert_eq!(none, Resolution::NotFound);
}

#[tokio::test]
async fn an_ambiguous_symbol_is_told_and_narrowed_by_currency_or_exchange() {
    let world = World::ready().await;
    let Resolution::Ambiguous(candidates) =
        resolve(&world, "SAP", &ResolveFilters::default()).await
    else {
        panic!("not ambiguous")
    };
    assert_eq!(candidates.len(), 2);
    assert_eq!(one(&world, "SAP@IBIS").await.conid, conid(14_204));
    assert_eq!(one(&world, "SAP@SMART:USD").await.conid, conid(14_121));
    let euros = ResolveFilters {
        currency: Some(Currency::parse("EUR").unwrap()),
        ..ResolveFilters::default()
    };
    assert!(matches!(resolve(&world, "SAP", &euros).await, Resolution::One(_)));
    let bonds = ResolveFilters { class: Some(AssetClass::Bond), ..ResolveFilters::default() };
    assert_eq!(resolve(&world, "SAP", &bonds).await, Resolution::NotFound);
}

#[tokio::test]
async fn a_cold_snapshot_is_asked_again_until_it_has_values() {
    let world = World::ready().await;
    let asked = [conid(272_093), conid(AAPL), conid(999_999_999)];
    let quotes = world.broker.quotes(&asked).await.unwrap();
    assert_eq!(quotes.len(), 3);
    for (quote, conid) in quotes.iter().zip(asked) {
        assert_eq!(quote.conid, conid);
    }
    assert!(quotes[0].bid.is_some() && quotes[0].ask.is_some() && quotes[0].last.is_some());
    assert_eq!(quotes[1].status, DataStatus::RealTime);
    assert!(quotes[1].updated.is_some());
    assert_eq!((quotes[2].bid, quotes[2].status), (None, DataStatus::Unknown));
}

#[tokio::test]
async fn data_status_is_told_apart() {
    let world = World::ready().await;
    let delayed = &world.broker.quotes(&[conid(29_612_193)]).await.unwrap()[0];
    assert_eq!(delayed.status, DataStatus::Delayed);
    let before = world.requests().len();
    let none = &world.broker.quotes(&[conid(13_905_344)]).await.unwrap()[0];
    assert_eq!((none.status, none.last), (DataStatus::NotSubscribed, None));
    assert_eq!(world.requests().len(), before + 1, "nothing more will come");
    world.control.set_availability(265_598, "ZPB");
    let frozen = &world.broker.quotes(&[conid(AAPL)]).await.unwrap()[0];
    assert_eq!((frozen.status, frozen.last), (DataStatus::Frozen, None));
    assert!(frozen.close.is_some());
}

#[tokio::test]
async fn a_derivatives_quote_opens_its_underlying_first() {
    let world = World::ready().await;
    let quotes = world.broker.quotes(&[conid(731_558_011)]).await.unwrap();
    assert!(quotes[0].bid.is_some(), "{quotes:?}");
    assert!(world.requests().contains(&"GET /iserver/secdef/search".to_owned()));
}

#[tokio::test]
async fn too_many_or_no_contracts_are_refused() {
    let world = World::ready().await;
    let many: Vec<_> = (1..=101).map(conid).collect();
    for asked in [&many[..], &[]] {
        let error = world.broker.quotes(asked).await.unwrap_err();
        assert_eq!(error.code().as_str(), "INPUT_INVALID");
    }
}

#[tokio::test]
async fn orders_and_fills_are_there_on_the_first_call_of_a_cold_session() {
    let world = World::ready().await;
    world.control.set_precautions(ibkr_agent_simulator::Precautions::Off);
    world.control.set_price(265_598, dec!(230));
    drop(world.place("ia-working", dec!(200)).await);
    drop(world.place("ia-filled", dec!(231)).await);
    let cold =
        World { broker: client(config(&world.simulator.base_url(), Mode::Simulated)).0, ..world };
    cold.control.set_session(ibkr_agent_simulator::Session::NoBridge);
    cold.control.set_session(ibkr_agent_simulator::Session::Ready);
    let orders = cold.broker.orders(&account(PAPER)).await.unwrap();
    assert!(orders.is_whole());
    let of = |reference: &str| {
        let named = |id: &ibkr_agent_domain::ClientOrderId| id.as_str() == reference;
        orders.rows.iter().find(|order| order.reference.as_ref().is_some_and(named)).unwrap()
    };
    assert_eq!(of("ia-working").status, BrokerOrderStatus::Submitted);
    assert_eq!(of("ia-working").limit_price, Some(dec!(200)));
    assert_eq!(of("ia-filled").status, BrokerOrderStatus::Filled);
    let fills = cold.broker.executions(&account(PAPER)).await.unwrap();
    let fill = fills
        .rows
        .iter()
        .find(|fill| fill.reference.as_ref().is_some_and(|id| id.as_str() == "ia-filled"))
        .unwrap();
    assert_eq!((fill.quantity, fill.conid), (dec!(1), conid(AAPL)));
    assert_eq!(fill.order_id.as_ref(), Some(&of("ia-filled").order_id));
    let one = cold.broker.order(&of("ia-working").order_id).await.unwrap();
    assert_eq!((one.account.as_str(), one.quantity), (PAPER, Some(dec!(1))));
}

#[tokio::test]
async fn an_unknown_order_is_unknown_and_a_senseless_id_is_not_asked_for() {
    let world = World::ready().await;
    let unknown = BrokerOrderId::parse("4711000").unwrap();
    assert_eq!(world.broker.order(&unknown).await.unwrap_err(), BrokerError::UnknownOrder);
    let before = world.requests().len();
    for text in ["-1", "..", "1.2"] {
        let id = BrokerOrderId::parse(text).unwrap();
        assert_eq!(world.broker.order(&id).await.unwrap_err(), BrokerError::UnknownOrder);
    }
    assert_eq!(world.requests().len(), before);
}

#[tokio::test]
async fn rates_and_previews_are_read_and_a_preview_registers_nothing() {
    let world = World::ready().await;
    let euro = Currency::parse("EUR").unwrap();
    let rate = world.broker.exchange_rate(euro, Currency::USD).await.unwrap();
    assert!(rate > dec!(0.5) && rate < dec!(2));
    let same = world.broker.exchange_rate(euro, euro).await.unwrap();
    assert_eq!(same, Decimal::ONE);
    let preview = world.broker.what_if(&order(PAPER, Mode::Simulated, dec!(200))).await.unwrap();
    let WhatIf::Estimated(told) = preview else { panic!("{preview:?}") };
    assert_eq!(told.commission.unwrap().currency, Currency::USD);
    assert!(told.equity.after.is_some() && told.initial_margin.after.is_some());
    assert!(told.position.after.is_some());
    assert_eq!(world.control.orders(), []);
}

#[tokio::test]
async fn a_preview_that_the_broker_would_refuse_keeps_its_figures_beside_the_refusal() {
    let world = World::ready().await;
    // At this limit one share takes more than the account has.
    let order = order(PAPER, Mode::Simulated, dec!(9000000));
    let preview = world.broker.what_if(&order).await.unwrap();
    let words = preview.objection().unwrap().as_str();
    assert!(words.contains("MUST EXCEED THE INITIAL MARGIN"), "{words}");
    let told = preview.estimate().unwrap();
    assert_eq!(told.position.after, Some(dec!(101)));
    assert_eq!(told.initial_margin.change, Some(dec!(2250000)));
}

#[tokio::test]
async fn concurrent_reads_of_a_slow_path_share_the_request_that_is_not_yet_sent() {
    let world = World::start_with(SimulatorConfig::default(), |config| {
        config.pacing = Pacing::On;
        config.request_timeout = core::time::Duration::from_secs(10);
    })
    .await;
    world.broker.renew().await.unwrap();
    let before = world.requests().len();
    let account = account(PAPER);
    let reads = (0..16).map(|_| world.broker.orders(&account));
    let results = futures_util::future::join_all(reads).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(world.requests()[before..], ["GET /iserver/account/orders"]);
}
