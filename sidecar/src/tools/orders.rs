//! Orders and fills as the broker reports them.

use super::account::page;
use super::{Asked, Done};
use crate::brokers::{account_mode, error_body};
use ibkr_agent_domain::{BrokerOrder, Execution};
use ibkr_agent_protocol::catalogue::orders::{
    BrokerOrderOutput, ExecutionOutput, ExecutionsList, ExecutionsListOutput, OrdersList,
    OrdersListOutput, executions_table, orders_table,
};
use ibkr_agent_protocol::catalogue::{Detail, Wire, offset};
use ibkr_agent_protocol::service::ErrorBody;

impl Asked<'_> {
    pub(super) async fn orders_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OrdersList>()?;
        let (limit, start) = (input.rows()?, offset(input.cursor.as_ref())?);
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let orders = routed.broker.orders(&id).await.map_err(|error| error_body(&error))?;
        let wanted: Vec<BrokerOrder> =
            orders.into_iter().filter(|order| input.admits(order)).collect();
        let full = input.detail == Some(Wire(Detail::Full));
        let as_of = self.now();
        Done::fitting(limit, Some(id.clone()), |limit| {
            let (page, next_cursor) = page(&wanted, start, limit);
            OrdersListOutput {
                account_id: Wire(id.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(as_of),
                total: wanted.len(),
                table: (!full).then(|| orders_table(page)),
                orders: full.then(|| page.iter().map(BrokerOrderOutput::from).collect()),
                next_cursor,
            }
        })
    }

    pub(super) async fn executions_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ExecutionsList>()?;
        input.check_range()?;
        let (limit, start) = (input.rows()?, offset(input.cursor.as_ref())?);
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let executions = routed.broker.executions(&id).await.map_err(|error| error_body(&error))?;
        let mut wanted: Vec<Execution> =
            executions.into_iter().filter(|execution| input.admits(execution)).collect();
        wanted.sort_by_key(|execution| core::cmp::Reverse(execution.time));
        let full = input.detail == Some(Wire(Detail::Full));
        let as_of = self.now();
        Done::fitting(limit, Some(id.clone()), |limit| {
            let (page, next_cursor) = page(&wanted, start, limit);
            ExecutionsListOutput {
                account_id: Wire(id.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(as_of),
                total: wanted.len(),
                table: (!full).then(|| executions_table(page)),
                executions: full.then(|| page.iter().map(ExecutionOutput::from).collect()),
                next_cursor,
            }
        })
    }
}
