//! Arguments of the order verbs.

use super::reads::{AccountArgs, ListArgs, WatchArgs};
use clap::{Args, Subcommand, ValueEnum};

/// `orders …`.
#[derive(Debug, Subcommand)]
pub(crate) enum OrdersVerb {
    /// Open orders at the broker, or all of the day
    List {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// Open orders only, or all that the broker still reports.
        #[arg(long, value_enum)]
        status: Option<OrderFilter>,
        /// Only orders in this symbol.
        #[arg(long)]
        symbol: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        list: ListArgs,
        /// Show every change.
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Orders of the broker's day and of this gateway's own record
    History(Box<HistoryArgs>),
    /// One order as the broker reports it
    Status {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// IBKR's order id.
        #[arg(long, value_name = "ID")]
        broker_order_id: String,
    },
    /// What became of an order, from the sidecar's own records
    Outcome(OutcomeArgs),
    /// Check an order in full; nothing is sent that could trade
    Preview(Box<PreviewArgs>),
    /// Send the order of a given approval to the paper account
    Submit(SubmitArgs),
    /// Cancel an order
    Cancel(CancelArgs),
    /// State what became of an order in doubt; signed by the operator
    Settle {
        /// Our order reference.
        client_order_id: String,
        /// Whether the order exists at the broker.
        #[arg(long, value_enum)]
        finding: Finding,
    },
    /// Refused: an order is changed by cancelling it and previewing a new one
    Modify(RestOfLine),
    /// Refused: an order is approved with `approvals approve`
    Approve(RestOfLine),
    /// Refused: live trading is not available in this version
    LiveSubmit(RestOfLine),
    /// Refused: live trading is not available in this version
    LiveCancel(RestOfLine),
}

/// Which orders of the past.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Which account.
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    /// Not before, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Before, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only orders in this symbol.
    #[arg(long)]
    pub(crate) symbol: Option<String>,
    /// Open orders only, or all.
    #[arg(long, value_enum)]
    pub(crate) status: Option<OrderFilter>,
    /// How much is shown.
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// Whatever follows a verb that is refused in any case.
#[derive(Debug, Args)]
pub(crate) struct RestOfLine {
    /// Ignored: the verb is refused whatever is asked.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) ignored: Vec<String>,
}

/// Which orders are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderFilter {
    /// Open ones.
    Open,
    /// All that the broker still reports.
    All,
}

/// What an operator found at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Finding {
    /// The order is there.
    Exists,
    /// It is not.
    Absent,
}

/// `executions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionsVerb {
    /// Trades of the last days
    List {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// Not before this time (RFC 3339).
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Not after this time (RFC 3339).
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// Only trades in this symbol.
        #[arg(long)]
        symbol: Option<String>,
        /// Only trades of this order (IBKR's id).
        #[arg(long, value_name = "ID")]
        broker_order_id: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Which order's outcome; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OutcomeArgs {
    /// The call that submitted it.
    #[arg(long, value_name = "ID")]
    pub(crate) call_id: Option<String>,
    /// The approval that it spent.
    #[arg(long, value_name = "ID")]
    pub(crate) approval_id: Option<String>,
    /// The key that it was submitted under.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Our order reference.
    #[arg(long, value_name = "ID")]
    pub(crate) client_order_id: Option<String>,
}

/// An order to check.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// Account id.
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// Symbol, such as AAPL.
    #[arg(long, required_unless_present_any = ["contract_id", "instrument"])]
    pub(crate) symbol: Option<String>,
    /// IBKR's contract id.
    #[arg(long, value_name = "ID")]
    pub(crate) contract_id: Option<String>,
    /// Instrument by name, such as ASML@AEB:EUR.
    #[arg(long, value_name = "NAME")]
    pub(crate) instrument: Option<String>,
    /// buy or sell.
    #[arg(long)]
    pub(crate) side: String,
    /// How many.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) quantity: String,
    /// Kind of order.
    #[arg(long, value_name = "TYPE", default_value = "limit")]
    pub(crate) order_type: String,
    /// Worst price.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true)]
    pub(crate) limit_price: Option<String>,
    /// day or gtc.
    #[arg(long, value_name = "TIME")]
    pub(crate) time_in_force: Option<String>,
    /// Also outside regular trading hours.
    #[arg(long)]
    pub(crate) outside_rth: bool,
    /// Narrows the symbol down to an asset class.
    #[arg(long, value_name = "CLASS")]
    pub(crate) asset_class: Option<String>,
    /// Narrows the symbol down to a currency.
    #[arg(long, value_name = "CODE")]
    pub(crate) currency: Option<String>,
    /// Sends it to this exchange instead of SMART.
    #[arg(long)]
    pub(crate) exchange: Option<String>,
    /// Asserts that previews are enabled; grants nothing.
    #[arg(long)]
    pub(crate) enable_preview: bool,
}

/// An order to send.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Account id; must be the approval's.
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// The approval that is spent.
    #[arg(long, value_name = "ID")]
    pub(crate) approval_id: String,
    /// Makes a repetition harmless.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Asserts that paper orders are enabled; grants nothing.
    #[arg(long)]
    pub(crate) enable_paper: bool,
}

/// An order to cancel.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Account id.
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// IBKR's order id.
    #[arg(long, value_name = "ID")]
    pub(crate) broker_order_id: String,
    /// Makes a repetition harmless.
    #[arg(long, value_name = "KEY", conflicts_with = "as_operator")]
    pub(crate) idempotency_key: Option<String>,
    /// Cancels as the operator: any order, whoever placed it, never refused by halt or limits.
    #[arg(long)]
    pub(crate) as_operator: bool,
    /// Asserts that paper orders are enabled; grants nothing.
    #[arg(long)]
    pub(crate) enable_paper: bool,
}
