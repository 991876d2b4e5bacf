//! Composites: the whole portfolio in one answer, and what changed since the last look.
//!
//! A part that could not be read is named in `missing`, and no sum is given that would need it:
//! never a silent zero.

use super::common::{PartFailure, cell};
use super::text::names;
use super::{
    Backend, Cursor, Declaration, Hints, RiskClass, Table, Tool, Toolset, Wire,
    orders::orders_table,
};
use crate::number::{InputInteger, OutputNumber};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, Conid, Currency, Execution, Scope, SessionState, Timestamp, Untrusted,
};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ibkr_portfolio_overview`.
#[derive(Debug)]
pub struct PortfolioOverview;

impl Tool for PortfolioOverview {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_portfolio_overview",
        title: "Overview of the whole portfolio",
        description: "Start here for any question about the portfolio as a whole: all visible \
            accounts in one answer and one currency, with net liquidation value, cash per \
            currency, profit and loss of the day, the largest positions with their weights, open \
            orders and approvals that wait for a human. What could not be read stands in missing, \
            and totals that need it are absent: say so, don't fill them in. Then use \
            ibkr_positions_list for all positions, ibkr_instrument_brief for one, \
            ibkr_changes_since to follow up.",
        scope: Scope::PortfolioRead,
        risk: RiskClass::Read,
        toolset: Toolset::Account,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = PortfolioOverviewInput;
    type Output = PortfolioOverviewOutput;
}

/// Arguments of [`PortfolioOverview`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortfolioOverviewInput {
    /// Only this account; all visible accounts if left out.
    pub account_id: Option<Wire<AccountId>>,
    /// Currency of the totals, such as USD; the base currency of the first account if left out.
    pub currency: Option<Wire<Currency>>,
    /// How many of the largest positions to show, 1 to 50; 10 if left out.
    pub top: Option<InputInteger>,
}

/// Positions that [`PortfolioOverview`] shows when the caller doesn't say.
pub const DEFAULT_TOP: usize = 10;

/// Most positions that [`PortfolioOverview`] shows.
pub const MAX_TOP: usize = 50;

/// Open orders, approvals and accounts that the composites show.
pub const MAX_SHOWN: usize = 10;

/// Answer of [`PortfolioOverview`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortfolioOverviewOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When we began to read.
    pub as_of: Wire<Timestamp>,
    /// Currency of the totals and of every value in base currency.
    pub currency: String,
    /// Net liquidation value over all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_liquidation: Option<OutputNumber>,
    /// Cash over all accounts and currencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cash: Option<OutputNumber>,
    /// Today's profit and loss over all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_pnl: Option<OutputNumber>,
    /// Unrealised profit and loss over all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrealized_pnl: Option<OutputNumber>,
    /// One row per account, in its own base currency; mode says whether it is real money.
    pub accounts: Table,
    /// Cash per currency over all accounts; value is in the currency of the totals.
    pub cash_by_currency: Table,
    /// The largest positions over all accounts, by absolute value in the currency of the totals.
    /// The weight is that value as a percentage of the net liquidation value; a future counts
    /// with the whole value of its contract, so weights needn't add up to 100.
    pub top_positions: Table,
    /// Positions over all accounts, shown or not, counted per contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<usize>,
    /// Positions without a known value, which can't be ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unvalued_positions: Option<usize>,
    /// Open orders over all accounts, shown or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_order_count: Option<usize>,
    /// Open orders, at most ten, absent when none is known; ibkr_orders_list gives them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<Table>,
    /// When the oldest list of orders behind them was asked for: what was done later isn't in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_orders_as_of: Option<Wire<Timestamp>>,
    /// Approvals of this caller that wait for a human, at most ten; absent when none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_approvals: Option<Table>,
    /// Whether new orders are refused because an operator halted trading.
    pub trading_halted: bool,
    /// What could not be read: totals that need it are absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<PartFailure>,
}

/// One account of the overview, in its own base currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub account: AccountId,
    /// Simulated, paper or live.
    pub mode: ibkr_agent_domain::Mode,
    /// Base currency.
    pub currency: Option<Currency>,
    /// Net liquidation value.
    pub net_liquidation: Option<Decimal>,
    /// Cash.
    pub cash: Option<Decimal>,
    /// Today's profit and loss.
    pub daily_pnl: Option<Decimal>,
    /// Unrealised profit and loss.
    pub unrealized_pnl: Option<Decimal>,
    /// Buying power.
    pub buying_power: Option<Decimal>,
}

/// Accounts of the overview as a table.
#[must_use]
pub fn accounts_table(accounts: &[AccountRow]) -> Table {
    let rows = accounts.iter().map(|row| {
        vec![
            Some(row.account.to_string()),
            Some(row.mode.as_str().to_owned()),
            row.currency.map(|currency| currency.to_string()),
            cell(row.net_liquidation),
            cell(row.cash),
            cell(row.daily_pnl),
            cell(row.unrealized_pnl),
            cell(row.buying_power),
        ]
    });
    Table::new(
        &[
            "account_id",
            "mode",
            "currency",
            "net_liquidation",
            "cash",
            "daily_pnl",
            "unrealized_pnl",
            "buying_power",
        ],
        &[],
        rows.collect(),
    )
}

/// Cash of one currency over all accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CashRow {
    /// The currency.
    pub currency: Currency,
    /// Cash in it.
    pub cash: Option<Decimal>,
    /// Its value in the currency of the totals.
    pub value: Option<Decimal>,
}

/// Cash per currency as a table.
#[must_use]
pub fn cash_rows_table(cash: &[CashRow]) -> Table {
    let rows = cash
        .iter()
        .map(|row| vec![Some(row.currency.to_string()), cell(row.cash), cell(row.value)]);
    Table::new(&["currency", "cash", "value"], &[], rows.collect())
}

/// A contract's position over all accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingRow {
    /// The contract.
    pub conid: Conid,
    /// Symbol or description.
    pub symbol: Untrusted,
    /// Asset class, if known.
    pub class: Option<ibkr_agent_domain::AssetClass>,
    /// Signed quantity.
    pub quantity: Decimal,
    /// Value in the currency of the totals.
    pub value: Option<Decimal>,
    /// Value as a percentage of the net liquidation value.
    pub weight_percent: Option<Decimal>,
    /// Unrealised profit and loss in the currency of the totals.
    pub unrealized_pnl: Option<Decimal>,
}

/// Positions of the overview as a table.
#[must_use]
pub fn holdings_table(holdings: &[HoldingRow]) -> Table {
    let rows = holdings.iter().map(|row| {
        vec![
            Some(row.conid.to_string()),
            Some(row.symbol.to_string()),
            row.class.map(|class| class.to_string()),
            cell(Some(row.quantity)),
            cell(row.value),
            cell(row.weight_percent),
            cell(row.unrealized_pnl),
        ]
    });
    Table::new(
        &[
            "contract_id",
            "symbol",
            "asset_class",
            "quantity",
            "value",
            "weight_percent",
            "unrealized_pnl",
        ],
        &["symbol"],
        rows.collect(),
    )
}

/// An approval as the composites show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: &'static str,
    /// Its account.
    pub account: AccountId,
    /// The order as a sentence.
    pub order: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// Approvals as a table.
#[must_use]
pub fn approvals_table(approvals: &[ApprovalRow]) -> Table {
    let rows = approvals.iter().map(|row| {
        vec![
            Some(row.id.clone()),
            Some(row.status.to_owned()),
            Some(row.account.to_string()),
            Some(row.order.clone()),
            Some(row.expires_at.to_string()),
        ]
    });
    Table::new(
        &["approval_id", "status", "account_id", "order", "expires_at"],
        &["order"],
        rows.collect(),
    )
}

/// Orders of several accounts as a table: the usual columns after the account's.
#[must_use]
pub fn account_orders_table(orders: &[BrokerOrder]) -> Table {
    let mut table = orders_table(orders);
    table.columns.insert(0, "account_id".to_owned());
    for (row, order) in table.rows.iter_mut().zip(orders) {
        row.insert(0, Some(order.account.to_string()));
    }
    table
}

names! {
    /// How the answer of [`ChangesSince`] was found.
    ChangesBasis {
        /// No cursor was given: the present, and a cursor for the next call.
        Present = "present",
        /// Every change since the cursor.
        Complete = "complete",
        /// The gateway was restarted since: found by time, so that some may be told twice.
        ByTime = "by_time",
    }
}

/// `ibkr_changes_since`.
#[derive(Debug)]
pub struct ChangesSince;

impl Tool for ChangesSince {
    const DECLARATION: Declaration = Declaration {
        name: "ibkr_changes_since",
        title: "What changed since the last look",
        description: "One call instead of many polls: fills, changed orders (whoever placed them), \
            approvals and the session since a cursor, over all visible accounts. Call it without \
            cursor for the present and a cursor; then pass next_cursor each time. has_more means \
            call again at once. Cursors survive a restart of the gateway (basis by_time: some \
            changes may be told twice); one that is too old is refused with INPUT_INVALID: call \
            without cursor then. The broker lets the order list be read every five seconds, so \
            calling more often only waits.",
        scope: Scope::OrdersRead,
        risk: RiskClass::Read,
        toolset: Toolset::Orders,
        hints: Hints::BROKER_READ,
        in_default: true,
    };
    type Input = ChangesSinceInput;
    type Output = ChangesSinceOutput;
}

/// Arguments of [`ChangesSince`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesSinceInput {
    /// The next_cursor of an earlier answer; without it the present is told.
    pub cursor: Option<Wire<Cursor>>,
    /// Most fills and most orders to give, 1 to 200; 15 of each if left out.
    pub limit: Option<InputInteger>,
}

/// Fills, and orders, that [`ChangesSince`] gives when the caller doesn't say.
pub const DEFAULT_CHANGES: usize = 15;

/// Answer of [`ChangesSince`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangesSinceOutput {
    /// What stands behind the gateway.
    pub backend: Wire<Backend>,
    /// When the broker was asked.
    pub as_of: Wire<Timestamp>,
    /// How the changes were found.
    pub basis: Wire<ChangesBasis>,
    /// Since when, if a cursor was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Wire<Timestamp>>,
    /// Pass it as cursor next time.
    pub next_cursor: String,
    /// Whether there are more changes: call again with next_cursor.
    pub has_more: bool,
    /// Fills since then, oldest first; absent when there are none, and without a cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fills: Option<Table>,
    /// Orders that are new or changed since then, as they are now; without a cursor, the open ones.
    /// Absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Table>,
    /// Orders that were open and that the broker no longer lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_orders: Vec<String>,
    /// This caller's own requests whose state changed, by the gateway's ledger; without a cursor,
    /// those that aren't settled. Absent when there are none. Unknown is not a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Table>,
    /// This caller's approvals that are new or changed; without a cursor, the pending ones. Absent
    /// when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Table>,
    /// The broker session, if it changed or isn't ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionChange>,
    /// Whether new orders are refused because an operator halted trading.
    pub trading_halted: bool,
    /// Whether that changed since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_changed: Option<bool>,
    /// What could not be read; its changes are told by a later call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<PartFailure>,
}

/// A broker login's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionChange {
    /// The broker login.
    pub broker: String,
    /// The state now.
    pub state: Wire<SessionState>,
    /// Since when.
    pub since: Wire<Timestamp>,
    /// Why, as a sentence.
    pub why: String,
}

/// Fills of several accounts as a table.
#[must_use]
pub fn account_fills_table(fills: &[Execution]) -> Table {
    let mut table = super::orders::executions_table(fills);
    table.columns.insert(0, "account_id".to_owned());
    for (row, fill) in table.rows.iter_mut().zip(fills) {
        row.insert(0, Some(fill.account.to_string()));
    }
    table
}

/// One of the caller's own requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Our reference.
    pub client_order_id: String,
    /// IBKR's id, once known.
    pub broker_order_id: Option<String>,
    /// What the ledger knows.
    pub status: &'static str,
    /// The order as a sentence.
    pub order: String,
    /// When that changed.
    pub updated: Timestamp,
}

/// Requests as a table.
#[must_use]
pub fn requests_table(requests: &[RequestRow]) -> Table {
    let rows = requests.iter().map(|row| {
        vec![
            Some(row.client_order_id.clone()),
            row.broker_order_id.clone(),
            Some(row.status.to_owned()),
            Some(row.order.clone()),
            Some(row.updated.to_string()),
        ]
    });
    Table::new(
        &["client_order_id", "broker_order_id", "status", "order", "updated"],
        &["order"],
        rows.collect(),
    )
}
