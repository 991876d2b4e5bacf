//! What the sidecar asks of a broker. Object safe, and implementable outside this crate.
//!
//! Reads can be repeated freely. The three effects consume a recorded permit and never repeat.

use crate::{Asked, BrokerError, CancelOutcome, PlaceOutcome};
use core::fmt;
use core::pin::Pin;
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{
    AccountId, AccountInfo, AccountSummary, AssetClass, BrokerName, BrokerOrder, BrokerOrderId,
    CanonicalOrder, Conid, Contract, Currency, Execution, Instrument, LedgerLine, Mode, Position,
    Quote, SessionHealth, Untrusted,
};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply};
use rust_decimal::Decimal;

/// A boxed future, so that the trait is object safe.
pub type BrokerFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What narrows a symbol down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolveFilters {
    /// Asset class.
    pub class: Option<AssetClass>,
    /// Trading currency.
    pub currency: Option<Currency>,
    /// Primary or routing exchange.
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

/// The broker's own preview of an order. Texts, since the broker mixes ranges and units in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Commission.
    pub commission: Option<Untrusted>,
    /// Initial margin after the order.
    pub initial_margin_after: Option<Untrusted>,
    /// Maintenance margin after the order.
    pub maintenance_margin_after: Option<Untrusted>,
    /// Equity with loan value after the order.
    pub equity_after: Option<Untrusted>,
    /// What the broker warns of.
    pub warning: Option<Untrusted>,
}

/// A broker login: reads, and the three effects.
///
/// Every future ends within the configured request time-out per request it makes; a dropped read
/// has no effect, a dropped effect may have had one.
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// The configured name.
    fn name(&self) -> &BrokerName;

    /// Simulated, paper or live, as configured.
    fn mode(&self) -> Mode;

    /// What answers: `client_portal_gateway` or `simulator`.
    fn backend(&self) -> &'static str;

    /// The session as last learnt; makes no request.
    fn health(&self) -> SessionHealth;

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

    /// A contract by id.
    fn contract(&self, conid: Conid) -> BrokerFuture<'_, Result<Contract, BrokerError>>;

    /// Quotes in the order asked, one per contract; at most 100. A quote without values says why in
    /// its status.
    fn quotes<'a>(
        &'a self,
        conids: &'a [Conid],
    ) -> BrokerFuture<'a, Result<Vec<Quote>, BrokerError>>;

    /// Today's orders of an account, from a request that was sent after this call began.
    fn orders<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<BrokerOrder>, BrokerError>>;

    /// One order.
    fn order<'a>(
        &'a self,
        order: &'a BrokerOrderId,
    ) -> BrokerFuture<'a, Result<BrokerOrder, BrokerError>>;

    /// Fills of an account in the last days, from a request that was sent after this call began.
    fn executions<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BrokerFuture<'a, Result<Vec<Execution>, BrokerError>>;

    /// Units of `to` per unit of `from`.
    fn exchange_rate(
        &self,
        from: Currency,
        to: Currency,
    ) -> BrokerFuture<'_, Result<Decimal, BrokerError>>;

    /// The broker's preview of an order. Carries no reference, so nothing is registered by it.
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

    /// Cancels an order: one DELETE, never repeated, whatever the kill switch says.
    fn cancel(&self, permit: Recorded<Permit<Cancel>>) -> BrokerFuture<'_, CancelOutcome>;
}
