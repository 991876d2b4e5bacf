//! A permit to cancel places nothing.

use ibkr_agent_audit::Recorded;
use ibkr_agent_broker::Broker;
use ibkr_agent_gates::{Cancel, Permit};

fn place(broker: &dyn Broker, permit: Recorded<Permit<Cancel>>) {
    drop(broker.place(permit));
}

fn main() {}
