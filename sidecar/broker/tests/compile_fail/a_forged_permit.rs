//! Only a decision makes a permit.

use ibkr_agent_domain::{Digest, Timestamp};
use ibkr_agent_gates::{Permit, Place, Requester};

fn forge(action: Place, requester: Requester, policy: Digest, now: Timestamp) -> Permit<Place> {
    Permit::new(action, requester, policy, now)
}

fn main() {}
