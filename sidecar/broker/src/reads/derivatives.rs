//! Options, futures and currency pairs.
//!
//! Strikes and options are empty until their underlying was searched for in this session, so an
//! empty answer is asked for again after a search.

use crate::BrokerError;
use crate::cache::OptionRoot;
use crate::client::ClientPortal;
use crate::transport::Request;
use crate::wire::contracts::{SearchRow, Section, is_month};
use crate::wire::options::{DerivativeRow, Futures, Pairs, StrikesAnswer};
use crate::wire::parse_list;
use ibkr_agent_domain::{
    AssetClass, Conid, Contract, Currency, CurrencyPair, FutureContract, OptionContract,
    OptionRight, OptionSeries, Strikes,
};
use rust_decimal::Decimal;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// Longest product symbol.
const MAX_SYMBOL: usize = 24;
/// Most rows of one answer.
const MAX_ROWS: usize = 500;

impl ClientPortal {
    pub(crate) async fn read_option_series(
        &self,
        underlying: &Contract,
    ) -> Result<OptionSeries, BrokerError> {
        let found = self.search_options(underlying).await?;
        let (months, exchanges) = match &found {
            Some((_, section)) => (section.months(), section.exchanges()),
            None => (Vec::new(), Vec::new()),
        };
        let mut months = months;
        months.sort_by_key(|month| month_number(month));
        months.dedup();
        Ok(OptionSeries { underlying: underlying.clone(), months, exchanges })
    }

    pub(crate) async fn read_strikes(
        &self,
        underlying: &Contract,
        month: &str,
    ) -> Result<Strikes, BrokerError> {
        let month = checked_month(month)?;
        let Some(root) = self.option_root(underlying).await? else {
            return Ok(Strikes::default());
        };
        let request = Request::get("/iserver/secdef/strikes")
            .param("conid", root.conid.to_string())
            .param("sectype", root.kind)
            .param("month", month)
            .param("exchange", root.exchange);
        let read: StrikesAnswer = self.fetch_as(&request, "strikes").await?;
        let strikes = read.into_strikes()?;
        if !strikes.calls.is_empty() || !strikes.puts.is_empty() {
            return Ok(strikes);
        }
        self.search_options(underlying).await?;
        let read: StrikesAnswer = self.fetch_as(&request, "strikes").await?;
        read.into_strikes()
    }

    pub(crate) async fn read_options(
        &self,
        underlying: &Contract,
        month: &str,
        strike: Decimal,
        right: OptionRight,
    ) -> Result<Vec<OptionContract>, BrokerError> {
        let month = checked_month(month)?;
        let Some(root) = self.option_root(underlying).await? else {
            return Ok(Vec::new());
        };
        let mut rows = self.derivative_rows(&root, &month, strike, right).await?;
        if rows.is_empty() {
            self.search_options(underlying).await?;
            rows = self.derivative_rows(&root, &month, strike, right).await?;
        }
        let options: Result<Vec<OptionContract>, BrokerError> =
            rows.into_iter().map(DerivativeRow::into_option).collect();
        let mut options = options?;
        options.sort_by(|a, b| (a.expiry, &a.trading_class).cmp(&(b.expiry, &b.trading_class)));
        Ok(options)
    }

