//! Pure decisions. A request and the facts become a [`Permit`], or every reason why not.
//!
//! No I/O, no clock, no randomness: `now` is an argument. A permit has a private constructor and
//! isn't `Clone`, so only a decision makes one and it is spent once.
//!
//! Order of the gates: the cheap ones that need no broker traffic run in [`screen_place`]; all of
//! them run again in [`decide_place`] with facts read at that moment. All refusals are reported,
//! not only the first.

mod at_work;
mod case;
mod check;
mod decide;
mod exposure;
mod facts;
mod gate;
mod permit;
mod policy;
mod question;

pub use check::{Check, Denials, Gate, Verdict};
pub use decide::{
    CancelRequest, PlaceIntent, ReplyRequest, check_plan, decide_cancel, decide_place,
    decide_reply, mid_price, permit_halt, permit_take_over, screen_place,
};
pub use exposure::{Exposure, exposure};
pub use facts::{
    AccountFacts, Approval, BrokerFacts, CancelFacts, Facts, OwnFacts, OwnOrder, Question,
    Requester, Switches, Untold, position_in, working_in,
};
pub use permit::{Action, Cancel, Halt, Permit, Place, Reply, TakeOver};
pub use policy::{
    Change, Difference, Entry, Guard, InvalidPolicy, Limit, MarketHours, Policy, PolicyLimits,
    PolicySet,
};
pub use question::{Bounds, InvalidTemplate, KnownQuestion, Slot};
