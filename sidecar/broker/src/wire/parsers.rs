//! Every parser of an answer by the endpoint's name: for the golden shapes and for fuzzing, which
//! must not forget one. No product code.
//!
//! An endpoint reads an answer here as its read does: the session's check first, then the form,
//! then the values.

use super::accounts::PortfolioAccount;
use super::contracts::{Definitions, Rate, SearchRow, Stocks};
use super::history::History;
use super::inbox::{AlertRow, NotificationRow, WatchlistAnswer, Watchlists};
use super::many::Row;
use super::market::SnapshotRow;
use super::options::{DerivativeRow, Futures, Pairs, StrikesAnswer};
use super::orders::{OrderStatus, Orders, orders};
use super::performance::{
    AllocationAnswer, ComboRow, Partitions, PerformanceAnswer, TransactionsAnswer,
};
use super::portfolio::{Figure, LedgerBlock, PositionRow, ledger, summary};
use super::rules::{ContractInfo, Rules, Schedule};
use super::scanner::{Parameters, ScanAnswer};
use super::session::{AuthStatus, BrokerageAccounts, Tickle};
use super::trades::{TradeRow, executions};
use super::what_if::WhatIfAnswer;
use super::{parse, parse_list, unreadable};
use crate::BrokerError;
use crate::transport::Answer;
use bytes::Bytes;
use ibkr_agent_domain::{
    AccountId, AccountInfo, Allocation, BarSource, BrokerOrder, Conid, Contract, Estimate,
    PerformancePeriod, Timestamp,
};
use std::collections::BTreeMap;

/// Reads a body; what it says is dropped.
pub(crate) type Parser = fn(&[u8]) -> Result<(), BrokerError>;

/// Every parser by name.
pub(crate) const ALL: &[(&str, Parser)] = &[
    ("tickle", |body| parse::<Tickle>(body, "tickle").map(drop)),
    ("auth status", auth_status),
    ("brokerage accounts", brokerage_accounts),
    ("portfolio accounts", portfolio_accounts),
    ("account description", |body| {
        AccountInfo::try_from(parse::<PortfolioAccount>(body, "description")?).map(drop)
    }),
    ("account summary", account_summary),
    ("ledger", |body| ledger(parse::<BTreeMap<String, LedgerBlock>>(body, "ledger")?).map(drop)),
    ("positions", positions),
    ("positions by account", |body| {
        parse::<BTreeMap<String, super::Many<PositionRow>>>(body, "positions").map(drop)
    }),
    ("allocation", |body| {
        parse::<AllocationAnswer>(body, "allocation").map(|raw| drop(Allocation::from(raw)))
    }),
    ("combinations", combinations),
    ("profit and loss", profit_and_loss),
    ("performance", performance),
    ("transactions", |body| {
        let raw: TransactionsAnswer = parse(body, "transactions")?;
        drop(raw.of(&account()?));
        Ok(())
    }),
    ("search", search),
    ("stocks", |body| parse::<Stocks>(body, "stocks").map(drop)),
    ("futures", futures),
    ("currency pairs", currency_pairs),
    ("definitions", definitions),
    ("strikes", |body| parse::<StrikesAnswer>(body, "strikes")?.into_strikes().map(drop)),
    ("options", options),
    ("contract", contract),
    ("contract rules", |body| {
        let raw: Rules = parse(body, "rules")?;
        drop(raw.into_rules(conid()?));
        Ok(())
    }),
    ("trading schedule", |body| {
        parse::<Schedule>(body, "schedule")?.into_hours(conid()?).map(drop)
    }),
    ("exchange rate", |body| {
        let rate = parse::<Rate>(body, "rate")?.rate.decimal();
        rate.map(drop).ok_or(unreadable("rate"))
    }),
    ("snapshot", snapshot),
    ("history", history),
    ("scanner parameters", |body| {
        parse::<Parameters>(body, "parameters").map(|raw| drop(raw.into_parameters(now())))
    }),
    ("scan", |body| parse::<ScanAnswer>(body, "scan")?.into_hits().map(drop)),
    ("watchlists", |body| parse::<Watchlists>(body, "watchlists")?.into_lists().map(drop)),
    ("watchlist", watchlist),
    ("alerts", alerts),
    ("alert", |body| parse::<AlertRow>(body, "alert")?.into_alert(&account()?).map(drop)),
    ("notifications", notifications),
    ("orders", |body| {
        let listed = orders(parse::<Orders>(body, "orders")?, &account()?);
        listed.unread.first().map_or(Ok(()), |row| Err(unreadable(row.why)))
    }),
    ("order status", |body| {
        BrokerOrder::try_from(parse::<OrderStatus>(body, "order status")?).map(drop)
    }),
    ("trades", trades),
    ("what-if", |body| Estimate::try_from(parse::<WhatIfAnswer>(body, "what-if")?).map(drop)),
];

/// An answer of a status and a body, as the transport makes it.
pub(crate) fn answer(status: u16, body: &[u8]) -> Answer {
    Answer { status, body: Bytes::copy_from_slice(body), sent_at: now(), retry_after: None }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_446_000_000)
}

fn account() -> Result<AccountId, BrokerError> {
    AccountId::parse("DU1234567").map_err(|_| unreadable("account"))
}

fn conid() -> Result<Conid, BrokerError> {
    Conid::new(265_598).map_err(|_| unreadable("contract id"))
}

