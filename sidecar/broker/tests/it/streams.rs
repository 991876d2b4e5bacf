//! The gateway's stream: what is asked for, what is told, what happens when it breaks or is silent.

use crate::kept::Kept;
use crate::scripted::{Act, say};
use crate::support::{AAPL, PAPER, account, conid, dec};
use crate::upstream::{Link, Upstream, jump};
use core::time::Duration;
use ibkr_agent_broker::Broker;
use ibkr_agent_domain::{BrokerEvent, BrokerOrderStatus, SessionState, Watch};

const WHOLE: &str = r#"{"topic":"smd+265598","conid":265598,"_updated":1712345678901,
    "server_id":"q0","6509":"RpB","31":"230.10","84":"230.05","86":"230.15","55":"AAPL"}"#;

/// Answers order reads with one working order.
fn with_an_order(path: &str) -> Option<Act> {
    let body = r#"{"orders":[{"orderId":7,"conid":265598,"acct":"DU1234567","order_ref":"ia1",
        "status":"Submitted","side":"BUY","totalSize":5.0,"filledQuantity":0.0,
        "price":"230.10","orderType":"Limit","ticker":"AAPL"}],"snapshot":true}"#;
    (path == "GET /v1/api/iserver/account/orders").then(|| say("200 OK", "", body))
}

#[tokio::test]
async fn a_ready_session_gets_a_stream_that_follows_orders_trades_and_profit() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let mut link = server.link().await;
    link.expect("tic").await;
    link.greet();
    assert_eq!(link.expect("sor").await, "sor+{}");
    assert_eq!(link.expect("str").await, r#"str+{"realtimeUpdatesOnly":true}"#);
    assert_eq!(link.expect("spl").await, "spl+{}");
    let health = kept.broker.stream_health().unwrap();
    assert!(health.connected_since.is_some() && health.last_frame.is_some());
    assert_eq!((health.subscriptions, health.connections), (3, 1));
}

#[tokio::test]
async fn a_watched_quote_comes_whole_and_then_in_changes_and_answers_reads() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let guard = kept.broker.watch(Watch::Quote(conid(AAPL)));
    let second = kept.broker.watch(Watch::Quote(conid(AAPL)));
    let asked = link.expect("smd+265598+").await;
    assert!(asked.contains(r#""31""#) && asked.contains(r#""6509""#), "{asked}");
    link.say(WHOLE);
    assert_eq!(kept.quote().await.bid, Some(dec!(230.05)));
    link.say_text(r#"{"topic":"smd+265598","_updated":1712345679901,"84":"230.07"}"#);
    let changed = kept.quote().await;
    assert_eq!((changed.bid, changed.ask), (Some(dec!(230.07)), Some(dec!(230.15))));
    let read = kept.broker.quotes(&[conid(AAPL)]).await.unwrap();
    assert_eq!(read, [changed]);
    assert_eq!(server.count("GET /v1/api/iserver/marketdata/snapshot"), 0);
    // No snapshot is served here: a decision's read isn't answered by the stream.
    assert!(kept.broker.quotes_for_decision(&[conid(AAPL)]).await.is_err());
    assert_eq!(server.count("GET /v1/api/iserver/marketdata/snapshot"), 1);
    drop(guard);
    drop(second);
    assert_eq!(link.expect("umd").await, "umd+265598+{}");
    // Nobody follows it any more: the broker is asked.
    assert!(kept.broker.quotes(&[conid(AAPL)]).await.is_err());
    assert_eq!(server.count("GET /v1/api/iserver/marketdata/snapshot"), 2);
}

#[tokio::test]
async fn a_stale_streamed_quote_answers_no_read() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let _guard = kept.broker.watch(Watch::Quote(conid(AAPL)));
    link.expect("smd").await;
    link.say(WHOLE);
    kept.quote().await;
    jump(Duration::from_secs(3)).await;
    assert!(kept.broker.quotes(&[conid(AAPL)]).await.is_err());
    assert_eq!(server.count("GET /v1/api/iserver/marketdata/snapshot"), 1);
}

#[tokio::test]
async fn a_cut_stream_comes_back_with_everything_that_was_followed() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let _guard = kept.broker.watch(Watch::Quote(conid(AAPL)));
    link.expect("smd+265598").await;
    drop(link);
    let mut again = server.greeted().await;
    again.expect("smd+265598").await;
    kept.event(|event| (event == BrokerEvent::Resumed).then_some(())).await;
    assert_eq!(kept.broker.stream_health().unwrap().connections, 2);
}

