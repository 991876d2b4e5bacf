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
    /// All of it filled.
    Filled,
    /// It no longer works; part of it may have filled.
    Cancelled,
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
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Intended,
            Self::Question,
            Self::Working,
            Self::Filled,
            Self::Cancelled,
            Self::Rejected,
            Self::NotSent,
            Self::Unknown,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }

    /// Whether nothing more can happen to the order.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected | Self::NotSent)
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
    /// The broker reports it filled.
    FillSeen,
    /// The broker reports it cancelled or expired.
    CancelSeen,
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
        (S::Intended | S::Question | S::Unknown | S::Working, E::Accepted) => S::Working,
        (S::Intended | S::Question | S::Unknown | S::Working, E::Refused) => S::Rejected,
        (S::Intended | S::Question | S::Unknown, E::Lost) => S::Unknown,
        (
            S::Intended | S::Question | S::Working | S::Unknown | S::Filled | S::Cancelled,
            E::FillSeen,
        ) => S::Filled,
        (S::Intended | S::Question | S::Working | S::Unknown | S::Cancelled, E::CancelSeen) => {
            S::Cancelled
        }
        (S::Unknown | S::Question, E::AbsenceShown) => S::NotSent,
        _ => return Err(IllegalTransition { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_stay_final_except_that_a_late_fill_beats_a_cancel() {
        use OrderEvent as E;
        for state in [OrderState::Rejected, OrderState::NotSent, OrderState::Filled] {
            for event in [E::HeldBack, E::Asked, E::Accepted, E::Refused, E::Lost, E::CancelSeen] {
                assert!(next(state, event).is_err(), "{state:?} {event:?}");
            }
        }
        assert_eq!(next(OrderState::Cancelled, E::FillSeen), Ok(OrderState::Filled));
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
