//! Option series, strikes and options, futures and currency pairs.

use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    CurrencyPair, FutureContract, OptionContract, OptionRight, Strikes, Untrusted,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `/iserver/secdef/strikes`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct StrikesAnswer {
    call: Many<Scalar>,
    put: Many<Scalar>,
}

impl StrikesAnswer {
    pub(crate) fn into_strikes(self) -> Result<Strikes, BrokerError> {
        Ok(Strikes { calls: sorted(self.call)?, puts: sorted(self.put)? })
    }
}

fn sorted(strikes: Many<Scalar>) -> Result<Vec<Decimal>, BrokerError> {
    let number = |scalar: Scalar| scalar.decimal().ok_or(unreadable("strike"));
    let strikes: Result<Vec<Decimal>, BrokerError> = strikes.into_iter().map(number).collect();
    let mut strikes = strikes?;
    strikes.sort_unstable();
    strikes.dedup();
    Ok(strikes)
}

/// A derivative of `/iserver/secdef/info`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DerivativeRow {
    pub(crate) conid: Scalar,
    ticker: Scalar,
    currency: Scalar,
    pub(crate) maturity_date: Scalar,
    pub(crate) right: Scalar,
    pub(crate) strike: Scalar,
    trading_class: Scalar,
    multiplier: Scalar,
}

impl DerivativeRow {
    pub(crate) fn ticker(&self) -> Option<&str> {
        self.ticker.as_str()
    }

    /// Whether it has this strike and right.
    pub(crate) fn fits(&self, strike: Decimal, right: OptionRight) -> bool {
        let own = self.right.as_str().and_then(OptionRight::parse);
        own == Some(right) && self.strike.decimal() == Some(strike)
    }

    pub(crate) fn into_option(self) -> Result<OptionContract, BrokerError> {
        let right = self.right.as_str().and_then(OptionRight::parse);
        let multiplier = self.multiplier.decimal().filter(|units| *units > Decimal::ZERO);
        Ok(OptionContract {
            conid: self.conid.conid().ok_or(unreadable("contract id of an option"))?,
            symbol: self.ticker.shown(),
            expiry: self.maturity_date.date().ok_or(unreadable("expiry of an option"))?,
            right: right.ok_or(unreadable("right of an option"))?,
            strike: self.strike.decimal().ok_or(unreadable("strike of an option"))?,
            multiplier: multiplier.ok_or(unreadable("multiplier of an option"))?,
            trading_class: self.trading_class.shown(),
            currency: self.currency.currency().ok_or(unreadable("currency of an option"))?,
        })
    }
}

/// A future of `/trsrv/futures`, by underlying symbol.
pub(crate) type Futures = BTreeMap<String, Many<FutureRow>>;

/// One expiry.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FutureRow {
    symbol: Scalar,
    pub(crate) conid: Scalar,
    underlying_conid: Scalar,
    /// `YYYYMMDD`.
    pub(crate) expiration_date: Scalar,
    ltd: Scalar,
}

impl FutureRow {
    pub(crate) fn into_future(self, root: &str) -> Result<FutureContract, BrokerError> {
        Ok(FutureContract {
            conid: self.conid.conid().ok_or(unreadable("contract id of a future"))?,
            symbol: self.symbol.untrusted().unwrap_or_else(|| Untrusted::new(root)),
            underlying: self.underlying_conid.conid(),
            expiry: self.expiration_date.date().ok_or(unreadable("expiry of a future"))?,
            last_trading_day: self.ltd.date(),
        })
    }
}

/// `/iserver/currency/pairs`, by currency.
pub(crate) type Pairs = BTreeMap<String, Many<PairRow>>;

/// One pair.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PairRow {
    pub(crate) symbol: Scalar,
    pub(crate) conid: Scalar,
    ccy_pair: Scalar,
}

impl PairRow {
    pub(crate) fn into_pair(self) -> Result<CurrencyPair, BrokerError> {
        Ok(CurrencyPair {
            conid: self.conid.conid().ok_or(unreadable("contract id of a currency pair"))?,
            symbol: self.symbol.untrusted().ok_or(unreadable("symbol of a currency pair"))?,
            quote: self.ccy_pair.currency().ok_or(unreadable("currency of a pair"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_come_sorted_once_each_whatever_their_form() {
        let raw: StrikesAnswer =
            serde_json::from_str(r#"{"call":[240.0,"230",230],"put":null}"#).unwrap();
        let strikes = raw.into_strikes().unwrap();
        assert_eq!(strikes.calls, [dec!(230), dec!(240)]);
        assert!(strikes.puts.is_empty());
        let broken: StrikesAnswer = serde_json::from_str(r#"{"call":["x"]}"#).unwrap();
        assert!(broken.into_strikes().is_err());
    }

    #[test]
    fn one_month_may_hold_several_expiries_and_classes() {
        let json = r#"[{"conid":1,"ticker":"SPX","maturityDate":"20270115","right":"C",
            "strike":6000,"tradingClass":"SPX","multiplier":"100","currency":"USD"},
            {"conid":"2","ticker":"SPX","maturityDate":20270129,"right":"C","strike":"6000.0",
            "tradingClass":"SPXW","multiplier":100,"currency":"USD"}]"#;
        let rows: Vec<DerivativeRow> = serde_json::from_str(json).unwrap();
        assert!(rows.iter().all(|row| row.fits(dec!(6000), OptionRight::Call)));
        assert!(!rows[0].fits(dec!(6000), OptionRight::Put));
        let options: Vec<OptionContract> =
            rows.into_iter().map(|row| row.into_option().unwrap()).collect();
        assert_eq!(options[1].expiry.to_string(), "2027-01-29");
        assert_eq!(options[1].trading_class.as_str(), "SPXW");
        let unknown: DerivativeRow = serde_json::from_str(r#"{"conid":1,"right":"?"}"#).unwrap();
        assert!(unknown.into_option().is_err());
    }

    #[test]
    fn futures_have_whole_number_dates() {
        let json = r#"{"ES":[{"symbol":"ES","conid":649180695,"underlyingConid":11004968,
            "expirationDate":20261218,"ltd":20261217,"shortFuturesCutOff":20261217}]}"#;
        let mut futures: Futures = serde_json::from_str(json).unwrap();
        let row = futures.remove("ES").unwrap().into_iter().next().unwrap();
        let future = row.into_future("ES").unwrap();
        assert_eq!(future.expiry.compact(), "20261218");
        assert_eq!(future.last_trading_day.unwrap().compact(), "20261217");
    }
}
