//! A permit that wasn't recorded places nothing.

use ibkr_agent_broker::Broker;
use ibkr_agent_gates::{Permit, Place};

fn place(broker: &dyn Broker, permit: Permit<Place>) {
    drop(broker.place(permit));
}

fn main() {}
