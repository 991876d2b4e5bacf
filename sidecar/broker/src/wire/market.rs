//! A row of `/iserver/marketdata/snapshot`.

use super::Scalar;
use ibkr_agent_domain::{Conid, DataStatus, Quote, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;

/// The fields that we ask for: last, symbol, bid, ask size, ask, bid size, change in percent,
/// volume short and long, previous close in two forms, availability.
pub(crate) const FIELDS: &str = "31,55,84,85,86,88,83,87,7762,7741,7296,6509";

/// One contract's values.
#[derive(Deserialize, Default)]
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
            bid_size: self.bid_size.decimal(),
            ask: price(&self.ask),
            ask_size: self.ask_size.decimal(),
            last: last.traded,
            close: self.prior_close.decimal().or_else(|| self.close.decimal()).or(last.close),
            change_percent: self.change_percent.decimal(),
            volume: self.volume.decimal().or_else(|| self.volume_short.decimal()),
            is_halted: last.is_halted,
            status,
            updated: self.updated.millis(),
            as_of,
        }
    }
}

/// A contract that the broker said nothing of.
pub(crate) fn empty_quote(conid: Conid, as_of: Timestamp) -> Quote {
    SnapshotRow::default().into_quote(conid, as_of)
}

/// Field 31: a trade, `H…` for a halted contract's last, `C…` for the previous close.
#[derive(Default, PartialEq, Debug)]
struct Last {
    traded: Option<Decimal>,
    close: Option<Decimal>,
    is_halted: bool,
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
        Self { traded: super::amount(price), close: None, is_halted }
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
        assert_eq!((halted.last, halted.is_halted), (Some(dec!(12.5)), true));
    }

    #[test]
    fn a_missing_value_is_none_and_an_unknown_status_is_unknown() {
        let cold = quote(r#"{"conid":1,"conidEx":"1","84":"-1","86":""}"#);
        assert_eq!((cold.bid, cold.ask, cold.last), (None, None, None));
        assert_eq!(cold.status, DataStatus::Unknown);
        assert!(!cold.is_halted);
    }
}
