//! Scanners, fundamentals, and news, which the broker's interface doesn't serve.

use super::account::page;
use super::{Asked, Done};
use crate::brokers::error_body;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::catalogue::research::{
    FundamentalsGet, FundamentalsGetOutput, NewsArticle, NewsList, ScannerParameters,
    ScannerParametersOutput, ScannerRun, ScannerRunOutput, codes_table,
};
use ibkr_agent_protocol::catalogue::{Wire, offset};
use ibkr_agent_protocol::service::ErrorBody;

/// Why there is no news.
const NO_NEWS: &str = "IBKR's Client Portal interface documents no news: neither headlines nor \
                       articles can be asked for through it";

impl Asked<'_> {
    pub(super) async fn scanner_run(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ScannerRun>()?;
        let (request, limit) = (input.request(), input.limit()?);
        let broker = self.core.brokers.market()?;
        let hits = broker.scan(&request).await.map_err(|error| error_body(&error))?;
        let (backend, now) = (self.core.backend, self.now());
        Done::read(&ScannerRunOutput::new(&request, &hits, backend, now, limit), None)
    }

    pub(super) async fn scanner_parameters(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ScannerParameters>()?;
        let (limit, start) = (input.limit()?, offset(input.cursor.as_ref())?);
        let broker = self.core.brokers.market()?;
        let parameters = broker.scanner_parameters().await.map_err(|error| error_body(&error))?;
        let codes = input.select(&parameters);
        let (shown, next_cursor) = page(&codes, start, limit);
        let output = ScannerParametersOutput {
            backend: Wire(self.core.backend),
            as_of: parameters.as_of.map(Wire),
            list: Wire(input.list()),
            table: codes_table(shown),
            next_cursor,
        };
        Done::read(&output, None)
    }

    pub(super) async fn fundamentals_get(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<FundamentalsGet>()?;
        let (conid, contract) = self.identified(&input.instrument()?).await?;
        let broker = self.core.brokers.market()?;
        let read = broker.fundamentals(conid).await.map_err(|error| error_body(&error))?;
        Done::read(&FundamentalsGetOutput::new(&read, contract, self.core.backend), None)
    }

    pub(super) fn news_list(&self) -> Result<Done, ErrorBody> {
        self.input::<NewsList>()?.instrument()?;
        Err(ErrorBody::new(ErrorCode::BrokerCapabilityUnavailable, NO_NEWS))
    }

    pub(super) fn news_article(&self) -> Result<Done, ErrorBody> {
        self.input::<NewsArticle>()?;
        Err(ErrorBody::new(ErrorCode::BrokerCapabilityUnavailable, NO_NEWS))
    }
}
