//! `/iserver/marketdata/history`.

use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{Bar, BarSource, Bars, Conid, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;

/// Most bars that are kept; the newest ones.
const MAX_BARS: usize = 1_000;

/// A price history.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct History {
    symbol: Scalar,
    bar_length: Scalar,
    mkt_data_delay: Scalar,
    volume_factor: Scalar,
    data: Many<BarRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BarRow {
    t: Scalar,
    o: Scalar,
    h: Scalar,
    l: Scalar,
    c: Scalar,
    v: Scalar,
}

impl History {
    pub(crate) fn into_bars(
        self,
        conid: Conid,
        source: BarSource,
        as_of: Timestamp,
    ) -> Result<Bars, BrokerError> {
        // Only trades have a volume; without the factor its scale isn't known.
        let factor = match source {
            BarSource::Trades => self.volume_factor.decimal().filter(|f| *f > Decimal::ZERO),
            BarSource::Midpoint | BarSource::BidAsk => None,
        };
        let bars: Result<Vec<Bar>, BrokerError> =
            self.data.into_iter().map(|row| row.into_bar(factor)).collect();
        let mut bars = bars?;
        bars.sort_by_key(|bar| bar.time);
        let surplus = bars.len().saturating_sub(MAX_BARS);
        bars.drain(..surplus);
        Ok(Bars {
            conid,
            symbol: self.symbol.untrusted(),
            bar_seconds: self.bar_length.whole(),
            delay_ms: self.mkt_data_delay.whole().and_then(|delay| i64::try_from(delay).ok()),
            bars,
            as_of,
        })
    }
}

impl BarRow {
    fn into_bar(self, factor: Option<Decimal>) -> Result<Bar, BrokerError> {
        let price = |scalar: &Scalar| scalar.decimal().ok_or(unreadable("price of a bar"));
        let volume = self.v.decimal().filter(|volume| *volume >= Decimal::ZERO);
        Ok(Bar {
            time: self.t.millis().ok_or(unreadable("time of a bar"))?,
            open: price(&self.o)?,
            high: price(&self.h)?,
            low: price(&self.l)?,
            close: price(&self.c)?,
            volume: volume.and_then(|volume| volume.checked_mul(factor?)).map(|v| v.normalize()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(json: &str, source: BarSource) -> Result<Bars, BrokerError> {
        let raw: History = serde_json::from_str(json).unwrap();
        raw.into_bars(Conid::new(1).unwrap(), source, Timestamp::from_millis(9))
    }

    #[test]
    fn volumes_are_scaled_and_bars_come_oldest_first() {
        let json = r#"{"symbol":"AAPL","barLength":300,"mktDataDelay":0,"volumeFactor":100,
            "data":[{"t":2000,"o":2,"h":3,"l":1,"c":2.5,"v":7.5},
                    {"t":1000,"o":1.1,"h":1.2,"l":1.0,"c":1.15,"v":2}]}"#;
        let read = bars(json, BarSource::Trades).unwrap();
        assert_eq!(read.bars[0].time, Timestamp::from_millis(1000));
        assert_eq!(read.bars[0].volume, Some(dec!(200)));
        assert_eq!(read.bars[1].volume, Some(dec!(750)));
        assert_eq!(read.bars[1].close, dec!(2.5));
        assert_eq!((read.bar_seconds, read.delay_ms), (Some(300), Some(0)));
        let midpoint = bars(json, BarSource::Midpoint).unwrap();
        assert!(midpoint.bars.iter().all(|bar| bar.volume.is_none()));
    }

    #[test]
    fn a_volume_of_unknown_scale_or_below_zero_is_none() {
        let json = r#"{"data":[{"t":1,"o":1,"h":1,"l":1,"c":1,"v":5}]}"#;
        assert_eq!(bars(json, BarSource::Trades).unwrap().bars[0].volume, None);
        let json = r#"{"volumeFactor":1,"data":[{"t":1,"o":1,"h":1,"l":1,"c":1,"v":-1}]}"#;
        assert_eq!(bars(json, BarSource::Trades).unwrap().bars[0].volume, None);
    }

    #[test]
    fn a_bar_without_a_price_is_an_error_and_no_bars_are_none() {
        let json = r#"{"volumeFactor":1,"data":[{"t":1,"o":1,"h":1,"l":1,"v":5}]}"#;
        assert!(bars(json, BarSource::Trades).is_err());
        assert_eq!(bars(r#"{"data":null}"#, BarSource::Trades).unwrap().bars, []);
    }

    #[test]
    fn more_bars_than_documented_are_cut_to_the_newest() {
        let rows: Vec<String> =
            (0..1_200).map(|i| format!(r#"{{"t":{i},"o":1,"h":1,"l":1,"c":1,"v":1}}"#)).collect();
        let json = format!(r#"{{"volumeFactor":1,"data":[{}]}}"#, rows.join(","));
        let read = bars(&json, BarSource::Trades).unwrap();
        assert_eq!(read.bars.len(), 1_000);
        assert_eq!(read.bars[999].time, Timestamp::from_millis(1_199));
    }
}
