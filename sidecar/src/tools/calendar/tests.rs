//! A fortnight of hours with a holiday and a half day.

use super::*;
use ibkr_agent_domain::{Conid, TradingDay, Untrusted};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn span(day: &str, opens: &str, closes: &str) -> TradingSpan {
    TradingSpan {
        opens: at(&format!("{day}T{opens}:00Z")),
        closes: at(&format!("{day}T{closes}:00Z")),
    }
}

fn day(date: &str, closes: Option<&str>) -> TradingDay {
    TradingDay {
        date: Date::parse(date).unwrap(),
        regular: closes.map(|closes| span(date, "14:30", closes)).into_iter().collect(),
        extended: closes.map(|_| span(date, "09:00", "23:00")).into_iter().collect(),
    }
}

/// 2026-11-16 (a Monday) to 2026-11-29, as the broker lists them: Thanksgiving is missing.
fn fortnight() -> TradingHours {
    let days = (16..=29).filter(|number| *number != 26).map(|number| {
        let closes = match number {
            21 | 22 | 28 | 29 => None,
            27 => Some("18:00"),
            _ => Some("21:00"),
        };
        day(&format!("2026-11-{number}"), closes)
    });
    TradingHours {
        conid: Conid::new(265_598).unwrap(),
        time_zone: Some(Untrusted::new("US/Eastern")),
        days: days.collect(),
    }
}

fn state(time: &str) -> (MarketState, Option<String>, Option<String>) {
    let session = session_at(&fortnight(), at(time));
    let text = |time: Option<Wire<Timestamp>>| time.map(|time| time.0.to_string());
    (session.state.0, text(session.next_open), text(session.next_close))
}

#[test]
fn both_ends_of_the_regular_hours_are_told_from_the_extended_ones() {
    let tomorrow = Some("2026-11-18T14:30:00.000Z".to_owned());
    let close = Some("2026-11-17T21:00:00.000Z".to_owned());
    let open = Some("2026-11-17T14:30:00.000Z".to_owned());
    assert_eq!(state("2026-11-17T14:29:59Z"), (MarketState::Extended, open, close.clone()));
    assert_eq!(state("2026-11-17T14:30:00Z"), (MarketState::Open, tomorrow.clone(), close.clone()));
    assert_eq!(state("2026-11-17T20:59:59Z"), (MarketState::Open, tomorrow, close));
    assert_eq!(state("2026-11-17T21:00:00Z").0, MarketState::Extended);
    assert_eq!(state("2026-11-17T23:00:00Z").0, MarketState::Closed);
    assert_eq!(state("2026-11-17T08:59:59Z").0, MarketState::Closed);
    let session = session_at(&fortnight(), at("2026-11-17T22:00:00Z"));
    assert_eq!(session.extended_until.unwrap().0, at("2026-11-17T23:00:00Z"));
}

#[test]
fn over_a_weekend_the_next_opening_is_mondays() {
    let (state, next_open, _) = state("2026-11-21T12:00:00Z");
    assert_eq!(state, MarketState::Closed);
    assert_eq!(next_open.as_deref(), Some("2026-11-23T14:30:00.000Z"));
}

#[test]
fn past_the_end_of_the_list_nothing_is_claimed() {
    let (unknown, next_open, next_close) = state("2026-11-29T12:00:00Z");
    assert_eq!((unknown, next_open, next_close), (MarketState::Unknown, None, None));
    let nothing = TradingHours { days: Vec::new(), ..fortnight() };
    assert_eq!(session_at(&nothing, at("2026-11-17T15:00:00Z")).state.0, MarketState::Unknown);
    assert!(special_days(&nothing).is_empty());
}

#[test]
fn a_missing_weekday_is_a_holiday_a_shorter_one_is_short_and_weekends_are_neither() {
    let found: Vec<(String, HolidayKind)> =
        special_days(&fortnight()).iter().map(|d| (d.date.0.to_string(), d.kind.0)).collect();
    let expected = [("2026-11-26", HolidayKind::Closed), ("2026-11-27", HolidayKind::Short)];
    assert_eq!(found, expected.map(|(date, kind)| (date.to_owned(), kind)));
    let short = &special_days(&fortnight())[1];
    assert_eq!(short.closes.unwrap().0, at("2026-11-27T18:00:00Z"));
}

#[test]
fn a_listed_day_without_hours_is_a_holiday_even_in_a_single_week() {
    let mut hours = fortnight();
    hours.days.retain(|day| day.date >= Date::parse("2026-11-23").unwrap());
    hours.days.push(day("2026-11-26", None));
    let found: Vec<String> =
        special_days(&hours).iter().map(|day| day.date.0.to_string()).collect();
    assert_eq!(found, ["2026-11-26", "2026-11-27"]);
}
