//! Only a decision names what is to be placed.

use ibkr_agent_domain::{ApprovalId, ClientOrderId, OrderPlan};
use ibkr_agent_gates::Place;

fn forge(plan: OrderPlan, references: Vec<ClientOrderId>, approval: ApprovalId) -> Place {
    Place {
        plan,
        references,
        approval,
    }
}

fn main() {}
