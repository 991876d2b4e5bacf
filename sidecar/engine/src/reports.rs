//! What the broker answered to what left us, as the driver reports it.

use ibkr_agent_domain::{BrokerOrderId, BrokerOrderStatus, ErrorCode, NotSent, UnknownBecause};
use ibkr_agent_gates::Question;

/// What the broker answered to a placement or a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceReport {
    /// It has the order.
    Placed {
        /// IBKR's id.
        order_id: BrokerOrderId,
        /// What it says of the order's state.
        status: BrokerOrderStatus,
        /// Its text, escaped.
        message: String,
    },
    /// It asks. The driver keeps the permit that waits.
    Question(Question),
    /// It asks something that no reply settles, and may keep the order: its state is to be seen.
    Prompted {
        /// IBKR's id of the order, if told.
        order_id: Option<BrokerOrderId>,
        /// What it says, escaped.
        message: String,
    },
    /// It refused.
    Rejected {
        /// Its reason, escaped; empty if it gave none.
        message: String,
    },
    /// Nothing of it was taken.
    NotSent {
        /// Why.
        why: NotSent,
    },
    /// We don't know.
    Unknown {
        /// Why.
        why: UnknownBecause,
    },
}

/// What the broker answered to a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelReport {
    /// It will try.
    Requested {
        /// Its text, escaped.
        message: String,
    },
    /// It says that it won't. That is a hint: the order's state decides.
    Refused {
        /// The code.
        code: ErrorCode,
        /// Its words, escaped.
        message: String,
    },
    /// Nothing of it was taken.
    NotSent {
        /// Why.
        why: NotSent,
    },
    /// We don't know.
    Unknown {
        /// Why.
        why: UnknownBecause,
    },
}
