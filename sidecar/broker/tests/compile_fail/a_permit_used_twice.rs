//! A permit is spent once.

use ibkr_agent_audit::Recorded;
use ibkr_agent_broker::Broker;
use ibkr_agent_gates::{Permit, Place};

fn place(broker: &dyn Broker, permit: Recorded<Permit<Place>>) {
    drop(broker.place(permit));
    drop(broker.place(permit));
}

fn main() {}
