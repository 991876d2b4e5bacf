//! Placing, replying and cancelling: what is sent, how often, and what an answer or its loss means.

use crate::scripted::{Act, Scripted, say};
use crate::support::{
    PAPER, World, account, cancel_permit, client, config, dec, ledger, order, place_permit,
    reply_permit,
};
use core::time::Duration;
use ibkr_agent_broker::{
    Asked, Broker, CancelHint, CancelOutcome, ClientPortal, HaltLatch, PlaceOutcome, Sentinel,
    SystemClock, TlsPolicy, connect,
};
use ibkr_agent_domain::{BrokerOrderStatus, Mode, NotSent};
use ibkr_agent_simulator::{
    Endpoint, Hold, Precautions, Question, Simulator, SimulatorConfig, TlsMode,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// A ready world whose simulator asks only what a test wants asked, with Apple at 230.
async fn quiet() -> World {
    let world = World::ready().await;
    world.control.set_precautions(Precautions::Off);
    world.control.set_price(265_598, dec!(230));
    world
}

fn question(text: &str) -> Question {
    Question { message_id: "o163".to_owned(), text: text.to_owned() }
}

fn asked(outcome: PlaceOutcome) -> Asked {
    let PlaceOutcome::Question(asked) = outcome else { panic!("no question: {outcome:?}") };
    asked
}

#[tokio::test]
async fn an_order_is_placed_by_one_post_and_fills() {
    let world = quiet().await;
    let outcome = world.place("ia-1", dec!(231)).await;
    let PlaceOutcome::Placed { order_id, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((world.effects(), world.control.place_calls()), (1, 1));
    let placed = &world.control.orders()[0];
    assert_eq!(placed.coid.as_deref(), Some("ia-1"));
    assert_eq!(placed.price, Some(dec!(231)));
    let order = world.broker.order(&order_id).await.unwrap();
    assert_eq!(order.status, BrokerOrderStatus::Filled);
}

#[tokio::test]
async fn a_question_holds_the_permit_until_it_is_answered() {
    let world = quiet().await;
    world.control.ask_question_next(question("Are you sure?\nReally?"));
    let asked = asked(world.place("ia-2", dec!(100)).await);
    assert_eq!(asked.question().messages, ["Are you sure?\nReally?"]);
    assert_eq!(asked.permit().get().action().references()[0].as_str(), "ia-2");
    assert_eq!(world.control.place_calls(), 0);
    let outcome = world.reply(asked, true).await;
    assert!(matches!(outcome, PlaceOutcome::Placed { .. }), "{outcome:?}");
    assert_eq!((world.effects(), world.control.place_calls()), (2, 1));
}

#[tokio::test]
async fn a_no_is_a_rejection_and_passes_even_when_halted() {
    let world = quiet().await;
    world.control.ask_question_next(question("Sure?"));
    let asked = asked(world.place("ia-3", dec!(100)).await);
    world.latch.halt();
    let outcome = world.reply(asked, false).await;
    assert!(matches!(outcome, PlaceOutcome::Rejected { .. }), "{outcome:?}");
    assert_eq!(world.control.place_calls(), 0);
}

#[tokio::test]
async fn a_reply_to_another_question_or_order_sends_nothing() {
    let world = quiet().await;
    for (reply_id, ours, reference) in [("other", "ia-4", "ia-4"), ("same", "ia-4b", "ia-other")] {
        world.control.ask_question_next(question("Sure?"));
        let asked = asked(world.place(ours, dec!(100)).await);
        let mut other = asked.question().clone();
        if reply_id != "same" {
            other.reply_id = reply_id.to_owned();
        }
        let permit = reply_permit(&world.ledger, other, reference, true).await;
        let before = world.effects();
        let outcome = world.broker.reply(asked, permit).await;
        assert!(matches!(outcome, PlaceOutcome::NotSent { .. }), "{outcome:?}");
        assert_eq!(world.effects(), before);
    }
}

#[tokio::test]
async fn a_repeated_reference_is_told_and_makes_no_second_order() {
    let world = quiet().await;
    drop(world.place("ia-5", dec!(100)).await);
    let outcome = world.place("ia-5", dec!(100)).await;
    assert!(matches!(outcome, PlaceOutcome::AlreadyRegistered), "{outcome:?}");
    assert_eq!(world.control.orders().len(), 1);
}

#[tokio::test]
async fn a_lost_or_late_answer_is_unknown_and_nothing_is_sent_again() {
    for hold in [Hold::Drop, Hold::HangForever, Hold::Delay(Duration::from_secs(3_600))] {
        let world = World::start_with(SimulatorConfig::default(), |config| {
            config.request_timeout = Duration::from_millis(400);
        })
        .await;
        world.broker.renew().await.unwrap();
        world.control.set_precautions(Precautions::Off);
        world.control.hold_answers(Endpoint::Place, hold);
        let outcome = world.place("ia-6", dec!(100)).await;
        assert!(matches!(outcome, PlaceOutcome::Unknown { .. }), "{hold:?}: {outcome:?}");
        assert_eq!(world.control.place_calls(), 1, "{hold:?}: the effect had happened");
        assert_eq!(world.effects(), 1, "{hold:?}");
    }
}

#[tokio::test]
async fn a_lost_order_is_found_by_its_reference() {
    let world = quiet().await;
    world.control.hold_answers(Endpoint::Place, Hold::Drop);
    drop(world.place("ia-7", dec!(100)).await);
    world.control.hold_answers(Endpoint::Place, Hold::Never);
    let orders = world.broker.orders(&account(PAPER)).await.unwrap();
    let found = orders
        .rows
        .iter()
        .filter(|order| order.reference.as_ref().is_some_and(|id| id.as_str() == "ia-7"));
    assert_eq!(found.count(), 1);
}

#[tokio::test]
async fn a_lost_answer_to_a_reply_is_unknown() {
    let world = quiet().await;
    world.control.ask_question_next(question("Sure?"));
    let asked = asked(world.place("ia-8", dec!(100)).await);
    world.control.hold_answers(Endpoint::Reply, Hold::Drop);
    let outcome = world.reply(asked, true).await;
    assert!(matches!(outcome, PlaceOutcome::Unknown { .. }), "{outcome:?}");
    assert_eq!((world.effects(), world.control.place_calls()), (2, 1));
}

#[tokio::test]
async fn a_halted_latch_stops_orders_and_yeses_before_a_byte_is_written() {
    let world = quiet().await;
    world.control.ask_question_next(question("Sure?"));
    let asked = asked(world.place("ia-9", dec!(100)).await);
    let before = world.requests().len();
    world.latch.halt();
    let outcome = world.place("ia-10", dec!(100)).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::Halted }), "{outcome:?}");
    let outcome = world.reply(asked, true).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::Halted }), "{outcome:?}");
    assert_eq!(world.requests().len(), before);
}

