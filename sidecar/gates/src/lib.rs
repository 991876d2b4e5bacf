//! Pure decisions. A request and the facts become a [`Permit`], or every reason why not.
//!
//! No I/O, no clock, no randomness: `now` is an argument. A permit has a private constructor and
//! isn't `Clone`, so only a decision makes one and it is spent once.
//!
//! Order of the gates: the cheap ones that need no broker traffic run in [`screen_place`]; all of
//! them run again in [`decide_place`] with facts read at that moment. All refusals are reported,
//! not only the first.

mod check;
mod decide;
mod exposure;
mod facts;
mod permit;
mod policy;

pub use check::{Check, Denials, Gate, Verdict};
pub use decide::{
    CancelRequest, PlaceIntent, ReplyRequest, check_plan, decide_cancel, decide_place,
    decide_reply, mid_price, permit_halt, permit_take_over, screen_place,
};
pub use exposure::{Exposure, exposure};
pub use facts::{
    Approval, CancelFacts, Facts, Question, Requester, Switches, Untold, position_in, working_in,
};
pub use permit::{Action, Cancel, Halt, Permit, Place, Reply, TakeOver};
pub use policy::{InvalidPolicy, KnownQuestion, Policy, PolicyLimits};
