//! The stream against the simulated gateway, binary frames and all.

use crate::kept::Kept;
use crate::support::{AAPL, PAPER, World, account, conid, dec};
use crate::upstream::jump;
use core::time::Duration;
use ibkr_agent_broker::{Broker, BrokerConfig, PlaceOutcome, TlsPolicy};
use ibkr_agent_domain::{BrokerEvent, BrokerOrderStatus, Watch};
use ibkr_agent_simulator::{
    Endpoint, Misbehaviour, Posture, Precautions, SimulatorConfig, TlsMode,
};

async fn world(posture: Posture) -> World {
    let world = World::start(SimulatorConfig { posture, ..SimulatorConfig::default() }).await;
    world.control.set_precautions(Precautions::Off);
    world
}

#[tokio::test]
async fn quotes_orders_fills_and_profit_arrive_in_both_postures() {
    for posture in [Posture::Api, Posture::Gateway] {
        let world = world(posture).await;
        let mut kept = Kept::up(&world.broker);
        let _watch = kept.broker.watch(Watch::Quote(conid(AAPL)));
        kept.subscribed(4).await;
        assert!(kept.quote().await.bid.is_some());
        world.control.set_price(265_598, dec!(150));
        world.control.advance(Duration::from_secs(1));
        while kept.quote().await.last != Some(dec!(150)) {}
        let PlaceOutcome::Placed { order_id, .. } = world.place("ia-1", dec!(120)).await else {
            panic!("not placed")
        };
        let told = kept.order().await;
        assert_eq!((told.order_id.clone(), told.limit_price), (order_id, Some(dec!(120))));
        world.control.set_price(265_598, dec!(110));
        world.control.advance(Duration::from_secs(2));
        let fill = kept.fill().await;
        assert_eq!(fill.quantity, dec!(1));
        kept.event(|event| matches!(event, BrokerEvent::ProfitAndLoss(_)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_filled_order_keeps_the_fields_that_its_delta_left_out() {
    let world = world(Posture::Gateway).await;
    let mut kept = Kept::up(&world.broker);
    kept.subscribed(3).await;
    world.control.set_price(265_598, dec!(150));
    let PlaceOutcome::Placed { .. } = world.place("ia-1", dec!(120)).await else {
        panic!("not placed")
    };
    kept.broker.orders(&account(PAPER)).await.unwrap();
    world.control.set_price(265_598, dec!(110));
    world.control.advance(Duration::from_secs(2));
    let filled = loop {
        let told = kept.order().await;
        if told.status == BrokerOrderStatus::Filled {
            break told;
        }
    };
    assert_eq!(filled.reference.unwrap().as_str(), "ia-1");
    assert_eq!(filled.limit_price, Some(dec!(120)));
}

#[tokio::test]
async fn a_book_is_read_over_the_stream() {
    let world = world(Posture::Gateway).await;
    let kept = Kept::up(&world.broker);
    kept.subscribed(3).await;
    for _ in 0..2 {
        let depth = kept.broker.depth(&account(PAPER), conid(AAPL)).await.unwrap();
        assert!(depth.levels.len() >= 4, "{depth:?}");
        assert!(depth.levels.windows(2).all(|pair| pair[0].price >= pair[1].price));
        assert!(depth.levels.iter().any(|level| level.bid_size.is_some()));
        assert!(depth.levels.iter().any(|level| level.ask_size.is_some()));
    }
}

#[tokio::test]
async fn a_cut_or_silent_socket_is_replaced() {
    let world = world(Posture::Gateway).await;
    let mut kept = Kept::up(&world.broker);
    let _watch = kept.broker.watch(Watch::Quote(conid(AAPL)));
    kept.subscribed(4).await;
    world.control.misbehave_times(Endpoint::Socket, Misbehaviour::SilentSocket, 1);
    world.control.happen(Misbehaviour::SocketCut);
    // Reconnects into the silent one, gives it up, and connects once more.
    let reached = async {
        while kept.broker.stream_health().unwrap().connections < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap();
    jump(Duration::from_secs(11)).await;
    jump(Duration::from_secs(5)).await;
    kept.event(|event| (event == BrokerEvent::Resumed).then_some(())).await;
    kept.subscribed(4).await;
    kept.quote().await;
}

#[tokio::test]
async fn an_order_stream_that_never_delivers_leaves_orders_to_reads() {
    let world = world(Posture::Gateway).await;
    world.control.misbehave(Endpoint::Socket, Misbehaviour::SilentOrders);
    let kept = Kept::up(&world.broker);
    kept.subscribed(3).await;
    let PlaceOutcome::Placed { order_id, .. } = world.place("ia-1", dec!(100)).await else {
        panic!("not placed")
    };
    let read = kept.broker.orders(&account(PAPER)).await.unwrap();
    assert!(read.rows.iter().any(|order| order.order_id == order_id));
}

#[tokio::test]
async fn the_stream_keeps_the_certificate_policy() {
    let simulated = SimulatorConfig { tls: TlsMode::SelfSigned, ..SimulatorConfig::default() };
    let world = World::start_with(simulated, |config: &mut BrokerConfig| {
        config.tls = TlsPolicy::AcceptInvalidOnLoopback;
    })
    .await;
    let kept = Kept::up(&world.broker);
    kept.subscribed(3).await;
}
