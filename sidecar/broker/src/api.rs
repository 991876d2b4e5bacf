//! What the sidecar asks of a broker. Object safe, and implementable outside this crate.
//!
//! Reads can be repeated freely. The three effects consume a recorded permit and never repeat.

use crate::{Asked, BrokerError, CancelOutcome, PlaceOutcome, StreamHealth, Viewer, instructions};
use core::fmt;
use core::pin::Pin;
use core::time::Duration;
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, AccountInfo, AccountSummary, Alert, Allocation, AssetClass, Bars, BarsRequest,
    BrokerEvent, BrokerName, BrokerOrder, BrokerOrderId, CanonicalOrder, ComboPosition, Conid,
    Contract, ContractDetails, ContractRules, Currency, CurrencyPair, Depth, Execution,
    Fundamentals, FutureContract, Instrument, LedgerLine, Listed, Mode, Notification,
    OptionContract, OptionQuote, OptionRight, OptionSeries, Performance, PerformancePeriod,
    Position, ProfitAndLoss, Quote, ScanHit, ScanRequest, ScannerParameters, SessionHealth, Side,
    Strikes, Timestamp, TradingHours, Transactions, Watch, Watchlist, WhatIf,
};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply, TakeOver};
use rust_decimal::Decimal;
use std::sync::Arc;
use tokio::sync::broadcast;

/// A boxed future, so that the trait is object safe.
pub type BrokerFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What narrows a symbol down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolveFilters {
    /// Asset class.
    pub class: Option<AssetClass>,
    /// Trading currency.
    pub currency: Option<Currency>,
    /// An exchange that lists it, or that takes orders on it.
    pub exchange: Option<String>,
}

/// What an instrument's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Exactly one contract.
    One(Contract),
    /// Several fit; the caller must choose. At most 20, all of the same symbol.
    Ambiguous(Vec<Contract>),
    /// None fits.
    NotFound,
}

/// What a broker told, and when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated<T> {
    /// What it told.
    pub value: T,
    /// When it was asked for, by our clock; nothing where it was asked for after the call began.
    pub as_of: Option<Timestamp>,
}

/// Something that is undone when it is dropped: a watch that ends.
#[must_use = "the watch ends when this is dropped"]
pub struct WatchGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl WatchGuard {
    /// A guard that ends a watch by calling `end` once.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }

    /// A guard of nothing.
    pub const fn idle() -> Self {
        Self(None)
    }
}

impl fmt::Debug for WatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchGuard").finish_non_exhaustive()
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

fn unsupported<'a, T: Send + 'a>() -> BrokerFuture<'a, Result<T, BrokerError>> {
    Box::pin(core::future::ready(Err(BrokerError::Unsupported {
        why: "this broker has no such read",
    })))
}

