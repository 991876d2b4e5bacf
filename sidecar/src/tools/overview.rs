//! The whole portfolio in one answer: every visible account, read side by side.
//!
//! A part that fails or takes too long is named in the answer; no total that needs it is given.
//! Accounts with real money and accounts without are never added together.

use super::brief::ORDERS_AGE;
use super::orders::unread_part;
use super::sums::{self, Rates};
use super::{Asked, Done, refusal_body};
use crate::brokers::{Routed, account_mode, error_body};
use crate::engine::{ApprovalStatus, Expired};
use futures_util::future::join_all;
use ibkr_agent_broker::{BrokerError, Dated, Errand};
use ibkr_agent_domain::{
    AccountId, AccountSummary, BrokerOrder, Currency, ErrorCode, LedgerLine, Listed, Mode, Money,
    Position, ProfitAndLoss,
};
use ibkr_agent_protocol::catalogue::overview::{
    AccountRow, ApprovalRow, DEFAULT_TOP, MAX_SHOWN, MAX_TOP, PortfolioOverview,
    PortfolioOverviewInput, PortfolioOverviewOutput, account_orders_table, accounts_table,
    approvals_table, cash_rows_table, holdings_table,
};
use ibkr_agent_protocol::catalogue::{PartFailure, Wire, count};
use ibkr_agent_protocol::number::OutputNumber;
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::time::Duration;

/// Accounts that are read for one overview.
const MAX_ACCOUNTS: usize = 10;

/// Exchange rates that are asked for, beyond those that the ledgers tell.
const MAX_RATES: usize = 10;

/// The part of a call's time that its parts get, in percent: what is left is for the answer.
const PART_PERCENT: u32 = 60;

/// What was read of one account.
struct Parts {
    routed: Routed,
    summary: Result<AccountSummary, ErrorBody>,
    ledger: Result<Vec<LedgerLine>, ErrorBody>,
    positions: Result<Vec<Position>, ErrorBody>,
    pnl: Result<ProfitAndLoss, ErrorBody>,
    orders: Result<Dated<Listed<BrokerOrder>>, ErrorBody>,
}

impl Parts {
    const fn account(&self) -> &AccountId {
        &self.routed.info.id
    }

    /// Base currency: as the account's description says, or as its figures are in.
    fn base(&self) -> Option<Currency> {
        let summary = self.summary.as_ref().ok();
        let told = summary.and_then(|summary| summary.net_liquidation);
        let told = told.map(|money| money.currency).filter(|c| *c != Currency::BASE);
        self.routed.info.currency.or(told)
    }

    fn row(&self) -> AccountRow {
        let summary = self.summary.as_ref().ok();
        let figure = |get: fn(&AccountSummary) -> Option<Money>| {
            summary.and_then(get).map(|money| money.amount)
        };
        let pnl = self.pnl.as_ref().ok();
        AccountRow {
            account: self.account().clone(),
            mode: account_mode(&self.routed),
            currency: self.base(),
            net_liquidation: figure(|summary| summary.net_liquidation),
            cash: figure(|summary| summary.total_cash),
            daily_pnl: pnl.and_then(|pnl| pnl.daily),
            unrealized_pnl: pnl.and_then(|pnl| pnl.unrealized),
            buying_power: figure(|summary| summary.buying_power),
        }
    }

    /// What of this account couldn't be read.
    fn failures(&self) -> Vec<PartFailure> {
        let named = |part: &str| format!("{part} of {}", self.account());
        let mut missing = Vec::new();
        let mut note = |part: &str, error: Option<&ErrorBody>| {
            missing.extend(error.map(|error| PartFailure::new(&named(part), error.clone())));
        };
        note("key figures", self.summary.as_ref().err());
        note("cash per currency", self.ledger.as_ref().err());
        note("positions", self.positions.as_ref().err());
        note("profit and loss", self.pnl.as_ref().err());
        note("orders", self.orders.as_ref().err());
        let mut untold = |part: &str, is_untold: bool| {
            if is_untold {
                let error = unread("the broker didn't tell this figure");
                missing.push(PartFailure::new(&named(part), error));
            }
        };
        let row = self.row();
        untold("net liquidation value", self.summary.is_ok() && row.net_liquidation.is_none());
        untold("cash", self.summary.is_ok() && row.cash.is_none());
        untold("daily profit and loss", self.pnl.is_ok() && row.daily_pnl.is_none());
        untold("unrealized profit and loss", self.pnl.is_ok() && row.unrealized_pnl.is_none());
        untold("base currency", self.base().is_none());
        let orders = self.orders.as_ref().ok();
        missing.extend(orders.and_then(|list| unread_part(&named("orders"), &list.value.unread)));
        missing
    }
}

fn unread(message: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::BrokerResponseInvalid, message)
}

