//! [`Broker`] for [`ClientPortal`]: each method is one call into its module.

use crate::client::ClientPortal;
use crate::{
    Asked, Broker, BrokerError, BrokerFuture, CancelOutcome, Dated, PlaceOutcome, Resolution,
    ResolveFilters, StreamHealth, Viewer, WatchGuard, instructions,
};
use core::time::Duration;
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, AccountInfo, AccountSummary, Alert, Allocation, AssetClass, Bars, BarsRequest,
    BrokerEvent, BrokerName, BrokerOrder, BrokerOrderId, CanonicalOrder, ComboPosition, Conid,
    Contract, ContractDetails, ContractRules, Currency, CurrencyPair, Depth, Execution,
    Fundamentals, FutureContract, Instrument, LedgerLine, Listed, Mode, Notification,
    OptionContract, OptionQuote, OptionRight, OptionSeries, Performance, PerformancePeriod,
    Position, ProfitAndLoss, Quote, ScanHit, ScanRequest, ScannerParameters, SessionHealth, Side,
    Strikes, TradingHours, Transactions, Watch, Watchlist, WhatIf,
};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply, TakeOver};
use rust_decimal::Decimal;
use std::sync::Arc;
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

    fn is_always_open(&self) -> bool {
        self.expected_mode() == Mode::Simulated
            && self.session().known().is_some_and(|known| known.is_always_open)
    }

    fn health(&self) -> SessionHealth {
        self.session_health()
    }

    fn instructions(&self, viewer: &Viewer) -> Vec<String> {
        instructions(&self.session_health(), self.transport().base(), viewer)
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

    fn route<'a>(
        &'a self,
        contract: &'a Contract,
        exchange: Option<&'a str>,
    ) -> Read<'a, Contract> {
        Box::pin(self.route_contract(contract, exchange))
    }

    fn contract(&self, conid: Conid) -> Read<'_, Contract> {
        Box::pin(self.read_contract(conid))
    }

    fn quotes<'a>(&'a self, conids: &'a [Conid]) -> Read<'a, Vec<Quote>> {
        Box::pin(self.current_quotes(conids))
    }

    fn quotes_for_decision<'a>(&'a self, conids: &'a [Conid]) -> Read<'a, Vec<Quote>> {
        Box::pin(self.read_quotes(conids))
    }

    fn orders<'a>(&'a self, account: &'a AccountId) -> Read<'a, Listed<BrokerOrder>> {
        Box::pin(async { Ok(self.read_orders(account, None).await?.value) })
    }

    fn orders_within<'a>(
        &'a self,
        account: &'a AccountId,
        age: Duration,
    ) -> Read<'a, Dated<Listed<BrokerOrder>>> {
        Box::pin(async move {
            let oldest = self.lists().oldest(account, age);
            match self.lists().find(account, oldest) {
                Some(list) => Ok(list),
                None => self.read_orders(account, Some(oldest)).await,
            }
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

    fn executions<'a>(&'a self, account: &'a AccountId) -> Read<'a, Listed<Execution>> {
        Box::pin(self.read_executions(account))
    }

    fn exchange_rate(&self, from: Currency, to: Currency) -> Read<'_, Decimal> {
        Box::pin(self.read_rate(from, to))
    }

    fn profit_and_loss<'a>(&'a self, account: &'a AccountId) -> Read<'a, ProfitAndLoss> {
        Box::pin(async {
            match self.streamed_profit(account) {
                Some(told) => Ok(told),
                None => self.read_profit_and_loss(account).await,
            }
        })
    }

    fn allocation<'a>(&'a self, account: &'a AccountId) -> Read<'a, Allocation> {
        Box::pin(self.read_allocation(account))
    }

    fn performance<'a>(
        &'a self,
        account: &'a AccountId,
        period: PerformancePeriod,
    ) -> Read<'a, Performance> {
        Box::pin(self.read_performance(account, period))
    }

    fn transactions<'a>(
        &'a self,
        account: &'a AccountId,
        conid: Conid,
        currency: Currency,
        days: u32,
    ) -> Read<'a, Transactions> {
        Box::pin(self.read_transactions(account, conid, currency, days))
    }

    fn combos<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<ComboPosition>> {
        Box::pin(self.read_combos(account))
    }

    fn contract_details(&self, conid: Conid) -> Read<'_, ContractDetails> {
        Box::pin(self.read_contract_details(conid))
    }

    fn contract_rules(&self, conid: Conid, side: Side) -> Read<'_, ContractRules> {
        Box::pin(self.read_contract_rules(conid, side))
    }

    fn trading_hours(&self, conid: Conid) -> Read<'_, TradingHours> {
        Box::pin(self.read_trading_hours(conid))
    }

    fn option_series<'a>(&'a self, underlying: &'a Contract) -> Read<'a, OptionSeries> {
        Box::pin(self.read_option_series(underlying))
    }

    fn strikes<'a>(&'a self, underlying: &'a Contract, month: &'a str) -> Read<'a, Strikes> {
        Box::pin(self.read_strikes(underlying, month))
    }

    fn options<'a>(
        &'a self,
        underlying: &'a Contract,
        month: &'a str,
        strike: Decimal,
        right: OptionRight,
    ) -> Read<'a, Vec<OptionContract>> {
        Box::pin(self.read_options(underlying, month, strike, right))
    }

    fn option_quotes<'a>(&'a self, conids: &'a [Conid]) -> Read<'a, Vec<OptionQuote>> {
        Box::pin(self.read_option_quotes(conids))
    }

    fn futures<'a>(&'a self, symbol: &'a str) -> Read<'a, Vec<FutureContract>> {
        Box::pin(self.read_futures(symbol))
    }

    fn currency_pairs(&self, currency: Currency) -> Read<'_, Vec<CurrencyPair>> {
        Box::pin(self.read_currency_pairs(currency))
    }

    fn bars<'a>(&'a self, conid: Conid, request: &'a BarsRequest) -> Read<'a, Bars> {
        Box::pin(self.read_bars(conid, request))
    }

    fn fundamentals(&self, conid: Conid) -> Read<'_, Fundamentals> {
        Box::pin(self.read_fundamentals(conid))
    }

    fn scanner_parameters(&self) -> Read<'_, Arc<ScannerParameters>> {
        Box::pin(self.read_scanner_parameters())
    }

    fn scan<'a>(&'a self, request: &'a ScanRequest) -> Read<'a, Vec<ScanHit>> {
        Box::pin(self.run_scan(request))
    }

    fn watchlists(&self) -> Read<'_, Vec<Watchlist>> {
        Box::pin(self.read_watchlists())
    }

    fn watchlist<'a>(&'a self, id: &'a str) -> Read<'a, Watchlist> {
        Box::pin(self.read_watchlist(id))
    }

    fn alerts<'a>(&'a self, account: &'a AccountId) -> Read<'a, Vec<Alert>> {
        Box::pin(self.read_alerts(account))
    }

    fn alert<'a>(&'a self, account: &'a AccountId, id: &'a str) -> Read<'a, Alert> {
        Box::pin(self.read_alert(account, id))
    }

    fn notifications(&self) -> Read<'_, Vec<Notification>> {
        Box::pin(self.read_notifications())
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

    fn take_over(&self, permit: Recorded<Permit<TakeOver>>) -> Read<'_, SessionHealth> {
        Box::pin(self.take_session(permit))
    }

    fn cancel(&self, permit: Recorded<Permit<Cancel>>) -> BrokerFuture<'_, CancelOutcome> {
        Box::pin(self.cancel_once(permit))
    }
}
