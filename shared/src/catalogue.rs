//! The tool catalogue: every tool, declared once.
//!
//! A tool is a type that implements [`Tool`]: its declaration, its typed input and output. From
//! that follow the JSON Schemas, the MCP annotations, the scope check, the documentation and
//! the golden files. Nothing here runs a tool. Invariants: names are unique, `ibkr_` and at most 40
//! characters; an order never changes once published; no name of [`FORBIDDEN`] is in it.
//!
//! | module | tools |
//! |---|---|
//! | [`session`] | health, backend, session |
//! | [`account`] | accounts, summary, positions, snapshot |
//! | [`market`] | contracts, quotes |
//! | [`brief`] | one instrument in one answer |
//! | [`bars`] | bars, depth |
//! | [`reference`] | contract details, futures |
//! | [`calendar`] | trading hours, holidays, currencies |
//! | [`options`] | option chains, greeks |
//! | [`research`] | scanners, fundamentals, news |
//! | [`portfolio`] | profit and loss, cash per currency, allocation, performance |
//! | [`transfers`] | transactions, combinations |
//! | [`inbox`] | watchlists, alerts, notifications |
//! | [`overview`] | the whole portfolio, what changed since |
//! | [`orders`] | orders, executions, submit, cancel, outcome |
//! | [`approvals`] | preview, asking for an approval, its status |
//! | [`audit`] | kill switch, limits, audit tail and export |

pub mod account;
pub mod approvals;
pub mod audit;
pub mod bars;
pub mod brief;
mod broker_order;
pub mod calendar;
mod common;
pub mod inbox;
mod listing;
mod markdown;
pub mod market;
pub mod options;
pub mod order_history;
pub mod orders;
pub mod overview;
pub mod portfolio;
pub mod reference;
pub mod research;
pub mod resources;
mod schema;
pub mod session;
mod text;
pub mod transfers;

pub use common::{
    AccountDetailInput, AccountInput, Backend, BrokerText, DEFAULT_ROWS, Detail,
    InstrumentArguments, MAX_ROWS, NoInput, PartFailure, ResolvedOutput, Table, count, invalid,
    offset, one_instrument, row_limit,
};
pub use listing::{Listing, UnknownToolset};
pub use markdown::tools_markdown;
pub use text::{Cursor, ShortText, TextForm, Wire};

use crate::service::{ErrorBody, MAX_ARGUMENT_BYTES, ToolCall};
use ibkr_agent_domain::{Digest, ErrorCode, Scope, Untrusted};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock};

/// Generic write names of other gateways: never listed, always refused, always recorded.
pub const FORBIDDEN: &[&str] = &[
    "ibkr_order_intent_validate",
    "ibkr_order_preview_explain",
    "ibkr_order_submit",
    "ibkr_order_cancel",
    "ibkr_order_modify",
    "ibkr_order_approve",
];

/// What a tool can do at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RiskClass {
    /// Reads.
    Read,
    /// Checks an order; nothing is sent that could trade.
    Preview,
    /// Asks a human for something.
    Ask,
    /// Changes orders on a paper account.
    PaperWrite,
    /// Changes orders with real money.
    LiveWrite,
}

impl RiskClass {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Preview => "preview",
            Self::Ask => "ask",
            Self::PaperWrite => "paper_write",
            Self::LiveWrite => "live_write",
        }
    }

    /// Whether a call may change orders at a broker.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::PaperWrite | Self::LiveWrite)
    }
}

/// A group of tools that is switched on or off together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Toolset {
    /// Health and session.
    Session,
    /// Accounts and positions.
    Account,
    /// Contracts, quotes, bars, depth, trading hours, currencies.
    Market,
    /// Option chains and greeks.
    Options,
    /// Scanners, fundamentals, news.
    Research,
    /// Orders: read, preview, approve, submit, cancel.
    Orders,
    /// Limits, kill switch, audit.
    Control,
}

impl Toolset {
    /// Every toolset, in catalogue order.
    pub const ALL: &'static [Self] = &[
        Self::Session,
        Self::Account,
        Self::Market,
        Self::Options,
        Self::Research,
        Self::Orders,
        Self::Control,
    ];

    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Account => "account",
            Self::Market => "market",
            Self::Options => "options",
            Self::Research => "research",
            Self::Orders => "orders",
            Self::Control => "control",
        }
    }
}

/// The four MCP annotations. Hints for clients; nothing here relies on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may change or remove what is there.
    pub destructive: bool,
    /// Repeating the same call changes nothing more.
    pub idempotent: bool,
    /// It reaches beyond the gateway.
    pub open_world: bool,
}

