//! Resources: names under `ibkr://` for what a tool reads, and the tool that waits for a change.
//!
//! Reading a resource is a call of its tool; following one is waiting again and again. So every
//! scope check, budget and record is the tool's, and no door needs another way in.

use super::text::TextForm;
use super::{
    Declaration, Hints, RiskClass, ShortText, Tool, ToolSpec, Toolset, Wire, find, invalid,
};
use crate::number::InputInteger;
use crate::service::ErrorBody;
use core::fmt;
use core::time::Duration;
use ibkr_agent_domain::{AccountId, ApprovalId, ClientOrderId, Conid, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most resources that one call waits for.
pub const MAX_WATCHED: usize = 32;

/// Longest wait of one call.
pub const MAX_WAIT: Duration = Duration::from_secs(45);

/// Something that can be read and followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `ibkr://accounts/{account_id}/positions`.
    Positions(AccountId),
    /// `ibkr://accounts/{account_id}/orders`.
    Orders(AccountId),
    /// `ibkr://accounts/{account_id}/pnl`.
    ProfitAndLoss(AccountId),
    /// `ibkr://contracts/{contract_id}/quote`.
    Quote(Conid),
    /// `ibkr://approvals/{approval_id}`.
    Approval(ApprovalId),
    /// `ibkr://orders/{client_order_id}`.
    Order(ClientOrderId),
}

/// A family of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceTemplate {
    /// RFC 6570 template.
    pub uri: &'static str,
    /// Short name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// The tool that reads it.
    pub tool: &'static str,
}

/// Every family.
pub const TEMPLATES: &[ResourceTemplate] = &[
    ResourceTemplate {
        uri: "ibkr://accounts/{account_id}/positions",
        name: "positions",
        title: "Positions of an account",
        description: "What ibkr_positions_list answers for the account.",
        tool: "ibkr_positions_list",
    },
    ResourceTemplate {
        uri: "ibkr://accounts/{account_id}/orders",
        name: "orders",
        title: "Today's orders of an account",
        description: "What ibkr_orders_list answers for the account.",
        tool: "ibkr_orders_list",
    },
    ResourceTemplate {
        uri: "ibkr://accounts/{account_id}/pnl",
        name: "pnl",
        title: "Profit and loss of an account",
        description: "What ibkr_pnl_realtime answers for the account.",
        tool: "ibkr_pnl_realtime",
    },
    ResourceTemplate {
        uri: "ibkr://contracts/{contract_id}/quote",
        name: "quote",
        title: "Quote of a contract",
        description: "What ibkr_market_snapshot answers for the contract.",
        tool: "ibkr_market_snapshot",
    },
    ResourceTemplate {
        uri: "ibkr://approvals/{approval_id}",
        name: "approval",
        title: "An approval",
        description: "What ibkr_approval_status answers for the approval.",
        tool: "ibkr_approval_status",
    },
    ResourceTemplate {
        uri: "ibkr://orders/{client_order_id}",
        name: "order",
        title: "An order of this gateway",
        description: "What ibkr_order_outcome answers for the order.",
        tool: "ibkr_order_outcome",
    },
];

impl Resource {
    /// Parses a resource's URI; nothing else has one.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let path = uri.strip_prefix("ibkr://")?;
        let mut parts = path.split('/');
        let (family, id, leaf) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        match (family, leaf) {
            ("accounts", Some("positions")) => AccountId::parse(id).ok().map(Self::Positions),
            ("accounts", Some("orders")) => AccountId::parse(id).ok().map(Self::Orders),
            ("accounts", Some("pnl")) => AccountId::parse(id).ok().map(Self::ProfitAndLoss),
            ("contracts", Some("quote")) => {
                let is_plain = id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0');
                let number = id.parse().ok().filter(|_| is_plain)?;
                Conid::new(number).ok().map(Self::Quote)
            }
            ("approvals", None) => ApprovalId::parse(id).ok().map(Self::Approval),
            ("orders", None) => ClientOrderId::parse(id).ok().map(Self::Order),
            _ => None,
        }
    }

    /// The call that reads it: tool and arguments.
    #[must_use]
    pub fn reading(&self) -> (&'static str, Value) {
        match self {
            Self::Positions(id) => ("ibkr_positions_list", json!({"account_id": id.as_str()})),
            Self::Orders(id) => ("ibkr_orders_list", json!({"account_id": id.as_str()})),
            Self::ProfitAndLoss(id) => ("ibkr_pnl_realtime", json!({"account_id": id.as_str()})),
            Self::Quote(conid) => ("ibkr_market_snapshot", json!({"contract_id": conid.get()})),
            Self::Approval(id) => ("ibkr_approval_status", json!({"approval_id": id.as_str()})),
            Self::Order(id) => ("ibkr_order_outcome", json!({"client_order_id": id.as_str()})),
        }
    }

    /// The tool that reads it, which says what scope is needed.
    #[must_use]
    pub fn spec(&self) -> Option<&'static ToolSpec> {
        find(self.reading().0)
    }

    /// The account that it belongs to, if its name says so.
    #[must_use]
    pub const fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Positions(id) | Self::Orders(id) | Self::ProfitAndLoss(id) => Some(id),
            Self::Quote(_) | Self::Approval(_) | Self::Order(_) => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions(id) => write!(f, "ibkr://accounts/{id}/positions"),
            Self::Orders(id) => write!(f, "ibkr://accounts/{id}/orders"),
            Self::ProfitAndLoss(id) => write!(f, "ibkr://accounts/{id}/pnl"),
            Self::Quote(conid) => write!(f, "ibkr://contracts/{conid}/quote"),
            Self::Approval(id) => write!(f, "ibkr://approvals/{id}"),
            Self::Order(id) => write!(f, "ibkr://orders/{id}"),
        }
    }
}

