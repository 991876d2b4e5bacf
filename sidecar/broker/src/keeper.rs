//! Keeps a broker session alive.

use core::hash::{BuildHasher as _, Hasher as _};
use core::time::Duration;
use std::hash::RandomState;

/// Half of a pause and a random part of the other half, so that clients don't come in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let share = u32::try_from(RandomState::new().build_hasher().finish() % 256).unwrap_or(255);
    let half = pause / 2;
    half.saturating_add(half.saturating_mul(share) / 255)
}
