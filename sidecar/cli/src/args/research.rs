//! Arguments of the verbs about options, scanners, currencies, companies, lists and changes.

use super::reads::{AccountArgs, InstrumentArgs};
use clap::{Args, Subcommand};

/// How much of a list is shown, where rows have one form only.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Most rows, 1 to 200.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Where to go on: `next_cursor` of the answer before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// `options …`.
#[derive(Debug, Subcommand)]
pub(crate) enum OptionsVerb {
    /// Quotes and greeks of the options around the money
    Chain {
        /// Underlying, such as SPY.
        symbol: Option<String>,
        /// Underlying by contract id.
        #[arg(long, value_name = "ID", conflicts_with = "symbol")]
        contract_id: Option<String>,
        /// Expiry as YYYY-MM-DD, or a month such as JAN27; the nearest if left out.
        #[arg(long)]
        expiry: Option<String>,
        /// How many strikes around the money.
        #[arg(long, value_name = "N")]
        strikes: Option<u64>,
        /// Only calls or only puts.
        #[arg(long, value_name = "RIGHT")]
        right: Option<String>,
        /// Only list the expiries.
        #[arg(long)]
        list_expiries: bool,
    },
    /// Quote and greeks of one option
    Greeks(InstrumentArgs),
}

/// `scanner …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScannerVerb {
    /// Run a market scanner
    Run {
        /// Scanner code, such as `TOP_PERC_GAIN`.
        code: String,
        /// Instrument type, such as STK.
        #[arg(long, value_name = "TYPE")]
        instrument: Option<String>,
        /// Location, such as STK.US.MAJOR.
        #[arg(long)]
        location: Option<String>,
        /// A filter as code=number; repeat the flag for several.
        #[arg(long, value_name = "CODE=NUMBER", value_parser = filter)]
        filter: Vec<(String, String)>,
        /// Most hits.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// What scanners can be asked
    Parameters {
        /// Which list: scanners, instruments, locations or filters.
        #[arg(long)]
        list: Option<String>,
        /// Only entries whose code or name holds this.
        #[arg(long)]
        search: Option<String>,
        /// Only scanners that take this instrument type.
        #[arg(long, value_name = "TYPE")]
        instrument: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        page: PageArgs,
    },
}

fn filter(text: &str) -> Result<(String, String), String> {
    let (code, value) = text.split_once('=').ok_or("must be written as code=number")?;
    Ok((code.to_owned(), value.to_owned()))
}

/// `currency …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CurrencyVerb {
    /// How much of one currency a unit of another is
    Rate {
        /// Base currency, such as EUR.
        base: String,
        /// Quote currency, such as USD.
        quote: String,
    },
    /// The pairs in which a currency trades
    Pairs {
        /// Currency, such as USD.
        currency: String,
        /// Most rows, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// `fundamentals …`.
#[derive(Debug, Subcommand)]
pub(crate) enum FundamentalsVerb {
    /// Market value, earnings, dividends, 52-week range
    Show(CompanyArgs),
}

/// A company.
#[derive(Debug, Args)]
pub(crate) struct CompanyArgs {
    /// Symbol, such as AAPL.
    #[arg(required_unless_present = "contract_id")]
    pub(crate) symbol: Option<String>,
    /// The contract's id instead.
    #[arg(long, value_name = "ID", conflicts_with = "symbol")]
    pub(crate) contract_id: Option<String>,
}

/// `news …`.
#[derive(Debug, Subcommand)]
pub(crate) enum NewsVerb {
    /// Headlines; says why there are none where the broker serves none
    List(CompanyArgs),
    /// One article
    Article {
        /// Its id.
        article_id: String,
    },
}

/// `watchlists …`.
#[derive(Debug, Subcommand)]
pub(crate) enum WatchlistsVerb {
    /// Your lists at the broker, or the contracts of one
    List {
        /// A list's id.
        watchlist_id: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        page: PageArgs,
    },
}

/// `alerts …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsVerb {
    /// Your alerts at the broker, or the conditions of one
    List {
        /// An alert's id.
        alert_id: Option<String>,
        /// Which account.
        #[command(flatten)]
        account: AccountArgs,
        /// How much is shown.
        #[command(flatten)]
        page: PageArgs,
    },
}

/// `notifications …`.
#[derive(Debug, Subcommand)]
pub(crate) enum NotificationsVerb {
    /// The broker's notes to you, newest first, or one in full
    List {
        /// A notification's id.
        notification_id: Option<String>,
        /// Only this type code, such as EA.
        #[arg(long, value_name = "CODE")]
        kind: Option<String>,
        /// How much is shown.
        #[command(flatten)]
        page: PageArgs,
    },
}

/// `changes …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChangesVerb {
    /// Fills, orders, approvals and session changes since a cursor
    Since {
        /// The cursor of the answer before; now without one.
        cursor: Option<String>,
        /// Most rows, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Wait until a resource changes
    Wait {
        /// Resources, such as ibkr://accounts/DU1234567/orders.
        #[arg(required = true)]
        resources: Vec<String>,
        /// The cursor of the answer before.
        #[arg(long)]
        cursor: Option<String>,
        /// Seconds to wait, 0 to 45.
        #[arg(long, value_name = "N")]
        wait_seconds: Option<u64>,
    },
}
