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
