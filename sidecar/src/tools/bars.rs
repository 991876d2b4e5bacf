//! Price history, the order book, futures of a product, exchange rates.

use super::{Asked, Done};
use crate::brokers::error_body;
use ibkr_agent_domain::{BarsRequest, ErrorCode};
use ibkr_agent_protocol::catalogue::bars::{
    HistoricalBars, HistoricalBarsOutput, MarketDepth, MarketDepthOutput,
};
use ibkr_agent_protocol::catalogue::calendar::{
    CurrencyPairs, CurrencyPairsOutput, CurrencyRate, CurrencyRateOutput,
};
use ibkr_agent_protocol::catalogue::reference::{FuturesList, FuturesListOutput};
use ibkr_agent_protocol::number::InputBool;
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;

impl Asked<'_> {
    pub(super) async fn historical_bars(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<HistoricalBars>()?;
        let limit = input.limit()?;
        let (conid, contract) = self.identified(&input.instrument()?).await?;
        let request = BarsRequest {
            period: input.duration.0.as_str().to_owned(),
            bar: input.bar_size.0.as_str().to_owned(),
            outside_rth: input.outside_rth == Some(InputBool(true)),
            end: input.end.map(|end| end.0),
            source: input.source.map(|source| source.0.into()).unwrap_or_default(),
        };
        let broker = self.core.brokers.market()?;
        let bars = broker.bars(conid, &request).await.map_err(|error| error_body(&error))?;
        if bars.bars.is_empty() {
            let message = "the broker has no bars of this contract in this window";
            return Err(ErrorBody::new(ErrorCode::HistoricalBarsUnavailable, message));
        }
        let backend = self.core.backend;
        Done::fitting(limit, None, |rows| {
            HistoricalBarsOutput::new(&bars, contract.clone(), backend, rows)
        })
    }

    pub(super) async fn market_depth(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<MarketDepth>()?;
        let levels = input.levels()?;
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let (conid, contract) = self.identified(&input.instrument()?).await?;
        let id = routed.info.id.clone();
        let depth = routed.broker.depth(&id, conid).await.map_err(|error| error_body(&error))?;
        let output = MarketDepthOutput::new(&depth, contract, self.core.backend, levels);
        Done::read(&output, Some(id))
    }

    pub(super) async fn futures_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<FuturesList>()?;
        let limit = input.limit()?;
        let product = input.symbol.0.as_str().to_ascii_uppercase();
        let broker = self.core.brokers.market()?;
        let futures = broker.futures(&product).await.map_err(|error| error_body(&error))?;
        if futures.is_empty() {
            let message = "the broker knows no futures of this product";
            return Err(ErrorBody::new(ErrorCode::InputInvalidContract, message));
        }
        Done::read(&FuturesListOutput::new(&product, &futures, self.core.backend, limit), None)
    }

    pub(super) async fn currency_rate(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<CurrencyRate>()?;
        let (base, quote) = input.pair()?;
        let rate = if base == quote {
            Decimal::ONE
        } else {
            let broker = self.core.brokers.market()?;
            broker.exchange_rate(base, quote).await.map_err(|error| error_body(&error))?
        };
        let output = CurrencyRateOutput::new((base, quote), rate, self.core.backend, self.now());
        Done::read(&output, None)
    }

    pub(super) async fn currency_pairs(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<CurrencyPairs>()?;
        let (currency, limit) = (input.currency.0, input.limit()?);
        let broker = self.core.brokers.market()?;
        let pairs = broker.currency_pairs(currency).await.map_err(|error| error_body(&error))?;
        Done::read(&CurrencyPairsOutput::new(currency, &pairs, self.core.backend, limit), None)
    }
}
