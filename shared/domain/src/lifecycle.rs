//! The life of an order as one flat table.
//!
//! `Unknown` never becomes rejected by a time-out: only evidence or a named operator's statement
//! leaves it. The state is our knowledge, not the broker's truth.

/// What we know of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Recorded, about to be sent.
    Intended,
    /// The broker asks; nothing works until it is answered.
    Question,
    /// The broker has it.
    Working,
    /// The broker has it and shows it inactive: held, or rejected at its destination. It may come
    /// to life.
    Held,
    /// The broker shows that a cancel is under way; until it is done the order may fill.
    PendingCancel,
    /// All of it filled.
    Filled,
    /// It no longer works; part of it may have filled.
    Cancelled,
    /// The broker no longer shows it, its day is over, and no fill was seen: it has ended, though
    /// nothing says how.
    Expired,
    /// The broker refused it.
    Rejected,
    /// It never left us.
    NotSent,
    /// We don't know whether the broker has it.
    Unknown,
}

impl OrderState {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Question => "question",
            Self::Working => "working",
            Self::Held => "held",
            Self::PendingCancel => "pending_cancel",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Intended,
        Self::Question,
        Self::Working,
        Self::Held,
        Self::PendingCancel,
        Self::Filled,
        Self::Cancelled,
        Self::Expired,
        Self::Rejected,
        Self::NotSent,
        Self::Unknown,
    ];

    /// Whether nothing more is expected to happen to the order. What the broker shows all the same
    /// is believed: a late fill beats every ending.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Filled | Self::Cancelled | Self::Expired | Self::Rejected | Self::NotSent => true,
            Self::Intended
            | Self::Question
            | Self::Working
            | Self::Held
            | Self::PendingCancel
            | Self::Unknown => false,
        }
    }

    /// Whether the order blocks new risk on its account and instrument. One that is on its way
    /// doesn't: its limits are reserved, and a restart makes it unknown.
    #[must_use]
    pub const fn is_in_doubt(self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderEvent {
    /// It was held back before anything left us.
    HeldBack,
    /// The broker asked a question.
    Asked,
    /// The broker confirmed that it has the order.
    Accepted,
    /// The broker refused it.
    Refused,
    /// The answer was lost, late or senseless.
    Lost,
    /// The broker's list shows it working.
    WorkingSeen,
    /// The broker shows it inactive.
    HeldSeen,
    /// The broker shows a cancel under way.
    CancelPendingSeen,
    /// The broker reports it filled.
    FillSeen,
    /// The broker reports it cancelled or expired.
    CancelSeen,
    /// The broker no longer shows it, and its day is over.
    DayOver,
    /// The broker no longer shows it, though it should still work.
    Vanished,
    /// Evidence shows that the broker never had it.
    AbsenceShown,
}

/// An event that can't happen in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {state:?} can't see {event:?}")]
pub struct IllegalTransition {
    /// The state.
    pub state: OrderState,
    /// The event.
    pub event: OrderEvent,
}

/// The table.
///
/// # Errors
/// [`IllegalTransition`] for a pair that isn't in it.
pub const fn next(state: OrderState, event: OrderEvent) -> Result<OrderState, IllegalTransition> {
    use OrderEvent as E;
    use OrderState as S;
    Ok(match (state, event) {
        (S::Intended, E::HeldBack) => S::NotSent,
        (S::Intended | S::Question, E::Asked) => S::Question,
        // An answer speaks of the moment when it was given.
        (S::Intended | S::Question | S::Unknown | S::Working, E::Accepted) => S::Working,
        (S::Held, E::Accepted) => S::Held,
        (S::PendingCancel, E::Accepted) => S::PendingCancel,
        (S::Intended | S::Question | S::Unknown | S::Working | S::Held, E::Refused) => S::Rejected,
        (S::Intended | S::Question | S::Unknown, E::Lost) => S::Unknown,
        // What the broker shows beats what was said, whatever we called it. What was seen
        // once isn't unseen by an older look: that is the evidence's own care.
        (_, E::WorkingSeen) => S::Working,
        // The broker lists what it rejected as inactive: that is no life.
        (S::Rejected, E::HeldSeen) => return Err(IllegalTransition { state, event }),
        (_, E::HeldSeen) => S::Held,
        (_, E::CancelPendingSeen) => S::PendingCancel,
        (_, E::FillSeen) => S::Filled,
        // Filled too: the broker may take a fill back of an order that was cancelled.
        (
            S::Intended
            | S::Question
            | S::Working
            | S::Held
            | S::PendingCancel
            | S::Unknown
            | S::Filled
            | S::Cancelled
            | S::Expired
            | S::NotSent,
            E::CancelSeen,
        ) => S::Cancelled,
        (S::Working | S::Held | S::PendingCancel, E::DayOver) => S::Expired,
        (S::Working | S::Held | S::PendingCancel, E::Vanished) => S::Unknown,
        (S::Unknown | S::Question, E::AbsenceShown) => S::NotSent,
        _ => return Err(IllegalTransition { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_and_no_time_changes_an_order_that_has_ended() {
        use OrderEvent as E;
        let ended = OrderState::ALL.into_iter().filter(|state| state.is_final());
        for state in ended {
            for event in [E::HeldBack, E::Asked, E::Accepted, E::Refused, E::Lost, E::Vanished] {
                assert!(next(state, event).is_err(), "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_the_broker_shows_beats_whatever_was_said_before() {
        use OrderEvent as E;
        for state in OrderState::ALL {
            assert_eq!(next(state, E::FillSeen), Ok(OrderState::Filled), "{state:?}");
            assert_eq!(next(state, E::WorkingSeen), Ok(OrderState::Working), "{state:?}");
            let held = next(state, E::HeldSeen).ok();
            let expected = (state != OrderState::Rejected).then_some(OrderState::Held);
            assert_eq!(held, expected, "{state:?}");
        }
    }

    #[test]
    fn the_end_of_the_day_ends_no_order_in_doubt() {
        for state in [OrderState::Unknown, OrderState::Intended, OrderState::Question] {
            assert!(next(state, OrderEvent::DayOver).is_err(), "{state:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_unknown_never_rejected() {
        assert_eq!(next(OrderState::Intended, OrderEvent::Lost), Ok(OrderState::Unknown));
        assert_eq!(next(OrderState::Unknown, OrderEvent::Lost), Ok(OrderState::Unknown));
    }

    #[test]
    fn a_sent_order_is_never_called_not_sent_without_evidence() {
        assert!(next(OrderState::Unknown, OrderEvent::HeldBack).is_err());
        assert!(next(OrderState::Working, OrderEvent::HeldBack).is_err());
    }
}