impl Asked<'_> {
    pub(super) async fn portfolio_overview(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PortfolioOverview>()?;
        let top = count("top", input.top, DEFAULT_TOP, MAX_TOP)?;
        let as_of = self.now();
        let (accounts, mut missing) = self.overview_accounts(&input).await?;
        let only = match accounts.as_slice() {
            [only] => Some(only.info.id.clone()),
            _ => None,
        };
        let parts = join_all(accounts.into_iter().map(|routed| self.read_parts(routed))).await;
        missing.extend(parts.iter().flat_map(Parts::failures));
        let rates = self.rates(&input, &parts, &mut missing).await;
        let approvals = self.pending_approvals().await?;
        let halted = self.core.engine.look(|engine, _| engine.halt_entry().halted).await;
        let mut output = totals(&parts, &rates, top, self.core.backend, as_of);
        output.pending_approvals = (!approvals.is_empty()).then(|| approvals_table(&approvals));
        output.trading_halted = halted.map_err(refusal_body)?;
        output.missing = missing;
        Done::read(&output, only)
    }

    /// The accounts that are read, and those that are left out.
    async fn overview_accounts(
        &self,
        input: &PortfolioOverviewInput,
    ) -> Result<(Vec<Routed>, Vec<PartFailure>), ErrorBody> {
        if input.account_id.is_some() {
            return Ok((vec![self.routed(input.account_id.as_ref()).await?], Vec::new()));
        }
        let visible = self.core.brokers.accounts().await?;
        let real: Vec<&Routed> = visible.iter().filter(|routed| !routed.is_pseudo()).collect();
        let modes = [Mode::Live, Mode::Paper, Mode::Simulated];
        let mode = modes.into_iter().find(|mode| real.iter().any(|r| account_mode(r) == *mode));
        let Some(mode) = mode else {
            return Err(ErrorBody::new(ErrorCode::InputMissingAccount, "no account is visible"));
        };
        let (mut read, mut missing) = (Vec::new(), Vec::new());
        for routed in real {
            let id = &routed.info.id;
            let left_out = if account_mode(routed) != mode {
                format!(
                    "{} money isn't added to {mode} money: name account_id",
                    account_mode(routed)
                )
            } else if read.len() == MAX_ACCOUNTS {
                format!("an overview holds {MAX_ACCOUNTS} accounts: name account_id")
            } else {
                read.push(routed.clone());
                continue;
            };
            let error = ErrorBody::new(ErrorCode::InputAmbiguousAccount, left_out);
            missing.push(PartFailure::new(&format!("account {id}"), error));
        }
        missing.truncate(MAX_SHOWN);
        Ok((read, missing))
    }

    /// How long one part may take.
    pub(super) fn part_time(&self) -> Duration {
        let whole = self.call.timeout.min(ibkr_agent_protocol::service::MAX_TIMEOUT);
        whole.saturating_mul(PART_PERCENT) / 100
    }

    /// A read with a limit of its own, so that one that hangs costs only its part.
    pub(super) async fn in_time<T>(
        &self,
        read: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, ErrorBody> {
        let read = Errand::current().within(self.part_time()).run(read);
        match tokio::time::timeout(self.part_time(), read).await {
            Ok(read) => read.map_err(|error| error_body(&error)),
            Err(_) => Err(ErrorBody::new(ErrorCode::CallTimedOut, "this part took too long")),
        }
    }

    async fn read_parts(&self, routed: Routed) -> Parts {
        let (broker, id) = (&routed.broker, &routed.info.id);
        let (summary, ledger, positions, pnl, orders) = tokio::join!(
            self.in_time(broker.summary(id)),
            self.in_time(broker.ledger(id)),
            self.in_time(broker.positions(id)),
            self.in_time(broker.profit_and_loss(id)),
            self.in_time(broker.orders_within(id, ORDERS_AGE)),
        );
        Parts { summary, ledger, positions, pnl, orders, routed }
    }

    /// Rates into the currency of the totals: the ledgers' own, and the broker's for the rest.
    async fn rates(
        &self,
        input: &PortfolioOverviewInput,
        parts: &[Parts],
        missing: &mut Vec<PartFailure>,
    ) -> Rates {
        let first = parts.iter().find_map(Parts::base);
        let asked = input.currency.map(|currency| currency.0).filter(|c| *c != Currency::BASE);
        let mut rates = Rates::new(asked.or(first).unwrap_or(Currency::USD));
        let bases: BTreeSet<Currency> = parts.iter().filter_map(Parts::base).collect();
        self.learn_rates(bases, &mut rates, missing).await;
        for part in parts {
            if let (Ok(ledger), Some(base)) = (&part.ledger, part.base()) {
                rates.learn_ledger(ledger, base);
            }
        }
        let held = parts.iter().filter_map(|part| part.positions.as_ref().ok()).flatten();
        let held = held.map(|position| position.currency);
        let cash = parts.iter().filter_map(|part| part.ledger.as_ref().ok()).flatten();
        let cash = cash.map(|line| line.currency).filter(|c| *c != Currency::BASE);
        self.learn_rates(held.chain(cash).collect(), &mut rates, missing).await;
        rates
    }

    async fn learn_rates(
        &self,
        currencies: BTreeSet<Currency>,
        rates: &mut Rates,
        missing: &mut Vec<PartFailure>,
    ) {
        let target = rates.target();
        let unknown: Vec<Currency> =
            currencies.into_iter().filter(|c| rates.of(*c).is_none()).take(MAX_RATES).collect();
        let Ok(broker) = self.core.brokers.market() else { return };
        let reads = unknown.into_iter().map(|currency| async move {
            (currency, self.in_time(broker.exchange_rate(currency, target)).await)
        });
        for (currency, read) in join_all(reads).await {
            match read {
                Ok(rate) => rates.learn(currency, rate),
                Err(error) => {
                    let part = format!("exchange rate of {currency} in {target}");
                    missing.push(PartFailure::new(&part, error));
                }
            }
        }
    }

    /// This caller's approvals that wait for a human, soonest to expire first.
    pub(super) async fn pending_approvals(&self) -> Result<Vec<ApprovalRow>, ErrorBody> {
        let owner = self.owner();
        let look = self.core.engine.look(move |engine, now| {
            let mut rows: Vec<ApprovalRow> = engine
                .approvals()
                .filter(|entry| entry.owner == owner && entry.status == ApprovalStatus::Pending)
                .filter(|entry| engine.has_expired(entry, now) == Expired::No)
                .map(|entry| ApprovalRow {
                    id: entry.id.to_string(),
                    status: entry.status.as_str(),
                    account: entry.account().clone(),
                    order: entry.plan.summary(),
                    expires_at: entry.expires_at,
                })
                .collect();
            rows.sort_by_key(|row| row.expires_at);
            rows
        });
        let mut rows = look.await.map_err(refusal_body)?;
        rows.truncate(MAX_SHOWN);
        Ok(rows)
    }
}

