//! Options, scanners, currencies, companies, lists and changes.

use super::{Planned, account, instrument};
use crate::args::{
    AlertsVerb, ChangesVerb, CompanyArgs, CurrencyVerb, FundamentalsVerb, NewsVerb,
    NotificationsVerb, OptionsVerb, PageArgs, ScannerVerb, WatchlistsVerb,
};
use crate::arguments::Arguments;

fn paged(arguments: Arguments, page: &PageArgs) -> Arguments {
    arguments.number("limit", page.limit).text("cursor", page.cursor.as_deref())
}

fn company(of: &CompanyArgs) -> Arguments {
    Arguments::new()
        .text("symbol", of.symbol.as_deref())
        .text("contract_id", of.contract_id.as_deref())
}

pub(super) fn options(verb: &OptionsVerb) -> Planned {
    match verb {
        OptionsVerb::Chain { symbol, contract_id, expiry, strikes, right, list_expiries } => (
            "ibkr_options_chain",
            Arguments::new()
                .text("symbol", symbol.as_deref())
                .text("contract_id", contract_id.as_deref())
                .text("expiry", expiry.as_deref())
                .number("strikes", *strikes)
                .text("right", right.as_deref())
                .switch("list_expiries", *list_expiries),
        ),
        OptionsVerb::Greeks(of) => ("ibkr_option_greeks", instrument(of)),
    }
}

pub(super) fn scanner(verb: &ScannerVerb) -> Planned {
    match verb {
        ScannerVerb::Run { code, instrument, location, filter, limit } => (
            "ibkr_scanner_run",
            Arguments::new()
                .text("scanner_code", Some(code))
                .text("instrument", instrument.as_deref())
                .text("location", location.as_deref())
                .pairs("filters", ("code", "value"), filter)
                .number("limit", *limit),
        ),
        ScannerVerb::Parameters { list, search, instrument, page } => {
            let arguments = Arguments::new()
                .text("list", list.as_deref())
                .text("search", search.as_deref())
                .text("instrument", instrument.as_deref());
            ("ibkr_scanner_parameters", paged(arguments, page))
        }
    }
}

pub(super) fn currency(verb: &CurrencyVerb) -> Planned {
    match verb {
        CurrencyVerb::Rate { base, quote } => (
            "ibkr_currency_rate",
            Arguments::new().text("base", Some(base)).text("quote", Some(quote)),
        ),
        CurrencyVerb::Pairs { currency, limit } => (
            "ibkr_currency_pairs",
            Arguments::new().text("currency", Some(currency)).number("limit", *limit),
        ),
    }
}

pub(super) fn fundamentals(verb: &FundamentalsVerb) -> Planned {
    let FundamentalsVerb::Show(of) = verb;
    ("ibkr_fundamentals_get", company(of))
}

pub(super) fn news(verb: &NewsVerb) -> Planned {
    match verb {
        NewsVerb::List(of) => ("ibkr_news_list", company(of)),
        NewsVerb::Article { article_id } => {
            ("ibkr_news_article", Arguments::new().text("article_id", Some(article_id)))
        }
    }
}

pub(super) fn watchlists(verb: &WatchlistsVerb) -> Planned {
    let WatchlistsVerb::List { watchlist_id, page } = verb;
    let arguments = Arguments::new().text("watchlist_id", watchlist_id.as_deref());
    ("ibkr_watchlists_list", paged(arguments, page))
}

pub(super) fn alerts(verb: &AlertsVerb) -> Planned {
    let AlertsVerb::List { alert_id, account: of, page } = verb;
    ("ibkr_alerts_list", paged(account(of).text("alert_id", alert_id.as_deref()), page))
}

pub(super) fn notifications(verb: &NotificationsVerb) -> Planned {
    let NotificationsVerb::List { notification_id, kind, page } = verb;
    let arguments = Arguments::new()
        .text("notification_id", notification_id.as_deref())
        .text("kind", kind.as_deref());
    ("ibkr_notifications_list", paged(arguments, page))
}

pub(super) fn changes(verb: &ChangesVerb) -> Planned {
    match verb {
        ChangesVerb::Since { cursor, limit } => (
            "ibkr_changes_since",
            Arguments::new().text("cursor", cursor.as_deref()).number("limit", *limit),
        ),
        ChangesVerb::Wait { resources, cursor, wait_seconds } => (
            "ibkr_resources_wait",
            Arguments::new()
                .list("resources", resources)
                .text("cursor", cursor.as_deref())
                .number("wait_seconds", *wait_seconds),
        ),
    }
}