/// Reads every row of a list.
fn each<T: serde::de::DeserializeOwned, U>(
    body: &[u8],
    what: &'static str,
    read: impl Fn(T) -> Result<U, BrokerError>,
) -> Result<(), BrokerError> {
    parse_list::<T>(body, what)?.into_iter().try_for_each(|row| read(row).map(drop))
}

fn auth_status(body: &[u8]) -> Result<(), BrokerError> {
    let status: AuthStatus = parse(body, "status")?;
    let _ = (status.is_authenticated(), status.is_competing(), status.is_connected());
    Ok(())
}

fn brokerage_accounts(body: &[u8]) -> Result<(), BrokerError> {
    let accounts: BrokerageAccounts = parse(body, "accounts")?;
    let _ = (accounts.is_paper_login(), accounts.is_simulated());
    Ok(())
}

fn portfolio_accounts(body: &[u8]) -> Result<(), BrokerError> {
    each::<PortfolioAccount, _>(body, "accounts", AccountInfo::try_from)
}

fn account_summary(body: &[u8]) -> Result<(), BrokerError> {
    let figures: BTreeMap<String, Figure> = parse(body, "summary")?;
    drop(summary(account()?, &figures, now()));
    Ok(())
}

fn positions(body: &[u8]) -> Result<(), BrokerError> {
    let account = account()?;
    each::<PositionRow, _>(body, "positions", |row| row.into_position(&account))
}

fn combinations(body: &[u8]) -> Result<(), BrokerError> {
    let account = account()?;
    each::<ComboRow, _>(body, "combinations", |row| row.into_combo(&account))
}

fn profit_and_loss(body: &[u8]) -> Result<(), BrokerError> {
    let raw: Partitions = parse(body, "profit and loss")?;
    drop((raw.is_cold(), raw.of(&account()?, now())));
    Ok(())
}

fn performance(body: &[u8]) -> Result<(), BrokerError> {
    let raw: PerformanceAnswer = parse(body, "performance")?;
    raw.into_performance(&account()?, PerformancePeriod::Month, now()).map(drop)
}

fn search(body: &[u8]) -> Result<(), BrokerError> {
    each::<SearchRow, _>(body, "search", |row| {
        for section in row.sections.iter() {
            drop((section.months(), section.exchanges()));
        }
        Ok((row.conid.conid(), row.has_options()))
    })
}

fn futures(body: &[u8]) -> Result<(), BrokerError> {
    let all: Futures = parse(body, "futures")?;
    all.into_iter().try_for_each(|(root, rows)| {
        rows.into_iter().try_for_each(|row| row.into_future(&root).map(drop))
    })
}

fn currency_pairs(body: &[u8]) -> Result<(), BrokerError> {
    let all: Pairs = parse(body, "currency pairs")?;
    all.into_values()
        .try_for_each(|rows| rows.into_iter().try_for_each(|row| row.into_pair().map(drop)))
}

fn definitions(body: &[u8]) -> Result<(), BrokerError> {
    let all: Definitions = parse(body, "definitions")?;
    all.secdef.into_iter().try_for_each(|row| {
        let _ = (row.expiry(), row.is_us(), row.is_derivative(), row.trades_on("NYSE"));
        Contract::try_from(&row).map(drop)
    })
}

fn options(body: &[u8]) -> Result<(), BrokerError> {
    each::<DerivativeRow, _>(body, "options", |row| {
        // Futures and stocks come in the same form; only options have a right.
        let is_option = row.right.as_str().is_some_and(|right| right != "?");
        if is_option { row.into_option().map(Some) } else { Ok(None) }
    })
}

fn contract(body: &[u8]) -> Result<(), BrokerError> {
    let info: ContractInfo = parse(body, "contract")?;
    let definition = br#"{"conid":1,"ticker":"X","assetClass":"STK","currency":"USD",
        "allExchanges":"NYSE"}"#;
    info.into_details(&parse(definition, "definition")?).map(drop)
}

fn snapshot(body: &[u8]) -> Result<(), BrokerError> {
    let rows = || parse_list::<SnapshotRow>(body, "snapshot");
    for row in rows()? {
        let _ = (row.is_complete(), row.has_greeks(), row.has_company());
        drop(row.into_option_quote(conid()?, now()));
    }
    rows()?.into_iter().try_for_each(|row| {
        drop(row.into_fundamentals(conid()?, now()));
        Ok(())
    })
}

fn history(body: &[u8]) -> Result<(), BrokerError> {
    let raw: History = parse(body, "history")?;
    raw.into_bars(conid()?, BarSource::Trades, now()).map(drop)
}

fn watchlist(body: &[u8]) -> Result<(), BrokerError> {
    let raw: WatchlistAnswer = parse(body, "watchlist")?;
    let _ = raw.is_thin();
    raw.into_list().map(drop)
}

fn alerts(body: &[u8]) -> Result<(), BrokerError> {
    let account = account()?;
    each::<AlertRow, _>(body, "alerts", |row| row.into_alert(&account))
}

fn notifications(body: &[u8]) -> Result<(), BrokerError> {
    each::<NotificationRow, _>(body, "notifications", NotificationRow::into_notification)
}

fn trades(body: &[u8]) -> Result<(), BrokerError> {
    let rows: Vec<Row<TradeRow>> = parse_list(body, "trades")?;
    let listed = executions(rows, &account()?);
    listed.unread.first().map_or(Ok(()), |row| Err(unreadable(row.why)))
}
