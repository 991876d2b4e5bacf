//! Reads on errands against a running simulator: who shares whose request, what a kept list is
//! worth, and what a restart remembers.

use crate::support::{PAPER, World, account, cancel_permit, client, config, dec};
use core::time::Duration;
use ibkr_agent_broker::{
    Broker, BrokerConfig, BrokerError, CancelOutcome, Errand, Pacing, PlaceOutcome, Urgency,
};
use ibkr_agent_domain::Mode;
use ibkr_agent_simulator::{Precautions, SimulatorConfig};
use std::time::Instant;

const AGE: Duration = Duration::from_secs(10);

async fn paced() -> World {
    let simulated = SimulatorConfig {
        pacing: ibkr_agent_simulator::Pacing::Measure,
        ..SimulatorConfig::default()
    };
    World::start_with(simulated, |config: &mut BrokerConfig| config.pacing = Pacing::On).await
}

/// How often orders were asked for with an account.
fn asked(world: &World) -> usize {
    let names_one = |query: &String| query.contains("accountId");
    let requests = world.control.requests();
    let orders = requests.iter().filter(|request| request.path.ends_with("/account/orders"));
    orders.filter(|request| request.query.as_ref().is_some_and(names_one)).count()
}

#[tokio::test]
async fn a_decision_shares_what_a_look_waits_for_and_stays_when_the_look_gives_up() {
    let world = paced().await;
    world.broker.renew().await.unwrap();
    let id = account(PAPER);
    // The start has just read the orders of the login: the next turn comes in five seconds.
    let look = Errand::of(0).urgency(Urgency::Survey).within(Duration::from_secs(60));
    let look = look.run(tokio::time::timeout(Duration::from_secs(1), world.broker.orders(&id)));
    let decision = Errand::of(1).urgency(Urgency::Decision).within(Duration::from_secs(18));
    let begun = Instant::now();
    let (look, decision) = tokio::join!(look, decision.run(world.broker.orders_within(&id, AGE)));
    assert!(look.is_err(), "it gave up");
    decision.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(asked(&world), 1, "one request");
    assert_eq!(world.control.pacing_report().violations(), 0);
}

#[tokio::test]
async fn a_kept_list_serves_until_a_write_of_ours_and_says_when_it_was_asked_for() {
    let world = paced().await;
    world.broker.renew().await.unwrap();
    world.control.set_precautions(Precautions::Off);
    let id = account(PAPER);
    let patient = Errand::of(1).within(Duration::from_secs(30));
    let first = patient.run(world.broker.orders_within(&id, AGE)).await.unwrap();
    let again = world.broker.orders_within(&id, AGE).await.unwrap();
    assert_eq!((again.as_of, asked(&world)), (first.as_of, 1), "the same list");
    assert!(again.as_of.is_some());

    let placed = world.place("ia-kept-1", dec!(100)).await;
    let PlaceOutcome::Placed { order_id, .. } = placed else { panic!("{placed:?}") };
    let third = patient.run(world.broker.orders_within(&id, AGE)).await.unwrap();
    assert_eq!(asked(&world), 2, "the write ended it");
    assert!(third.as_of > first.as_of);
    assert!(third.value.rows.iter().any(|order| order.order_id == order_id), "and it shows");

    let permit = cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    let begun = Instant::now();
    let cancelled = world.broker.cancel(permit).await;
    assert!(matches!(cancelled, CancelOutcome::Requested { .. }), "{cancelled:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "a cancel waits for no window");
    let short = Errand::of(1).within(Duration::from_secs(3));
    let refused = short.run(world.broker.orders_within(&id, AGE)).await;
    assert!(matches!(refused, Err(BrokerError::RateLimited { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_restarted_client_asks_no_narrow_path_too_soon() {
    let world = paced().await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("pacing-{}", std::process::id()));
    for content in [None, Some("nonsense\n")] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        for _ in 0..2 {
            let mut configuration = config(&world.simulator.base_url(), Mode::Simulated);
            (configuration.pacing, configuration.pacing_file) = (Pacing::On, Some(file.clone()));
            configuration.request_timeout = Duration::from_secs(10);
            let (restarted, _latch) = client(configuration);
            restarted.renew().await.unwrap();
        }
    }
    std::fs::remove_file(&file).unwrap();
    let report = world.control.pacing_report();
    assert_eq!(report.violations(), 0, "{report:?}");
    assert_eq!(report.window("accounts").unwrap().requests, 4);
}
