//! The kill switch's in-memory latch. The default is halted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether trading is halted; cheap to clone, shared by all clones.
#[derive(Debug, Clone)]
pub struct HaltLatch(Arc<AtomicBool>);

impl Default for HaltLatch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl HaltLatch {
    /// Stops new orders at once.
    pub fn halt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Lets orders pass again. Only for whoever has checked the operator's signature.
    pub fn resume(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether trading is halted.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