#[tokio::test]
async fn a_socket_that_is_silent_from_the_start_is_given_up() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let mut silent = server.link().await;
    silent.expect("tic").await;
    jump(Duration::from_secs(11)).await;
    silent.ended().await;
    server.greeted().await;
    let health = kept.broker.stream_health().unwrap();
    assert!(health.last_failure.unwrap().as_str().contains("silent from the start"));
}

#[tokio::test]
async fn a_heartbeat_that_stops_ends_the_connection() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    link.say(r#"{"topic":"system","hb":1712345678901}"#);
    link.say(r#"{"topic":"blt","args":{"id":"1","message":"after the beat"}}"#);
    kept.event(|event| matches!(event, BrokerEvent::Notification { .. }).then_some(())).await;
    jump(Duration::from_secs(26)).await;
    link.ended().await;
    server.greeted().await;
}

#[tokio::test]
async fn an_order_delta_is_laid_over_the_order_as_last_read() {
    let mut server = Upstream::answering(with_an_order).await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    // The start-up has used the only read of orders in five seconds.
    jump(Duration::from_secs(6)).await;
    let read = kept.broker.orders(&account(PAPER)).await.unwrap();
    link.say(
        r#"{"topic":"sor","args":[{"acct":"DU1234567","conidex":"265598","conid":265598,
            "orderId":7,"isEventTrading":"0","status":"Filled","filledQuantity":5.0,"price":""}]}"#,
    );
    let told = kept.order().await;
    assert_eq!((told.status, told.filled), (BrokerOrderStatus::Filled, Some(dec!(5))));
    assert_eq!((told.limit_price, &told.reference), (Some(dec!(230.1)), &read.rows[0].reference));
}

#[tokio::test]
async fn a_delta_of_an_order_that_was_never_whole_invents_nothing() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    link.say(
        r#"{"topic":"sor","args":[{"acct":"DU1234567","conid":265598,"orderId":7},
            {"acct":"DU1234567","conid":265598,"orderId":8,"status":"Submitted","side":"SELL"}]}"#,
    );
    let told = kept.order().await;
    assert_eq!(told.order_id.as_str(), "8");
    assert_eq!((told.quantity, told.limit_price), (None, None));
}

#[tokio::test]
async fn a_fill_is_told_once_and_again_with_its_commission() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    let fill = |more: &str| {
        format!(
            r#"{{"topic":"str","args":[{{"execution_id":"e1","order_id":7,"account":"DU1234567",
                "conid":265598,"symbol":"AAPL","side":"B","size":5,"price":"230.1",
                "exchange":"ARCA","trade_time_r":1702317649000{more}}}]}}"#
        )
    };
    link.say(&fill(""));
    link.say(&fill(""));
    link.say(&fill(r#","commission":"1.02""#));
    let mut commissions = Vec::new();
    for _ in 0..2 {
        let commission = kept.event(|event| {
            if let BrokerEvent::Execution(fill) = event { Some(fill.commission) } else { None }
        });
        commissions.push(commission.await);
    }
    assert_eq!(commissions, [None, Some(dec!(1.02))]);
}

#[tokio::test]
async fn notices_and_profit_are_passed_on_and_noise_is_not() {
    let mut server = Upstream::start().await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    link.say("no JSON at all");
    link.say(r#"{"topic":"xyz+1","args":{}}"#);
    link.say(r#"{"topic":"error","error":"Topic unknown 'xyz'","code":500}"#);
    link.say(r#"{"topic":"ntf","args":{"id":"1","title":"Order","text":"\u001b[31mfilled"}}"#);
    let text = kept.event(|event| {
        if let BrokerEvent::Notification { text, .. } = event { Some(text) } else { None }
    });
    assert!(!text.await.as_str().contains('\u{1b}'));
    link.say(
        r#"{"topic":"spl","args":{"DU1234567.Core":{"rowType":1,"dpl":-12.5,"nl":100000.0,
            "upl":3.25,"el":90000.0,"mv":5000.0}}}"#,
    );
    let told =
        kept.event(
            |event| if let BrokerEvent::ProfitAndLoss(told) = event { Some(told) } else { None },
        );
    let told = told.await;
    assert_eq!((told.daily, told.unrealized), (Some(dec!(-12.5)), Some(dec!(3.25))));
    let health = kept.broker.stream_health().unwrap();
    assert!(health.last_failure.unwrap().as_str().contains("Topic unknown"));
}

#[tokio::test]
async fn a_frame_beyond_the_bound_ends_the_connection_and_nothing_else() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let link = server.greeted().await;
    link.say(&format!(r#"{{"topic":"ntf","args":{{"text":"{}"}}}}"#, "x".repeat(1_100_000)));
    server.greeted().await;
    assert_eq!(kept.broker.health().state, SessionState::Ready);
}

#[tokio::test]
async fn a_book_is_read_from_its_first_frames_and_given_up_afterwards() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let broker = kept.broker.clone();
    let id = account(PAPER);
    let read = tokio::spawn(async move { broker.depth(&id, conid(AAPL)).await });
    assert_eq!(link.expect("sbd").await, "sbd+DU1234567+265598");
    link.say(
        r#"{"topic":"sbd+DU1234567+265598","data":[{"row":0,"focus":0,"price":"230.15",
            "ask":"300"},{"row":1,"focus":1,"price":"10 @ 230.10"}]}"#,
    );
    link.say(
        r#"{"topic":"sbd+DU1234567+265598","data":[{"row":2,"focus":0,"price":"230.05",
            "bid":"1,200"}]}"#,
    );
    let depth = read.await.unwrap().unwrap();
    let prices: Vec<_> = depth.levels.iter().map(|level| level.price).collect();
    assert_eq!(prices, [dec!(230.15), dec!(230.10), dec!(230.05)]);
    assert_eq!(depth.levels[2].bid_size, Some(dec!(1200)));
    assert_eq!(link.expect("ubd").await, "ubd+DU1234567");
}

