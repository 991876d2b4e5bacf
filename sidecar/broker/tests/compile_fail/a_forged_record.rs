//! Only a committed batch records.

use ibkr_agent_audit::{EventId, Recorded};
use ibkr_agent_gates::{Permit, Place};

fn forge(value: Permit<Place>, event: EventId) -> Recorded<Permit<Place>> {
    Recorded { value, event }
}

fn main() {}
