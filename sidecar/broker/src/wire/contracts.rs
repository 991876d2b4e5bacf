//! Contract search and definitions.

use super::routes::SMART;
use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{AssetClass, Contract, Currency, Date};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A row of `/iserver/secdef/search`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct SearchRow {
    pub(crate) conid: Scalar,
    pub(crate) symbol: Scalar,
    pub(crate) sections: Many<Section>,
}

impl SearchRow {
    /// Whether options on it are listed.
    pub(crate) fn has_options(&self) -> bool {
        let is_option =
            |section: &Section| matches!(section.sec_type.as_str(), Some("OPT" | "FOP"));
        self.sections.iter().any(is_option)
    }
}

/// One kind of contract of a search row.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    pub(crate) sec_type: Scalar,
    pub(crate) conid: Scalar,
    /// `JAN27;MAR27`.
    months: Scalar,
    /// `SMART;AMEX;`.
    exchange: Scalar,
}

impl Section {
    /// Month codes in the broker's order, which is by time.
    pub(crate) fn months(&self) -> Vec<String> {
        words(&self.months).filter(|month| is_month(month)).map(str::to_owned).collect()
    }

    /// Exchanges, `SMART` first where it is offered.
    pub(crate) fn exchanges(&self) -> Vec<String> {
        let mut names: Vec<String> = words(&self.exchange).map(str::to_owned).collect();
        names.sort_by_key(|name| name != SMART);
        names
    }
}

fn words(list: &Scalar) -> impl Iterator<Item = &str> {
    let text = list.as_str().unwrap_or_default();
    text.split(';').map(str::trim).filter(|word| !word.is_empty()).take(MAX_WORDS)
}

/// `JAN27`.
pub(crate) fn is_month(text: &str) -> bool {
    text.len() == 5
        && text.get(..3).is_some_and(|name| name.bytes().all(|b| b.is_ascii_uppercase()))
        && text.get(3..).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()))
}

/// `/trsrv/secdef`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Definitions {
    pub(crate) secdef: Many<Definition>,
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
    increment_rules: Many<Increment>,
    #[serde(rename = "isUS")]
    is_us: Scalar,
    pub(crate) strike: Scalar,
    pub(crate) put_or_call: Scalar,
    pub(crate) und_conid: Scalar,
    expiry: Scalar,
    last_trading_day: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Increment {
    increment: Scalar,
}

/// Most months or exchanges of one section.
const MAX_WORDS: usize = 200;

impl Definition {
    pub(crate) fn class(&self) -> Option<AssetClass> {
        AssetClass::parse(self.asset_class.as_str()?)
    }

    pub(crate) fn currency(&self) -> Option<Currency> {
        self.currency.currency()
    }

    /// The last day that it trades, of a contract that ends.
    pub(crate) fn expiry(&self) -> Option<Date> {
        self.expiry.date().or_else(|| self.last_trading_day.date())
    }

    /// Whether it is listed in the United States, if told.
    pub(crate) fn is_us(&self) -> bool {
        self.is_us.is_true() == Some(true)
    }

    /// Whether it is derived from another contract, whose search must come before its quote.
    pub(crate) fn is_derivative(&self) -> bool {
        matches!(
            self.class(),
            Some(
                AssetClass::Option
                    | AssetClass::Future
                    | AssetClass::FutureOption
                    | AssetClass::Warrant
            )
        )
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
            name: raw.name.named().unwrap_or_else(|| raw.full_name.shown()),
            class,
            // No definition tells where orders go: `routes` does.
            exchange: String::new(),
            listing_exchange: raw.listing_exchange.shown(),
            currency: raw.currency().ok_or(unreadable("currency of a contract"))?,
            multiplier: raw.units(class).ok_or(unreadable("multiplier of a contract"))?,
            price_increment: steps.filter(|step| *step > Decimal::ZERO).min(),
        })
    }
}

/// `/trsrv/stocks`, by symbol.
pub(crate) type Stocks = BTreeMap<String, Many<Company>>;

/// A company with its listings.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Company {
    pub(crate) contracts: Many<Listing>,
}

/// One listing.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Listing {
    pub(crate) conid: Scalar,
}

/// `/iserver/exchangerate`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Rate {
    pub(crate) rate: Scalar,
}
