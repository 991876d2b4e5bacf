//! Reads of accounts, orders and trades, and one module for each other kind of read. Searching
//! and resolving contracts is next door.

mod account;
mod bars;
mod contract;
pub(crate) mod derivatives;
mod inbox;
mod scanner;
mod snapshot;

use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::session::Primed;
use crate::transport::Request;
use crate::wire::many::Row;
use crate::wire::market::FIELDS;
use crate::wire::orders::{OrderStatus, orders};
use crate::wire::portfolio::{Figure, LedgerBlock, PositionRow, ledger, summary};
use crate::wire::trades::{TradeRow, executions};
use crate::wire::what_if::WhatIfAnswer;
use crate::wire::{accounts::PortfolioAccount, contracts::Rate};
use crate::wire::{parse, parse_list, ticket};
use crate::{BrokerError, Dated};
use ibkr_agent_domain::{
    AccountId, AccountInfo, AccountSummary, BrokerOrder, BrokerOrderId, CanonicalOrder, Currency,
    Estimate, Execution, LedgerLine, Listed, Position, WhatIf,
};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Rows per page and most pages of the older position list.
const PAGE_ROWS: usize = 100;
const MAX_PAGES: u32 = 50;
/// Days of trades to read.
const TRADE_DAYS: &str = "7";

impl ClientPortal {
    pub(crate) async fn read_metadata(
        &self,
        account: &AccountId,
    ) -> Result<AccountInfo, BrokerError> {
        let known = self.require(account).await?;
        let request = Request::get(format!("/portfolio/{account}/meta"));
        let raw: PortfolioAccount = self.fetch_as(&request, "account description").await?;
        let mut read = AccountInfo::try_from(raw)?;
        if let Some(listed) = known.accounts.iter().find(|listed| listed.id == *account) {
            read.is_paper = listed.is_paper;
            read.can_trade &= listed.can_trade;
            read.alias = read.alias.or_else(|| listed.alias.clone());
        }
        Ok(read)
    }

    pub(crate) async fn read_summary(
        &self,
        account: &AccountId,
    ) -> Result<AccountSummary, BrokerError> {
        self.require(account).await?;
        let request = Request::get(format!("/portfolio/{account}/summary"));
        let answer = self.fetch(&request).await?;
        let figures: BTreeMap<String, Figure> = parse(&answer.body, "account summary")?;
        Ok(summary(account.clone(), &figures, answer.sent_at))
    }

    pub(crate) async fn read_ledger(
        &self,
        account: &AccountId,
    ) -> Result<Vec<LedgerLine>, BrokerError> {
        self.require(account).await?;
        let request = Request::get(format!("/portfolio/{account}/ledger"));
        let blocks: BTreeMap<String, LedgerBlock> = self.fetch_as(&request, "ledger").await?;
        ledger(blocks)
    }

    /// The near-real-time list, asked twice before it counts as empty, since a cold read is. The
    /// paged list is cached at the broker: it serves only where the other isn't served.
    pub(crate) async fn read_positions(
        &self,
        account: &AccountId,
    ) -> Result<Vec<Position>, BrokerError> {
        self.require(account).await?;
        let rows = match self.read_live_positions(account).await {
            Ok(rows) if rows.is_empty() => self.read_live_positions(account).await?,
            Ok(rows) => rows,
            Err(
                BrokerError::Upstream { .. }
                | BrokerError::AccessDenied { .. }
                | BrokerError::Rejected { .. },
            ) => {
                let path = format!("/portfolio/{account}/positions/invalidate");
                self.fetch(&Request::post(path)).await?;
                self.read_position_pages(account).await?
            }
            Err(error) => return Err(error),
        };
        rows.into_iter().map(|row| row.into_position(account)).collect()
    }

    async fn read_live_positions(
        &self,
        account: &AccountId,
    ) -> Result<Vec<PositionRow>, BrokerError> {
        let request = Request::get(format!("/portfolio2/{account}/positions"));
        parse_list(&self.fetch(&request).await?.body, "positions")
    }

    async fn read_position_pages(
        &self,
        account: &AccountId,
    ) -> Result<Vec<PositionRow>, BrokerError> {
        let mut all = Vec::new();
        for page in 0..MAX_PAGES {
            let request = Request::get(format!("/portfolio/{account}/positions/{page}"));
            let answer = self.fetch(&request).await?;
            let rows: Vec<PositionRow> = parse_list(&answer.body, "positions")?;
            let is_last = rows.len() < PAGE_ROWS;
            all.extend(rows);
            if is_last {
                return Ok(all);
            }
        }
        Err(BrokerError::InvalidResponse { what: "number of positions" })
    }

