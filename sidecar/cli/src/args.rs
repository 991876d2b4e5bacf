//! The command line as a tree of types. Parsing only: nothing here runs or prints.
//!
//! The help texts of verbs and flags are the doc comments here. A flag
//! that only asserts something (`--enable-paper`) has no power: configuration and operator decide.

mod doctor;
mod gateway;
mod operator;
mod orders;
mod reads;
mod research;
mod serve;

pub(crate) use doctor::DoctorArgs;
pub(crate) use gateway::{GatewayFolder, GatewayRunArgs, GatewayVerb};
pub(crate) use operator::{
    ApprovalsVerb, AuditVerb, CallersVerb, HaltArgs, HaltDomain, KillSwitchVerb, LimitsVerb,
    OperatorVerb, QuestionsVerb, StateVerb, TailArgs, YesNo,
};
pub(crate) use orders::{
    CancelArgs, ExecutionsVerb, Finding, OrderFilter, OrdersVerb, OutcomeArgs, PreviewArgs,
};
pub(crate) use reads::{
    AccountArgs, AccountVerb, AccountsVerb, BackendVerb, BarsArgs, CalendarArgs, ContractFilter,
    ContractsVerb, InstrumentArgs, ListArgs, MarketVerb, PortfolioVerb, PositionsVerb, SessionVerb,
    TransfersArgs,
};
pub(crate) use research::{
    AlertsVerb, ChangesVerb, CompanyArgs, CurrencyVerb, FundamentalsVerb, NewsVerb,
    NotificationsVerb, OptionsVerb, PageArgs, ScannerVerb, WatchlistsVerb,
};
pub(crate) use serve::{
    DemoArgs, DocsPage, IdentityVerb, McpVerb, PairArgs, PairingVerb, RelayAcceptArgs, RelayVerb,
    ServeArgs, SidecarSessionVerb, SidecarVerb, SimulatorVerb, Transport,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What the first line of `--help` and the README both say.
const ABOUT: &str = "Lets an AI agent, a program or an operator work with an Interactive Brokers \
    account, without broker session material and never past the owner's limits.";

const AFTER: &str = "Unofficial: not affiliated with, endorsed or supported by Interactive \
    Brokers. Without a configuration everything runs on the embedded simulator: no broker, no \
    money.\n\nExit codes: 0 ok, 1 refused, 2 bad input or broken audit chain, 3 broker session \
    or backend unavailable, 4 authentication or scope, 5 broker limit or capability, 6 unsafe \
    output, 7 configuration.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "ibkr-agent", version, about = ABOUT, after_help = AFTER)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print JSON on standard output, and errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Folder of the sidecar's state.
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Global")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Configuration file; else the one that `IBKR_CONFIG` names, else
    /// `ibkr-agent/config.yaml` in the user's configuration folder, else the embedded simulator.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global")]
    pub(crate) config: Option<PathBuf>,
    /// The embedded simulator, whatever configuration there is.
    #[arg(long, global = true, conflicts_with = "config", help_heading = "Global")]
    pub(crate) simulator: bool,
    /// Id of the call, shown in answers and in the audit log; made up when absent.
    #[arg(long, global = true, value_name = "ID", help_heading = "Global")]
    pub(crate) request_id: Option<String>,
    /// Log filter, such as `info`; logs go to standard error.
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Global")]
    #[arg(env = "IBKR_AGENT_LOG", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// Shape of a log line.
    #[arg(long, global = true, value_name = "SHAPE", help_heading = "Global")]
    #[arg(value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Is everything there: broker session, audit log, versions, switches
    Health,
    /// The sidecar at a glance, for its operator
    Status,
    /// Walk from the configuration to the broker and say what to do next
    Doctor(DoctorArgs),
    /// IBKR's own Client Portal Gateway, as you downloaded it
    #[command(subcommand)]
    Gateway(GatewayVerb),
    /// The broker's backend
    #[command(subcommand)]
    Backend(BackendVerb),
    /// The broker session
    #[command(subcommand)]
    Session(SessionVerb),
    /// Accounts
    #[command(subcommand)]
    Accounts(AccountsVerb),
    /// One account
    #[command(subcommand)]
    Account(AccountVerb),
    /// The portfolio
    #[command(subcommand)]
    Portfolio(PortfolioVerb),
    /// Positions
    #[command(subcommand)]
    Positions(PositionsVerb),
    /// Contracts
    #[command(subcommand)]
    Contracts(ContractsVerb),
    /// Market data
    #[command(subcommand)]
    Market(MarketVerb),
    /// Options: chains and greeks
    #[command(subcommand)]
    Options(OptionsVerb),
    /// Market scanners
    #[command(subcommand)]
    Scanner(ScannerVerb),
    /// Currencies
    #[command(subcommand)]
    Currency(CurrencyVerb),
    /// What the broker tells of a company
    #[command(subcommand)]
    Fundamentals(FundamentalsVerb),
    /// News
    #[command(subcommand)]
    News(NewsVerb),
    /// Your watchlists at the broker
    #[command(subcommand)]
    Watchlists(WatchlistsVerb),
    /// Your alerts at the broker
    #[command(subcommand)]
    Alerts(AlertsVerb),
    /// The broker's notes to you
    #[command(subcommand)]
    Notifications(NotificationsVerb),
    /// What changed
    #[command(subcommand)]
    Changes(ChangesVerb),
    /// Orders: list, preview, submit, cancel
    #[command(subcommand)]
    Orders(OrdersVerb),
    /// Executions
    #[command(subcommand)]
    Executions(ExecutionsVerb),
    /// Approvals: ask, show, approve, deny
    #[command(subcommand)]
    Approvals(ApprovalsVerb),
    /// Questions of the broker that wait for a human
    #[command(subcommand)]
    Questions(QuestionsVerb),
    /// Stop trading at once, and allow it again
    #[command(subcommand)]
    KillSwitch(KillSwitchVerb),
    /// The state folder, when a start found that its files don't fit each other
    #[command(subcommand)]
    State(StateVerb),
    /// Limits and what they have used
    #[command(subcommand)]
    Limits(LimitsVerb),
    /// Callers and what they may do
    #[command(subcommand)]
    Callers(CallersVerb),
    /// The audit log
    #[command(subcommand)]
    Audit(AuditVerb),
    /// The operator's key
    #[command(subcommand)]
    Operator(OperatorVerb),
    /// Run everything on this computer, on the simulator, and tell what happens
    Demo(DemoArgs),
    /// Serve MCP clients on this machine
    #[command(subcommand)]
    Mcp(McpVerb),
    /// The on-prem half of the hosted mode
    #[command(subcommand)]
    Sidecar(SidecarVerb),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The risk policies of the configuration: every limit
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// The simulated Client Portal Gateway
    #[command(subcommand)]
    Simulator(SimulatorVerb),
    /// Print a page of the generated documentation
    Docs {
        /// Which page.
        #[arg(value_enum)]
        page: DocsPage,
    },
}

/// `policy …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Every limit of every policy, built-in ones too, with its hash
    Show,
    /// Read the policies and say whether they are valid
    Check,
    /// What another configuration would allow or forbid, key by key
    Diff {
        /// The other configuration file.
        other: PathBuf,
    },
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read the configuration and say what it enables
    Check,
    /// Which file is taken, and who said so
    Path,
}
