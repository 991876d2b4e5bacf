//! The limits as the simulator measures them: in real time, at each request's arrival.

use crate::support::{AAPL, PAPER, World, account, cancel_permit, conid, dec};
use core::time::Duration;
use futures_util::future::join_all;
use ibkr_agent_broker::with_caller;
use ibkr_agent_broker::{Broker, BrokerConfig, BrokerError, CancelOutcome, Pacing, PlaceOutcome};
use ibkr_agent_domain::{Conid, Currency};
use ibkr_agent_simulator::{Precautions, SimulatorConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

async fn paced() -> World {
    let simulated = SimulatorConfig {
        pacing: ibkr_agent_simulator::Pacing::Measure,
        ..SimulatorConfig::default()
    };
    World::start_with(simulated, |config: &mut BrokerConfig| {
        config.pacing = Pacing::On;
        config.request_timeout = Duration::from_secs(20);
    })
    .await
}

/// Reads again after a refusal, as told.
async fn patiently<T>(mut read: impl AsyncFnMut() -> Result<T, BrokerError>) {
    loop {
        match read().await {
            Err(BrokerError::RateLimited { retry_after }) => tokio::time::sleep(retry_after).await,
            Ok(_) | Err(_) => return,
        }
    }
}

#[tokio::test]
async fn mixed_reads_of_many_callers_stay_within_every_window_as_measured() {
    let world = Arc::new(paced().await);
    world.broker.renew().await.unwrap();
    let callers = (0..12_u64).map(|caller| {
        let world = Arc::clone(&world);
        with_caller(caller, async move {
            let (broker, id) = (&world.broker, account(PAPER));
            let other = Conid::new(1_000 + caller).unwrap();
            for round in 0..5 {
                match (caller + round) % 6 {
                    0 => patiently(async || broker.summary(&id).await).await,
                    1 => patiently(async || broker.contract(other).await).await,
                    2 => patiently(async || broker.ledger(&id).await).await,
                    3 => patiently(async || broker.quotes(&[conid(AAPL)]).await).await,
                    4 => patiently(async || broker.contract(conid(AAPL)).await).await,
                    _ => {
                        let rate =
                            async || broker.exchange_rate(Currency::BASE, Currency::USD).await;
                        patiently(rate).await;
                    }
                }
            }
            if caller < 2 {
                patiently(async || broker.orders(&id).await).await;
                patiently(async || broker.executions(&id).await).await;
            }
        })
    });
    join_all(callers).await;
    let report = world.control.pacing_report();
    assert_eq!((report.violations(), report.refused), (0, 0), "{report:?}");
    let overall = report.window("overall").unwrap();
    assert!(overall.requests > 30 && overall.most <= 10, "{overall:?}");
}

#[tokio::test]
async fn a_greedy_caller_delays_neither_a_cancel_nor_anothers_first_read() {
    let world = Arc::new(paced().await);
    world.broker.renew().await.unwrap();
    world.control.set_precautions(Precautions::Off);
    let PlaceOutcome::Placed { order_id, .. } = world.place("ia-1", dec!(100)).await else {
        panic!("not placed")
    };
    let permit = cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let greedy: Vec<_> = (0..200_u64)
        .map(|number| {
            let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
            tokio::spawn(with_caller(1, async move {
                let other = Conid::new(2_000 + number).unwrap();
                while !is_over.load(Ordering::SeqCst) {
                    drop(world.broker.contract(other).await);
                    tokio::task::yield_now().await;
                }
            }))
        })
        .collect();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let outcome = world.broker.cancel(permit).await;
    assert!(matches!(outcome, CancelOutcome::Requested { .. }), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let start = Instant::now();
    with_caller(2, world.broker.ledger(&account(PAPER))).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    is_over.store(true, Ordering::SeqCst);
    for task in greedy {
        task.abort();
    }
    assert_eq!(world.control.pacing_report().violations(), 0);
}

#[tokio::test]
async fn identical_reads_at_once_share_one_request() {
    let world = paced().await;
    world.broker.renew().await.unwrap();
    let ids = [conid(AAPL)];
    world.broker.quotes(&ids).await.unwrap();
    let before = world.requests().len();
    let reads = (0..20).map(|_| world.broker.contract(conid(AAPL)));
    for read in join_all(reads).await {
        read.unwrap();
    }
    let sent = world.requests().len() - before;
    assert!(sent <= 2, "{sent} requests for 20 identical reads");
}
