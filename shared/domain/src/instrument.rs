//! What can be traded: asset classes and how an instrument is named.
//!
//! The text forms are `AAPL`, `ASML@AEB:EUR`, `ESZ6` and `SPY 2027-01-15 C 600`.

use crate::{Conid, Currency};
use core::fmt;

/// The kind of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetClass {
    /// Shares and exchange-traded funds (`STK`).
    Stock,
    /// Options (`OPT`).
    Option,
    /// Futures (`FUT`).
    Future,
    /// Options on futures (`FOP`).
    FutureOption,
    /// Currency pairs (`CASH`).
    Forex,
    /// Indices (`IND`).
    Index,
    /// Bonds (`BOND`).
    Bond,
    /// Mutual funds (`FUND`).
    Fund,
    /// Contracts for difference (`CFD`).
    Cfd,
    /// Warrants (`WAR`).
    Warrant,
    /// Cryptocurrencies (`CRYPTO`).
    Crypto,
}

impl AssetClass {
    /// Every asset class.
    pub const ALL: &'static [Self] = &[
        Self::Stock,
        Self::Option,
        Self::Future,
        Self::FutureOption,
        Self::Forex,
        Self::Index,
        Self::Bond,
        Self::Fund,
        Self::Cfd,
        Self::Warrant,
        Self::Crypto,
    ];

    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Option => "option",
            Self::Future => "future",
            Self::FutureOption => "future_option",
            Self::Forex => "forex",
            Self::Index => "index",
            Self::Bond => "bond",
            Self::Fund => "fund",
            Self::Cfd => "cfd",
            Self::Warrant => "warrant",
            Self::Crypto => "crypto",
        }
    }

    /// IBKR's name (`secType`).
    #[must_use]
    pub const fn broker_name(self) -> &'static str {
        match self {
            Self::Stock => "STK",
            Self::Option => "OPT",
            Self::Future => "FUT",
            Self::FutureOption => "FOP",
            Self::Forex => "CASH",
            Self::Index => "IND",
            Self::Bond => "BOND",
            Self::Fund => "FUND",
            Self::Cfd => "CFD",
            Self::Warrant => "WAR",
            Self::Crypto => "CRYPTO",
        }
    }

    /// Parses our name or IBKR's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| {
            class.as_str().eq_ignore_ascii_case(text)
                || class.broker_name().eq_ignore_ascii_case(text)
        })
    }
}

impl fmt::Display for AssetClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an option gives its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionRight {
    /// The right to buy.
    Call,
    /// The right to sell.
    Put,
}

impl OptionRight {
    /// Our name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Put => "put",
        }
    }

    /// IBKR's letter.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Call => 'C',
            Self::Put => 'P',
        }
    }

    /// Parses our name or IBKR's letter, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "c" | "call" => Some(Self::Call),
            "p" | "put" => Some(Self::Put),
            _ => None,
        }
    }
}

/// Why a text doesn't name an instrument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an instrument is a contract id, or a symbol such as AAPL, ASML@AEB:EUR, ESZ6 or \
     SPY 2027-01-15 C 600"
)]
pub struct InvalidInstrument;

/// How a caller names an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instrument {
    /// By IBKR's contract id.
    Conid(Conid),
    /// By symbol, with what narrows it down.
    Symbol {
        /// Upper-case symbol; may hold dots, as in `EUR.USD` or `BRK B`.
        symbol: String,
        /// Primary or routing exchange.
        exchange: Option<String>,
        /// Trading currency.
        currency: Option<Currency>,
        /// Asset class.
        class: Option<AssetClass>,
    },
    /// An option by its terms: underlying, expiry `YYYY-MM-DD`, right and strike text.
    Option {
        /// Underlying symbol.
        symbol: String,
        /// Expiry as `YYYYMMDD`.
        expiry: String,
        /// `C` or `P`.
        right: char,
        /// Strike as a decimal text.
        strike: String,
    },
}

impl Instrument {
    /// Parses the text forms of the module documentation; a bare number is a contract id.
    ///
    /// # Errors
    /// [`InvalidInstrument`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidInstrument> {
        let text = text.trim();
        if text.is_empty() || text.len() > 64 || !text.is_ascii() {
            return Err(InvalidInstrument);
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let number = text.parse().map_err(|_| InvalidInstrument)?;
            return Conid::new(number).map(Self::Conid).map_err(|_| InvalidInstrument);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [symbol, expiry, right, strike] = words.as_slice() {
            return Self::parse_option(symbol, expiry, right, strike);
        }
        let (symbol, venue) = match text.split_once('@') {
            Some((symbol, venue)) => (symbol.trim(), Some(venue.trim())),
            None => (text, None),
        };
        let (exchange, currency) = match venue.map(|venue| venue.split_once(':')) {
            None => (None, None),
            Some(None) => (venue.map(str::to_ascii_uppercase), None),
            Some(Some((exchange, currency))) => (
                Some(exchange.to_ascii_uppercase()),
                Some(Currency::parse(currency).map_err(|_| InvalidInstrument)?),
            ),
        };
        Ok(Self::Symbol { symbol: parse_symbol(symbol)?, exchange, currency, class: None })
    }

    fn parse_option(
        symbol: &str,
        expiry: &str,
        right: &str,
        strike: &str,
    ) -> Result<Self, InvalidInstrument> {
        let digits: String = expiry.chars().filter(|c| *c != '-').collect();
        let right = match right {
            "C" | "c" => 'C',
            "P" | "p" => 'P',
            _ => return Err(InvalidInstrument),
        };
        let strike_is_number = strike.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) || !strike_is_number {
            return Err(InvalidInstrument);
        }
        Ok(Self::Option {
            symbol: parse_symbol(symbol)?,
            expiry: digits,
            right,
            strike: strike.to_owned(),
        })
    }
}

fn parse_symbol(text: &str) -> Result<String, InvalidInstrument> {
    let ok = !text.is_empty()
        && text.len() <= 24
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b' ' | b'/'));
    if ok { Ok(text.to_ascii_uppercase()) } else { Err(InvalidInstrument) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_parse() {
        assert!(
            matches!(Instrument::parse("265598"), Ok(Instrument::Conid(id)) if id.get() == 265_598)
        );
        let Ok(Instrument::Symbol { symbol, .. }) = Instrument::parse("aapl") else {
            panic!("not a symbol")
        };
        assert_eq!(symbol, "AAPL");
        let Ok(Instrument::Symbol { symbol, exchange, currency, .. }) =
            Instrument::parse("ASML@AEB:EUR")
        else {
            panic!("not a symbol")
        };
        assert_eq!((symbol.as_str(), exchange.as_deref()), ("ASML", Some("AEB")));
        assert_eq!(currency.map(|c| c.to_string()).as_deref(), Some("EUR"));
        assert!(matches!(Instrument::parse("SPY 2027-01-15 C 600"), Ok(Instrument::Option { .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "AAPL@X:EURO", "SPY 2027-01-15 X 600", "SPY x C 600", "A;B", "é"] {
            assert!(Instrument::parse(text).is_err(), "{text}");
        }
    }
}
