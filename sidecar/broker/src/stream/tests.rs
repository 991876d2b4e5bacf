//! The desk in simulated time: what is sent when, and when a connection counts as silent.

use super::desk::{Desk, Moment, Silence};
use crate::wire::stream::parse_frame;
use core::time::Duration;
use ibkr_agent_domain::{AccountId, Conid, Timestamp};
use tokio::time::Instant;

const GREETING: &str = r#"{"topic":"system","success":"someone"}"#;
const BEAT: &str = r#"{"topic":"system","hb":1712345678901}"#;

fn conid(number: u64) -> Conid {
    Conid::new(number).unwrap()
}

/// A desk and its clock.
struct Table {
    desk: Desk,
    now: Instant,
    sent: Vec<String>,
}

impl Table {
    fn connected() -> Self {
        let mut table = Self { desk: Desk::default(), now: Instant::now(), sent: Vec::new() };
        table.desk.connect(table.moment());
        table
    }

    fn greeted() -> Self {
        let mut table = Self::connected();
        table.hear(GREETING);
        table.poll().unwrap();
        table
    }

    fn moment(&self) -> Moment {
        Moment { mono: self.now, wall: Timestamp::from_millis(0) }
    }

    fn hear(&mut self, frame: &str) {
        let frame = parse_frame(frame.as_bytes()).unwrap();
        self.desk.hear(frame, self.moment());
    }

    fn poll(&mut self) -> Result<Vec<String>, Silence> {
        let (messages, next) = self.desk.poll(self.now)?;
        assert!(next > self.now, "the desk asks to be polled again at once");
        self.sent.extend(messages.clone());
        Ok(messages)
    }

