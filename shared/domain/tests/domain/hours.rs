//! Whether a contract trades now: weekends, holidays, half days, summer time, the list's ends.

use ibkr_agent_domain::{
    Conid, Date, Timestamp, TradingDay, TradingHours, TradingNow, TradingSpan,
};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn span(opens: &str, closes: &str) -> TradingSpan {
    TradingSpan { opens: at(opens), closes: at(closes) }
}

/// A day with these hours in UTC, from 4:00 to 20:00 New York around them in winter.
fn day(date: &str, regular: &[(&str, &str)], extended: &[(&str, &str)]) -> TradingDay {
    let spans = |hours: &[(&str, &str)]| {
        let one = |(opens, closes): &(&str, &str)| {
            span(&format!("{date}T{opens}:00Z"), &format!("{date}T{closes}:00Z"))
        };
        hours.iter().map(one).collect()
    };
    TradingDay {
        date: Date::parse(date).unwrap(),
        regular: spans(regular),
        extended: spans(extended),
    }
}

fn hours(days: Vec<TradingDay>) -> TradingHours {
    TradingHours { conid: Conid::new(1).unwrap(), time_zone: None, days }
}

/// New York around Thanksgiving of 2026: a half day follows it. The holiday and the weekend are
/// listed without hours, or not at all.
fn thanksgiving(lists_closed_days: bool) -> TradingHours {
    let usual = |date: &str| day(date, &[("14:30", "21:00")], &[("09:00", "23:59")]);
    let mut days = vec![
        usual("2026-11-24"),
        usual("2026-11-25"),
        day("2026-11-27", &[("14:30", "18:00")], &[("09:00", "22:00")]),
        usual("2026-11-30"),
    ];
    if lists_closed_days {
        days.extend(["2026-11-26", "2026-11-28", "2026-11-29"].map(|date| day(date, &[], &[])));
    }
    hours(days)
}

fn open(closes: &str) -> TradingNow {
    TradingNow::Open { closes: at(closes) }
}

fn closed(opens: &str) -> TradingNow {
    TradingNow::Closed { opens: at(opens) }
}

#[test]
fn it_trades_from_the_opening_until_just_before_the_close() {
    let hours = thanksgiving(true);
    let close = "2026-11-24T21:00:00Z";
    assert_eq!(hours.at(at("2026-11-24T14:29:59.999Z")), closed("2026-11-24T14:30:00Z"));
    assert_eq!(hours.at(at("2026-11-24T14:30:00Z")), open(close));
    assert_eq!(hours.at(at("2026-11-24T20:59:59.999Z")), open(close));
    assert_eq!(hours.at(at(close)), closed("2026-11-25T14:30:00Z"));
}

#[test]
fn holidays_weekends_and_half_days_are_as_listed_and_an_unlisted_day_is_closed() {
    for hours in [thanksgiving(true), thanksgiving(false)] {
        let friday = closed("2026-11-27T14:30:00Z");
        assert_eq!(hours.at(at("2026-11-26T16:00:00Z")), friday, "Thanksgiving");
        assert_eq!(hours.at(at("2026-11-27T15:00:00Z")), open("2026-11-27T18:00:00Z"));
        let monday = closed("2026-11-30T14:30:00Z");
        assert_eq!(hours.at(at("2026-11-27T18:00:00Z")), monday, "a half day");
        assert_eq!(hours.at(at("2026-11-29T16:00:00Z")), monday, "a Sunday");
    }
}

#[test]
fn any_hour_counts_those_before_and_after_the_regular_ones() {
    let hours = thanksgiving(true);
    let early = at("2026-11-24T10:00:00Z");
    assert_eq!(hours.at(early), closed("2026-11-24T14:30:00Z"));
    assert_eq!(hours.at_any_hour(early), open("2026-11-24T23:59:00Z"));
    assert_eq!(hours.at_any_hour(at("2026-11-24T08:59:00Z")), closed("2026-11-24T09:00:00Z"));
    let only_regular = self::hours(vec![day("2026-11-24", &[("14:30", "21:00")], &[])]);
    assert_eq!(only_regular.at_any_hour(at("2026-11-24T15:00:00Z")), open("2026-11-24T21:00:00Z"));
}

/// 1 November 2026: New York goes back to winter time between Friday and Monday.
#[test]
fn summer_time_ends_between_two_days_without_an_hour_lost() {
    let hours = hours(vec![
        day("2026-10-30", &[("13:30", "20:00")], &[]),
        day("2026-11-02", &[("14:30", "21:00")], &[]),
    ]);
    assert_eq!(hours.at(at("2026-10-30T13:45:00Z")), open("2026-10-30T20:00:00Z"));
    assert_eq!(hours.at(at("2026-11-02T13:45:00Z")), closed("2026-11-02T14:30:00Z"));
    assert_eq!(hours.at(at("2026-11-02T20:30:00Z")), open("2026-11-02T21:00:00Z"));
}

#[test]
fn a_lunch_break_is_closed_and_days_that_touch_are_one_span() {
    let tokyo = hours(vec![day("2026-11-24", &[("00:00", "02:30"), ("03:30", "06:30")], &[])]);
    assert_eq!(tokyo.at(at("2026-11-24T03:00:00Z")), closed("2026-11-24T03:30:00Z"));
    let whole = |from: &str, to: &str| TradingDay {
        date: Date::parse(from.get(..10).unwrap()).unwrap(),
        regular: vec![span(from, to)],
        extended: Vec::new(),
    };
    let always = hours(vec![
        whole("2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
        whole("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
    ]);
    assert_eq!(always.at(at("2026-11-29T12:00:00Z")), open("2026-12-01T00:00:00Z"));
}

#[test]
fn past_the_list_and_long_before_it_nothing_is_known() {
    let hours = thanksgiving(false);
    assert_eq!(hours.at(at("2026-11-30T21:00:00Z")), TradingNow::Unknown);
    assert_eq!(hours.at(at("2026-11-23T21:00:00Z")), closed("2026-11-24T14:30:00Z"));
    assert_eq!(hours.at(at("2026-11-01T21:00:00Z")), TradingNow::Unknown, "another fortnight's");
    assert_eq!(self::hours(Vec::new()).at(at("2026-11-24T15:00:00Z")), TradingNow::Unknown);
}
