//! Profit and loss, ledger, allocation, performance, transactions, combinations of one account.

use super::account::page;
use super::{Asked, Done};
use crate::brokers::{Routed, account_mode, error_body};
use ibkr_agent_domain::{AccountId, ComboPosition, Currency, ErrorCode, Transaction};
use ibkr_agent_protocol::catalogue::portfolio::{
    AccountAllocation, AccountAllocationOutput, AccountLedger, AccountLedgerOutput,
    AccountPerformance, AccountPerformanceOutput, DEFAULT_DAYS, MAX_SLICES, PnlDaily, PnlOutput,
    PnlRealtime, ledger_table, slices_table,
};
use ibkr_agent_protocol::catalogue::transfers::{
    ComboOutput, ComboPositions, ComboPositionsOutput, TransferHistory, TransferHistoryOutput,
    combos_table, transactions_table,
};
use ibkr_agent_protocol::catalogue::{
    Detail, MAX_ROWS, ResolvedOutput, Wire, count, offset, row_limit,
};
use ibkr_agent_protocol::service::ErrorBody;

/// Why money that came in or went out isn't told.
const NO_TRANSFERS: &str = "the broker's API doesn't serve deposits and withdrawals: name a held \
    contract by contract_id or instrument for its transactions and dividends";

impl Asked<'_> {
    /// The account that a read names, or the only visible one.
    pub(super) async fn routed(
        &self,
        account: Option<&Wire<AccountId>>,
    ) -> Result<Routed, ErrorBody> {
        self.core.brokers.account(account.map(|id| &id.0)).await
    }

    pub(super) async fn pnl_daily(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PnlDaily>()?;
        self.pnl(input.account_id.as_ref()).await
    }

    pub(super) async fn pnl_realtime(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PnlRealtime>()?;
        self.pnl(input.account_id.as_ref()).await
    }

    /// The stream's figures where it is open: the client decides, and `as_of` tells.
    async fn pnl(&self, account: Option<&Wire<AccountId>>) -> Result<Done, ErrorBody> {
        let asked = self.now();
        let routed = self.routed(account).await?;
        let id = &routed.info.id;
        let pnl = routed.broker.profit_and_loss(id).await.map_err(|e| error_body(&e))?;
        let output = PnlOutput::new(
            &pnl,
            routed.info.currency,
            self.core.backend,
            account_mode(&routed),
            (asked, self.now()),
        );
        Done::read(&output, Some(id.clone()))
    }

    pub(super) async fn account_ledger(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AccountLedger>()?;
        let routed = self.routed(input.account_id.as_ref()).await?;
        let id = &routed.info.id;
        let ledger = routed.broker.ledger(id).await.map_err(|e| error_body(&e))?;
        let output = AccountLedgerOutput {
            account_id: Wire(id.clone()),
            backend: Wire(self.core.backend),
            mode: Wire(account_mode(&routed)),
            as_of: Wire(self.now()),
            table: ledger_table(&ledger),
        };
        Done::read(&output, Some(id.clone()))
    }

    pub(super) async fn account_allocation(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AccountAllocation>()?;
        let routed = self.routed(input.account_id.as_ref()).await?;
        let id = &routed.info.id;
        let allocation = routed.broker.allocation(id).await.map_err(|e| error_body(&e))?;
        let parts = [&allocation.by_class, &allocation.by_sector, &allocation.by_group];
        let output = AccountAllocationOutput {
            account_id: Wire(id.clone()),
            backend: Wire(self.core.backend),
            mode: Wire(account_mode(&routed)),
            as_of: Wire(self.now()),
            currency: routed.info.currency.map(|currency| currency.to_string()),
            by_class: slices_table(&allocation.by_class),
            by_sector: slices_table(&allocation.by_sector),
            by_group: slices_table(&allocation.by_group),
            truncated: parts.iter().any(|slices| slices.len() > MAX_SLICES),
        };
        Done::read(&output, Some(id.clone()))
    }

    pub(super) async fn account_performance(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AccountPerformance>()?;
        let limit = count("limit", input.limit, DEFAULT_DAYS, MAX_ROWS)?;
        let start = offset(input.cursor.as_ref())?;
        let period = input.period.map_or(ibkr_agent_domain::PerformancePeriod::Month, |p| p.0);
        let routed = self.routed(input.account_id.as_ref()).await?;
        let id = &routed.info.id;
        let read = routed.broker.performance(id, period).await.map_err(|e| error_body(&e))?;
        let newest_first: Vec<_> = read.points.iter().rev().cloned().collect();
        let (shown, next_cursor) = page(&newest_first, start, limit);
        let mode = account_mode(&routed);
        let output =
            AccountPerformanceOutput::new(&read, shown, next_cursor, self.core.backend, mode);
        Done::read(&output, Some(id.clone()))
    }

    pub(super) async fn transfer_history(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<TransferHistory>()?;
        let (limit, start) = (row_limit(input.limit)?, offset(input.cursor.as_ref())?);
        let (named, days) = (input.named()?, input.days()?);
        let routed = self.routed(input.account_id.as_ref()).await?;
        let Some(instrument) = named else {
            return Err(ErrorBody::new(ErrorCode::BrokerCapabilityUnavailable, NO_TRANSFERS));
        };
        let contract = self.resolve(&instrument).await?;
        let id = &routed.info.id;
        let asked = input.currency.map(|currency| currency.0);
        let currency = asked.or(routed.info.currency).unwrap_or(Currency::USD);
        let read = routed.broker.transactions(id, contract.conid, currency, days).await;
        let read = read.map_err(|e| error_body(&e))?;
        let mut wanted: Vec<Transaction> =
            read.rows.into_iter().filter(|row| input.admits(row)).collect();
        wanted.sort_by_key(|row| core::cmp::Reverse(row.date));
        Done::fitting(limit, Some(id.clone()), |limit| {
            let (shown, next_cursor) = page(&wanted, start, limit);
            TransferHistoryOutput {
                account_id: Wire(id.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(read.as_of),
                contract: ResolvedOutput::from(&contract),
                days: read.days,
                table: transactions_table(shown),
                next_cursor,
            }
        })
    }

    pub(super) async fn combo_positions(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ComboPositions>()?;
        let (limit, start) = (row_limit(input.limit)?, offset(input.cursor.as_ref())?);
        let routed = self.routed(input.account_id.as_ref()).await?;
        let id = &routed.info.id;
        let combos: Vec<ComboPosition> =
            routed.broker.combos(id).await.map_err(|e| error_body(&e))?;
        let full = input.detail == Some(Wire(Detail::Full));
        let as_of = self.now();
        Done::fitting(limit, Some(id.clone()), |limit| {
            let (shown, next_cursor) = page(&combos, start, limit);
            ComboPositionsOutput {
                account_id: Wire(id.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(as_of),
                table: (!full).then(|| combos_table(shown)),
                combos: full.then(|| shown.iter().map(ComboOutput::from).collect()),
                next_cursor,
            }
        })
    }
}
