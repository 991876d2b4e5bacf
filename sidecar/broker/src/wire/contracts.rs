//! Contract search and definitions.

use super::{Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{AssetClass, Contract};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A row of `/iserver/secdef/search`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct SearchRow {
    pub(crate) conid: Scalar,
    pub(crate) symbol: Scalar,
    pub(crate) sections: Vec<Section>,
}

/// One kind of contract of a search row.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    pub(crate) sec_type: Scalar,
    pub(crate) conid: Scalar,
}

/// `/trsrv/secdef`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Definitions {
    pub(crate) secdef: Vec<Definition>,
}

/// A contract's definition.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Definition {
    pub(crate) conid: Scalar,
    pub(crate) ticker: Scalar,
    name: Scalar,
    full_name: Scalar,
    asset_class: Scalar,
    currency: Scalar,
    multiplier: Scalar,
    listing_exchange: Scalar,
    all_exchanges: Scalar,
    increment_rules: Vec<Increment>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Increment {
    increment: Scalar,
}

/// Where the broker routes itself.
const SMART: &str = "SMART";

impl Definition {
    pub(crate) fn class(&self) -> Option<AssetClass> {
        AssetClass::parse(self.asset_class.as_str()?)
    }

    /// Whether the contract trades on an exchange.
    pub(crate) fn trades_on(&self, exchange: &str) -> bool {
        let fits = |name: &str| name.trim().eq_ignore_ascii_case(exchange);
        self.listing_exchange.as_str().is_some_and(fits)
            || self.all_exchanges.as_str().is_some_and(|all| all.split(',').any(fits))
    }

    /// Whether an exchange is the contract's own.
    pub(crate) fn is_listed_on(&self, exchange: &str) -> bool {
        let listing = self.listing_exchange.as_str();
        // NASDAQ listings come as `NASDAQ.NMS` and the like.
        listing.is_some_and(|listing| {
            let main = listing.split('.').next().unwrap_or(listing);
            listing.eq_ignore_ascii_case(exchange) || main.eq_ignore_ascii_case(exchange)
        })
    }

    fn routing(&self) -> Option<String> {
        let all = self.all_exchanges.as_str().unwrap_or_default();
        if all.split(',').any(|name| name.trim() == SMART) {
            return Some(SMART.to_owned());
        }
        let first = all.split(',').map(str::trim).find(|name| !name.is_empty());
        self.listing_exchange.as_str().or(first).map(str::to_owned)
    }

    /// Units per contract. A derivative that doesn't say has no safe default.
    fn units(&self, class: AssetClass) -> Option<Decimal> {
        let told = self.multiplier.decimal().filter(|units| *units > Decimal::ZERO);
        match class {
            AssetClass::Option
            | AssetClass::Future
            | AssetClass::FutureOption
            | AssetClass::Warrant => told,
            AssetClass::Stock
            | AssetClass::Forex
            | AssetClass::Index
            | AssetClass::Bond
            | AssetClass::Fund
            | AssetClass::Cfd
            | AssetClass::Crypto => Some(told.unwrap_or(Decimal::ONE)),
        }
    }
}

impl TryFrom<&Definition> for Contract {
    type Error = BrokerError;

    fn try_from(raw: &Definition) -> Result<Self, BrokerError> {
        let class = raw.class().ok_or(unreadable("asset class of a contract"))?;
        let steps = raw.increment_rules.iter().filter_map(|rule| rule.increment.decimal());
        Ok(Self {
            conid: raw.conid.conid().ok_or(unreadable("contract id"))?,
            symbol: raw.ticker.untrusted().ok_or(unreadable("symbol of a contract"))?,
            name: raw.name.untrusted().unwrap_or_else(|| raw.full_name.shown()),
            class,
            exchange: raw.routing().ok_or(unreadable("exchange of a contract"))?,
            listing_exchange: raw.listing_exchange.shown(),
            currency: raw.currency.currency().ok_or(unreadable("currency of a contract"))?,
            multiplier: raw.units(class).ok_or(unreadable("multiplier of a contract"))?,
            price_increment: steps.filter(|step| *step > Decimal::ZERO).min(),
        })
    }
}

/// A derivative of `/iserver/secdef/info`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DerivativeRow {
    pub(crate) conid: Scalar,
    pub(crate) maturity_date: Scalar,
    pub(crate) right: Scalar,
    pub(crate) strike: Scalar,
}

/// A future of `/trsrv/futures`, by underlying symbol.
pub(crate) type Futures = BTreeMap<String, Vec<FutureRow>>;

/// One expiry.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FutureRow {
    pub(crate) conid: Scalar,
    /// `YYYYMMDD`.
    pub(crate) expiration_date: Scalar,
}

/// `/iserver/exchangerate`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Rate {
    pub(crate) rate: Scalar,
}
