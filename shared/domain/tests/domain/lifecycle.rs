//! The life of an order: the whole table, and what follows from it.

use ibkr_agent_domain::{OrderEvent, OrderState, next};
use std::collections::BTreeSet;

const STATES: [OrderState; 11] = OrderState::ALL;

/// What answers, operators and time do.
const SAID: [OrderEvent; 5] = [
    OrderEvent::HeldBack,
    OrderEvent::Asked,
    OrderEvent::Accepted,
    OrderEvent::Refused,
    OrderEvent::Lost,
];

/// What the broker shows: it gives the same in every state, a rejected one aside.
const SHOWN: [(OrderEvent, &str); 4] = [
    (OrderEvent::WorkingSeen, "working"),
    (OrderEvent::HeldSeen, "held"),
    (OrderEvent::CancelPendingSeen, "pending_cancel"),
    (OrderEvent::FillSeen, "filled"),
];

const ENDS: [OrderEvent; 4] =
    [OrderEvent::CancelSeen, OrderEvent::DayOver, OrderEvent::Vanished, OrderEvent::AbsenceShown];

fn events() -> impl Iterator<Item = OrderEvent> {
    SAID.into_iter().chain(SHOWN.map(|(event, _)| event)).chain(ENDS)
}

/// What a state becomes by each event of [`SAID`] and of [`ENDS`]; `-` can't happen.
fn rows(state: OrderState) -> ([&'static str; 5], [&'static str; 4]) {
    const NONE: [&str; 5] = ["-"; 5];
    match state {
        OrderState::Intended => (
            ["not_sent", "question", "working", "rejected", "unknown"],
            ["cancelled", "-", "-", "-"],
        ),
        OrderState::Question => (
            ["-", "question", "working", "rejected", "unknown"],
            ["cancelled", "-", "-", "not_sent"],
        ),
        OrderState::Working => {
            (["-", "-", "working", "rejected", "-"], ["cancelled", "expired", "unknown", "-"])
        }
        OrderState::Held => {
            (["-", "-", "held", "rejected", "-"], ["cancelled", "expired", "unknown", "-"])
        }
        OrderState::PendingCancel => {
            (["-", "-", "pending_cancel", "-", "-"], ["cancelled", "expired", "unknown", "-"])
        }
        OrderState::Filled | OrderState::Cancelled | OrderState::Expired | OrderState::NotSent => {
            (NONE, ["cancelled", "-", "-", "-"])
        }
        OrderState::Rejected => (NONE, ["-"; 4]),
        OrderState::Unknown => {
            (["-", "-", "working", "rejected", "unknown"], ["cancelled", "-", "-", "not_sent"])
        }
    }
}

#[test]
fn the_table_is_this_one() {
    for state in STATES {
        let (said, ends) = rows(state);
        let expected = SAID.into_iter().zip(said).chain(SHOWN).chain(ENDS.into_iter().zip(ends));
        for (event, expected) in expected {
            let found = next(state, event).map_or("-", OrderState::as_str);
            // What the broker rejected it lists as inactive.
            let listed = (state, event) == (OrderState::Rejected, OrderEvent::HeldSeen);
            let expected = if listed { "-" } else { expected };
            assert_eq!(found, expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn a_final_state_is_left_by_what_the_broker_shows_only() {
    let shows =
        |event| event == OrderEvent::CancelSeen || SHOWN.iter().any(|(one, _)| *one == event);
    for state in STATES.into_iter().filter(|state| state.is_final()) {
        for event in events() {
            let Ok(after) = next(state, event) else { continue };
            assert!(after == state || shows(event), "{state:?} {event:?} gives {after:?}");
        }
    }
}

#[test]
fn only_an_order_that_is_about_to_be_sent_can_be_held_back() {
    for state in STATES {
        let held = next(state, OrderEvent::HeldBack).is_ok();
        assert_eq!(held, state == OrderState::Intended, "{state:?}");
    }
}

#[test]
fn a_lost_answer_gives_unknown_or_changes_nothing() {
    for state in STATES {
        if let Ok(after) = next(state, OrderEvent::Lost) {
            assert_eq!(after, OrderState::Unknown, "{state:?}");
        }
    }
}

#[test]
fn from_unknown_every_outcome_can_still_be_reached() {
    let reached: BTreeSet<OrderState> =
        events().filter_map(|event| next(OrderState::Unknown, event).ok()).collect();
    let expected = BTreeSet::from([
        OrderState::Working,
        OrderState::Held,
        OrderState::PendingCancel,
        OrderState::Filled,
        OrderState::Cancelled,
        OrderState::Rejected,
        OrderState::NotSent,
        OrderState::Unknown,
    ]);
    assert_eq!(reached, expected);
}

#[test]
fn doubt_is_never_final() {
    for state in STATES {
        assert!(!(state.is_final() && state.is_in_doubt()), "{state:?}");
    }
    assert!(OrderState::Unknown.is_in_doubt());
}

#[test]
fn names_parse_back() {
    for state in STATES {
        assert_eq!(OrderState::parse(state.as_str()), Some(state));
    }
    assert_eq!(OrderState::parse("Working"), None);
}
