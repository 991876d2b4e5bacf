//! Contracts: search, and what an instrument's name stands for. Never guesses between several.
//!
//! A search names candidates; their definitions (`/trsrv/secdef`) say what they are. A future is
//! found by its code (`ESZ6`), an option by its terms over the underlying's contract.

use crate::client::ClientPortal;
use crate::transport::Request;
use crate::wire::contracts::{Definition, Definitions, DerivativeRow, Futures, SearchRow};
use crate::wire::{amount, parse_list};
use crate::{BrokerError, Resolution, ResolveFilters};
use ibkr_agent_domain::{AssetClass, Conid, Contract, Instrument};
use std::collections::BTreeSet;

/// Most candidates that are told.
const MAX_CANDIDATES: usize = 20;
/// Most contracts whose definitions one search asks for.
const MAX_DEFINITIONS: usize = 50;
/// Longest search text.
const MAX_QUERY: usize = 64;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// Month letters of futures codes, January first.
const FUTURE_MONTHS: &str = "FGHJKMNQUVXZ";

impl ClientPortal {
    pub(crate) async fn find_contracts(
        &self,
        query: &str,
        class: Option<AssetClass>,
    ) -> Result<Vec<Contract>, BrokerError> {
        let query = query.trim();
        if query.is_empty() || query.len() > MAX_QUERY || query.contains(char::is_control) {
            let what = "a search takes 1 to 64 characters";
            return Err(BrokerError::InvalidRequest { what });
        }
        let mut conids = if class == Some(AssetClass::Future) {
            self.future_conids(query, None).await?
        } else {
            self.search_conids(query, class, false).await?
        };
        if conids.is_empty() && class != Some(AssetClass::Future) {
            conids = self.search_conids(query, class, true).await?;
        }
        let found = self.define(conids).await?;
        let fits = |row: &&Definition| class.is_none() || row.class() == class;
        // What we can't represent is left out of a search; a resolution by id says why.
        let contracts = found.iter().filter(fits).filter_map(|row| Contract::try_from(row).ok());
        Ok(contracts.take(MAX_DEFINITIONS).collect())
    }

    pub(crate) async fn read_contract(&self, conid: Conid) -> Result<Contract, BrokerError> {
        let found = self.define(vec![conid]).await?;
        let definition = found.iter().find(|row| row.conid.conid() == Some(conid));
        Contract::try_from(definition.ok_or(BrokerError::UnknownContract)?)
    }

    pub(crate) async fn resolve_instrument(
        &self,
        instrument: &Instrument,
        filters: &ResolveFilters,
    ) -> Result<Resolution, BrokerError> {
        let (found, filters) = match instrument {
            Instrument::Conid(conid) => (self.define(vec![*conid]).await?, filters.clone()),
            Instrument::Symbol { symbol, exchange, currency, class } => {
                let filters = ResolveFilters {
                    class: class.or(filters.class),
                    currency: currency.or(filters.currency),
                    exchange: exchange.clone().or_else(|| filters.exchange.clone()),
                };
                (self.define_symbol(symbol, filters.class).await?, filters)
            }
            Instrument::Option { symbol, expiry, right, strike } => {
                let terms = OptionTerms { expiry, right: *right, strike };
                (self.define_option(symbol, &terms, filters).await?, ResolveFilters::default())
            }
        };
        choose(&found, &filters)
    }

    async fn define_symbol(
        &self,
        symbol: &str,
        class: Option<AssetClass>,
    ) -> Result<Vec<Definition>, BrokerError> {
        if matches!(class, None | Some(AssetClass::Future))
            && let Some((root, month)) = future_code(symbol)
        {
            let conids = self.future_conids(root, Some(&month)).await?;
            if !conids.is_empty() {
                return self.define(conids).await;
            }
        }
        if class == Some(AssetClass::Future) {
            let conids = self.future_conids(symbol, None).await?;
            return self.define(conids).await;
        }
        let conids = self.search_conids(symbol, class, false).await?;
        let mut found = self.define(conids).await?;
        // A pair's ticker is its first currency; the search has matched the pair itself.
        let is_pair = |row: &Definition| row.class() == Some(AssetClass::Forex);
        found.retain(|row| {
            let ticker = row.ticker.as_str().unwrap_or_default();
            ticker.eq_ignore_ascii_case(symbol) || (is_pair(row) && symbol.contains('.'))
        });
        if class.is_none() && found.iter().any(|row| row.class() == Some(AssetClass::Stock)) {
            found.retain(|row| row.class() == Some(AssetClass::Stock));
        }
        Ok(found)
    }

