//! Contracts and quotes.

use super::calendar::is_unresolved;
use super::{Asked, Done};
use crate::brokers::error_body;
use futures_util::StreamExt as _;
use ibkr_agent_broker::{Broker, Resolution, ResolveFilters};
use ibkr_agent_domain::{Conid, Contract, ErrorCode, Instrument, Untrusted};
use ibkr_agent_protocol::catalogue::market::{
    ContractOutput, ContractResolve, ContractResolveOutput, ContractsSearch, ContractsSearchOutput,
    MarketSnapshot, MarketSnapshotOutput, QuoteError, QuoteHours, contracts_table,
};
use ibkr_agent_protocol::catalogue::{
    Detail, InstrumentArguments, ResolvedOutput, Wire, row_limit,
};
use ibkr_agent_protocol::service::ErrorBody;

/// Candidates of an ambiguity that are listed.
const MAX_CANDIDATES: usize = 10;

/// Names of one call that are resolved at once.
const CONCURRENT: usize = 8;

/// That a simulated market is open at any time, which quotes say.
pub(super) fn quote_hours(broker: &dyn Broker) -> Option<Wire<QuoteHours>> {
    broker.is_always_open().then_some(Wire(QuoteHours::SimulatedOpen))
}

impl Asked<'_> {
    pub(super) async fn contracts_search(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ContractsSearch>()?;
        let limit = row_limit(input.limit)?;
        let broker = self.core.brokers.market()?;
        let class = input.asset_class.map(|class| class.0);
        let found = broker
            .search(input.query.0.as_str(), class)
            .await
            .map_err(|error| error_body(&error))?;
        let currency = input.currency.map(|currency| currency.0);
        let exchange = input.exchange.as_ref().map(|exchange| exchange.0.as_str());
        let wanted: Vec<Contract> = found
            .into_iter()
            .filter(|contract| class.is_none_or(|class| contract.class == class))
            .filter(|contract| currency.is_none_or(|currency| contract.currency == currency))
            .filter(|contract| exchange.is_none_or(|exchange| is_on(contract, exchange)))
            .collect();
        let shown = wanted.get(..limit.min(wanted.len())).unwrap_or_default();
        let full = input.detail == Some(Wire(Detail::Full));
        let output = ContractsSearchOutput {
            backend: Wire(self.core.backend),
            table: (!full).then(|| contracts_table(shown)),
            contracts: full.then(|| shown.iter().map(ContractOutput::from).collect()),
            truncated: shown.len() < wanted.len(),
        };
        Done::read(&output, None)
    }

    pub(super) async fn contract_resolve(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ContractResolve>()?;
        let (instrument, contract) = self.tradable(&input.named()).await?;
        let output = ContractResolveOutput {
            backend: Wire(self.core.backend),
            asked: Wire(Untrusted::bounded(&named(&instrument), 64)),
            contract: ContractOutput::from(&contract),
        };
        Done::read(&output, None)
    }

    pub(super) async fn market_snapshot(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<MarketSnapshot>()?;
        let instruments = input.instruments()?;
        let (mut conids, mut errors) = (Vec::with_capacity(instruments.len()), Vec::new());
        let mut resolved = Vec::with_capacity(instruments.len());
        for instrument in &instruments {
            resolved.push(self.identified(instrument));
        }
        let resolved: Vec<_> =
            futures_util::stream::iter(resolved).buffered(CONCURRENT).collect().await;
        for (instrument, resolved) in instruments.iter().zip(resolved) {
            match resolved {
                Ok((conid, _)) if conids.contains(&conid) => {}
                Ok((conid, _)) => conids.push(conid),
                // One bad name of several doesn't hide the others; a broker that is down does.
                Err(error) if input.asks_several() && is_unresolved(&error) => {
                    errors.push(QuoteError {
                        asked: named(instrument),
                        code: error.code,
                        message: error.message,
                        candidates: error.details,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let broker = self.core.brokers.market()?;
        let quotes = if conids.is_empty() {
            Vec::new()
        } else {
            broker.quotes(&conids).await.map_err(|error| error_body(&error))?
        };
        let mut output = MarketSnapshotOutput::new(&input, &quotes, self.core.backend, self.now());
        output.hours = quote_hours(broker.as_ref());
        output.errors = errors;
        Done::read(&output, None)
    }

    /// The contract id of an instrument, and what it was resolved to. An id is taken as it is.
    pub(super) async fn identified(
        &self,
        instrument: &Instrument,
    ) -> Result<(Conid, ResolvedOutput), ErrorBody> {
        match instrument {
            Instrument::Conid(conid) => Ok((*conid, ResolvedOutput::of_id(*conid))),
            Instrument::Symbol { .. } | Instrument::Option { .. } => {
                let contract = self.resolve(instrument).await?;
                Ok((contract.conid, ResolvedOutput::from(&contract)))
            }
        }
    }

    /// Exactly one contract with where an order on it goes, and the name that it has.
    pub(super) async fn tradable(
        &self,
        named: &InstrumentArguments<'_>,
    ) -> Result<(Instrument, Contract), ErrorBody> {
        let instrument = named.instrument()?;
        let filters = ResolveFilters {
            class: named.class.map(|class| class.0),
            currency: named.currency.map(|currency| currency.0),
            exchange: named.exchange(),
        };
        let contract = self.resolve_as(&instrument, &filters).await?;
        let in_name = match &instrument {
            Instrument::Symbol { exchange, .. } => exchange.as_deref(),
            Instrument::Conid(_) | Instrument::Option { .. } => None,
        };
        let asked = filters.exchange.as_deref().or(in_name);
        let broker = self.core.brokers.market()?;
        let contract = broker.route(&contract, asked).await.map_err(|error| error_body(&error))?;
        Ok((instrument, contract))
    }

    /// Exactly one contract, or the candidates. It isn't known where an order on it goes.
    pub(super) async fn resolve(&self, instrument: &Instrument) -> Result<Contract, ErrorBody> {
        self.resolve_as(instrument, &ResolveFilters::default()).await
    }

    async fn resolve_as(
        &self,
        instrument: &Instrument,
        filters: &ResolveFilters,
    ) -> Result<Contract, ErrorBody> {
        let broker = self.core.brokers.market()?;
        let resolution = broker.resolve(instrument, filters).await;
        match resolution.map_err(|error| error_body(&error))? {
            Resolution::One(contract) => Ok(contract),
            Resolution::NotFound => {
                let message = format!("no contract is named {}", named(instrument));
                Err(ErrorBody::new(ErrorCode::InputInvalidContract, message))
            }
            Resolution::Ambiguous(candidates) => {
                let message = format!("{} names more than one contract", named(instrument));
                let mut error = ErrorBody::new(ErrorCode::InputAmbiguousContract, message);
                error.details = candidates.iter().take(MAX_CANDIDATES).map(candidate).collect();
                Err(error)
            }
        }
    }
}

fn is_on(contract: &Contract, exchange: &str) -> bool {
    let listing = contract.listing_exchange.as_str();
    // Listings at NASDAQ are named NASDAQ.NMS and the like.
    let main = listing.split('.').next().unwrap_or(listing);
    [listing, main, "SMART"].iter().any(|name| name.eq_ignore_ascii_case(exchange))
}

fn candidate(contract: &Contract) -> String {
    format!(
        "{} {} ({} on {}, {}): contract_id {}",
        contract.symbol,
        contract.name,
        contract.class,
        contract.listing_exchange,
        contract.currency,
        contract.conid
    )
}

fn named(instrument: &Instrument) -> String {
    match instrument {
        Instrument::Conid(conid) => format!("contract_id {conid}"),
        Instrument::Symbol { symbol, exchange, currency, .. } => {
            let exchange = exchange.as_ref().map(|e| format!("@{e}")).unwrap_or_default();
            let currency = currency.map(|c| format!(":{c}")).unwrap_or_default();
            format!("{symbol}{exchange}{currency}")
        }
        Instrument::Option { symbol, expiry, right, strike } => {
            format!("{symbol} {expiry} {right} {strike}")
        }
    }
}