    /// From a request that is sent from now on, or was sent after `asked_after`.
    pub(crate) async fn read_orders(
        &self,
        account: &AccountId,
        asked_after: Option<Instant>,
    ) -> Result<Dated<Listed<BrokerOrder>>, BrokerError> {
        self.require(account).await?;
        let request = Request::get("/iserver/account/orders")
            .param("accountId", account.as_str())
            .lane(Lane::Orders)
            .asked_after(asked_after);
        if !self.session().is_primed(Primed::Orders) {
            self.fetch(&request.cold()).await?;
            self.session().note_primed(Primed::Orders);
        }
        let (answer, asked) = self.fetch_dated(&request).await?;
        let value = orders(parse(&answer.body, "orders")?, account);
        self.learn_orders(&value.rows);
        let list = Dated { value, as_of: Some(answer.sent_at) };
        self.lists().keep(account, asked, &list);
        Ok(list)
    }

    pub(crate) async fn read_order(
        &self,
        order: &BrokerOrderId,
    ) -> Result<BrokerOrder, BrokerError> {
        if !order.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BrokerError::UnknownOrder);
        }
        let request = Request::get(format!("/iserver/account/order/status/{order}"));
        let raw: OrderStatus = match self.fetch_as(&request, "order status").await {
            Err(error) if says_not_found(&error) => return Err(BrokerError::UnknownOrder),
            other => other?,
        };
        BrokerOrder::try_from(raw)
    }

    pub(crate) async fn read_executions(
        &self,
        account: &AccountId,
    ) -> Result<Listed<Execution>, BrokerError> {
        self.require(account).await?;
        let request = Request::get("/iserver/account/trades")
            .param("days", TRADE_DAYS)
            .param("accountId", account.as_str())
            .lane(Lane::Trades);
        if !self.session().is_primed(Primed::Trades) {
            self.fetch(&request.cold()).await?;
            self.session().note_primed(Primed::Trades);
        }
        let answer = self.fetch(&request).await?;
        let rows: Vec<Row<TradeRow>> = parse_list(&answer.body, "trades")?;
        Ok(executions(rows, account))
    }

    pub(crate) async fn read_rate(
        &self,
        from: Currency,
        to: Currency,
    ) -> Result<Decimal, BrokerError> {
        if from == to {
            return Ok(Decimal::ONE);
        }
        let request = Request::get("/iserver/exchangerate")
            .param("source", from.as_str())
            .param("target", to.as_str());
        let raw: Rate = self.fetch_as(&request, "exchange rate").await?;
        raw.rate
            .decimal()
            .filter(|rate| *rate > Decimal::ZERO)
            .ok_or(BrokerError::InvalidResponse { what: "exchange rate" })
    }

    /// The broker wants a snapshot of the contract before it previews an order on it.
    pub(crate) async fn read_what_if(&self, order: &CanonicalOrder) -> Result<WhatIf, BrokerError> {
        if order.broker() != self.broker_name() {
            let what = "the order is for another broker login";
            return Err(BrokerError::InvalidRequest { what });
        }
        let account = order.account();
        self.require(account).await?;
        let opener = Request::get("/iserver/marketdata/snapshot")
            .param("conids", order.conid().to_string())
            .param("fields", FIELDS)
            .lane(Lane::Snapshot);
        self.fetch(&opener).await?;
        let body = ticket::orders(order, None)
            .map_err(|_| BrokerError::InvalidRequest { what: "the order can't be written" })?;
        let path = format!("/iserver/account/{account}/orders/whatif");
        let request = Request::post(path).json(body).reading_error();
        match self.fetch_as::<WhatIfAnswer>(&request, "what-if").await {
            Ok(raw) => Ok(WhatIf::Estimated(Box::new(Estimate::try_from(raw)?))),
            Err(BrokerError::Rejected { message }) => Ok(WhatIf::Refused { message }),
            Err(error) => Err(error),
        }
    }
}

/// An unknown order is a 503 (or 400) with these words.
fn says_not_found(error: &BrokerError) -> bool {
    error.text().is_some_and(|text| {
        let text = text.as_str().to_ascii_lowercase();
        text.contains("not found")
            || text.contains("doesn't exist")
            || text.contains("invalid order id")
    })
}
