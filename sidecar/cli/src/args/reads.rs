//! Arguments of the verbs that only read.

use clap::{Args, Subcommand};

/// `backend …`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackendVerb {
    /// Session state and age of the last keep-alive
    Status,
}

/// `session …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionVerb {
    /// What a human must do now when the session isn't usable
    Requirements,
    /// Keep the session alive, or bring it up where no login is needed
    Renew,
}

/// An account, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// Account id; may be left out when exactly one account is visible.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
}

/// How much is shown of a list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Most rows, 1 to 200.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Where to go on: `next_cursor` of the answer before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// Every field of every item.
    #[arg(long)]
    pub(crate) full: bool,
}

/// `accounts …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountsVerb {
    /// The accounts that this gateway may see
    List,
    /// What kind of account it is
    Metadata(AccountArgs),
}

/// `account …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountVerb {
    /// Net liquidation, cash, buying power, margins
    Summary(AccountArgs),
    /// What kind of account it is
    Metadata(AccountArgs),
}

/// `portfolio …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PortfolioVerb {
    /// Summary, cash, allocation and positions in one answer
    Snapshot {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// Every field of every position.
        #[arg(long)]
        full: bool,
    },
}

/// `positions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PositionsVerb {
    /// Open positions
    List {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// Only positions of this asset class.
        #[arg(long, value_name = "CLASS")]
        asset_class: Option<String>,
        /// Only positions in this symbol.
        #[arg(long)]
        symbol: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// What narrows a contract down.
#[derive(Debug, Args)]
pub(crate) struct ContractFilter {
    /// Only this asset class, such as stock.
    #[arg(long, value_name = "CLASS")]
    pub(crate) asset_class: Option<String>,
    /// Only this currency, such as USD.
    #[arg(long, value_name = "CODE")]
    pub(crate) currency: Option<String>,
    /// Only this exchange, such as SMART.
    #[arg(long)]
    pub(crate) exchange: Option<String>,
}

/// `contracts …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContractsVerb {
    /// Contracts by symbol or company name
    Search {
        /// Symbol or part of a name.
        query: String,
        /// Narrows it down.
        #[command(flatten)]
        filter: ContractFilter,
        /// Most rows, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Every field of every contract.
        #[arg(long)]
        full: bool,
    },
    /// Exactly one contract, or the candidates
    Resolve {
        /// Symbol, such as AAPL or ASML@AEB:EUR.
        symbol: String,
        /// Narrows it down.
        #[command(flatten)]
        filter: ContractFilter,
    },
}

/// `market …`.
#[derive(Debug, Subcommand)]
pub(crate) enum MarketVerb {
    /// Current quotes of one to 50 contracts
    Snapshot {
        /// Contract ids, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with = "instrument")]
        #[arg(required_unless_present = "instrument")]
        contract_id: Vec<String>,
        /// Instruments by name; repeat the flag for several.
        #[arg(long, value_name = "NAME")]
        instrument: Vec<String>,
        /// Only these fields, separated by commas: bid, ask, last, close, change, volume.
        #[arg(long, value_delimiter = ',')]
        fields: Vec<String>,
    },
}
