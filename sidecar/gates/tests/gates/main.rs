//! The decisions: both sides of every limit, and laws that hold for all of them.

mod laws;
mod support;
mod table;
