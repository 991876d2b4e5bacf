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
    /// Take the brokerage session from TWS, phone or browser of the same username; signed
    TakeOver {
        /// The broker login's name in the configuration, where there are several.
        #[arg(long, value_name = "NAME")]
        broker: Option<String>,
    },
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

/// One contract, by id or by name.
#[derive(Debug, Args)]
pub(crate) struct InstrumentArgs {
    /// Contract id.
    #[arg(long, value_name = "ID", conflicts_with = "instrument")]
    #[arg(required_unless_present = "instrument")]
    pub(crate) contract_id: Option<String>,
    /// Name, such as AAPL, ASML@AEB:EUR, EUR.USD, ESZ6 or "SPY 2027-01-15 C 600".
    #[arg(long, value_name = "NAME")]
    pub(crate) instrument: Option<String>,
}

/// Asks again whenever something changed.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Go on and show every change until interrupted.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `account …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountVerb {
    /// Today's profit and loss
    Pnl {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// As the stream tells it, where it is open.
        #[arg(long)]
        realtime: bool,
    },
    /// Cash and values by currency
    Ledger(AccountArgs),
    /// How it is spread over classes, sectors and groups
    Allocation(AccountArgs),
    /// How it did over a period
    Performance {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// 1D, 7D, MTD, 1M, YTD or 1Y.
        #[arg(long)]
        period: Option<String>,
        /// Most days, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Where to go on: `next_cursor` of the answer before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Transactions and dividends of one contract that it holds
    Transfers(Box<TransfersArgs>),
    /// Net liquidation, cash, buying power, margins
    Summary(AccountArgs),
    /// What kind of account it is
    Metadata(AccountArgs),
}

/// Which transactions.
#[derive(Debug, Args)]
pub(crate) struct TransfersArgs {
    /// Which account.
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    /// Contract id.
    #[arg(long, value_name = "ID", conflicts_with = "instrument")]
    pub(crate) contract_id: Option<String>,
    /// Contract by name.
    #[arg(long, value_name = "NAME")]
    pub(crate) instrument: Option<String>,
    /// How many days back.
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<u64>,
    /// Only this kind, such as dividend.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Most rows, 1 to 200.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Where to go on: `next_cursor` of the answer before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// `portfolio …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PortfolioVerb {
    /// All accounts at once: totals, day's result, top positions, cash, open orders
    Overview {
        /// Only this account.
        #[command(flatten)]
        account: AccountArgs,
        /// The currency to add up in.
        #[arg(long, value_name = "CODE")]
        currency: Option<String>,
        /// How many positions to name.
        #[arg(long, value_name = "N")]
        top: Option<u64>,
    },
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
        /// Only positions worth at least this, long or short.
        #[arg(long, value_name = "AMOUNT")]
        min_value: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        list: ListArgs,
        /// Show every change.
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Positions that the broker holds together as combinations
    Combos {
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
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
    /// Rules, increments and hours of a contract
    Details {
        /// Which contract.
        #[command(flatten)]
        instrument: InstrumentArgs,
        /// The side that the rules are for.
        #[arg(long)]
        side: Option<String>,
        /// Every field.
        #[arg(long)]
        full: bool,
    },
    /// The futures of a product
    Futures {
        /// Product, such as ES.
        symbol: String,
        /// Most rows, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
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
        /// Every field of every quote.
        #[arg(long)]
        full: bool,
        /// Show every change.
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Quote, position, open orders, hours and dates of one contract
    Brief(InstrumentArgs),
    /// Price history
    Bars(Box<BarsArgs>),
    /// The order book
    Depth {
        /// Which contract.
        #[command(flatten)]
        instrument: InstrumentArgs,
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// Most levels on each side.
        #[arg(long, value_name = "N")]
        levels: Option<u64>,
    },
    /// Whether a market is open, and when it opens or closes next
    Session(CalendarArgs),
    /// Days without trading, and short days
    Holidays(CalendarArgs),
}

/// Which bars.
#[derive(Debug, Args)]
pub(crate) struct BarsArgs {
    /// Which contract.
    #[command(flatten)]
    pub(crate) instrument: InstrumentArgs,
    /// How far back, such as "1 D" or 1d.
    #[arg(long)]
    pub(crate) duration: String,
    /// Width of a bar, such as "5 mins" or 5min.
    #[arg(long)]
    pub(crate) bar_size: String,
    /// Include trading outside regular hours.
    #[arg(long)]
    pub(crate) outside_rth: bool,
    /// End of the window, RFC 3339; now if left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<String>,
    /// What bars are made of: trades, midpoint or `bid_ask`.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Most bars, the newest.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Whose calendar.
#[derive(Debug, Args)]
pub(crate) struct CalendarArgs {
    /// Exchange, such as NASDAQ.
    #[arg(required_unless_present_any = ["contract_id", "instrument"])]
    pub(crate) exchange: Option<String>,
    /// Contract id.
    #[arg(long, value_name = "ID", conflicts_with = "instrument")]
    pub(crate) contract_id: Option<String>,
    /// Contract by name.
    #[arg(long, value_name = "NAME")]
    pub(crate) instrument: Option<String>,
}