/// A broker login: reads, and the three effects.
///
/// Reads beyond the order path have a default that says `BROKER_CAPABILITY_UNAVAILABLE`, so that a
/// broker of one's own need not serve everything.
///
/// Every future ends within the configured request time-out per request it makes, or on an
/// [`Errand`](crate::Errand) with an end, soon after that; a dropped read has no effect, a dropped
/// effect may have had one.
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// The configured name.
    fn name(&self) -> &BrokerName;

    /// Simulated, paper or live, as configured.
    fn mode(&self) -> Mode;

    /// What answers: `client_portal_gateway` or `simulator`.
    fn backend(&self) -> &'static str;

    /// Whether its market is a simulated one that is open at any time, as last learnt.
    fn is_always_open(&self) -> bool {
        false
    }

    /// The session as last learnt; makes no request.
    fn health(&self) -> SessionHealth;

    /// What a human must do now for the session to work, step by step, told to somebody who sits
    /// there.
    fn instructions(&self, viewer: &Viewer) -> Vec<String> {
        instructions(&self.health(), "https://localhost:5000", viewer)
    }

    /// Runs the start-up sequence: keep-alive, status, brokerage session where no login is needed
    /// (never competing with another session), account pre-flights. A session that needs a human is
    /// told in the health, not as an error.
    fn renew(&self) -> BrokerFuture<'_, Result<SessionHealth, BrokerError>>;

    /// The accounts of this login.
    fn accounts(&self) -> BrokerFuture<'_, Result<Vec<AccountInfo>, BrokerError>>;

    /// One account's description.
    fn account_metadata<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<AccountInfo, BrokerError>>;

    /// One account's key figures.
    fn summary<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<AccountSummary, BrokerError>>;

    /// Cash and value per currency.
    fn ledger<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<LedgerLine>, BrokerError>>;

    /// All positions.
    fn positions<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<Position>, BrokerError>>;

    /// Contracts whose symbol or name fits.
    fn search<'a>(
        &'a self,
        query: &'a str,
        class: Option<AssetClass>,
    ) -> BrokerFuture<'a, Result<Vec<Contract>, BrokerError>>;

    /// The contract that an instrument's name stands for. Never guesses between several.
    fn resolve<'a>(
        &'a self,
        instrument: &'a Instrument,
        filters: &'a ResolveFilters,
    ) -> BrokerFuture<'a, Result<Resolution, BrokerError>>;

    /// Decides where an order on a contract goes: `SMART`, unless the caller names another
    /// exchange that takes orders on it. No order can be made of a contract before that.
    fn route<'a>(
        &'a self,
        _contract: &'a Contract,
        _exchange: Option<&'a str>,
    ) -> BrokerFuture<'a, Result<Contract, BrokerError>> {
        unsupported()
    }

    /// A contract by id.
    fn contract(&self, conid: Conid) -> BrokerFuture<'_, Result<Contract, BrokerError>>;

    /// Quotes in the order asked, one per contract; at most 100. A quote without values says why in
    /// its status.
    fn quotes<'a>(
        &'a self,
        conids: &'a [Conid],
    ) -> BrokerFuture<'a, Result<Vec<Quote>, BrokerError>>;

    /// The same for a decision: asked of the broker, never taken from a stream.
    fn quotes_for_decision<'a>(
        &'a self,
        conids: &'a [Conid],
    ) -> BrokerFuture<'a, Result<Vec<Quote>, BrokerError>> {
        self.quotes(conids)
    }

    /// Today's orders of an account, from a request that was sent after this call began. What can't
    /// be read is told beside the rest.
    fn orders<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Listed<BrokerOrder>, BrokerError>>;

    /// The same, or a list that was asked for at most `age` ago, if neither a write of ours on the
    /// account nor the stream made another look due since. Such a list shows nothing of what was
    /// done after [`Dated::as_of`].
    fn orders_within<'a>(
        &'a self,
        account: &'a AccountId,
        _age: Duration,
    ) -> BrokerFuture<'a, Result<Dated<Listed<BrokerOrder>>, BrokerError>> {
        Box::pin(async { Ok(Dated { value: self.orders(account).await?, as_of: None }) })
    }

    /// One order.
    fn order<'a>(
        &'a self,
        order: &'a BrokerOrderId,
    ) -> BrokerFuture<'a, Result<BrokerOrder, BrokerError>>;

    /// Fills of an account in the last days, from a request that was sent after this call began.
    /// What can't be read is told beside the rest.
    fn executions<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Listed<Execution>, BrokerError>>;

    /// Units of `to` per unit of `from`.
    fn exchange_rate(
        &self,
        from: Currency,
        to: Currency,
    ) -> BrokerFuture<'_, Result<Decimal, BrokerError>>;

    /// Today's profit and loss of an account.
    fn profit_and_loss<'a>(
        &'a self,
        _account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<ProfitAndLoss, BrokerError>> {
        unsupported()
    }

    /// How an account is spread over classes, sectors and groups.
    fn allocation<'a>(
        &'a self,
        _account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Allocation, BrokerError>> {
        unsupported()
    }

    /// How an account did. The broker takes one such request in 15 minutes.
    fn performance<'a>(
        &'a self,
        _account: &'a AccountId,
        _period: PerformancePeriod,
    ) -> BrokerFuture<'a, Result<Performance, BrokerError>> {
        unsupported()
    }

    /// Booked transactions of one contract. The broker takes one such request in 15 minutes.
    fn transactions<'a>(
        &'a self,
        _account: &'a AccountId,
        _conid: Conid,
        _currency: Currency,
        _days: u32,
    ) -> BrokerFuture<'a, Result<Transactions, BrokerError>> {
        unsupported()
    }

    /// Positions that the broker holds together as combinations.
    fn combos<'a>(
        &'a self,
        _account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<ComboPosition>, BrokerError>> {
        unsupported()
    }

    /// Everything told of a contract.
    fn contract_details(
        &self,
        _conid: Conid,
    ) -> BrokerFuture<'_, Result<ContractDetails, BrokerError>> {
        unsupported()
    }

    /// What an order of a side may look like.
    fn contract_rules(
        &self,
        _conid: Conid,
        _side: Side,
    ) -> BrokerFuture<'_, Result<ContractRules, BrokerError>> {
        unsupported()
    }

    /// When a contract trades, over the days that the broker lists.
    fn trading_hours(&self, _conid: Conid) -> BrokerFuture<'_, Result<TradingHours, BrokerError>> {
        unsupported()
    }

    /// The option months of an underlying.
    fn option_series<'a>(
        &'a self,
        _underlying: &'a Contract,
    ) -> BrokerFuture<'a, Result<OptionSeries, BrokerError>> {
        unsupported()
    }

    /// The strikes of a month of [`Broker::option_series`].
    fn strikes<'a>(
        &'a self,
        _underlying: &'a Contract,
        _month: &'a str,
    ) -> BrokerFuture<'a, Result<Strikes, BrokerError>> {
        unsupported()
    }

    /// The options of a month at a strike: more than one where the month has several expiries.
    fn options<'a>(
        &'a self,
        _underlying: &'a Contract,
        _month: &'a str,
        _strike: Decimal,
        _right: OptionRight,
    ) -> BrokerFuture<'a, Result<Vec<OptionContract>, BrokerError>> {
        unsupported()
    }

    /// Quotes of options with their greeks, in the order asked; at most 100.
    fn option_quotes<'a>(
        &'a self,
        _conids: &'a [Conid],
    ) -> BrokerFuture<'a, Result<Vec<OptionQuote>, BrokerError>> {
        unsupported()
    }

    /// The futures of a product, soonest first.
    fn futures<'a>(
        &'a self,
        _symbol: &'a str,
    ) -> BrokerFuture<'a, Result<Vec<FutureContract>, BrokerError>> {
        unsupported()
    }

    /// The pairs of a currency.
    fn currency_pairs(
        &self,
        _currency: Currency,
    ) -> BrokerFuture<'_, Result<Vec<CurrencyPair>, BrokerError>> {
        unsupported()
    }

    /// A price history of at most 1,000 bars.
    fn bars<'a>(
        &'a self,
        _conid: Conid,
        _request: &'a BarsRequest,
    ) -> BrokerFuture<'a, Result<Bars, BrokerError>> {
        unsupported()
    }

    /// What snapshot codes tell of a company.
    fn fundamentals(&self, _conid: Conid) -> BrokerFuture<'_, Result<Fundamentals, BrokerError>> {
        unsupported()
    }

    /// The order book, from the stream; ends with the first complete picture.
    fn depth<'a>(
        &'a self,
        _account: &'a AccountId,
        _conid: Conid,
    ) -> BrokerFuture<'a, Result<Depth, BrokerError>> {
        unsupported()
    }

    /// What scanners can be asked. The broker takes one such request in 15 minutes.
    fn scanner_parameters(&self) -> BrokerFuture<'_, Result<Arc<ScannerParameters>, BrokerError>> {
        unsupported()
    }

    /// Runs a scanner; at most 50 hits.
    fn scan<'a>(
        &'a self,
        _request: &'a ScanRequest,
    ) -> BrokerFuture<'a, Result<Vec<ScanHit>, BrokerError>> {
        unsupported()
    }

    /// The owner's watchlists, without their items.
    fn watchlists(&self) -> BrokerFuture<'_, Result<Vec<Watchlist>, BrokerError>> {
        unsupported()
    }

    /// One watchlist with its items.
    fn watchlist<'a>(&'a self, _id: &'a str) -> BrokerFuture<'a, Result<Watchlist, BrokerError>> {
        unsupported()
    }

    /// The owner's alerts on an account, without their conditions.
    fn alerts<'a>(
        &'a self,
        _account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<Alert>, BrokerError>> {
        unsupported()
    }

    /// One alert with its conditions.
    fn alert<'a>(
        &'a self,
        _account: &'a AccountId,
        _id: &'a str,
    ) -> BrokerFuture<'a, Result<Alert, BrokerError>> {
        unsupported()
    }

    /// The broker's latest notifications, newest first.
    fn notifications(&self) -> BrokerFuture<'_, Result<Vec<Notification>, BrokerError>> {
        unsupported()
    }

    /// What the streams and the session keeper tell. A slow subscriber misses events and is told
    /// so by the channel. Nothing comes from a broker without streams.
    fn events(&self) -> broadcast::Receiver<BrokerEvent> {
        broadcast::channel(1).1
    }

    /// Asks the streams to follow something until the guard is dropped. Without streams it does
    /// nothing.
    fn watch(&self, _what: Watch) -> WatchGuard {
        WatchGuard::idle()
    }

    /// How the stream is; nothing from a broker without streams.
    fn stream_health(&self) -> Option<StreamHealth> {
        None
    }

    /// The broker's preview of an order. Carries no reference, so nothing is registered by it. An
    /// error means that there is none, which says nothing of the order.
    fn what_if<'a>(
        &'a self,
        order: &'a CanonicalOrder,
    ) -> BrokerFuture<'a, Result<WhatIf, BrokerError>>;

    /// Places the permitted order: one POST, never repeated.
    fn place(&self, permit: Recorded<Permit<Place>>) -> BrokerFuture<'_, PlaceOutcome>;

    /// Answers the broker's question about an order: one POST, never repeated. A permit for another
    /// question or order sends nothing.
    fn reply(
        &self,
        asked: Asked,
        permit: Recorded<Permit<Reply>>,
    ) -> BrokerFuture<'_, PlaceOutcome>;

    /// Takes the brokerage session from whatever other platform of the username holds it: one POST.
    /// Never done without this permit.
    fn take_over(
        &self,
        _permit: Recorded<Permit<TakeOver>>,
    ) -> BrokerFuture<'_, Result<SessionHealth, BrokerError>> {
        unsupported()
    }

    /// Cancels an order: one DELETE, never repeated, whatever the kill switch says.
    fn cancel(&self, permit: Recorded<Permit<Cancel>>) -> BrokerFuture<'_, CancelOutcome>;
}