    /// The definitions of a strike and right in a month; none where the broker refuses the terms.
    pub(crate) async fn derivative_rows(
        &self,
        root: &OptionRoot,
        month: &str,
        strike: Decimal,
        right: OptionRight,
    ) -> Result<Vec<DerivativeRow>, BrokerError> {
        let strike = strike.normalize();
        let request = Request::get("/iserver/secdef/info")
            .param("conid", root.conid.to_string())
            .param("sectype", root.kind)
            .param("month", month)
            .param("strike", strike.to_string())
            .param("right", right.letter().to_string())
            .param("exchange", root.exchange.clone());
        let rows: Vec<DerivativeRow> = match self.fetch(&request).await {
            Ok(answer) => parse_list(&answer.body, "option definitions")?,
            Err(BrokerError::Rejected { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if rows.len() > MAX_ROWS {
            return Err(BrokerError::InvalidResponse { what: "number of options" });
        }
        let mut rows = rows;
        rows.retain(|row| row.fits(strike, right));
        for row in &rows {
            self.note_opening(row.conid.conid(), row.ticker());
        }
        Ok(rows)
    }

    async fn option_root(&self, underlying: &Contract) -> Result<Option<OptionRoot>, BrokerError> {
        if let Some(root) = self.caches().option_roots.find(&underlying.conid) {
            return Ok(Some(root));
        }
        Ok(self.search_options(underlying).await?.map(|(root, _)| root))
    }

    /// Searches for an underlying, which also opens its strikes and quotes in this session.
    async fn search_options(
        &self,
        underlying: &Contract,
    ) -> Result<Option<(OptionRoot, Section)>, BrokerError> {
        let symbol = underlying.symbol.as_str();
        let rows = self.search_rows(symbol, None, false).await?;
        let mut found = option_section(rows, |row| is_of(row, underlying));
        if found.is_none() && underlying.class == AssetClass::Index {
            let rows = self.search_rows(symbol, Some(AssetClass::Index), false).await?;
            found = option_section(rows, |row| is_of(row, underlying));
        }
        if let Some((root, _)) = &found {
            self.caches().option_roots.keep(underlying.conid, root.clone());
        }
        Ok(found)
    }

    pub(crate) async fn read_futures(
        &self,
        symbol: &str,
    ) -> Result<Vec<FutureContract>, BrokerError> {
        let root = symbol.trim().to_ascii_uppercase();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b' ' | b'/');
        if root.is_empty() || root.len() > MAX_SYMBOL || !root.bytes().all(is_plain) {
            let what = "a product symbol is 1 to 24 letters and digits";
            return Err(BrokerError::InvalidRequest { what });
        }
        let request = Request::get("/trsrv/futures").param("symbols", root.as_str());
        let mut futures: Futures = match self.fetch_as(&request, "futures").await {
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let rows = futures.remove(&root).unwrap_or_default();
        let read: Result<Vec<FutureContract>, BrokerError> =
            rows.into_iter().take(MAX_ROWS).map(|row| row.into_future(&root)).collect();
        let mut read = read?;
        read.sort_by_key(|future| (future.expiry, future.conid));
        for future in &read {
            self.note_opening(Some(future.conid), Some(&root));
        }
        Ok(read)
    }

    pub(crate) async fn read_currency_pairs(
        &self,
        currency: Currency,
    ) -> Result<Vec<CurrencyPair>, BrokerError> {
        let request = Request::get("/iserver/currency/pairs").param("currency", currency.as_str());
        let mut pairs: Pairs = match self.fetch_as(&request, "currency pairs").await {
            Err(BrokerError::Rejected { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let rows = pairs.remove(currency.as_str()).unwrap_or_default();
        rows.into_iter().take(MAX_ROWS).map(|row| row.into_pair()).collect()
    }
}

/// Whether a search row is an underlying's, or the product's that a future belongs to.
fn is_of(row: &SearchRow, underlying: &Contract) -> bool {
    let is_same = |conid: Option<Conid>| conid == Some(underlying.conid);
    let is_named = row.symbol.as_str().is_some_and(|symbol| symbol == underlying.symbol.as_str());
    is_same(row.conid.conid())
        || row.sections.iter().any(|section| is_same(section.conid.conid()))
        || (underlying.class == AssetClass::Future && is_named)
}

/// The options of the first row that has some; those on the contract before those on futures.
pub(crate) fn option_section(
    rows: Vec<SearchRow>,
    is_wanted: impl Fn(&SearchRow) -> bool,
) -> Option<(OptionRoot, Section)> {
    let mut rows: Vec<SearchRow> = rows.into_iter().filter(is_wanted).collect();
    for kind in ["OPT", "FOP"] {
        for row in &mut rows {
            let Some(conid) = row.conid.conid() else { continue };
            let is_kind = |section: &Section| section.sec_type.as_str() == Some(kind);
            if let Some(section) = row.sections.take(is_kind) {
                let exchange = section.exchanges().into_iter().next();
                let exchange = exchange.unwrap_or_else(|| "SMART".to_owned());
                return Some((OptionRoot { conid, kind, exchange }, section));
            }
        }
    }
    None
}

/// Year and month of `JAN27`, to sort by.
fn month_number(month: &str) -> Option<(u32, usize)> {
    let name = MONTHS.iter().position(|name| month.starts_with(name))?;
    Some((month.get(3..)?.parse().ok()?, name))
}

fn checked_month(month: &str) -> Result<String, BrokerError> {
    let month = month.trim().to_ascii_uppercase();
    if is_month(&month) && month_number(&month).is_some() {
        Ok(month)
    } else {
        Err(BrokerError::InvalidRequest { what: "an option month is written like JAN27" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_checked_and_sorted_by_time() {
        assert_eq!(checked_month(" jan27 "), Ok("JAN27".to_owned()));
        for text in ["", "JAN", "JAN2027", "FOO27", "JAN2X", "JÄN27"] {
            assert!(checked_month(text).is_err(), "{text}");
        }
        let mut months = ["MAR27", "DEC26", "JAN27"];
        months.sort_by_key(|month| month_number(month));
        assert_eq!(months, ["DEC26", "JAN27", "MAR27"]);
    }

    #[test]
    fn options_on_the_contract_come_before_options_on_futures() {
        let rows = r#"[{"conid":"1","symbol":"X","sections":[{"secType":"FOP","months":"JAN27",
            "exchange":"CME;"}]},{"conid":"2","symbol":"X","sections":[{"secType":"STK"},
            {"secType":"OPT","months":"JAN27;FEB27","exchange":"CBOE;SMART;"}]}]"#;
        let rows: Vec<SearchRow> = serde_json::from_str(rows).unwrap();
        let (root, section) = option_section(rows, |_| true).unwrap();
        assert_eq!((root.conid.get(), root.kind, root.exchange.as_str()), (2, "OPT", "SMART"));
        assert_eq!(section.months(), ["JAN27", "FEB27"]);
    }
}
