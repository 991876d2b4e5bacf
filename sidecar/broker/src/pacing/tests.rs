//! The limiter under load, in simulated time, against IBKR's own windows.

use super::*;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// IBKR's windows as published: how many in how many milliseconds.
fn published(lane: Lane) -> &'static [(usize, u64)] {
    match lane {
        Lane::History => &[(10, 1_000), (50, 60_000)],
        Lane::Snapshot => &[(10, 1_000)],
        Lane::Orders | Lane::Trades | Lane::ProfitAndLoss => &[(1, 5_000)],
        Lane::Accounts | Lane::Subaccounts => &[(1, 5_000)],
        Lane::Validate => &[(1, 60_000)],
        Lane::Tickle | Lane::ScannerRun | Lane::Fyi | Lane::Notifications => &[(1, 1_000)],
        Lane::ScannerParameters | Lane::Performance | Lane::PerformanceSummary => &[(1, 900_000)],
        Lane::Transactions => &[(1, 900_000)],
        Lane::Read | Lane::KeepAlive | Lane::Place | Lane::Cancel => &[],
    }
}

fn assert_within(times: &[Instant], most: usize, millis: u64, what: &str) {
    for pair in times.windows(most + 1) {
        let span = pair[most] - pair[0];
        assert!(span >= Duration::from_millis(millis), "{what}: {most} + 1 in {span:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_leave_room_for_placing_and_for_cancels_within_the_same_second() {
    let limiter = Limiter::new(Pacing::On);
    let start = Instant::now();
    for _ in 0..8 {
        let _turn = limiter.acquire(Lane::Read, soon()).await.unwrap();
    }
    let _place = limiter.acquire(Lane::Place, soon()).await.unwrap();
    let _cancel = limiter.acquire(Lane::Cancel, soon()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let _read = limiter.acquire(Lane::Read, soon()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(1_000));
}

#[tokio::test(start_paused = true)]
async fn a_slow_path_takes_one_request_in_five_seconds_or_says_how_long_to_wait() {
    let limiter = Limiter::new(Pacing::On);
    let start = Instant::now();
    let _first = limiter.acquire(Lane::Orders, soon()).await.unwrap();
    let refused = limiter.acquire(Lane::Orders, start + Duration::from_secs(1)).await;
    let wait = refused.unwrap_err().retry_after().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "refused at once");
    let _other = limiter.acquire(Lane::Trades, soon()).await.unwrap();
    tokio::time::advance(wait).await;
    let _second = limiter.acquire(Lane::Orders, Instant::now()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_penalty_box_stops_reads_and_orders_but_no_cancel() {
    for pacing in [Pacing::On, Pacing::Off] {
        let limiter = Limiter::new(pacing);
        assert_eq!(limiter.penalise(None), PENALTY);
        for lane in [Lane::Read, Lane::Orders, Lane::Place, Lane::History] {
            let refused = limiter.acquire(lane, soon()).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "BROKER_RATE_LIMITED");
            assert_eq!(refused.retry_after(), Some(PENALTY));
        }
        let _cancel = limiter.acquire(Lane::Cancel, soon()).await.unwrap();
        let _tickle = limiter.acquire(Lane::Tickle, soon()).await.unwrap();
        tokio::time::advance(PENALTY).await;
        let _read = limiter.acquire(Lane::Read, soon()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_the_penalty_begins_is_told_at_once() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let _first = limiter.acquire(Lane::Orders, soon()).await.unwrap();
    let waiting = {
        let limiter = Arc::clone(&limiter);
        tokio::spawn(async move { limiter.acquire(Lane::Orders, soon()).await.map(drop) })
    };
    tokio::task::yield_now().await;
    let start = Instant::now();
    limiter.penalise(Some(Duration::from_secs(60)));
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_kept_within_bounds() {
    let limiter = Limiter::new(Pacing::On);
    let week = Duration::from_secs(604_800);
    assert_eq!(limiter.penalise(Some(week)), PENALTY);
    assert_eq!(limiter.penalise(Some(Duration::ZERO)), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn five_histories_are_in_flight_at_most_and_a_dropped_wait_blocks_nobody() {
    let limiter = Limiter::new(Pacing::On);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(limiter.acquire(Lane::History, soon()).await.unwrap());
    }
    let sixth = limiter.acquire(Lane::History, Instant::now() + Duration::from_secs(3)).await;
    assert!(sixth.is_err());
    let dropped = limiter.acquire(Lane::History, soon());
    assert!(tokio::time::timeout(Duration::from_millis(1), dropped).await.is_err());
    let start = Instant::now();
    held.pop();
    held.push(limiter.acquire(Lane::History, soon()).await.unwrap());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Acquires turns over and over for a caller; waits as told where refused.
async fn greedy(limiter: Arc<Limiter>, caller: u64, lanes: Vec<Lane>) -> Vec<(Lane, Instant)> {
    with_caller(caller, async move {
        let mut sent = Vec::new();
        for lane in lanes {
            loop {
                match limiter.acquire(lane, soon()).await {
                    Ok(_turn) => {
                        sent.push((lane, Instant::now()));
                        break;
                    }
                    Err(error) => tokio::time::sleep(error.retry_after().unwrap()).await,
                }
            }
        }
        sent
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_mixed_requests_of_32_callers_never_exceed_a_window() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let common = [
        Lane::Read,
        Lane::Snapshot,
        Lane::Read,
        Lane::History,
        Lane::Snapshot,
        Lane::Read,
        Lane::ScannerRun,
        Lane::Read,
    ];
    let rare = [
        Lane::Orders,
        Lane::Trades,
        Lane::ProfitAndLoss,
        Lane::Accounts,
        Lane::Notifications,
        Lane::Fyi,
        Lane::Tickle,
        Lane::Cancel,
        Lane::Place,
        Lane::Validate,
    ];
    let callers = (0..32_u64).map(|caller| {
        let lane = |number: usize| match number % 40 {
            0 => rare[(number / 40 + usize::try_from(caller).unwrap()) % rare.len()],
            common_one => common[common_one % common.len()],
        };
        let lanes: Vec<Lane> = (0..313).map(lane).collect();
        tokio::spawn(greedy(Arc::clone(&limiter), caller, lanes))
    });
    let mut sent: Vec<(Lane, Instant)> = Vec::new();
    for caller in join_all(callers).await {
        sent.extend(caller.unwrap());
    }
    assert!(sent.len() >= 10_000, "{}", sent.len());
    sent.sort_by_key(|(_, at)| *at);
    let all: Vec<Instant> = sent.iter().map(|(_, at)| *at).collect();
    assert_within(&all, 10, 1_000, "all");
    let mut lanes: BTreeMap<Lane, Vec<Instant>> = BTreeMap::new();
    for (lane, at) in sent {
        lanes.entry(lane).or_default().push(at);
    }
    for (lane, times) in lanes {
        for (most, millis) in published(lane) {
            assert_within(&times, *most, *millis, &format!("{lane:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_greedy_caller_delays_anothers_request_by_one_turn_and_a_cancel_not_at_all() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let far = Instant::now() + Duration::from_secs(600);
    let hungry: Vec<_> = (0..200)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            let ask = async move { limiter.acquire(Lane::Read, far).await.map(drop) };
            tokio::spawn(with_caller(1, ask))
        })
        .collect();
    while limiter.lock().waiting() < 192 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let _cancel = limiter.acquire(Lane::Cancel, soon()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let _read = with_caller(2, limiter.acquire(Lane::Read, soon())).await.unwrap();
    assert!(start.elapsed() <= Duration::from_millis(1_200), "{:?}", start.elapsed());
    assert!(limiter.lock().waiting() > 180);
    drop(hungry);
}

#[tokio::test(start_paused = true)]
async fn one_caller_cannot_wait_without_bound() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let far = Instant::now() + Duration::from_secs(6_000);
    let asks: Vec<_> = (0..400)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { limiter.acquire(Lane::Read, far).await.map(drop) })
        })
        .collect();
    let answers = join_all(asks).await;
    let refused = answers.into_iter().filter(|answer| answer.as_ref().unwrap().is_err()).count();
    // 8 go at once, 256 wait.
    assert_eq!(refused, 400 - 8 - 256);
}

/// Joins a queue on an errand, in a task of its own; tells when it had its turn.
fn queued(
    limiter: &Arc<Limiter>,
    lane: Lane,
    errand: Errand,
) -> tokio::task::JoinHandle<Result<Instant, BrokerError>> {
    let limiter = Arc::clone(limiter);
    tokio::spawn(errand.run(async move {
        let place = errand.place(Duration::from_secs(10));
        let turn = limiter.enter(lane, place)?.turn().await;
        turn.map(|_turn| Instant::now())
    }))
}

fn survey() -> Errand {
    Errand::of(0).urgency(Urgency::Survey).within(Duration::from_secs(60))
}

fn decision(caller: u64) -> Errand {
    Errand::of(caller).urgency(Urgency::Decision).within(Duration::from_secs(15))
}

#[tokio::test(start_paused = true)]
async fn a_decision_goes_before_what_was_asked_and_that_before_a_look_around() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let start = Instant::now();
    let _first = limiter.acquire(Lane::Orders, soon()).await.unwrap();
    let look = queued(&limiter, Lane::Orders, survey());
    tokio::task::yield_now().await;
    let asked = Errand::of(1).within(Duration::from_secs(30));
    let asked = queued(&limiter, Lane::Orders, asked);
    tokio::task::yield_now().await;
    let decision = queued(&limiter, Lane::Orders, decision(2));
    let after = |at: Instant| (at - start).as_millis();
    assert_eq!(after(decision.await.unwrap().unwrap()), 5_200);
    assert_eq!(after(asked.await.unwrap().unwrap()), 10_400);
    assert_eq!(after(look.await.unwrap().unwrap()), 15_600);
}

#[tokio::test(start_paused = true)]
async fn an_errand_waits_as_long_as_it_has_time_and_is_told_at_once_when_that_is_too_short() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let _first = limiter.acquire(Lane::Orders, soon()).await.unwrap();
    let two = [decision(1), decision(2)].map(|errand| queued(&limiter, Lane::Orders, errand));
    tokio::task::yield_now().await;
    let start = Instant::now();
    let third = queued(&limiter, Lane::Orders, decision(3)).await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO, "15.6 s are more than it has");
    assert_eq!(third.retry_after().unwrap().as_millis(), 15_600);
    for waiting in two {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed().as_millis(), 10_400);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_goes_up_and_stays_longer_with_the_errand_that_joins_it() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let start = Instant::now();
    let _first = limiter.acquire(Lane::Orders, soon()).await.unwrap();
    let before = queued(&limiter, Lane::Orders, Errand::of(1).within(Duration::from_secs(30)));
    tokio::task::yield_now().await;
    // Patient enough for the second turn, not for a third.
    let look = Errand::of(0).urgency(Urgency::Survey).within(Duration::from_secs(13));
    let entered = limiter.enter(Lane::Orders, look.place(Duration::from_secs(10))).unwrap();
    limiter.press(entered.ticket().unwrap(), decision(2).place(Duration::from_secs(10)));
    let _turn = entered.turn().await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 5_200, "before the one that came first");
    before.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn decisions_without_end_keep_no_look_around_waiting_for_ever() {
    let limiter = Arc::new(Limiter::new(Pacing::On));
    let start = Instant::now();
    let decisions: Vec<_> = (1..=2)
        .map(|caller| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move {
                loop {
                    let place = decision(caller).place(Duration::from_secs(10));
                    if let Ok(entered) = limiter.enter(Lane::Orders, place) {
                        drop(entered.turn().await);
                    } else {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    queued(&limiter, Lane::Orders, survey()).await.unwrap().unwrap();
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(20) && waited < Duration::from_secs(38), "{waited:?}");
    for task in decisions {
        task.abort();
    }
}
