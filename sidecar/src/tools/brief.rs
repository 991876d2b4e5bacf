//! One instrument in one answer: its parts are read at once, and one that fails is named, not
//! guessed. A part that the caller may not read stays out, as it would on its own.

use super::calendar::session_at;
use super::market::quote_hours;
use super::{Asked, Done};
use crate::brokers::{Routed, error_body};
use core::time::Duration;
use ibkr_agent_broker::{Broker, BrokerError, Errand};
use ibkr_agent_domain::{AssetClass, Conid, ErrorCode, Scope, Side, Timestamp};
use ibkr_agent_protocol::catalogue::brief::{
    EventsOutput, IncrementsOutput, InstrumentBrief, InstrumentBriefOutput,
};
use ibkr_agent_protocol::catalogue::market::{ContractOutput, QuoteOutput, subscription_hint};
use ibkr_agent_protocol::catalogue::reference::{
    ContractDetails, ContractDetailsOutput, RulesOutput, TermsOutput,
};
use ibkr_agent_protocol::catalogue::{Detail, PartFailure, ResolvedOutput, Table, Wire};
use ibkr_agent_protocol::number::OutputNumber;
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;
use std::sync::Arc;

/// Longest time that a part may take; the others don't wait for it any longer.
const PART_TIMEOUT: Duration = Duration::from_secs(12);

/// How old a list of orders may be here. The broker serves one in five seconds, of all accounts
/// together; a list that a write of ours or the stream may have changed is read anew.
pub(super) const ORDERS_AGE: Duration = Duration::from_secs(30);

/// Accounts whose positions and orders are looked through.
const MAX_ACCOUNTS: usize = 20;

/// Rows of positions or orders.
const MAX_ROWS: usize = 20;

type Part<T> = Result<T, ErrorBody>;

