//! Contracts: search, and what an instrument's name stands for. Never guesses between several.
//!
//! Stocks are listed by symbol (`/trsrv/stocks`), futures by product (`/trsrv/futures`), currency
//! pairs by currency, options by their terms over an underlying, everything else by search. Their
//! definitions (`/trsrv/secdef`) say what they are, and every filter is applied to those.

use crate::cache::Opening;
use crate::client::ClientPortal;
use crate::reads::derivatives::option_section;
use crate::transport::Request;
use crate::wire::contracts::{Definition, Definitions, SearchRow, Stocks};
use crate::wire::parse_list;
use crate::wire::routes::SMART;
use crate::{BrokerError, Resolution, ResolveFilters};
use ibkr_agent_domain::{
    AssetClass, Conid, Contract, Currency, Date, FutureContract, Instrument, OptionRight,
};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// Most candidates that are told.
const MAX_CANDIDATES: usize = 20;
/// Most candidates whose exchanges are asked for.
const MAX_ROUTED: usize = 8;
/// Most contracts that one search tells.
const MAX_FOUND: usize = 50;
/// Most contracts whose definitions one request asks for.
const MAX_DEFINITIONS: usize = 200;
/// Most rows of one search.
const MAX_ROWS: usize = 500;
/// Longest search text.
const MAX_QUERY: usize = 64;
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
        let conids = match class {
            Some(AssetClass::Future) => conids_of(self.read_futures_of(query).await?),
            Some(AssetClass::Option | AssetClass::FutureOption) => {
                let what = "options are listed by the chain of their underlying, not by a search";
                return Err(BrokerError::InvalidRequest { what });
            }
            Some(AssetClass::Forex) => self.pair_conids(query).await?,
            None | Some(_) => self.search_conids(query, class).await?,
        };
        let found = self.define(conids).await?;
        let fits = |row: &&Definition| class.is_none() || row.class() == class;
        // What we can't represent is left out of a search; a resolution by id says why.
        let contracts = found.iter().filter(fits).filter_map(|row| Contract::try_from(row).ok());
        Ok(contracts.take(MAX_FOUND).collect())
    }

    /// By symbol, then by name.
    async fn search_conids(
        &self,
        query: &str,
        class: Option<AssetClass>,
    ) -> Result<Vec<Conid>, BrokerError> {
        let mut conids = conids_in(&self.search_rows(query, class, false).await?, class);
        if conids.is_empty() && class.is_none() {
            conids = self.pair_conids(query).await?;
        }
        if conids.is_empty() {
            conids = conids_in(&self.search_rows(query, class, true).await?, class);
        }
        Ok(conids)
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
                let Some(terms) = OptionTerms::parse(expiry, *right, strike) else {
                    return Ok(Resolution::NotFound);
                };
                let found = self.define_option(symbol, &terms).await?;
                (found, ResolveFilters { class: None, ..filters.clone() })
            }
        };
        match choose(&found, &filters)? {
            Resolution::NotFound => self.choose_by_route(&found, &filters).await,
            chosen @ (Resolution::One(_) | Resolution::Ambiguous(_)) => Ok(chosen),
        }
    }

    /// What fits by where orders can be sent, where no definition names the exchange that is
    /// asked for. A single contract that takes none there is refused with those that it takes.
    async fn choose_by_route(
        &self,
        found: &[Definition],
        filters: &ResolveFilters,
    ) -> Result<Resolution, BrokerError> {
        let Some(asked) = filters.exchange.as_deref() else {
            return Ok(Resolution::NotFound);
        };
        let anywhere = ResolveFilters { exchange: None, ..filters.clone() };
        let mut candidates = match choose(found, &anywhere)? {
            Resolution::One(contract) => vec![contract],
            Resolution::Ambiguous(all) => all,
            Resolution::NotFound => return Ok(Resolution::NotFound),
        };
        candidates.truncate(MAX_ROUTED);
        let is_one = candidates.len() == 1;
        let mut allowed = Vec::new();
        for candidate in candidates {
            let routes = self.read_routes(candidate.conid).await?;
            if routes.allows(asked) {
                allowed.push(candidate);
            } else if is_one {
                return Err(routes.refusal(asked));
            }
        }
        Ok(match (allowed.pop(), allowed.is_empty()) {
            (None, _) => Resolution::NotFound,
            (Some(only), true) => Resolution::One(only),
            (Some(last), false) => {
                allowed.push(last);
                Resolution::Ambiguous(allowed)
            }
        })
    }

    async fn define_symbol(
        &self,
        symbol: &str,
        class: Option<AssetClass>,
    ) -> Result<Vec<Definition>, BrokerError> {
        let may_be = |wanted| class.is_none() || class == Some(wanted);
        let mut conids = Vec::new();
        if may_be(AssetClass::Forex) {
            conids = self.pair_conids(symbol).await?;
        }
        if conids.is_empty() && may_be(AssetClass::Future) {
            conids = self.future_conids(symbol, class).await?;
        }
        if conids.is_empty() && may_be(AssetClass::Stock) {
            conids = self.stock_conids(symbol).await?;
        }
        if !conids.is_empty() {
            return self.define(conids).await;
        }
        let mut rows = self.search_rows(symbol, class, false).await?;
        if class.is_none() && rows.is_empty() {
            rows = self.search_rows(symbol, Some(AssetClass::Index), false).await?;
        }
        let mut found = self.define(conids_in(&rows, class)).await?;
        let is_named = |row: &Definition| {
            row.ticker.as_str().is_some_and(|ticker| ticker.eq_ignore_ascii_case(symbol))
        };
        found.retain(is_named);
        Ok(found)
    }

    async fn define_option(
        &self,
        symbol: &str,
        terms: &OptionTerms,
    ) -> Result<Vec<Definition>, BrokerError> {
        let month = terms.expiry.month_code();
        let has_symbol = |row: &SearchRow| {
            row.symbol.as_str().is_some_and(|own| own.eq_ignore_ascii_case(symbol))
        };
        let mut rows = self.search_rows(symbol, None, false).await?;
        rows.retain(has_symbol);
        if !rows.iter().any(SearchRow::has_options) {
            rows = self.search_rows(symbol, Some(AssetClass::Index), false).await?;
            rows.retain(has_symbol);
        }
        let mut conids = Vec::new();
        for row in rows.into_iter().filter(SearchRow::has_options).take(MAX_CANDIDATES) {
            let Some((root, section)) = option_section(vec![row], |_| true) else { continue };
            if !section.months().contains(&month) {
                continue;
            }
            let rows = self.derivative_rows(&root, &month, terms.strike, terms.right).await?;
            let own = rows.iter().filter(|row| row.maturity_date.date() == Some(terms.expiry));
            conids.extend(own.filter_map(|row| row.conid.conid()));
        }
        self.define(conids).await
    }

    /// Rows of a search, which also opens what is derived from them. None for an unknown symbol.
    pub(crate) async fn search_rows(
        &self,
        query: &str,
        class: Option<AssetClass>,
        by_name: bool,
    ) -> Result<Vec<SearchRow>, BrokerError> {
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
        let mut rows: Vec<SearchRow> = parse_list(&answer.body, "contract search")?;
        rows.truncate(MAX_ROWS);
        self.caches().searched.keep(query.to_owned(), ());
        Ok(rows)
    }

    /// Every listing of a stock symbol.
    async fn stock_conids(&self, symbol: &str) -> Result<Vec<Conid>, BrokerError> {
        let request = Request::get("/trsrv/stocks").param("symbols", symbol);
        let mut stocks: Stocks = match self.fetch_as(&request, "stocks").await {
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let companies = stocks.remove(symbol).unwrap_or_default();
        let listings = companies.into_iter().flat_map(|company| company.contracts);
        Ok(listings.filter_map(|listing| listing.conid.conid()).collect())
    }

    /// The pair that a text such as `EUR.USD` names.
    async fn pair_conids(&self, symbol: &str) -> Result<Vec<Conid>, BrokerError> {
        let Some((base, quote)) = currency_pair(symbol) else {
            return Ok(Vec::new());
        };
        let wanted = format!("{base}.{quote}");
        let pairs = self.read_currency_pairs(base).await?;
        let own = pairs.iter().filter(|pair| pair.symbol.as_str().eq_ignore_ascii_case(&wanted));
        Ok(own.map(|pair| pair.conid).collect())
    }

    /// The futures of a code such as `ESZ6`; those of a product only where a future is asked for.
    async fn future_conids(
        &self,
        symbol: &str,
        class: Option<AssetClass>,
    ) -> Result<Vec<Conid>, BrokerError> {
        if let Some((root, month)) = future_code(symbol) {
            let mut futures = self.read_futures(root).await?;
            futures.retain(|future| month.fits(future.expiry));
            // Years are told by one digit: the nearest is meant.
            if let Some(first) = futures.first().map(|future| future.expiry.month_code()) {
                futures.retain(|future| future.expiry.month_code() == first);
                return Ok(conids_of(futures));
            }
        }
        if class == Some(AssetClass::Future) {
            return Ok(conids_of(self.read_futures_of(symbol).await?));
        }
        Ok(Vec::new())
    }

    /// Futures of a text that need not be a product's symbol.
    async fn read_futures_of(&self, text: &str) -> Result<Vec<FutureContract>, BrokerError> {
        match self.read_futures(text).await {
            Err(BrokerError::InvalidRequest { .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Definitions in the order asked; what the broker doesn't know is left out.
    pub(crate) async fn define(&self, conids: Vec<Conid>) -> Result<Vec<Definition>, BrokerError> {
        let mut asked: Vec<Conid> = Vec::with_capacity(conids.len().min(MAX_DEFINITIONS));
        for conid in conids {
            if asked.len() < MAX_DEFINITIONS && !asked.contains(&conid) {
                asked.push(conid);
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = asked.iter().map(Conid::to_string).collect();
        let request = Request::get("/trsrv/secdef").param("conids", list.join(","));
        let found: Definitions = match self.fetch_as(&request, "contract definitions").await {
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let mut rows: BTreeMap<Conid, Definition> =
            found.secdef.into_iter().filter_map(|row| Some((row.conid.conid()?, row))).collect();
        let found: Vec<Definition> = asked.iter().filter_map(|conid| rows.remove(conid)).collect();
        for row in &found {
            let symbol = row.ticker.as_str().filter(|_| row.is_derivative());
            self.note_opening(row.conid.conid(), symbol);
        }
        Ok(found)
    }

    /// Remembers which search a contract's quote needs: of its underlying's symbol, or none.
    pub(crate) fn note_opening(&self, conid: Option<Conid>, symbol: Option<&str>) {
        if let Some(conid) = conid {
            let opening = match symbol {
                Some(symbol) => Opening::Search(symbol.to_owned()),
                None => Opening::Plain,
            };
            self.caches().openings.keep(conid, opening);
        }
    }
}

fn conids_of(futures: Vec<FutureContract>) -> Vec<Conid> {
    futures.into_iter().map(|future| future.conid).collect()
}

/// Contracts that a search names, the kinds that need no further terms only.
fn conids_in(rows: &[SearchRow], class: Option<AssetClass>) -> Vec<Conid> {
    let mut conids = Vec::new();
    for row in rows {
        conids.extend(row.conid.conid());
        let own = row.sections.iter().filter(|section| {
            let kind = section.sec_type.as_str().and_then(AssetClass::parse);
            class.is_none() || kind == class
        });
        conids.extend(own.filter_map(|section| section.conid.conid()));
    }
    conids
}

/// What narrows an option down.
struct OptionTerms {
    expiry: Date,
    right: OptionRight,
    strike: Decimal,
}

impl OptionTerms {
    fn parse(expiry: &str, right: char, strike: &str) -> Option<Self> {
        Some(Self {
            expiry: Date::parse(expiry).ok()?,
            right: OptionRight::parse(right.encode_utf8(&mut [0; 4]))?,
            strike: crate::wire::amount(strike).filter(|strike| *strike > Decimal::ZERO)?,
        })
    }
}

/// `EUR.USD` or `EUR/USD` to its currencies.
fn currency_pair(text: &str) -> Option<(Currency, Currency)> {
    let (base, quote) = text.split_once(['.', '/'])?;
    if base.len() != 3 || quote.len() != 3 {
        return None;
    }
    Some((Currency::parse(base).ok()?, Currency::parse(quote).ok()?))
}

/// A future's month: the last digits of its year, and the month.
#[derive(Debug, PartialEq, Eq)]
struct FutureMonth {
    year_end: String,
    month: String,
}

impl FutureMonth {
    /// Whether an expiry lies in it.
    fn fits(&self, expiry: Date) -> bool {
        let text = expiry.compact();
        let (Some(year), Some(month)) = (text.get(..4), text.get(4..6)) else {
            return false;
        };
        month == self.month && year.ends_with(&self.year_end)
    }
}

/// `ESZ6`, `ESZ26` or `ESZ2026` to root and month.
fn future_code(symbol: &str) -> Option<(&str, FutureMonth)> {
    let letters = symbol.trim_end_matches(|c: char| c.is_ascii_digit());
    let year_end = symbol.get(letters.len()..)?;
    if !matches!(year_end.len(), 1 | 2 | 4) || letters.len() < 2 {
        return None;
    }
    let (root, letter) = letters.split_at_checked(letters.len().checked_sub(1)?)?;
    let month = FUTURE_MONTHS.find(letter)?.checked_add(1)?;
    let month = FutureMonth { year_end: year_end.to_owned(), month: format!("{month:02}") };
    Some((root, month))
}

/// How an exchange narrows: by listing first, by any venue where no listing fits.
#[derive(Clone, Copy)]
enum ExchangeRule {
    Listing,
    Any,
}

fn fits(row: &Definition, filters: &ResolveFilters, rule: ExchangeRule) -> bool {
    let on_exchange = match (filters.exchange.as_deref(), rule) {
        (None | Some(SMART), _) => true,
        (Some(name), ExchangeRule::Listing) => row.is_listed_on(name),
        (Some(name), ExchangeRule::Any) => row.trades_on(name),
    };
    filters.class.is_none_or(|class| row.class() == Some(class))
        && filters.currency.is_none_or(|currency| row.currency() == Some(currency))
        && on_exchange
}

/// The one that fits, or all that do: soonest expiry first, then listings in the United States.
/// A candidate that can't be read still counts: the others aren't chosen because of it.
fn choose(found: &[Definition], filters: &ResolveFilters) -> Result<Resolution, BrokerError> {
    let by = |rule| -> Vec<&Definition> {
        found.iter().filter(|row| fits(row, filters, rule)).collect()
    };
    let mut rows = by(ExchangeRule::Listing);
    if rows.is_empty() {
        rows = by(ExchangeRule::Any);
    }
    rows.sort_by_key(|row| (row.expiry(), !row.is_us()));
    let count = rows.len();
    let mut contracts = Vec::new();
    let mut unreadable = None;
    for row in rows.into_iter().take(MAX_CANDIDATES) {
        match Contract::try_from(row) {
            Ok(contract) => contracts.push(contract),
            Err(error) => unreadable = Some(error),
        }
    }
    match (contracts.pop(), unreadable) {
        (Some(only), None) if count == 1 => Ok(Resolution::One(only)),
        (Some(last), _) => {
            contracts.push(last);
            Ok(Resolution::Ambiguous(contracts))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Ok(Resolution::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    #[test]
    fn future_codes_are_taken_apart() {
        let (root, month) = future_code("ESZ6").unwrap();
        assert_eq!(root, "ES");
        assert!(month.fits(date("20261218")) && month.fits(date("20361219")));
        assert!(!month.fits(date("20251219")) && !month.fits(date("20261118")));
        let (root, month) = future_code("CLF27").unwrap();
        assert_eq!(root, "CL");
        assert!(month.fits(date("20270120")) && !month.fits(date("20370120")));
        assert!(future_code("ESZ2026").unwrap().1.fits(date("20261218")));
        for text in ["AAPL", "7203", "Z6", "ESA6", "ESZ026", "BRK B", "", "É6", "ÉZ6É"] {
            assert_eq!(future_code(text), None, "{text}");
        }
    }

    #[test]
    fn currency_pairs_are_told_from_symbols_with_dots() {
        let pair = |text| currency_pair(text).map(|(a, b)| format!("{a}{b}"));
        assert_eq!(pair("EUR.USD").as_deref(), Some("EURUSD"));
        assert_eq!(pair("eur/usd").as_deref(), Some("EURUSD"));
        for text in ["BRK.B", "EURUSD", "EU.USD", "EUR.US1", "A.B.C", "BASE.USD"] {
            assert_eq!(pair(text), None, "{text}");
        }
    }

    fn definitions(json: &str) -> Vec<Definition> {
        serde_json::from_str(json).unwrap()
    }

    const LISTINGS: &str = r#"[
        {"conid":1,"ticker":"X","assetClass":"STK","currency":"EUR","listingExchange":"IBIS",
         "allExchanges":"IBIS","isUS":false},
        {"conid":2,"ticker":"X","assetClass":"STK","currency":"USD","listingExchange":"NASDAQ.NMS",
         "allExchanges":"ARCA,IBIS","isUS":true},
        {"conid":3,"ticker":"X","assetClass":"STK","currency":"MXN","listingExchange":"MEXI",
         "allExchanges":"MEXI"}]"#;

    fn chosen(filters: &ResolveFilters) -> Vec<u64> {
        match choose(&definitions(LISTINGS), filters).unwrap() {
            Resolution::One(contract) => vec![contract.conid.get()],
            Resolution::Ambiguous(all) => all.iter().map(|one| one.conid.get()).collect(),
            Resolution::NotFound => Vec::new(),
        }
    }

    #[test]
    fn filters_filter_and_none_is_guessed() {
        let none = ResolveFilters::default();
        assert_eq!(chosen(&none), [2, 1, 3], "the listing in the United States first");
        let currency = |code| ResolveFilters {
            currency: Some(Currency::parse(code).unwrap()),
            exchange: Some("SMART".to_owned()),
            ..ResolveFilters::default()
        };
        assert_eq!(chosen(&currency("USD")), [2]);
        assert!(chosen(&currency("CHF")).is_empty());
        let at = |name: &str| ResolveFilters {
            exchange: Some(name.to_owned()),
            ..ResolveFilters::default()
        };
        assert_eq!(chosen(&at("IBIS")), [1], "its own exchange before another's venue");
        assert_eq!(chosen(&at("ARCA")), [2]);
        assert_eq!(chosen(&at("NASDAQ")), [2]);
        let bonds = ResolveFilters { class: Some(AssetClass::Bond), ..none };
        assert!(chosen(&bonds).is_empty());
    }

    #[test]
    fn a_candidate_that_cannot_be_read_does_not_make_another_the_only_one() {
        let rows = r#"[{"conid":1,"ticker":"X","assetClass":"STK","currency":"USD"},
            {"conid":2,"ticker":"X","assetClass":"STK"}]"#;
        let choice = choose(&definitions(rows), &ResolveFilters::default()).unwrap();
        assert!(matches!(choice, Resolution::Ambiguous(all) if all.len() == 1));
        let broken = r#"[{"conid":2,"ticker":"X","assetClass":"STK"}]"#;
        assert!(choose(&definitions(broken), &ResolveFilters::default()).is_err());
    }
}