    /// Lets time pass in seconds, with heartbeats, polling each.
    fn live(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.hear(BEAT);
            self.poll().unwrap();
        }
    }

    fn count(&self, start: &str) -> usize {
        self.sent.iter().filter(|message| message.starts_with(start)).count()
    }

    fn quote(&mut self, conid: u64) {
        self.hear(&format!(r#"{{"topic":"smd+{conid}","31":"5","84":"4","86":"6","6509":"R"}}"#));
    }
}

#[test]
fn nothing_is_asked_for_before_a_session_shows() {
    let mut table = Table::connected();
    table.desk.watch_quote(conid(1), table.now);
    assert_eq!(table.poll().unwrap(), ["tic"]);
    table.hear(r#"{"message":"waiting for session"}"#);
    table.hear(r#"{"topic":"tic","alive":true}"#);
    assert_eq!(table.poll().unwrap(), [""; 0]);
    table.hear(r#"{"topic":"sts","args":{"authenticated":true}}"#);
    assert_eq!(table.poll().unwrap().len(), 4);
}

#[test]
fn an_answer_to_our_own_tic_is_a_session_where_the_gateway_does_not_wait_for_one() {
    let mut table = Table::connected();
    table.hear(r#"{"topic":"tic","alive":true}"#);
    table.poll().unwrap();
    assert_eq!(table.count("sor"), 1);
}

#[test]
fn silence_is_told_apart() {
    let mut table = Table::connected();
    table.now += Duration::from_millis(9_900);
    assert!(table.poll().is_ok());
    table.now += Duration::from_millis(200);
    assert_eq!(table.poll(), Err(Silence::FirstFrame));

    let mut table = Table::connected();
    table.hear(r#"{"message":"waiting for session"}"#);
    table.now += Duration::from_secs(29);
    assert!(table.poll().is_ok());
    table.now += Duration::from_secs(2);
    assert_eq!(table.poll(), Err(Silence::Session));

    let mut table = Table::greeted();
    table.hear(BEAT);
    table.now += Duration::from_secs(24);
    table.hear(GREETING);
    assert!(table.poll().is_ok());
    table.now += Duration::from_secs(2);
    assert_eq!(table.poll(), Err(Silence::Heartbeat));

    let mut table = Table::greeted();
    table.now += Duration::from_secs(74);
    assert!(table.poll().is_ok());
    table.now += Duration::from_secs(2);
    assert_eq!(table.poll(), Err(Silence::Heartbeat));
}

#[test]
fn the_connection_is_kept_alive_twice_a_minute() {
    let mut table = Table::greeted();
    table.live(120);
    assert_eq!(table.count("tic"), 1 + 4);
}

#[test]
fn market_data_is_asked_for_again_before_it_expires() {
    let mut table = Table::greeted();
    table.desk.watch_quote(conid(1), table.now);
    table.poll().unwrap();
    // Busy: a value every ten seconds for half an hour.
    for _ in 0..180 {
        table.quote(1);
        table.live(10);
    }
    let asked = table.count("smd+1+");
    assert!((4..=5).contains(&asked), "{asked}");
    assert!((4..=5).contains(&table.count("spl")), "{}", table.count("spl"));
}

#[test]
fn market_data_that_falls_silent_is_asked_for_sooner() {
    let mut table = Table::greeted();
    table.desk.watch_quote(conid(1), table.now);
    table.poll().unwrap();
    table.quote(1);
    table.live(119);
    assert_eq!(table.count("smd+1+"), 1);
    table.live(2);
    assert_eq!(table.count("smd+1+"), 2);
    table.live(16);
    assert_eq!(table.count("smd+1+"), 3, "it wasn't answered");
    table.live(3_600);
    assert!(table.count("smd+1+") < 40, "the pauses grow");
}

#[test]
fn a_new_connection_asks_for_everything_and_believes_nothing_of_the_old_one() {
    let mut table = Table::greeted();
    table.desk.watch_quote(conid(1), table.now);
    table.poll().unwrap();
    table.quote(1);
    assert!(table.desk.fresh_quote(conid(1), table.now).is_some());
    table.desk.disconnect(table.moment());
    assert!(table.desk.fresh_quote(conid(1), table.now).is_none());
    table.sent.clear();
    table.desk.connect(table.moment());
    table.hear(GREETING);
    table.poll().unwrap();
    assert_eq!((table.count("smd+1+"), table.count("sor")), (1, 1));
}

#[test]
fn many_subscriptions_are_spread_over_seconds() {
    let mut table = Table::greeted();
    for number in 1..=80 {
        assert!(table.desk.watch_quote(conid(number), table.now));
    }
    assert!(!table.desk.watch_quote(conid(81), table.now));
    assert!(table.poll().unwrap().len() <= 20);
    assert!(table.poll().unwrap().is_empty(), "not in the same second");
    table.live(5);
    for number in 1..=80 {
        assert_eq!(table.count(&format!("smd+{number}+")), 1);
    }
}

#[test]
fn what_was_never_asked_for_is_not_given_up_aloud() {
    let mut table = Table::connected();
    table.desk.watch_quote(conid(1), table.now);
    table.desk.unwatch_quote(conid(1));
    table.hear(GREETING);
    table.poll().unwrap();
    assert_eq!((table.count("smd"), table.count("umd")), (0, 0));
}

#[test]
fn a_refusal_for_want_of_accounts_is_repeated_soon() {
    let mut table = Table::greeted();
    table.hear(r#"{"topic":"error","error":"No accounts","code":500}"#);
    table.live(14);
    assert_eq!(table.count("sor"), 1);
    table.live(2);
    assert_eq!(table.count("sor"), 2);
}

#[test]
fn one_book_per_account_and_no_rows_of_another() {
    let mut table = Table::greeted();
    let account = AccountId::parse("DU1").unwrap();
    assert!(table.desk.open_book(&account, conid(1)));
    assert!(!table.desk.open_book(&account, conid(2)));
    table.poll().unwrap();
    table.hear(r#"{"topic":"sbd+DU1+2","data":[{"row":0,"price":"5","bid":"1"}]}"#);
    assert!(table.desk.book(&account).unwrap().depth().is_none());
    table.hear(r#"{"topic":"sbd+DU1+1","data":[{"row":0,"price":"5","bid":"1"}]}"#);
    assert_eq!(table.desk.book(&account).unwrap().depth().unwrap().levels.len(), 1);
}
