//! What a program that embeds the gateway needs: `use ibkr_agent_gateway::prelude::*;`.

pub use crate::sdk::{Gateway, GatewayConfig};
pub use ibkr_agent_broker::Broker;
pub use ibkr_agent_domain::{AccountId, ErrorCode, Mode, Untrusted};
pub use ibkr_agent_protocol::catalogue::account::{AccountsListOutput, PositionsListOutput};
pub use ibkr_agent_protocol::catalogue::approvals::OrderPreviewOutput;
pub use ibkr_agent_protocol::service::ErrorBody;