impl Hints {
    /// Reads from the broker.
    pub const BROKER_READ: Self =
        Self { read_only: true, destructive: false, idempotent: true, open_world: true };
    /// Reads what the gateway itself holds.
    pub const LOCAL_READ: Self = Self { open_world: false, ..Self::BROKER_READ };
    /// Adds something inside the gateway; every call adds anew.
    pub const LOCAL_ADD: Self =
        Self { read_only: false, destructive: false, idempotent: false, open_world: false };
    /// Changes orders at the broker; its idempotency key makes a repetition harmless.
    pub const ORDER_WRITE: Self =
        Self { read_only: false, destructive: true, idempotent: true, open_world: true };
}

/// What a tool says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// Stable name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// For models: when to use it and what comes next. Under 900 characters.
    pub description: &'static str,
    /// The permission that a caller needs.
    pub scope: Scope,
    /// What it can do at worst.
    pub risk: RiskClass,
    /// Its group.
    pub toolset: Toolset,
    /// Its MCP annotations.
    pub hints: Hints,
    /// Whether it belongs to the default set, which clients can hold in full.
    pub in_default: bool,
}

/// One tool: declaration, input and output.
pub trait Tool {
    /// What it says of itself.
    const DECLARATION: Declaration;
    /// Its arguments.
    type Input: DeserializeOwned + JsonSchema;
    /// Its answer, a JSON object.
    type Output: Serialize + JsonSchema;
}

/// A declared tool with its schemas.
#[derive(Debug)]
pub struct ToolSpec {
    /// Stable name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// For models: when to use it and what comes next.
    pub description: &'static str,
    /// The permission that a caller needs.
    pub scope: Scope,
    /// What it can do at worst.
    pub risk: RiskClass,
    /// Its group.
    pub toolset: Toolset,
    /// It changes nothing.
    pub read_only: bool,
    /// It may change or remove what is there.
    pub destructive: bool,
    /// Repeating the same call changes nothing more.
    pub idempotent: bool,
    /// It reaches beyond the gateway.
    pub open_world: bool,
    /// Whether it belongs to the default set.
    pub in_default: bool,
    input: Arc<Map<String, Value>>,
    output: Arc<Map<String, Value>>,
}

impl ToolSpec {
    fn of<T: Tool>() -> Self {
        let Declaration { name, title, description, scope, risk, toolset, hints, in_default } =
            T::DECLARATION;
        let Hints { read_only, destructive, idempotent, open_world } = hints;
        Self {
            name,
            title,
            description,
            scope,
            risk,
            toolset,
            read_only,
            destructive,
            idempotent,
            open_world,
            in_default,
            input: Arc::new(schema::input::<T::Input>()),
            output: Arc::new(schema::output::<T::Output>()),
        }
    }

    /// Whether a call may bring an order to the broker: the one thing for which an agent's own
    /// token must be young. A write that isn't known to be a cancel counts.
    #[must_use]
    pub fn is_submit(&self) -> bool {
        let cancels = matches!(self.scope, Scope::OrdersPaperCancel | Scope::OrdersLiveCancel);
        self.risk.is_write() && !cancels
    }

    /// JSON Schema (2020-12) of the arguments: a closed object, no references.
    #[must_use]
    pub const fn input_schema(&self) -> &Arc<Map<String, Value>> {
        &self.input
    }

    /// JSON Schema (2020-12) of the answer: an object, no references.
    #[must_use]
    pub const fn output_schema(&self) -> &Arc<Map<String, Value>> {
        &self.output
    }

    /// Everything that is published about the tool, as one JSON object with sorted keys.
    #[must_use]
    pub fn published(&self) -> Value {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("annotations", self.annotations());
        put("description", self.description.into());
        put("inDefault", self.in_default.into());
        put("inputSchema", Value::Object(self.input.as_ref().clone()));
        put("name", self.name.into());
        put("outputSchema", Value::Object(self.output.as_ref().clone()));
        put("risk", self.risk.as_str().into());
        put("scope", self.scope.as_str().into());
        put("title", self.title.into());
        put("toolset", self.toolset.as_str().into());
        schema::sorted(Value::Object(all))
    }

    fn annotations(&self) -> Value {
        serde_json::json!({
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
            "readOnlyHint": self.read_only,
        })
    }
}

