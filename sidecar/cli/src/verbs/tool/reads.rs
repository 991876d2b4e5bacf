//! Accounts, portfolio, positions, contracts and market data.

use super::{Planned, account, instrument, rows};
use crate::args::{
    AccountVerb, BarsArgs, CalendarArgs, ContractFilter, ContractsVerb, MarketVerb, PortfolioVerb,
    PositionsVerb, TransfersArgs,
};
use crate::arguments::Arguments;

pub(super) fn account_verb(verb: &AccountVerb) -> Planned {
    match verb {
        AccountVerb::Summary(of) => ("ibkr_account_summary", account(of)),
        AccountVerb::Metadata(of) => ("ibkr_account_metadata", account(of)),
        AccountVerb::Pnl { account: of, realtime: false } => ("ibkr_pnl_daily", account(of)),
        AccountVerb::Pnl { account: of, realtime: true } => ("ibkr_pnl_realtime", account(of)),
        AccountVerb::Ledger(of) => ("ibkr_account_ledger", account(of)),
        AccountVerb::Allocation(of) => ("ibkr_account_allocation", account(of)),
        AccountVerb::Performance { account: of, period, limit, cursor } => (
            "ibkr_account_performance",
            account(of)
                .text("period", period.as_deref())
                .number("limit", *limit)
                .text("cursor", cursor.as_deref()),
        ),
        AccountVerb::Transfers(which) => ("ibkr_transfer_history", transfers(which)),
    }
}

fn transfers(which: &TransfersArgs) -> Arguments {
    account(&which.account)
        .text("contract_id", which.contract_id.as_deref())
        .text("instrument", which.instrument.as_deref())
        .number("days", which.days)
        .text("kind", which.kind.as_deref())
        .number("limit", which.limit)
        .text("cursor", which.cursor.as_deref())
}

pub(super) fn portfolio(verb: &PortfolioVerb) -> Planned {
    match verb {
        PortfolioVerb::Overview { account: of, currency, top } => (
            "ibkr_portfolio_overview",
            account(of).text("currency", currency.as_deref()).number("top", *top),
        ),
        PortfolioVerb::Snapshot { account: of, full } => {
            ("ibkr_portfolio_snapshot", account(of).full(*full))
        }
    }
}

pub(super) fn positions(verb: &PositionsVerb) -> Planned {
    match verb {
        PositionsVerb::List { account: of, asset_class, symbol, min_value, list, .. } => {
            let arguments = account(of)
                .text("asset_class", asset_class.as_deref())
                .text("symbol", symbol.as_deref())
                .text("min_value", min_value.as_deref());
            ("ibkr_positions_list", rows(arguments, list))
        }
        PositionsVerb::Combos { account: of, list } => {
            ("ibkr_combo_positions", rows(account(of), list))
        }
    }
}

fn filtered(arguments: Arguments, filter: &ContractFilter) -> Arguments {
    arguments
        .text("asset_class", filter.asset_class.as_deref())
        .text("currency", filter.currency.as_deref())
        .text("exchange", filter.exchange.as_deref())
}

pub(super) fn contracts(verb: &ContractsVerb) -> Planned {
    match verb {
        ContractsVerb::Search { query, filter, limit, full } => (
            "ibkr_contracts_search",
            filtered(Arguments::new().text("query", Some(query)), filter)
                .number("limit", *limit)
                .full(*full),
        ),
        ContractsVerb::Resolve { symbol, filter } => (
            "ibkr_contract_resolve",
            filtered(Arguments::new().text("symbol", Some(symbol)), filter),
        ),
        ContractsVerb::Details { instrument: of, side, full } => {
            ("ibkr_contract_details", instrument(of).text("side", side.as_deref()).full(*full))
        }
        ContractsVerb::Futures { symbol, limit } => (
            "ibkr_futures_list",
            Arguments::new().text("symbol", Some(symbol)).number("limit", *limit),
        ),
    }
}

pub(super) fn market(verb: &MarketVerb) -> Planned {
    match verb {
        MarketVerb::Snapshot { contract_id, instrument, fields, full, .. } => {
            let arguments = match (contract_id.as_slice(), instrument.as_slice()) {
                ([one], []) => Arguments::new().text("contract_id", Some(one)),
                ([], [one]) => Arguments::new().text("instrument", Some(one)),
                (ids, names) => {
                    Arguments::new().list("contract_ids", ids).list("instruments", names)
                }
            };
            ("ibkr_market_snapshot", arguments.list("fields", fields).full(*full))
        }
        MarketVerb::Brief(of) => ("ibkr_instrument_brief", instrument(of)),
        MarketVerb::Bars(which) => ("ibkr_historical_bars", bars(which)),
        MarketVerb::Depth { instrument: of, account: on, levels } => (
            "ibkr_market_depth",
            instrument(of).text("account_id", on.account.as_deref()).number("levels", *levels),
        ),
        MarketVerb::Session(of) => ("ibkr_market_session", calendar(of)),
        MarketVerb::Holidays(of) => ("ibkr_market_holidays", calendar(of)),
    }
}

fn bars(which: &BarsArgs) -> Arguments {
    instrument(&which.instrument)
        .text("duration", Some(&which.duration))
        .text("bar_size", Some(&which.bar_size))
        .switch("outside_rth", which.outside_rth)
        .text("end", which.end.as_deref())
        .text("source", which.source.as_deref())
        .number("limit", which.limit)
}

fn calendar(of: &CalendarArgs) -> Arguments {
    Arguments::new()
        .text("exchange", of.exchange.as_deref())
        .text("contract_id", of.contract_id.as_deref())
        .text("instrument", of.instrument.as_deref())
}
