//! The life of an order: the whole table, and what follows from it.

use ibkr_agent_domain::{OrderEvent, OrderState, next};
use std::collections::BTreeSet;

const STATES: [OrderState; 8] = [
    OrderState::Intended,
    OrderState::Question,
    OrderState::Working,
    OrderState::Filled,
    OrderState::Cancelled,
    OrderState::Rejected,
    OrderState::NotSent,
    OrderState::Unknown,
];

const EVENTS: [OrderEvent; 8] = [
    OrderEvent::HeldBack,
    OrderEvent::Asked,
    OrderEvent::Accepted,
    OrderEvent::Refused,
    OrderEvent::Lost,
    OrderEvent::FillSeen,
    OrderEvent::CancelSeen,
    OrderEvent::AbsenceShown,
];

/// What a state becomes by each event, in the order of [`EVENTS`]; `-` can't happen.
fn row(state: OrderState) -> [&'static str; 8] {
    match state {
        OrderState::Intended => {
            ["not_sent", "question", "working", "rejected", "unknown", "filled", "cancelled", "-"]
        }
        OrderState::Question => {
            ["-", "question", "working", "rejected", "unknown", "filled", "cancelled", "not_sent"]
        }
        OrderState::Working => ["-", "-", "working", "rejected", "-", "filled", "cancelled", "-"],
        OrderState::Filled => ["-", "-", "-", "-", "-", "filled", "-", "-"],
        OrderState::Cancelled => ["-", "-", "-", "-", "-", "filled", "cancelled", "-"],
        OrderState::Rejected | OrderState::NotSent => ["-"; 8],
        OrderState::Unknown => {
            ["-", "-", "working", "rejected", "unknown", "filled", "cancelled", "not_sent"]
        }
    }
}

#[test]
fn the_table_is_this_one() {
    for state in STATES {
        for (event, expected) in EVENTS.into_iter().zip(row(state)) {
            let found = next(state, event).map_or("-", OrderState::as_str);
            assert_eq!(found, expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn a_final_state_is_left_by_a_late_fill_only() {
    for state in STATES.into_iter().filter(|state| state.is_final()) {
        for event in EVENTS {
            let Ok(after) = next(state, event) else { continue };
            let late_fill = (state, after) == (OrderState::Cancelled, OrderState::Filled);
            assert!(after == state || late_fill, "{state:?} {event:?} gives {after:?}");
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
        EVENTS.into_iter().filter_map(|event| next(OrderState::Unknown, event).ok()).collect();
    let expected = BTreeSet::from([
        OrderState::Working,
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
