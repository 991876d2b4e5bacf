//! Accounts, summaries, positions, the portfolio in one answer.

use super::{Asked, Done};
use crate::brokers::{account_mode, error_body};
use ibkr_agent_domain::{DataStatus, Position};
use ibkr_agent_protocol::catalogue::account::{
    AccountMetadata, AccountMetadataOutput, AccountOutput, AccountSummary, AccountSummaryOutput,
    AccountsList, AccountsListOutput, Figures, PortfolioSnapshot, PortfolioSnapshotOutput,
    PositionOutput, PositionsList, PositionsListOutput, allocation_table, cash_table,
    positions_table,
};
use ibkr_agent_protocol::catalogue::{Detail, Wire, offset};
use ibkr_agent_protocol::service::ErrorBody;

/// Positions in a portfolio snapshot; more are cut, and the cut is said.
const SNAPSHOT_POSITIONS: usize = 50;

impl Asked<'_> {
    pub(super) async fn accounts_list(&self) -> Result<Done, ErrorBody> {
        self.input::<AccountsList>()?;
        let accounts = self.core.brokers.accounts().await?;
        let output = AccountsListOutput {
            backend: Wire(self.core.backend),
            accounts: accounts
                .iter()
                .map(|routed| AccountOutput::new(&routed.info, account_mode(routed)))
                .collect(),
        };
        Done::read(&output, None)
    }

    pub(super) async fn account_metadata(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AccountMetadata>()?;
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let info = routed.broker.account_metadata(&id).await.map_err(|e| error_body(&e))?;
        let output = AccountMetadataOutput::new(&info, account_mode(&routed), self.core.backend);
        Done::read(&output, Some(id))
    }

    pub(super) async fn account_summary(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AccountSummary>()?;
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let summary = routed.broker.summary(&id).await.map_err(|e| error_body(&e))?;
        let output = AccountSummaryOutput::new(&summary, self.core.backend, account_mode(&routed));
        Done::read(&output, Some(id))
    }

    pub(super) async fn positions_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PositionsList>()?;
        let (limit, start) = (input.rows()?, offset(input.cursor.as_ref())?);
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let positions = routed.broker.positions(&id).await.map_err(|e| error_body(&e))?;
        let wanted: Vec<Position> = positions.into_iter().filter(|p| input.admits(p)).collect();
        let full = input.detail == Some(Wire(Detail::Full));
        let as_of = self.now();
        Done::fitting(limit, Some(id.clone()), |limit| {
            let (page, next_cursor) = page(&wanted, start, limit);
            PositionsListOutput {
                account_id: Wire(id.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(as_of),
                total: wanted.len(),
                table: (!full).then(|| positions_table(page)),
                positions: full.then(|| page.iter().map(PositionOutput::from).collect()),
                next_cursor,
            }
        })
    }

    pub(super) async fn portfolio_snapshot(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PortfolioSnapshot>()?;
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let broker = &routed.broker;
        let (summary, ledger, positions) =
            tokio::join!(broker.summary(&id), broker.ledger(&id), broker.positions(&id));
        let summary = summary.map_err(|e| error_body(&e))?;
        let ledger = ledger.map_err(|e| error_body(&e))?;
        let positions = positions.map_err(|e| error_body(&e))?;
        let shown = positions.get(..SNAPSHOT_POSITIONS.min(positions.len())).unwrap_or_default();
        let full = input.detail == Some(Wire(Detail::Full));
        let output = PortfolioSnapshotOutput {
            account_id: Wire(id.clone()),
            backend: Wire(self.core.backend),
            mode: Wire(account_mode(&routed)),
            as_of: Wire(summary.as_of),
            // The portfolio endpoints don't say how timely their prices are.
            data_status: Wire(DataStatus::Unknown),
            figures: Figures::from(&summary),
            cash: cash_table(&ledger),
            allocation: allocation_table(&positions),
            table: (!full).then(|| positions_table(shown)),
            positions: full.then(|| shown.iter().map(PositionOutput::from).collect()),
            truncated: shown.len() < positions.len(),
        };
        Done::read(&output, Some(id))
    }
}

/// A page of rows and the cursor of the next one.
pub(super) fn page<T>(rows: &[T], start: usize, limit: usize) -> (&[T], Option<String>) {
    let end = start.saturating_add(limit).min(rows.len());
    let page = rows.get(start..end).unwrap_or_default();
    let next = (end < rows.len() && !page.is_empty()).then(|| end.to_string());
    (page, next)
}