fn totals(
    parts: &[Parts],
    rates: &Rates,
    top: usize,
    backend: ibkr_agent_protocol::catalogue::Backend,
    as_of: ibkr_agent_domain::Timestamp,
) -> PortfolioOverviewOutput {
    let rows: Vec<AccountRow> = parts.iter().map(Parts::row).collect();
    let total = |figure: fn(&AccountRow) -> Option<Decimal>| {
        sums::total(rows.iter().map(|row| {
            let amount = figure(row)?;
            rates.convert(amount, row.currency?)
        }))
    };
    let net_liquidation = total(|row| row.net_liquidation);
    let ledgers: Vec<&[LedgerLine]> =
        parts.iter().filter_map(|part| part.ledger.as_deref().ok()).collect();
    let held: Vec<&Position> =
        parts.iter().filter_map(|part| part.positions.as_ref().ok()).flatten().collect();
    let holdings = sums::holdings(&held, rates, net_liquidation);
    let unvalued = holdings.iter().filter(|row| row.value.is_none()).count();
    let all_orders =
        parts.iter().all(|part| part.orders.as_ref().is_ok_and(|list| list.value.is_whole()));
    let all_positions = parts.iter().all(|part| part.positions.is_ok());
    let mut open: Vec<BrokerOrder> = parts
        .iter()
        .filter_map(|part| part.orders.as_ref().ok())
        .flat_map(|list| &list.value.rows)
        .filter(|order| order.status.is_open())
        .cloned()
        .collect();
    open.sort_by_key(|order| core::cmp::Reverse(order.updated));
    let open_count = open.len();
    open.truncate(MAX_SHOWN);
    let number = |value: Option<Decimal>| value.map(OutputNumber);
    PortfolioOverviewOutput {
        backend: Wire(backend),
        as_of: Wire(as_of),
        currency: rates.target().to_string(),
        net_liquidation: number(net_liquidation),
        cash: number(total(|row| row.cash)),
        daily_pnl: number(total(|row| row.daily_pnl)),
        unrealized_pnl: number(total(|row| row.unrealized_pnl)),
        accounts: accounts_table(&rows),
        cash_by_currency: cash_rows_table(&sums::cash(&ledgers, rates)),
        positions: all_positions.then_some(holdings.len()),
        unvalued_positions: (unvalued > 0).then_some(unvalued),
        top_positions: holdings_table(holdings.get(..top.min(holdings.len())).unwrap_or(&holdings)),
        open_order_count: all_orders.then_some(open_count),
        open_orders: (open_count > 0).then(|| account_orders_table(&open)),
        open_orders_as_of: parts
            .iter()
            .filter_map(|part| part.orders.as_ref().ok()?.as_of)
            .min()
            .map(Wire),
        pending_approvals: None,
        trading_halted: false,
        missing: Vec::new(),
    }
}
