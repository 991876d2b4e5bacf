//! How many calls may wait for something at once: for a human, or for a resource to change.
//!
//! A wait takes no place among the calls in flight, but lasts up to a minute and holds one of the
//! places of the relay's link. So one caller has [`MOST_OF_ONE`], and all together [`MOST`], which
//! leaves room on the link for the calls of others.

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most waits of one caller.
const MOST_OF_ONE: usize = 16;
/// Most waits of all callers; the relay's link has places for 128 calls.
const MOST: usize = 96;

/// The waits in progress, by caller.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<BTreeMap<u64, usize>>);

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    waits: Arc<Waits>,
    caller: u64,
}

impl Waits {
    /// A place for one more of a caller.
    pub(super) fn enter(self: &Arc<Self>, caller: u64) -> Result<Wait, ErrorBody> {
        let busy = |message| Err(ErrorBody::new(ErrorCode::SidecarBusy, message));
        let mut open = self.lock();
        if open.values().sum::<usize>() >= MOST {
            return busy("too many calls wait already");
        }
        let own = open.entry(caller).or_default();
        if *own >= MOST_OF_ONE {
            return busy("too many calls of this caller wait already");
        }
        *own = own.saturating_add(1);
        Ok(Wait { waits: Arc::clone(self), caller })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut open = self.waits.lock();
        if let Some(own) = open.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_leaves_room_for_others_and_gives_its_places_back() {
        let waits = Arc::new(Waits::default());
        let mut held: Vec<Wait> = (0..MOST_OF_ONE).map(|_| waits.enter(1).unwrap()).collect();
        let refused = waits.enter(1).unwrap_err();
        assert_eq!(refused.error_code(), Some(ErrorCode::SidecarBusy));
        let other = waits.enter(2).unwrap();
        held.pop();
        held.push(waits.enter(1).unwrap());
        drop((held, other));
        assert!(waits.lock().is_empty(), "nothing of a caller is kept");
    }

    #[test]
    fn all_callers_together_leave_room_on_the_link() {
        let waits = Arc::new(Waits::default());
        let held: Vec<Wait> = (0_u64..96).map(|caller| waits.enter(caller).unwrap()).collect();
        assert!(waits.enter(1_000).is_err());
        assert_eq!(waits.lock().len(), MOST, "a refused caller leaves no trace");
        drop(held);
        assert!(waits.enter(1_000).is_ok());
    }
}