/// Tries to place an order and does something while it waits for its TLS handshake.
async fn not_sent_after(act: impl FnOnce(&HaltLatch, &Path)) {
    let tls = SimulatorConfig { tls: TlsMode::SelfSigned, ..SimulatorConfig::default() };
    let simulator = Simulator::start(tls).await.unwrap();
    let gate = Gate::before(simulator.local_addr()).await;
    let mut configuration = config(&format!("https://{}", gate.address), Mode::Simulated);
    configuration.tls = TlsPolicy::AcceptInvalidOnLoopback;
    let state = tempfile::tempdir().unwrap();
    let latch = HaltLatch::new(Some(Sentinel::beside(state.path(), "halt").unwrap()));
    let broker = connect(configuration, latch.clone(), Arc::new(SystemClock)).unwrap();
    broker.renew().await.unwrap();
    latch.resume();
    gate.shut.store(true, Ordering::SeqCst);
    let permit = place_permit(&ledger(), order(PAPER, Mode::Simulated, dec!(100)), "ia-11").await;
    let placing = tokio::spawn(async move { broker.place(permit).await });
    gate.arrived.notified().await;
    act(&latch, state.path());
    gate.open.notify_one();
    let outcome = placing.await.unwrap();
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::Halted }), "{outcome:?}");
    let is_post = |seen: &ibkr_agent_simulator::RequestLog| seen.path.ends_with("/orders");
    let posts = simulator.control().requests();
    assert_eq!(posts.iter().filter(|seen| seen.method == "POST" && is_post(seen)).count(), 0);
}

#[tokio::test]
async fn the_latch_is_read_after_the_connection_stands() {
    not_sent_after(|latch, _| latch.halt()).await;
}

#[tokio::test]
async fn the_halts_file_is_read_after_the_connection_stands() {
    not_sent_after(|_, state| std::fs::write(state.join("halt"), b"").unwrap()).await;
}

#[tokio::test]
async fn an_order_that_waits_while_somebody_halts_and_resumes_is_not_sent() {
    not_sent_after(|latch, _| {
        latch.halt();
        latch.resume();
    })
    .await;
}

