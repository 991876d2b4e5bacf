//! A permit is spent once.

use ibkr_agent_audit::Recorded;
use ibkr_agent_gates::{Permit, Place};

fn copy(permit: &Permit<Place>) -> Permit<Place> {
    permit.clone()
}

fn copy_recorded(permit: &Recorded<Permit<Place>>) -> Recorded<Permit<Place>> {
    permit.clone()
}

fn main() {}
