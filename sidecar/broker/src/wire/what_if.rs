//! The broker's own preview of an order.

use super::{Scalar, amount};
use crate::BrokerError;
use ibkr_agent_domain::{Currency, Estimate, Money, WhatIfChange};
use rust_decimal::Decimal;
use serde::Deserialize;

/// POST `…/orders/whatif`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct WhatIfAnswer {
    amount: WhatIfAmount,
    equity: Change,
    initial: Change,
    maintenance: Change,
    position: Change,
    warn: Scalar,
    error: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WhatIfAmount {
    commission: Scalar,
    total: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Change {
    current: Scalar,
    change: Scalar,
    after: Scalar,
}

impl From<&Change> for WhatIfChange {
    fn from(raw: &Change) -> Self {
        Self {
            current: figure(&raw.current),
            change: figure(&raw.change),
            after: figure(&raw.after),
        }
    }
}

impl TryFrom<WhatIfAnswer> for Estimate {
    type Error = BrokerError;

    /// An answer without one figure and without an objection is none.
    fn try_from(raw: WhatIfAnswer) -> Result<Self, BrokerError> {
        let estimate = Self {
            commission: money(&raw.amount.commission),
            total: money(&raw.amount.total),
            initial_margin: (&raw.initial).into(),
            maintenance_margin: (&raw.maintenance).into(),
            equity: (&raw.equity).into(),
            position: (&raw.position).into(),
            warning: raw.warn.untrusted(),
            error: raw.error.untrusted(),
        };
        if estimate == (Self { warning: estimate.warning.clone(), ..Self::default() }) {
            return Err(super::unreadable("what-if"));
        }
        Ok(estimate)
    }
}

/// `50,332.98`, or `50,332.98 USD`: the broker names a currency or leaves it to be known.
fn figure(scalar: &Scalar) -> Option<Decimal> {
    let mut words = scalar.as_str()?.split_whitespace();
    let number = amount(words.next()?)?;
    match words.next() {
        None => Some(number),
        Some(word) => Currency::parse(word).ok().map(|_| number),
    }
}

/// `1,977.60 USD (10 Shares)`; anything else is left out.
fn money(scalar: &Scalar) -> Option<Money> {
    let mut words = scalar.as_str()?.split_whitespace();
    let number = amount(words.next()?)?;
    Some(Money::new(number, Currency::parse(words.next()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Estimate, BrokerError> {
        serde_json::from_str::<WhatIfAnswer>(body).unwrap().try_into()
    }

    fn dec(text: &str) -> Option<Decimal> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn figures_are_read_with_and_without_a_currency() {
        let estimate = read(
            r#"{"amount":{"amount":"1,977.60 USD (10 Shares)","commission":"1 USD",
                "total":"1,978.60 USD"},"equity":{"current":"123,456","change":"-1",
                "after":"123,455"},"initial":{"current":"1000","change":"652","after":"50,332.98"},
                "maintenance":{"after":"1,490.5 USD"},"position":{"current":"20","change":"10",
                "after":"30"},"warn":"21/No market data.","error":null}"#,
        )
        .unwrap();
        assert_eq!(estimate.commission.unwrap().to_string(), "1 USD");
        assert_eq!(estimate.total.unwrap().to_string(), "1978.6 USD");
        assert_eq!(estimate.equity.after, dec("123455"));
        assert_eq!(estimate.equity.change, dec("-1"));
        assert_eq!(estimate.initial_margin.after, dec("50332.98"));
        assert_eq!(estimate.maintenance_margin.after, dec("1490.5"));
        assert_eq!(estimate.position.after, dec("30"));
        assert_eq!(estimate.warning.unwrap().as_str(), "21/No market data.");
        assert_eq!(estimate.error, None);
    }

    #[test]
    fn words_against_the_order_count_beside_figures_and_without_them() {
        for body in [
            r#"{"error":"Available funds do not cover it","equity":{"after":"1"}}"#,
            r#"{"error":"Available funds do not cover it"}"#,
        ] {
            let words = read(body).unwrap().error.unwrap();
            assert_eq!(words.as_str(), "Available funds do not cover it", "{body}");
        }
    }

    #[test]
    fn what_is_no_figure_is_nothing_and_an_answer_without_figures_is_none() {
        // As in IBKR's example.
        let estimate = read(r#"{"maintenance":{"change":"590\"\"","after":"1490"}}"#).unwrap();
        assert_eq!(estimate.maintenance_margin.change, None);
        assert_eq!(estimate.maintenance_margin.after, dec("1490"));
        for body in ["{}", r#"{"warn":"Hm."}"#, r#"{"equity":{"after":"N/A"}}"#] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
