//! The vocabulary: canonical bytes, references, values, the life of an order, outside text.

mod canonical;
mod lifecycle;
mod text;
mod values;
