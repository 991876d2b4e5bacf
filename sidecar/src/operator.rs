//! What only a human may do, and how it is proved.
//!
//! Another type than a tool call, with its own socket: no agent door and no relay frame can name a
//! [`Verb`]. Verbs that add risk or trust need a signature by an enrolled key; verbs that take risk
//! away need none.

pub mod verb;

pub use verb::{Challenge, Proof, Verb, signed_text};
