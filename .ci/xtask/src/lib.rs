//! House checks of the workspace, as a library so that tests can sabotage each of them.
//!
//! * [`layers`]: which crate may depend on which, read from manifests and [`lock`] file.
//! * [`tidy`]: the house rules over the tracked files.
//! * [`docs`]: generated pages equal what the built binary prints.
//!
//! Invariants: this crate links no crate of the product, so that it can't be broken together with
//! what it polices; a check that looked at nothing fails.

pub mod docs;
pub mod layers;
pub mod lock;
pub mod tidy;