static TOOLS: LazyLock<Vec<ToolSpec>> = LazyLock::new(|| {
    vec![
        ToolSpec::of::<session::Health>(),
        ToolSpec::of::<session::BackendStatus>(),
        ToolSpec::of::<session::SessionRequirements>(),
        ToolSpec::of::<session::SessionRenew>(),
        ToolSpec::of::<resources::ResourcesWait>(),
        ToolSpec::of::<account::AccountsList>(),
        ToolSpec::of::<account::AccountMetadata>(),
        ToolSpec::of::<account::AccountSummary>(),
        ToolSpec::of::<account::PositionsList>(),
        ToolSpec::of::<account::PortfolioSnapshot>(),
        ToolSpec::of::<overview::PortfolioOverview>(),
        ToolSpec::of::<portfolio::PnlDaily>(),
        ToolSpec::of::<portfolio::PnlRealtime>(),
        ToolSpec::of::<portfolio::AccountLedger>(),
        ToolSpec::of::<portfolio::AccountAllocation>(),
        ToolSpec::of::<portfolio::AccountPerformance>(),
        ToolSpec::of::<transfers::ComboPositions>(),
        ToolSpec::of::<transfers::TransferHistory>(),
        ToolSpec::of::<inbox::NotificationsList>(),
        ToolSpec::of::<market::ContractsSearch>(),
        ToolSpec::of::<market::ContractResolve>(),
        ToolSpec::of::<market::MarketSnapshot>(),
        ToolSpec::of::<brief::InstrumentBrief>(),
        ToolSpec::of::<bars::HistoricalBars>(),
        ToolSpec::of::<bars::MarketDepth>(),
        ToolSpec::of::<reference::ContractDetails>(),
        ToolSpec::of::<reference::FuturesList>(),
        ToolSpec::of::<calendar::MarketSession>(),
        ToolSpec::of::<calendar::MarketHolidays>(),
        ToolSpec::of::<calendar::CurrencyRate>(),
        ToolSpec::of::<calendar::CurrencyPairs>(),
        ToolSpec::of::<inbox::WatchlistsList>(),
        ToolSpec::of::<options::OptionsChain>(),
        ToolSpec::of::<options::OptionGreeks>(),
        ToolSpec::of::<research::ScannerRun>(),
        ToolSpec::of::<research::ScannerParameters>(),
        ToolSpec::of::<research::FundamentalsGet>(),
        ToolSpec::of::<research::NewsList>(),
        ToolSpec::of::<research::NewsArticle>(),
        ToolSpec::of::<orders::OrdersList>(),
        ToolSpec::of::<orders::ExecutionsList>(),
        ToolSpec::of::<order_history::OrdersHistory>(),
        ToolSpec::of::<order_history::OrderStatus>(),
        ToolSpec::of::<inbox::AlertsList>(),
        ToolSpec::of::<overview::ChangesSince>(),
        ToolSpec::of::<approvals::OrderPreview>(),
        ToolSpec::of::<approvals::ApprovalsCreate>(),
        ToolSpec::of::<approvals::ApprovalStatus>(),
        ToolSpec::of::<orders::PaperOrderSubmit>(),
        ToolSpec::of::<orders::PaperOrderCancel>(),
        ToolSpec::of::<orders::OrderOutcome>(),
        ToolSpec::of::<audit::KillSwitchStatus>(),
        ToolSpec::of::<audit::LimitsStatus>(),
        ToolSpec::of::<audit::AuditTail>(),
        ToolSpec::of::<audit::AuditExport>(),
    ]
});

/// Every tool, in an order that doesn't change between runs.
#[must_use]
pub fn all() -> &'static [ToolSpec] {
    &TOOLS
}

/// The tool of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static ToolSpec> {
    all().iter().find(|spec| spec.name == name)
}

/// The spec of a tool type.
#[must_use]
pub fn spec<T: Tool>() -> Option<&'static ToolSpec> {
    find(T::DECLARATION.name)
}

/// SHA-256 of everything published about all tools; remote and sidecar compare it.
#[must_use]
pub fn catalogue_hash() -> Digest {
    static HASH: LazyLock<Digest> = LazyLock::new(|| {
        let lines: Vec<String> = all().iter().map(|spec| spec.published().to_string()).collect();
        Digest::of(lines.join("\n").as_bytes())
    });
    *HASH
}

/// Reads a call's arguments.
///
/// # Errors
/// `INPUT_INVALID` that names the argument: unknown, doubled, missing, or of a wrong type.
pub fn decode<T: Tool>(call: &ToolCall) -> Result<T::Input, ErrorBody> {
    let text = call.arguments.get();
    if text.len() > MAX_ARGUMENT_BYTES {
        return Err(invalid(format!("the arguments are longer than {MAX_ARGUMENT_BYTES} bytes")));
    }
    if !text.trim_start().starts_with('{') {
        return Err(invalid("the arguments must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let input = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| refused_argument(&error))?;
    deserializer.end().map_err(|_| invalid("the arguments must be one JSON object"))?;
    Ok(input)
}

fn refused_argument(error: &serde_path_to_error::Error<serde_json::Error>) -> ErrorBody {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    // The position in the text says nothing to a caller whose client wrote the JSON.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let message = if path == "." || reason.contains(&format!("`{path}`")) {
        reason.to_owned()
    } else {
        format!("{path}: {reason}")
    };
    ErrorBody::new(ErrorCode::InputInvalid, Untrusted::bounded(&message, 300).as_str())
}