#[tokio::test]
async fn a_refused_book_says_why_and_a_missing_stream_too() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let broker = kept.broker.clone();
    let id = account(PAPER);
    let read = tokio::spawn(async move { broker.depth(&id, conid(AAPL)).await });
    link.expect("sbd").await;
    link.say(r#"{"topic":"sbd+DU1234567+265598","error":"no depth for you"}"#);
    let refused = read.await.unwrap().unwrap_err();
    assert_eq!(refused.code().as_str(), "BROKER_REJECTED");

    let plain = Upstream::answering(|path| {
        (path == "GET /v1/api/ws").then(|| say("404 Not Found", "", "Access Denied"))
    })
    .await;
    let kept = Kept::on(&plain);
    kept.broker.renew().await.unwrap();
    let id = account(PAPER);
    let (refused, ()) = tokio::join!(kept.broker.depth(&id, conid(AAPL)), async {
        tokio::task::yield_now().await;
        jump(Duration::from_secs(4)).await;
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.code().as_str(), "BROKER_BACKEND_UNAVAILABLE");
    // Without a stream everything else works by reads.
    assert!(kept.broker.accounts().await.is_ok());
}

#[tokio::test]
async fn only_so_many_quotes_are_followed_and_a_freed_line_serves_the_next() {
    let mut server = Upstream::start().await;
    let kept = Kept::on(&server);
    let mut link = server.greeted().await;
    let mut guards: Vec<_> =
        (1..=80).map(|number| kept.broker.watch(Watch::Quote(conid(number)))).collect();
    let beyond = kept.broker.watch(Watch::Quote(conid(81)));
    assert_eq!(kept.broker.stream_health().unwrap().refused_watches, 1);
    drop(beyond);
    guards.pop();
    let _next = kept.broker.watch(Watch::Quote(conid(82)));
    link.expect("smd+82+").await;
}

#[tokio::test]
async fn a_status_frame_of_loss_makes_the_keeper_look_and_is_told_once() {
    let is_lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let lost = std::sync::Arc::clone(&is_lost);
    let mut server = Upstream::answering(move |path| {
        let gone = r#"{"error":"not authenticated","statusCode":401}"#;
        let is_gone = lost.load(std::sync::atomic::Ordering::SeqCst) && path.contains("/tickle");
        is_gone.then(|| say("401 Unauthorized", "", gone))
    })
    .await;
    let mut kept = Kept::on(&server);
    let link = server.greeted().await;
    is_lost.store(true, std::sync::atomic::Ordering::SeqCst);
    link.say(r#"{"topic":"sts","args":{"authenticated":false}}"#);
    let state =
        |event| if let BrokerEvent::Session(health) = event { Some(health.state) } else { None };
    assert_eq!(kept.event(state).await, SessionState::Ready);
    assert_eq!(kept.event(state).await, SessionState::LoginRequired);
    link.ended().await;
    is_lost.store(false, std::sync::atomic::Ordering::SeqCst);
    kept.broker.renew().await.unwrap();
    assert_eq!(kept.event(state).await, SessionState::Ready);
    let _: Link = server.greeted().await;
}