impl Asked<'_> {
    pub(super) async fn instrument_brief(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<InstrumentBrief>()?;
        let broker = self.core.brokers.market()?;
        let contract = self.contract_of(&input.instrument()?).await?;
        let conid = contract.conid;
        let (quote, positions, orders, hours, rules, events) = tokio::join!(
            part(broker.quotes(std::slice::from_ref(&conid))),
            self.if_allowed(Scope::PositionsRead, self.positions_in(conid)),
            self.if_allowed(Scope::OrdersRead, self.orders_on(conid)),
            self.if_allowed(Scope::CalendarRead, part(broker.trading_hours(conid))),
            part(broker.contract_rules(conid, Side::Buy)),
            self.if_allowed(Scope::FundamentalsRead, events_of(broker, conid, contract.class)),
        );
        let now = self.now();
        let mut failed = Vec::new();
        let quotes = told("quote", quote, &mut failed).unwrap_or_default();
        let orders = told("open_orders", orders, &mut failed);
        let hint = subscription_hint(quotes.iter().map(|quote| quote.status));
        let quote = quotes.iter().find(|quote| quote.conid == conid);
        let output = InstrumentBriefOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(now),
            hours: quote_hours(broker.as_ref()),
            contract: ResolvedOutput::from(&contract),
            name: Wire(contract.name.clone()),
            quote: quote.map(|quote| QuoteOutput::new(quote, now)),
            positions: told("positions", positions, &mut failed),
            open_orders_as_of: orders.as_ref().and_then(|(_, as_of)| as_of.map(Wire)),
            open_orders: orders.map(|(table, _)| table),
            session: told("session", hours, &mut failed).map(|hours| session_at(&hours, now)),
            increments: told("increments", rules, &mut failed)
                .map(|rules| IncrementsOutput::from(&rules)),
            events: told("events", events, &mut failed).flatten(),
            unavailable: failed,
            hint,
        };
        Done::read(&output, None)
    }

    pub(super) async fn contract_details(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ContractDetails>()?;
        let side = input.side.map_or(Side::Buy, |side| side.0);
        let full = input.detail == Some(Wire(Detail::Full));
        let broker = self.core.brokers.market()?;
        let (conid, _) = self.identified(&input.instrument()?).await?;
        let (details, rules, hours) = tokio::join!(
            part(broker.contract_details(conid)),
            part(broker.contract_rules(conid, side)),
            part(broker.trading_hours(conid)),
        );
        let details = details?;
        let now = self.now();
        let mut failed = Vec::new();
        let output = ContractDetailsOutput {
            backend: Wire(self.core.backend),
            as_of: Wire(now),
            contract: ContractOutput::from(&details.contract),
            terms: TermsOutput::new(&details, full),
            rules: told("rules", rules, &mut failed).map(|rules| RulesOutput::new(&rules, full)),
            session: told("session", hours, &mut failed).map(|hours| session_at(&hours, now)),
            unavailable: failed,
        };
        Done::read(&output, None)
    }

    /// Reads a part, unless the caller lacks what the part's own tool needs.
    async fn if_allowed<T>(&self, scope: Scope, read: impl Future<Output = Part<T>>) -> Part<T> {
        if !self.caller.scopes.contains(scope) {
            let message = format!("this part needs the scope {scope}");
            return Err(ErrorBody::new(ErrorCode::AuthMissingScope, message));
        }
        read.await
    }

    async fn accounts_of_all(&self) -> Part<Vec<Routed>> {
        let accounts = self.core.brokers.accounts().await?;
        if accounts.len() > MAX_ACCOUNTS {
            let message = format!("more than {MAX_ACCOUNTS} accounts are visible: ask per account");
            return Err(ErrorBody::new(ErrorCode::InputAmbiguousAccount, message));
        }
        Ok(accounts.to_vec())
    }

    /// Positions over every visible account. One account that can't be read fails the part: a sum
    /// without it would be wrong.
    async fn positions_in(&self, conid: Conid) -> Part<Table> {
        let accounts = self.accounts_of_all().await?;
        let mut reads = Vec::with_capacity(accounts.len());
        for routed in &accounts {
            reads.push(part(routed.broker.positions(&routed.info.id)));
        }
        let mut rows = Vec::new();
        for read in futures_util::future::join_all(reads).await {
            for position in read?.into_iter().filter(|position| position.conid == conid) {
                rows.push(vec![
                    Some(position.account.to_string()),
                    figure(Some(position.quantity)),
                    figure(position.average_cost),
                    figure(position.market_value),
                    figure(position.unrealized_pnl),
                    Some(position.currency.to_string()),
                ]);
            }
        }
        let columns = [
            "account_id",
            "quantity",
            "average_cost",
            "market_value",
            "unrealized_pnl",
            "currency",
        ];
        bounded(&columns, &[], rows)
    }

    /// Open orders over every visible account, and when the oldest list of them was asked for if
    /// that was before.
    async fn orders_on(&self, conid: Conid) -> Part<(Table, Option<Timestamp>)> {
        let accounts = self.accounts_of_all().await?;
        let mut reads = Vec::with_capacity(accounts.len());
        for routed in &accounts {
            reads.push(part(routed.broker.orders_within(&routed.info.id, ORDERS_AGE)));
        }
        let (mut rows, mut oldest) = (Vec::new(), None);
        for read in futures_util::future::join_all(reads).await {
            let read = read?;
            oldest = [oldest, read.as_of].into_iter().flatten().min();
            let listed = read.value;
            if let Some(row) = listed.unread.iter().find(|row| row.may_work_on(conid)) {
                let message =
                    format!("an order may be of this contract and can't be read: {}", row.why);
                return Err(ErrorBody::new(ErrorCode::BrokerResponseInvalid, message));
            }
            for order in listed.rows.iter().filter(|o| o.conid == conid && o.status.is_open()) {
                rows.push(vec![
                    Some(order.account.to_string()),
                    Some(order.order_id.to_string()),
                    order.side.map(|side| side.as_str().to_owned()),
                    figure(order.quantity),
                    figure(order.filled),
                    Some(order.kind.to_string()),
                    figure(order.limit_price),
                    figure(order.trigger_price),
                    Some(order.status.as_str().to_owned()),
                ]);
            }
        }
        let columns = [
            "account_id",
            "broker_order_id",
            "side",
            "quantity",
            "filled",
            "type",
            "limit_price",
            "trigger_price",
            "status",
        ];
        bounded(&columns, &["type"], rows).map(|table| (table, oldest))
    }
}

fn figure(value: Option<Decimal>) -> Option<String> {
    value.map(|value| OutputNumber(value).to_string())
}

fn bounded(columns: &[&str], texts: &[&str], rows: Vec<Vec<Option<String>>>) -> Part<Table> {
    if rows.len() > MAX_ROWS {
        let message = format!("{} rows are too many here: ask its own list", rows.len());
        return Err(ErrorBody::new(ErrorCode::OutputTooLarge, message));
    }
    Ok(Table::new(columns, texts, rows))
}

/// One part's read within its time.
async fn part<T>(read: impl Future<Output = Result<T, BrokerError>>) -> Part<T> {
    let read = Errand::current().within(PART_TIMEOUT).run(read);
    match tokio::time::timeout(PART_TIMEOUT, read).await {
        Ok(ended) => ended.map_err(|error| error_body(&error)),
        Err(_) => {
            let message = "the broker didn't answer this part in time";
            Err(ErrorBody::new(ErrorCode::CallTimedOut, message))
        }
    }
}

/// What is coming up for a company; nothing else has such events.
async fn events_of(
    broker: &Arc<dyn Broker>,
    conid: Conid,
    class: AssetClass,
) -> Part<Option<EventsOutput>> {
    if class != AssetClass::Stock {
        return Ok(None);
    }
    part(broker.fundamentals(conid)).await.map(|read| Some(EventsOutput::from(&read)))
}

/// A part's value, or a note that it is missing.
fn told<T>(name: &str, read: Part<T>, failed: &mut Vec<PartFailure>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            failed.push(PartFailure::new(name, error));
            None
        }
    }
}
