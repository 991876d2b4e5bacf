//! The courier in simulated time, over links that note what they are told.

use super::*;
use ibkr_agent_domain::Untrusted;
use std::cell::RefCell;
use std::time::SystemTime;

const INVALID: ErrorCode = ErrorCode::AuthTokenInvalid;

#[derive(Default)]
struct Fake {
    connected: RefCell<Vec<SidecarId>>,
    moved: RefCell<bool>,
    full: RefCell<bool>,
    told: RefCell<Vec<(SidecarId, Refusals)>>,
}

impl Links for &Fake {
    fn serving(&self, _issuer: &str, subject: &str) -> Option<SidecarId> {
        let moved = if *self.moved.borrow() { "moved" } else { "home" };
        match subject {
            "stranger" => None,
            "bob" => Some(id("office")),
            _ => Some(id(moved)),
        }
    }

    fn connected(&self) -> Vec<SidecarId> {
        self.connected.borrow().clone()
    }

    fn tell(&self, sidecar: &SidecarId, refusals: Refusals) -> bool {
        if *self.full.borrow() {
            return false;
        }
        self.told.borrow_mut().push((sidecar.clone(), refusals));
        true
    }
}

fn id(name: &str) -> SidecarId {
    SidecarId::parse(name).unwrap()
}

fn wall(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn refusal(subject: &str) -> AttributedRefusal {
    AttributedRefusal {
        reason: ErrorCode::AuthMissingScope,
        issuer: "https://issuer.test".to_owned(),
        subject: subject.to_owned(),
        client: Some("ü".repeat(200)),
        tool: Some(Untrusted::new("ibkr_health")),
        at: wall(61),
    }
}

/// A courier over links, its log, and the time.
fn world<'a>(links: &'a Fake, names: &[&str]) -> (Courier<&'a Fake>, Arc<RefusalLog>, Instant) {
    *links.connected.borrow_mut() = names.iter().map(|name| id(name)).collect();
    let log = Arc::new(RefusalLog::new().0);
    (Courier::new(Arc::clone(&log), links), log, Instant::now())
}

fn counted(log: &RefusalLog) -> u64 {
    log.take_counts().values().sum()
}

#[test]
fn a_refused_caller_is_told_to_its_own_sidecar_only_and_within_bounds() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["home", "office"]);
    courier.take(refusal("alice"), now);
    courier.take(refusal("stranger"), now);
    assert_eq!(courier.next_deadline(), Some(now + GATHER));
    courier.flush(now);
    assert!(links.told.borrow().is_empty());
    courier.flush(now + GATHER);
    let told = links.told.borrow();
    let [(sidecar, refusals)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((sidecar, refusals.counts.len()), (&id("home"), 0));
    let expected = RefusedCaller {
        reason: "AUTH_MISSING_SCOPE".to_owned(),
        tool: Some("ibkr_health".to_owned()),
        subject: "alice".to_owned(),
        client: Some("ü".repeat(MAX_LABEL_BYTES / 2)),
        at: 61,
    };
    assert_eq!(refusals.callers, [expected]);
    assert_eq!(courier.next_deadline(), None);
    assert_eq!(counted(&log), 1, "nobody serves the stranger");
}

#[test]
fn more_refused_callers_than_a_frame_holds_are_counted() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["home"]);
    for _ in 0..=MAX_REFUSED_CALLERS {
        courier.take(refusal("alice"), now);
    }
    courier.flush(now + GATHER);
    assert_eq!(links.told.borrow()[0].1.callers.len(), MAX_REFUSED_CALLERS);
    assert_eq!(counted(&log), 1);
}

#[test]
fn refused_callers_wait_for_their_sidecar_and_are_counted_in_the_end() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["office"]);
    courier.take(refusal("alice"), now);
    courier.flush(now + GATHER);
    assert_eq!(courier.next_deadline(), Some(now + GATHER + GATHER));
    *links.connected.borrow_mut() = vec![id("home")];
    courier.flush(now + GATHER * 2);
    assert_eq!(links.told.borrow().len(), 1);

    *links.connected.borrow_mut() = Vec::new();
    courier.take(refusal("alice"), now);
    courier.flush(now + MAX_AGE);
    assert_eq!(courier.next_deadline(), None);
    assert_eq!((links.told.borrow().len(), counted(&log)), (1, 1));
}

#[test]
fn a_caller_that_another_sidecar_serves_by_now_is_told_to_neither() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["home", "moved"]);
    courier.take(refusal("alice"), now);
    *links.moved.borrow_mut() = true;
    courier.flush(now + GATHER);
    assert!(links.told.borrow().is_empty());
    assert_eq!(counted(&log), 1);
}

#[test]
fn counts_are_told_to_all_soon_at_first_and_once_a_minute_after() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["home", "office"]);
    log.count(INVALID, wall(60), 1);
    courier.look(now);
    assert_eq!(courier.next_deadline(), Some(now + GATHER));
    log.count(INVALID, wall(61), 4);
    let first = now + GATHER;
    courier.flush(first);
    assert_eq!(courier.next_deadline(), None);
    let reason = "AUTH_TOKEN_INVALID".to_owned();
    let count = RefusalCount { reason, minute: 60, count: 5 };
    let refusals = Refusals { callers: Vec::new(), counts: vec![count] };
    assert_eq!(*links.told.borrow(), [(id("home"), refusals.clone()), (id("office"), refusals)]);

    log.count(INVALID, wall(62), 1);
    courier.look(first + GATHER);
    assert_eq!(courier.next_deadline(), Some(first + PERIOD), "its minute isn't over");
    log.count(ErrorCode::AuthTokenExpired, wall(63), 1);
    courier.look(first + GATHER);
    assert_eq!(courier.next_deadline(), Some(first + GATHER * 2), "a reason of its own");
    courier.flush(first + GATHER * 2);
    assert_eq!(links.told.borrow()[2].1.counts.len(), 2);

    let quiet = first + PERIOD * 3;
    log.count(INVALID, wall(300), 1);
    courier.look(quiet);
    assert_eq!(courier.next_deadline(), Some(quiet + GATHER));
}

#[test]
fn counts_wait_while_no_sidecar_can_be_told() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &[]);
    log.count(INVALID, wall(60), 1);
    courier.look(now);
    courier.flush(now + GATHER);
    assert_eq!(courier.next_deadline(), Some(now + GATHER * 2));
    *links.connected.borrow_mut() = vec![id("home")];
    *links.full.borrow_mut() = true;
    courier.flush(now + GATHER * 2);
    assert_eq!(courier.next_deadline(), Some(now + GATHER * 3));
    *links.full.borrow_mut() = false;
    courier.flush(now + GATHER * 3);
    assert_eq!(links.told.borrow()[0].1.counts[0].count, 1);
    assert_eq!((courier.next_deadline(), counted(&log)), (None, 0));
}

#[test]
fn more_counts_than_a_frame_holds_take_several() {
    let links = Fake::default();
    let (mut courier, log, now) = world(&links, &["home"]);
    for minute in 0..=u64::try_from(MAX_REFUSAL_COUNTS).unwrap() {
        log.count(INVALID, wall(minute * 60), 1);
    }
    courier.look(now);
    courier.flush(now + GATHER);
    let lengths: Vec<_> = links.told.borrow().iter().map(|(_, r)| r.counts.len()).collect();
    assert_eq!(lengths, [MAX_REFUSAL_COUNTS, 1]);
}
