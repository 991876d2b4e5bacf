//! Where orders go: SMART unless another exchange is named that takes orders on the contract.

use crate::support::{AAPL, PAPER, World, apple, conid, dec, order_of, place_permit};
use ibkr_agent_broker::{Broker, BrokerError, PlaceOutcome, Resolution, ResolveFilters};
use ibkr_agent_domain::{Contract, Instrument};
use ibkr_agent_simulator::Precautions;

async fn found(world: &World, text: &str) -> Result<Contract, BrokerError> {
    let instrument = Instrument::parse(text).unwrap();
    let resolution = world.broker.resolve(&instrument, &ResolveFilters::default()).await?;
    let Resolution::One(contract) = resolution else { panic!("{text}: {resolution:?}") };
    Ok(contract)
}

#[tokio::test]
async fn an_order_is_routed_by_the_broker_unless_an_exchange_is_named() {
    let world = World::ready().await;
    for (text, asked, wanted) in [
        ("AAPL", None, "SMART"),
        ("AAPL", Some("SMART"), "SMART"),
        ("AAPL", Some("nyse"), "NYSE"),
        ("SAP@IBIS", None, "SMART"),
        ("AAPL 2027-01-15 C 230", None, "SMART"),
        ("AAPL 2027-01-15 C 230", Some("CBOE"), "CBOE"),
        ("ESZ6", None, "CME"),
        ("ES 2026-12-18 P 6000", None, "CME"),
        ("EUR.USD", None, "IDEALPRO"),
    ] {
        let contract = found(&world, text).await.unwrap();
        assert_eq!(contract.exchange, "", "{text}: nothing was decided yet");
        let routed = world.broker.route(&contract, asked).await.unwrap();
        assert_eq!(routed.exchange, wanted, "{text} {asked:?}");
        assert_eq!(routed.conid, contract.conid);
    }
}

#[tokio::test]
async fn an_exchange_that_takes_no_order_is_refused_by_name_with_those_that_do() {
    let world = World::ready().await;
    let apple = found(&world, "AAPL").await.unwrap();
    let refused = world.broker.route(&apple, Some("IBIS")).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "INPUT_INVALID_CONTRACT");
    let wanted = "no order on this contract can be sent to IBIS, only to SMART, AMEX, NYSE, CBOE, \
        ARCA, NASDAQ, IEX";
    assert_eq!(refused.to_string(), wanted);
    // Named with the symbol, and by a future that the broker doesn't route.
    assert_eq!(found(&world, "AAPL@IBIS").await.unwrap_err(), refused);
    let future = found(&world, "ESZ6").await.unwrap();
    let refused = world.broker.route(&future, Some("SMART")).await.unwrap_err();
    assert!(refused.to_string().ends_with("SMART, only to CME"), "{refused}");
}

#[tokio::test]
async fn a_name_is_narrowed_by_where_orders_can_be_sent() {
    let world = World::ready().await;
    // No definition says that these trade there as orders are sent.
    assert_eq!(found(&world, "SAP@NYSE").await.unwrap().conid, conid(14_121));
    assert_eq!(found(&world, "IBM@NASDAQ").await.unwrap().conid, conid(8_314));
    let instrument = Instrument::parse("SAP@MEXI").unwrap();
    let none = world.broker.resolve(&instrument, &ResolveFilters::default()).await.unwrap();
    assert_eq!(none, Resolution::NotFound);
}

#[tokio::test]
async fn the_exchange_of_the_order_is_where_the_ticket_sends_it() {
    let world = World::ready().await;
    world.control.set_precautions(Precautions::Off);
    world.control.set_price(265_598, dec!(230));
    for (exchange, reference) in [("SMART", "ia-smart"), ("NYSE", "ia-nyse")] {
        let order = order_of(&apple(exchange), PAPER, world.broker.mode(), dec!(100));
        let permit = place_permit(&world.ledger, order.clone(), reference).await;
        let outcome = world.broker.place(permit).await;
        assert!(matches!(outcome, PlaceOutcome::Placed { .. }), "{outcome:?}");
        let orders = world.control.orders();
        let placed = orders.iter().find(|order| order.coid.as_deref() == Some(reference)).unwrap();
        assert_eq!((placed.exchange.as_str(), placed.conid), (exchange, 265_598));
        world.broker.what_if(&order).await.unwrap();
    }
}

#[tokio::test]
async fn where_a_contract_can_be_sent_is_asked_once() {
    let world = World::ready().await;
    let contract = world.broker.contract(conid(AAPL)).await.unwrap();
    for asked in [None, Some("NYSE"), None] {
        world.broker.route(&contract, asked).await.unwrap();
    }
    let info = "GET /iserver/contract/265598/info";
    assert_eq!(world.requests().iter().filter(|line| *line == info).count(), 1);
}

#[tokio::test]
async fn a_symbol_of_several_countries_is_told_with_the_united_states_first_and_not_chosen() {
    let world = World::ready().await;
    let instrument = Instrument::parse("IBM").unwrap();
    let all = world.broker.resolve(&instrument, &ResolveFilters::default()).await.unwrap();
    let Resolution::Ambiguous(all) = all else { panic!("{all:?}") };
    assert_eq!((all.len(), all[0].conid), (4, conid(8_314)));
    for (text, id) in [
        ("IBM@SMART:USD", 8_314),
        ("IBM@NYSE", 8_314),
        ("IBM@LSE", 41_645_598),
        ("IBM@SMART:CAD", 530_091_934),
    ] {
        assert_eq!(found(&world, text).await.unwrap().conid, conid(id), "{text}");
    }
}
