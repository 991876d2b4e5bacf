//! An order without a permit places nothing.

use ibkr_agent_broker::Broker;
use ibkr_agent_domain::CanonicalOrder;

fn place(broker: &dyn Broker, order: CanonicalOrder) {
    drop(broker.place(order));
}

fn main() {}