    async fn define_option(
        &self,
        symbol: &str,
        terms: &OptionTerms<'_>,
        filters: &ResolveFilters,
    ) -> Result<Vec<Definition>, BrokerError> {
        let Some(month) = option_month(terms.expiry) else {
            return Ok(Vec::new());
        };
        let underlyings = self.define_symbol(symbol, None).await?;
        let underlyings = underlyings.iter().filter(|row| fits(row, filters, None));
        let mut conids = Vec::new();
        for conid in underlyings.filter_map(|row| row.conid.conid()).take(MAX_CANDIDATES) {
            let request = Request::get("/iserver/secdef/info")
                .param("conid", conid.to_string())
                .param("sectype", "OPT")
                .param("month", month.clone())
                .param("strike", terms.strike)
                .param("right", terms.right.to_string())
                .param("exchange", "SMART");
            let rows: Vec<DerivativeRow> = match self.fetch(&request).await {
                Ok(answer) => parse_list(&answer.body, "option definitions")?,
                Err(BrokerError::Rejected { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            conids.extend(
                rows.iter().filter(|row| terms.fit(row)).filter_map(|row| row.conid.conid()),
            );
        }
        self.define(conids).await
    }

    /// Contracts that a search names, the kinds that need no further terms only.
    async fn search_conids(
        &self,
        query: &str,
        class: Option<AssetClass>,
        by_name: bool,
    ) -> Result<Vec<Conid>, BrokerError> {
        let mut request = Request::get("/iserver/secdef/search").param("symbol", query);
        if let Some(class @ (AssetClass::Stock | AssetClass::Index | AssetClass::Bond)) = class {
            request = request.param("secType", class.broker_name());
        }
        if by_name {
            request = request.param("name", "true");
        }
        let answer = match self.fetch(&request).await {
            // An unknown symbol is an error object on some builds.
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let rows: Vec<SearchRow> = parse_list(&answer.body, "contract search")?;
        let mut conids = Vec::new();
        for row in &rows {
            conids.extend(row.conid.conid());
            let own = row.sections.iter().filter(|section| {
                let kind = section.sec_type.as_str().and_then(AssetClass::parse);
                class.is_none() || kind == class
            });
            conids.extend(own.filter_map(|section| section.conid.conid()));
        }
        Ok(conids)
    }

    /// Futures of a root symbol, in one month (`YYYYMM`) or in all.
    async fn future_conids(
        &self,
        root: &str,
        month: Option<&FutureMonth>,
    ) -> Result<Vec<Conid>, BrokerError> {
        let root = root.to_ascii_uppercase();
        let request = Request::get("/trsrv/futures").param("symbols", root.as_str());
        let mut futures: Futures = match self.fetch_as(&request, "futures").await {
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let rows = futures.remove(&root).unwrap_or_default();
        let wanted = rows.iter().filter(|row| {
            let expiry = row.expiration_date.as_str().unwrap_or_default();
            month.is_none_or(|month| month.fits(expiry))
        });
        Ok(wanted.filter_map(|row| row.conid.conid()).collect())
    }

    async fn define(&self, conids: Vec<Conid>) -> Result<Vec<Definition>, BrokerError> {
        let unique: BTreeSet<Conid> = conids.into_iter().collect();
        if unique.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = unique.iter().take(MAX_DEFINITIONS).map(Conid::to_string).collect();
        let request = Request::get("/trsrv/secdef").param("conids", list.join(","));
        match self.fetch_as::<Definitions>(&request, "contract definitions").await {
            Ok(found) => Ok(found.secdef),
            Err(BrokerError::Rejected { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// A derivative's quote needs a search for its underlying first. Best effort: without it the
    /// quote stays empty, which is told.
    pub(crate) async fn open_underlyings(&self, conids: &[Conid]) {
        let Ok(found) = self.define(conids.to_vec()).await else {
            return;
        };
        let is_derivative = |row: &&Definition| {
            matches!(
                row.class(),
                Some(
                    AssetClass::Option
                        | AssetClass::Future
                        | AssetClass::FutureOption
                        | AssetClass::Warrant
                )
            )
        };
        let tickers = found.iter().filter(is_derivative).filter_map(|row| row.ticker.as_str());
        let tickers: BTreeSet<&str> = tickers.collect();
        for ticker in tickers.into_iter().take(MAX_CANDIDATES) {
            let request = Request::get("/iserver/secdef/search").param("symbol", ticker);
            if let Err(error) = self.fetch(&request).await {
                tracing::debug!(code = error.code().as_str(), "underlying not opened");
                return;
            }
        }
    }
}

/// What narrows an option down.
struct OptionTerms<'a> {
    /// `YYYYMMDD`.
    expiry: &'a str,
    right: char,
    strike: &'a str,
}

impl OptionTerms<'_> {
    fn fit(&self, row: &DerivativeRow) -> bool {
        let right = row.right.as_str().and_then(|right| right.chars().next());
        row.maturity_date.as_str() == Some(self.expiry)
            && right == Some(self.right)
            && row.strike.decimal().is_some_and(|strike| Some(strike) == amount(self.strike))
    }
}

/// `20270115` to `JAN27`.
fn option_month(expiry: &str) -> Option<String> {
    let year = expiry.get(2..4)?;
    let month: usize = expiry.get(4..6)?.parse().ok()?;
    let name = MONTHS.get(month.checked_sub(1)?)?;
    Some(format!("{name}{year}"))
}

/// A future's month: the last digits of its year, and the month.
#[derive(Debug, PartialEq, Eq)]
struct FutureMonth {
    year_end: String,
    month: String,
}

impl FutureMonth {
    /// Whether `YYYYMMDD` lies in it. The rows listed are not yet expired, so one digit suffices.
    fn fits(&self, expiry: &str) -> bool {
        let (Some(year), Some(month)) = (expiry.get(..4), expiry.get(4..6)) else {
            return false;
        };
        month == self.month && year.ends_with(&self.year_end)
    }
}

/// `ESZ6` or `ESZ26` to root and month.
fn future_code(symbol: &str) -> Option<(&str, FutureMonth)> {
    let letters = symbol.trim_end_matches(|c: char| c.is_ascii_digit());
    let year_end = symbol.get(letters.len()..)?;
    if !(1..=2).contains(&year_end.len()) || letters.len() < 2 {
        return None;
    }
    let (root, letter) = letters.split_at_checked(letters.len().checked_sub(1)?)?;
    let month = FUTURE_MONTHS.find(letter)?.checked_add(1)?;
    let month = FutureMonth { year_end: year_end.to_owned(), month: format!("{month:02}") };
    Some((root, month))
}

fn fits(row: &Definition, filters: &ResolveFilters, exchange: Option<ExchangeRule>) -> bool {
    let Ok(contract) = Contract::try_from(row) else {
        return false;
    };
    let on_exchange = match (filters.exchange.as_deref(), exchange) {
        (None | Some("SMART"), _) | (Some(_), None) => true,
        (Some(name), Some(ExchangeRule::Listing)) => row.is_listed_on(name),
        (Some(name), Some(ExchangeRule::Any)) => row.trades_on(name),
    };
    filters.class.is_none_or(|class| class == contract.class)
        && filters.currency.is_none_or(|currency| currency == contract.currency)
        && on_exchange
}

/// How an exchange narrows: by listing first, by any venue where no listing fits.
#[derive(Clone, Copy)]
enum ExchangeRule {
    Listing,
    Any,
}

fn choose(found: &[Definition], filters: &ResolveFilters) -> Result<Resolution, BrokerError> {
    let by = |rule| -> Vec<&Definition> {
        found.iter().filter(|row| fits(row, filters, Some(rule))).collect()
    };
    let mut rows = by(ExchangeRule::Listing);
    if rows.is_empty() {
        rows = by(ExchangeRule::Any);
    }
    let contracts: Result<Vec<Contract>, BrokerError> =
        rows.into_iter().take(MAX_CANDIDATES).map(Contract::try_from).collect();
    let mut contracts = contracts?;
    match contracts.len() {
        0 => Ok(Resolution::NotFound),
        1 => Ok(contracts.pop().map_or(Resolution::NotFound, Resolution::One)),
        _ => Ok(Resolution::Ambiguous(contracts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn future_codes_are_taken_apart() {
        let (root, month) = future_code("ESZ6").unwrap();
        assert_eq!(root, "ES");
        assert!(month.fits("20261218") && !month.fits("20251219") && !month.fits("20261118"));
        let (root, month) = future_code("CLF27").unwrap();
        assert_eq!(root, "CL");
        assert!(month.fits("20270120") && !month.fits("20370120"));
        for text in ["AAPL", "7203", "Z6", "ESA6", "ESZ2026", "BRK B"] {
            assert_eq!(future_code(text), None, "{text}");
        }
    }

    #[test]
    fn option_months_are_named_as_the_broker_does() {
        assert_eq!(option_month("20270115").as_deref(), Some("JAN27"));
        assert_eq!(option_month("20271315"), None);
        assert_eq!(option_month("2027"), None);
    }
}
