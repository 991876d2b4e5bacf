//! [`Broker`] for [`ClientPortal`]: each method is one call into its module.

use crate::client::ClientPortal;
use crate::{
    Asked, Broker, BrokerError, BrokerFuture, CancelOutcome, PlaceOutcome, Resolution,
    ResolveFilters, StreamHealth, WatchGuard, WhatIf,
};
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, AccountInfo, AccountSummary, AssetClass, BrokerEvent, BrokerName, BrokerOrder,
    BrokerOrderId, CanonicalOrder, Conid, Contract, Currency, Depth, Execution, Instrument,
    LedgerLine, Mode, Position, Quote, SessionHealth, Watch,
};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply};
use rust_decimal::Decimal;
use tokio::sync::broadcast;

type Read<'a, T> = BrokerFuture<'a, Result<T, BrokerError>>;

impl Broker for ClientPortal {
    fn name(&self) -> &BrokerName {
        self.broker_name()
    }

    fn mode(&self) -> Mode {
        self.expected_mode()
    }

    fn backend(&self) -> &'static str {
        match self.expected_mode() {
            Mode::Simulated => "simulator",
            Mode::Paper | Mode::Live => "client_portal_gateway",
        }
    }

    fn health(&self) -> SessionHealth {
        self.session_health()
    }

    fn renew(&self) -> Read<'_, SessionHealth> {
        Box::pin(self.start(true))
    }

    fn accounts(&self) -> Read<'_, Vec<AccountInfo>> {
        Box::pin(async { Ok(self.fresh_accounts().await?.accounts.clone()) })
    }

    fn account_metadata<'a>(&'a self, account: &'a AccountId) -> Read<'a, AccountInfo> {
        Box::pin(self.read_metadata(account))
    }

    fn summary<'a>(&'a self, account: &'a AccountId) -> Read<'a, AccountSummary> {
        Box::pin(self.read_summary(account))
    }

    fn ledger<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<LedgerLine>> {
        Box::pin(self.read_ledger(account))
    }

    fn positions<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<Position>> {
        Box::pin(self.read_positions(account))
    }

    fn search<'a>(&'a self, query: &'a str, class: Option<AssetClass>) -> Read<'a, Vec<Contract>> {
        Box::pin(self.find_contracts(query, class))
    }

    fn resolve<'a>(
        &'a self,
        instrument: &'a Instrument,
        filters: &'a ResolveFilters,
    ) -> Read<'a, Resolution> {
        Box::pin(self.resolve_instrument(instrument, filters))
    }

    fn contract(&self, conid: Conid) -> Read<'_, Contract> {
        Box::pin(self.read_contract(conid))
    }

    fn quotes<'a>(&'a self, conids: &'a [Conid]) -> Read<'a, Vec<Quote>> {
        Box::pin(self.current_quotes(conids))
    }

    fn orders<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<BrokerOrder>> {
        Box::pin(async {
            let orders = self.read_orders(account).await?;
            self.learn_orders(&orders);
            Ok(orders)
        })
    }

    fn depth<'a>(&'a self, account: &'a AccountId, conid: Conid) -> Read<'a, Depth> {
        Box::pin(self.read_depth(account, conid))
    }

    fn events(&self) -> broadcast::Receiver<BrokerEvent> {
        self.streams().subscribe()
    }

    fn watch(&self, what: Watch) -> WatchGuard {
        self.streams().follow(what)
    }

    fn stream_health(&self) -> Option<StreamHealth> {
        Some(self.streams().health())
    }

    fn order<'a>(&'a self, order: &'a BrokerOrderId) -> Read<'a, BrokerOrder> {
        Box::pin(self.read_order(order))
    }

    fn executions<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<Execution>> {
        Box::pin(self.read_executions(account))
    }

    fn exchange_rate(&self, from: Currency, to: Currency) -> Read<'_, Decimal> {
        Box::pin(self.read_rate(from, to))
    }

    fn what_if<'a>(&'a self, order: &'a CanonicalOrder) -> Read<'a, WhatIf> {
        Box::pin(self.read_what_if(order))
    }

    fn place(&self, permit: Recorded<Permit<Place>>) -> BrokerFuture<'_, PlaceOutcome> {
        Box::pin(self.place_once(permit))
    }

    fn reply(
        &self,
        asked: Asked,
        permit: Recorded<Permit<Reply>>,
    ) -> BrokerFuture<'_, PlaceOutcome> {
        Box::pin(self.reply_once(asked, permit))
    }

    fn cancel(&self, permit: Recorded<Permit<Cancel>>) -> BrokerFuture<'_, CancelOutcome> {
        Box::pin(self.cancel_once(permit))
    }
}
