//! A row of `/iserver/marketdata/snapshot`.

use super::Scalar;
use ibkr_agent_domain::{
    Conid, DataStatus, Fundamentals, OptionQuote, Quote, Timestamp, Untrusted,
};
use rust_decimal::Decimal;
use serde::Deserialize;

/// The fields that we ask for: last, symbol, bid, ask size, ask, bid size, change in percent,
/// volume short and long, previous close in two forms, availability.
pub(crate) const FIELDS: &str = "31,55,84,85,86,88,83,87,7762,7741,7296,6509";

/// The fields of an option: those of a quote, delta, gamma, theta, vega, implied volatility, open
/// interest, mark.
pub(crate) const OPTION_FIELDS: &str =
    "31,55,84,85,86,88,83,87,7762,7741,7296,6509,7308,7309,7310,7311,7633,7638,7635";

/// The fields that tell of a company: market value, price to earnings, earnings, dividend, yield,
/// ex-date, range of 52 weeks, events, beta, industry, category.
pub(crate) const COMPANY_FIELDS: &str =
    "6509,7289,7290,7291,7286,7287,7288,7293,7294,7683,7684,7686,7718,7280,7281";

/// One contract's values.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct SnapshotRow {
    conid: Scalar,
    #[serde(rename = "_updated")]
    updated: Scalar,
    #[serde(rename = "31")]
    last: Scalar,
    #[serde(rename = "55")]
    symbol: Scalar,
    #[serde(rename = "84")]
    bid: Scalar,
    #[serde(rename = "85")]
    ask_size: Scalar,
    #[serde(rename = "86")]
    ask: Scalar,
    #[serde(rename = "88")]
    bid_size: Scalar,
    #[serde(rename = "83")]
    change_percent: Scalar,
    #[serde(rename = "87")]
    volume_short: Scalar,
    #[serde(rename = "7762")]
    volume: Scalar,
    #[serde(rename = "7741")]
    prior_close: Scalar,
    #[serde(rename = "7296")]
    close: Scalar,
    #[serde(rename = "6509")]
    availability: Scalar,
    #[serde(rename = "7308")]
    delta: Scalar,
    #[serde(rename = "7309")]
    gamma: Scalar,
    #[serde(rename = "7310")]
    theta: Scalar,
    #[serde(rename = "7311")]
    vega: Scalar,
    #[serde(rename = "7633")]
    implied_volatility: Scalar,
    #[serde(rename = "7638")]
    open_interest: Scalar,
    #[serde(rename = "7635")]
    mark: Scalar,
    #[serde(rename = "7289")]
    market_cap: Scalar,
    #[serde(rename = "7290")]
    price_earnings: Scalar,
    #[serde(rename = "7291")]
    earnings_per_share: Scalar,
    #[serde(rename = "7286")]
    dividend_amount: Scalar,
    #[serde(rename = "7287")]
    dividend_yield: Scalar,
    #[serde(rename = "7288")]
    ex_date: Scalar,
    #[serde(rename = "7293")]
    high_52_weeks: Scalar,
    #[serde(rename = "7294")]
    low_52_weeks: Scalar,
    #[serde(rename = "7683")]
    upcoming_event: Scalar,
    #[serde(rename = "7684")]
    upcoming_event_date: Scalar,
    #[serde(rename = "7686")]
    upcoming_earnings: Scalar,
    #[serde(rename = "7718")]
    beta: Scalar,
    #[serde(rename = "7280")]
    industry: Scalar,
    #[serde(rename = "7281")]
    category: Scalar,
}

impl SnapshotRow {
    pub(crate) fn conid(&self) -> Option<Conid> {
        self.conid.conid()
    }

    /// Whether asking again can't bring more: it has values, or never will.
    pub(crate) fn is_complete(&self) -> bool {
        if self.status() == DataStatus::NotSubscribed {
            return true;
        }
        let has_last = self.last.as_str().is_some();
        let has_book = self.bid.as_str().is_some() && self.ask.as_str().is_some();
        self.availability.as_str().is_some() && (has_book || has_last)
    }

    /// [`SnapshotRow::is_complete`] of an option that is asked for its greeks too.
    pub(crate) fn has_greeks(&self) -> bool {
        self.status() == DataStatus::NotSubscribed
            || (self.is_complete() && self.delta.as_str().is_some())
    }

    /// Whether a company's values are there: every listed company has an industry, and every
    /// traded one a range of 52 weeks.
    pub(crate) fn has_company(&self) -> bool {
        self.industry.as_str().is_some() && self.high_52_weeks.as_str().is_some()
    }

    /// The first character of field 6509.
    fn status(&self) -> DataStatus {
        match self.availability.as_str().and_then(|text| text.chars().next()) {
            Some('R') => DataStatus::RealTime,
            Some('D') => DataStatus::Delayed,
            Some('Z') => DataStatus::Frozen,
            Some('Y') => DataStatus::FrozenDelayed,
            Some('N') => DataStatus::NotSubscribed,
            Some(_) | None => DataStatus::Unknown,
        }
    }

    pub(crate) fn into_quote(self, conid: Conid, as_of: Timestamp) -> Quote {
        let status = self.status();
        let last = Last::parse(self.last.as_str().unwrap_or_default());
        // IBKR sends -1 where there is no bid or ask.
        let price =
            |scalar: &Scalar| scalar.decimal().filter(|price| *price != Decimal::NEGATIVE_ONE);
        Quote {
            conid,
            symbol: self.symbol.untrusted(),
            bid: price(&self.bid),
            bid_size: size(&self.bid_size),
            ask: price(&self.ask),
            ask_size: size(&self.ask_size),
            last: last.traded,
            close: self.prior_close.decimal().or_else(|| self.close.decimal()).or(last.close),
            change_percent: self.change_percent.decimal(),
            volume: size(&self.volume).or_else(|| size(&self.volume_short)),
            halted: last.halted,
            status,
            updated: self.updated.millis(),
            as_of,
        }
    }

