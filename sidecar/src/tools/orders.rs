//! Orders and fills as the broker reports them.

use super::account::page;
use super::{Asked, Done};
use crate::brokers::{account_mode, error_body};
use ibkr_agent_domain::{BrokerOrder, ErrorCode, Execution, UnreadRow};
use ibkr_agent_protocol::catalogue::orders::{
    BrokerOrderOutput, ExecutionOutput, ExecutionsList, ExecutionsListOutput, OrdersList,
    OrdersListOutput, executions_table, orders_table,
};
use ibkr_agent_protocol::catalogue::{Detail, PartFailure, Wire, offset};
use ibkr_agent_protocol::service::ErrorBody;

/// Most rows that couldn't be read and are named one by one.
const MAX_NAMED: usize = 5;

/// What an answer says is missing from it where rows of a list couldn't be read.
pub(super) fn unread_part(list: &str, rows: &[UnreadRow]) -> Option<PartFailure> {
    let count = rows.len();
    let named: Vec<String> = rows.iter().take(MAX_NAMED).map(named).collect();
    let message = format!(
        "{count} of the broker's rows can't be read, so that nothing is shown to be absent: {}",
        named.join("; ")
    );
    let error = ErrorBody::new(ErrorCode::BrokerResponseInvalid, message);
    (count > 0).then(|| PartFailure::new(&format!("{count} of {list}"), error))
}

fn named(row: &UnreadRow) -> String {
    let mut name = row.why.to_owned();
    let mut add = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            name.push_str(&format!(", {what} {value}"));
        }
    };
    add("broker_order_id", row.order_id.as_ref().map(ToString::to_string));
    add("client_order_id", row.reference.as_ref().map(ToString::to_string));
    add("contract_id", row.conid.map(|conid| conid.get().to_string()));
    add("contract", row.contract.as_ref().map(ToString::to_string));
    add("status", row.status.map(|status| status.as_str().to_owned()));
    name
}

impl Asked<'_> {
    pub(super) async fn orders_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OrdersList>()?;
        let (limit, start) = (input.rows()?, offset(input.cursor.as_ref())?);
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let orders = routed.broker.orders(&id).await.map_err(|error| error_body(&error))?;
        let missing: Vec<PartFailure> = unread_part("orders", &orders.unread).into_iter().collect();
        let wanted: Vec<BrokerOrder> =
            orders.rows.into_iter().filter(|order| input.admits(order)).collect();
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
                missing: missing.clone(),
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
        let missing: Vec<PartFailure> =
            unread_part("executions", &executions.unread).into_iter().collect();
        let mut wanted: Vec<Execution> =
            executions.rows.into_iter().filter(|execution| input.admits(execution)).collect();
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
                missing: missing.clone(),
                next_cursor,
            }
        })
    }
}