impl TextForm for Resource {
    const MAX: usize = 128;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            let uris: Vec<&str> = TEMPLATES.iter().map(|template| template.uri).collect();
            format!("must be one of {}", uris.join(", "))
        })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// `ibkr_resources_wait`.
#[derive(Debug)]
pub struct ResourcesWait;

impl Tool for ResourcesWait {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_resources_wait",
        title: "Wait for a change",
        description: "Waits until one of the named resources changes, and says which: positions, \
            orders or profit and loss of an account, the quote of a contract, an approval, an \
            order. Without cursor it answers at once with the cursor of now; with it, as soon as \
            something changed since, or when wait_seconds are over with nothing changed. Clients \
            that take MCP resource subscriptions don't need it. Then read what changed with its \
            own tool.",
        scope: Scope::HealthRead,
        risk: RiskClass::Read,
        toolset: Toolset::Session,
        hints: Hints::BROKER_READ,
        in_default: false,
    };
    type Input = ResourcesWaitInput;
    type Output = ResourcesWaitOutput;
}

/// Arguments of [`ResourcesWait`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesWaitInput {
    /// 1 to 32 resources, such as `ibkr://accounts/DU1234567/orders`.
    pub resources: Vec<Wire<Resource>>,
    /// The cursor of the answer before.
    pub cursor: Option<Wire<ShortText>>,
    /// Seconds to wait, 0 to 45; 20 if left out.
    pub wait_seconds: Option<InputInteger>,
}

impl ResourcesWaitInput {
    /// The resources, at least one and not too many.
    ///
    /// # Errors
    /// `INPUT_INVALID` otherwise.
    pub fn watched(&self) -> Result<Vec<Resource>, ErrorBody> {
        let mut all: Vec<Resource> = self.resources.iter().map(|Wire(r)| r.clone()).collect();
        all.sort();
        all.dedup();
        if all.is_empty() || all.len() > MAX_WATCHED {
            return Err(invalid(format!("resources must hold 1 to {MAX_WATCHED} of them")));
        }
        Ok(all)
    }

    /// How long to wait.
    ///
    /// # Errors
    /// `INPUT_INVALID` over [`MAX_WAIT`].
    pub fn wait(&self) -> Result<Duration, ErrorBody> {
        let Some(seconds) = self.wait_seconds else {
            return Ok(Duration::from_secs(20));
        };
        let most = MAX_WAIT.as_secs();
        let seconds = seconds.within(0, most);
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| invalid(format!("wait_seconds must be 0 to {most}")))
    }
}

/// Answer of [`ResourcesWait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcesWaitOutput {
    /// The resources that changed since the cursor; empty when the wait was over first.
    pub changed: Vec<Wire<Resource>>,
    /// Give this the next time.
    pub cursor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_parses_back_and_its_tool_is_named_alike() {
        let uris = [
            "ibkr://accounts/DU1234567/positions",
            "ibkr://accounts/DU1234567/orders",
            "ibkr://accounts/DU1234567/pnl",
            "ibkr://contracts/265598/quote",
            "ibkr://approvals/ap-1",
            "ibkr://orders/o-1",
        ];
        for (uri, template) in uris.iter().zip(TEMPLATES) {
            let resource = Resource::parse(uri).unwrap();
            assert_eq!(resource.to_string(), *uri);
            assert_eq!(resource.reading().0, template.tool);
        }
    }

    #[test]
    fn other_names_are_nobody() {
        for uri in [
            "",
            "ibkr://",
            "ibkr://accounts/DU1234567",
            "ibkr://accounts/DU1234567/secrets",
            "ibkr://accounts//pnl",
            "ibkr://accounts/DU1/orders/1",
            "ibkr://contracts/0/quote",
            "ibkr://contracts/+5/quote",
            "ibkr://contracts/00265598/quote",
            "https://accounts/DU1234567/pnl",
            "ibkr://accounts/DU 1/pnl",
        ] {
            assert_eq!(Resource::parse(uri), None, "{uri}");
        }
    }
}
