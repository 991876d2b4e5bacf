//! Only a decision names what is to be placed.

use ibkr_agent_domain::{ApprovalId, CanonicalOrder, ClientOrderId};
use ibkr_agent_gates::Place;

fn forge(order: CanonicalOrder, client_order_id: ClientOrderId, approval: ApprovalId) -> Place {
    Place {
        order,
        client_order_id,
        approval,
    }
}

fn main() {}
