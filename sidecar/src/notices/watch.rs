//! The sessions' changes, each told once. Looks at what the keepers know; makes no request.

use crate::brokers::Brokers;
use crate::notices::{Kind, Message, NoticeSettings, Urgency};
use ibkr_agent_domain::{BrokerName, SessionHealth, SessionState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a missing login is looked at before it is told: a start-up passes through it.
const LOGIN_AFTER: Duration = Duration::from_secs(2);

/// One broker's session, as last told.
#[derive(Debug, Default)]
struct Told {
    /// The state that is seen now, and since when.
    seen: Option<(SessionState, Instant)>,
    /// States told since it was last ready.
    told: BTreeSet<SessionState>,
    /// The end that was reminded of.
    reminded: Option<Timestamp>,
}

/// All brokers' sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    lost_after: Duration,
    remind_before: Duration,
    told: BTreeMap<BrokerName, Told>,
}

impl Sessions {
    pub(super) fn new(settings: &NoticeSettings, brokers: &Brokers) -> Self {
        let names = brokers.all().iter().map(|broker| (broker.name().clone(), Told::default()));
        Self {
            lost_after: settings.lost_after,
            remind_before: settings.remind_before,
            told: names.collect(),
        }
    }

    /// What is to be told now.
    pub(super) fn look(&mut self, brokers: &Brokers) -> Vec<Message> {
        let (monotonic, wall) = (Instant::now(), jiff::Timestamp::now().as_millisecond());
        let mut messages = Vec::new();
        for broker in brokers.all() {
            let health = broker.health();
            let wall = Timestamp::from_millis(wall);
            messages.extend(self.learn(broker.name(), &health, monotonic, wall));
        }
        messages
    }

    fn learn(
        &mut self,
        name: &BrokerName,
        health: &SessionHealth,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Message> {
        let told = self.told.entry(name.clone()).or_default();
        let since = match told.seen {
            Some((state, since)) if state == health.state => since,
            Some(_) | None => {
                told.seen = Some((health.state, now));
                now
            }
        };
        let lasted = now.saturating_duration_since(since);
        let message = match health.state {
            SessionState::Ready => {
                let was_told = !std::mem::take(&mut told.told).is_empty();
                if was_told {
                    let sentence = format!("The session of broker {name} works again.");
                    Some(Message::new(Kind::SessionReady, Urgency::Know, sentence, "Nothing."))
                } else {
                    ending(told, name, health, wall, self.remind_before)
                }
            }
            SessionState::LoginRequired => {
                let is_due = lasted >= LOGIN_AFTER && told.told.insert(health.state);
                is_due.then(|| {
                    let sentence = format!("Broker {name}: {}.", health.why);
                    let next = "Log in at IBKR's Client Portal Gateway in a browser, with the \
                                second factor.";
                    Message::new(Kind::LoginRequired, Urgency::Act, sentence, next)
                })
            }
            SessionState::Unreachable | SessionState::BrokerageDown | SessionState::Competing => {
                let is_due = lasted >= self.lost_after && told.told.insert(health.state);
                is_due.then(|| {
                    let sentence = format!("Broker {name}: {}.", health.why);
                    let next = "Ask ibkr-agent session requirements what to do.";
                    Message::new(Kind::SessionLost, Urgency::Act, sentence, next)
                })
            }
        };
        let state = health.state.as_str();
        message.map(|message| message.detail("broker", name).detail("state", &state))
    }
}

/// The reminder before a session ends, once for each end.
fn ending(
    told: &mut Told,
    name: &BrokerName,
    health: &SessionHealth,
    wall: Timestamp,
    remind_before: Duration,
) -> Option<Message> {
    let ends_at = health.ends_at?;
    let is_near = ends_at > wall && ends_at.since(wall) <= remind_before;
    if !is_near || told.reminded == Some(ends_at) {
        return None;
    }
    told.reminded = Some(ends_at);
    let sentence = format!("The session of broker {name} ends at {ends_at}.");
    let next = "Be ready to log in again at IBKR's Client Portal Gateway.";
    let message = Message::new(Kind::SessionEnding, Urgency::Know, sentence, next);
    Some(message.detail("ends_at", &ends_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(state: SessionState) -> SessionHealth {
        SessionHealth {
            state,
            since: Timestamp::from_millis(0),
            why: "a reason",
            ends_at: None,
            last_tickle: None,
            is_paper: None,
            clock_skew_ms: None,
        }
    }

    struct Bench {
        sessions: Sessions,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let settings = NoticeSettings::default();
            let (lost_after, remind_before) = (settings.lost_after, settings.remind_before);
            let told = BTreeMap::new();
            let sessions = Sessions { lost_after, remind_before, told };
            Self { sessions, start: Instant::now() }
        }

        fn at(&mut self, second: u64, health: &SessionHealth) -> Option<Kind> {
            let name = BrokerName::parse("paper").unwrap();
            let now = self.start + Duration::from_secs(second);
            let wall = Timestamp::from_millis(i64::try_from(second).unwrap() * 1000);
            self.sessions.learn(&name, health, now, wall).map(|message| message.kind)
        }
    }

    #[test]
    fn a_loss_is_told_once_when_it_lasts_and_so_is_its_end() {
        let mut bench = Bench::new();
        let (ready, down) = (health(SessionState::Ready), health(SessionState::BrokerageDown));
        assert_eq!(bench.at(0, &ready), None);
        assert_eq!(bench.at(1, &down), None);
        assert_eq!(bench.at(5, &ready), None, "it came back by itself");
        assert_eq!(bench.at(6, &down), None);
        assert_eq!(bench.at(16, &down), Some(Kind::SessionLost));
        assert_eq!(bench.at(17, &down), None);
        assert_eq!(bench.at(18, &health(SessionState::LoginRequired)), None);
        let login = health(SessionState::LoginRequired);
        assert_eq!(bench.at(21, &login), Some(Kind::LoginRequired));
        assert_eq!(bench.at(25, &down), None);
        assert_eq!(bench.at(40, &down), None, "the same loss");
        assert_eq!(bench.at(41, &ready), Some(Kind::SessionReady));
        assert_eq!(bench.at(42, &ready), None);
    }

    #[test]
    fn an_end_is_reminded_of_once() {
        let mut bench = Bench::new();
        let ends_at = |second: i64| SessionHealth {
            ends_at: Some(Timestamp::from_millis(second * 1000)),
            ..health(SessionState::Ready)
        };
        assert_eq!(bench.at(0, &ends_at(2000)), None);
        assert_eq!(bench.at(1200, &ends_at(2000)), Some(Kind::SessionEnding));
        assert_eq!(bench.at(1300, &ends_at(2000)), None);
        assert_eq!(bench.at(2100, &ends_at(2000)), None, "it is over");
        assert_eq!(bench.at(2200, &ends_at(3000)), Some(Kind::SessionEnding));
    }
}