#[tokio::test]
async fn a_yes_to_a_question_is_stopped_by_the_halts_file() {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let control = simulator.control();
    let state = tempfile::tempdir().unwrap();
    let latch = HaltLatch::new(Some(Sentinel::beside(state.path(), "halt").unwrap()));
    let configuration = config(&simulator.base_url(), Mode::Simulated);
    let broker = connect(configuration, latch.clone(), Arc::new(SystemClock)).unwrap();
    broker.renew().await.unwrap();
    latch.resume();
    let world = World { control: control.clone(), simulator, broker, latch, ledger: ledger() };
    control.set_precautions(Precautions::Off);
    control.ask_question_next(question("Sure?"));
    let first = asked(world.place("ia-21", dec!(100)).await);
    std::fs::write(state.path().join("halt"), b"").unwrap();
    let before = world.requests().len();
    let outcome = world.reply(first, true).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::Halted }), "{outcome:?}");
    assert_eq!(world.requests().len(), before);
}

/// A way to a server that can be held shut after a connection was accepted.
struct Gate {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
    arrived: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    async fn before(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap(),
            shut: Arc::default(),
            arrived: Arc::default(),
            open: Arc::default(),
        };
        let shut = Arc::clone(&gate.shut);
        let (arrived, open) = (Arc::clone(&gate.arrived), Arc::clone(&gate.open));
        tokio::spawn(async move {
            let mut pipes = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                if shut.load(Ordering::SeqCst) {
                    arrived.notify_one();
                    open.notified().await;
                }
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                pipes.spawn(async move {
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        gate
    }
}

#[test]
fn a_new_latch_is_halted() {
    assert!(HaltLatch::default().is_halted());
}

#[tokio::test]
async fn a_cancel_passes_while_halted_and_is_told_apart_from_nothing_to_cancel() {
    let world = quiet().await;
    let PlaceOutcome::Placed { order_id, .. } = world.place("ia-12", dec!(100)).await else {
        panic!("not placed")
    };
    world.latch.halt();
    let permit = cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    let outcome = world.broker.cancel(permit).await;
    assert!(matches!(outcome, CancelOutcome::Requested { .. }), "{outcome:?}");
    assert_eq!(world.control.orders()[0].status, "Cancelled");
    let permit = cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    let outcome = world.broker.cancel(permit).await;
    let CancelOutcome::Refused { hint, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(hint, CancelHint::MayHaveEnded);
    let permit = cancel_permit(&world.ledger, PAPER, "999").await;
    let outcome = world.broker.cancel(permit).await;
    let CancelOutcome::Refused { hint, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(hint, CancelHint::NoSuchOrder);
}

#[tokio::test]
async fn the_id_that_means_all_orders_is_never_sent() {
    let world = quiet().await;
    drop(world.place("ia-13", dec!(100)).await);
    for id in ["-1", "..", "."] {
        let permit = cancel_permit(&world.ledger, PAPER, id).await;
        let outcome = world.broker.cancel(permit).await;
        assert!(matches!(outcome, CancelOutcome::NotSent { .. }), "{outcome:?}");
    }
    assert_eq!(world.effects(), 1, "the placement only");
}

#[tokio::test]
async fn a_lost_cancel_is_unknown_and_not_repeated() {
    let world = quiet().await;
    let PlaceOutcome::Placed { order_id, .. } = world.place("ia-14", dec!(100)).await else {
        panic!("not placed")
    };
    world.control.hold_answers(Endpoint::Cancel, Hold::Drop);
    let permit = cancel_permit(&world.ledger, PAPER, order_id.as_str()).await;
    let outcome = world.broker.cancel(permit).await;
    assert!(matches!(outcome, CancelOutcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(world.effects(), 2);
}

#[tokio::test]
async fn an_order_for_another_login_mode_or_account_is_not_sent() {
    let world = quiet().await;
    for order in
        [order(PAPER, Mode::Paper, dec!(100)), order("U1234567", Mode::Simulated, dec!(100))]
    {
        let permit = place_permit(&world.ledger, order, "ia-15").await;
        let outcome = world.broker.place(permit).await;
        assert!(matches!(outcome, PlaceOutcome::NotSent { .. }), "{outcome:?}");
    }
    let (fresh, latch) = client(config(&world.simulator.base_url(), Mode::Simulated));
    latch.resume();
    let outcome = fresh.place(world.permit("ia-16", dec!(100)).await).await;
    let is_held = matches!(outcome, PlaceOutcome::NotSent { why: NotSent::SessionNotReady });
    assert!(is_held, "{outcome:?}");
    assert_eq!(world.effects(), 0);
}

#[tokio::test]
async fn the_brokers_refusal_keeps_its_reason() {
    let world = quiet().await;
    let outcome = world.place("ia-17", dec!(100000000)).await;
    let PlaceOutcome::Rejected { message } = outcome else { panic!("{outcome:?}") };
    assert!(!message.unwrap().as_str().is_empty());
}

/// A ready paper client on a scripted server.
async fn scripted(acts: impl IntoIterator<Item = Act>) -> (Scripted, ClientPortal) {
    scripted_within(Duration::from_millis(800), acts).await
}

async fn scripted_within(
    request_timeout: Duration,
    acts: impl IntoIterator<Item = Act>,
) -> (Scripted, ClientPortal) {
    let server = Scripted::start(acts).await;
    let mut configuration = config(&server.url, Mode::Paper);
    configuration.request_timeout = request_timeout;
    let (broker, latch) = client(configuration);
    broker.renew().await.unwrap();
    latch.resume();
    (server, broker)
}

async fn place_on(broker: &ClientPortal) -> PlaceOutcome {
    let permit = place_permit(&ledger(), order(PAPER, Mode::Paper, dec!(100)), "ia-20").await;
    broker.place(permit).await
}

#[tokio::test]
async fn every_way_of_losing_an_answer_is_unknown_after_exactly_one_post() {
    for act in [
        Act::Close,
        Act::Hang,
        Act::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[{".to_owned()),
        Act::SayAndClose("nonsense\r\n\r\n".to_owned()),
        say("200 OK", "", "<html>hello</html>"),
        say("503 Service Unavailable", "", r#"{"error":"Service Unavailable"}"#),
        say("302 Found", "Location: /v1/api/iserver/account/DU1234567/orders\r\n", ""),
        say("200 OK", "", &format!("[\"{}\"]", "x".repeat(300_000))),
    ] {
        let (server, broker) = scripted([act]).await;
        let outcome = place_on(&broker).await;
        assert!(matches!(outcome, PlaceOutcome::Unknown { .. }), "{outcome:?}");
        assert_eq!(server.count("POST /v1/api/iserver/account/DU1234567/orders"), 1);
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let (server, broker) = scripted([]).await;
    drop(server);
    // Until the listener's task is gone, a connection may be made and lost.
    let mut outcome = place_on(&broker).await;
    while matches!(outcome, PlaceOutcome::Unknown { .. }) {
        outcome = place_on(&broker).await;
    }
    assert!(
        matches!(outcome, PlaceOutcome::NotSent { why: NotSent::ConnectFailed }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_logged_out_session_takes_nothing_and_the_next_order_is_held_back() {
    let (server, broker) = scripted([say("401 Unauthorized", "", "")]).await;
    let outcome = place_on(&broker).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::LoggedOut }), "{outcome:?}");
    let outcome = place_on(&broker).await;
    let is_held = matches!(outcome, PlaceOutcome::NotSent { why: NotSent::SessionNotReady });
    assert!(is_held, "{outcome:?}");
    assert_eq!(server.count("POST /v1/api/iserver/account/DU1234567/orders"), 1);
}

#[tokio::test]
async fn the_penalty_box_holds_orders_back() {
    let (server, broker) = scripted([say("429 Too Many Requests", "", "slow down")]).await;
    let outcome = place_on(&broker).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::BrokerBusy }), "{outcome:?}");
    let outcome = place_on(&broker).await;
    assert!(matches!(outcome, PlaceOutcome::NotSent { why: NotSent::RateLimited }), "{outcome:?}");
    let error = broker.summary(&account(PAPER)).await.unwrap_err();
    assert!(error.retry_after().unwrap() > Duration::from_secs(800));
    assert_eq!(server.count("GET /v1/api/portfolio/DU1234567/summary"), 0);
}

#[tokio::test]
async fn a_chain_of_questions_ends() {
    let body = r#"[{"id":"q","message":["again?"],"messageIds":["o1"]}]"#;
    let asks = (0..40).map(|_| say("200 OK", "", body));
    let (server, broker) = scripted_within(Duration::from_secs(5), asks).await;
    let ledger = ledger();
    let mut outcome = place_on(&broker).await;
    let mut rounds = 0;
    while let PlaceOutcome::Question(asked) = outcome {
        rounds += 1;
        let question = asked.question().clone();
        let permit = reply_permit(&ledger, question, "ia-20", true).await;
        outcome = broker.reply(asked, permit).await;
    }
    let is_ended = matches!(outcome, PlaceOutcome::NotSent { why: NotSent::TooManyQuestions });
    assert!(is_ended, "{outcome:?}");
    assert_eq!((rounds, server.count("POST /v1/api/iserver/reply/q")), (20, 19));
}