    pub(crate) fn into_option_quote(self, conid: Conid, as_of: Timestamp) -> OptionQuote {
        OptionQuote {
            delta: self.delta.decimal(),
            gamma: self.gamma.decimal(),
            theta: self.theta.decimal(),
            vega: self.vega.decimal(),
            implied_volatility: self.implied_volatility.decimal(),
            open_interest: size(&self.open_interest),
            mark: self.mark.decimal(),
            quote: self.into_quote(conid, as_of),
        }
    }

    pub(crate) fn into_fundamentals(self, conid: Conid, as_of: Timestamp) -> Fundamentals {
        Fundamentals {
            conid,
            market_cap: self.market_cap.untrusted(),
            price_earnings: self.price_earnings.decimal(),
            earnings_per_share: self.earnings_per_share.decimal(),
            dividend_amount: self.dividend_amount.decimal(),
            dividend_yield_percent: self.dividend_yield.decimal(),
            ex_date: self.ex_date.untrusted(),
            next_earnings: self.upcoming_earnings.untrusted(),
            next_event: joined(&self.upcoming_event, &self.upcoming_event_date),
            high_52_weeks: self.high_52_weeks.decimal(),
            low_52_weeks: self.low_52_weeks.decimal(),
            beta: self.beta.decimal(),
            industry: self.industry.named(),
            category: self.category.named(),
            as_of,
        }
    }
}

/// A count; IBKR sends -1 where there is none.
fn size(scalar: &Scalar) -> Option<Decimal> {
    scalar.decimal().filter(|size| *size >= Decimal::ZERO)
}

/// What is told of an event and its date.
fn joined(event: &Scalar, date: &Scalar) -> Option<Untrusted> {
    let parts: Vec<&str> = [event.as_str(), date.as_str()].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| Untrusted::new(&parts.join(" ")))
}

/// Field 31: a trade, `H…` for a halted contract's last, `C…` for the previous close, which tells
/// nothing of a halt.
#[derive(Default, PartialEq, Debug)]
struct Last {
    traded: Option<Decimal>,
    close: Option<Decimal>,
    halted: Option<bool>,
}

impl Last {
    fn parse(text: &str) -> Self {
        if let Some(price) = text.strip_prefix('C') {
            return Self { close: super::amount(price), ..Self::default() };
        }
        let (price, is_halted) = match text.strip_prefix('H') {
            Some(price) => (price, true),
            None => (text, false),
        };
        let traded = super::amount(price);
        // A halt without a price is one; nothing, or what is no price, tells nothing.
        let halted = (is_halted || traded.is_some()).then_some(is_halted);
        Self { traded, close: None, halted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(json: &str) -> Quote {
        let row: SnapshotRow = serde_json::from_str(json).unwrap();
        let conid = row.conid().unwrap();
        row.into_quote(conid, Timestamp::from_millis(5))
    }

    #[test]
    fn a_full_row_is_read_with_its_commas_and_suffixes() {
        let quote = quote(
            r#"{"conid":265598,"conidEx":"265598","_updated":1712345678901,"31":"1,168.42",
                "84":"1168.41","86":"1168.43","85":"1,200","88":"300","83":"0.54%","87":"50.2M",
                "7741":"1160","6509":"RpB","55":"AAPL","server_id":"q0"}"#,
        );
        assert_eq!(quote.last, Some(dec!(1168.42)));
        assert_eq!((quote.bid, quote.ask), (Some(dec!(1168.41)), Some(dec!(1168.43))));
        assert_eq!(quote.ask_size, Some(dec!(1200)));
        assert_eq!(quote.volume, Some(dec!(50200000)));
        assert_eq!(quote.change_percent, Some(dec!(0.54)));
        assert_eq!(quote.status, DataStatus::RealTime);
        assert_eq!(quote.updated, Some(Timestamp::from_millis(1_712_345_678_901)));
    }

    #[test]
    fn a_previous_close_is_no_trade_and_a_halt_is_told() {
        let closed = quote(r#"{"conid":"1","31":"C189.60","6509":"ZB"}"#);
        assert_eq!((closed.last, closed.close), (None, Some(dec!(189.60))));
        assert_eq!(closed.status, DataStatus::Frozen);
        let halted = quote(r#"{"conid":1,"31":"H12.5","6509":"DPB"}"#);
        assert_eq!((halted.last, halted.halted), (Some(dec!(12.5)), Some(true)));
        assert_eq!(closed.halted, None);
        let bare = quote(r#"{"conid":1,"31":"H","84":"12.4"}"#);
        assert_eq!((bare.last, bare.halted), (None, Some(true)));
        assert_eq!(quote(r#"{"conid":1,"31":"12.5"}"#).halted, Some(false));
    }

    #[test]
    fn a_missing_value_is_none_and_an_unknown_status_is_unknown() {
        let cold = quote(r#"{"conid":1,"conidEx":"1","84":"-1","86":""}"#);
        assert_eq!((cold.bid, cold.ask, cold.last), (None, None, None));
        assert_eq!(cold.status, DataStatus::Unknown);
        assert_eq!(cold.halted, None);
    }
}
