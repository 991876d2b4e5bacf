//! What a contract is and how it trades: `/iserver/contract/{conid}/info`, `contract/rules`,
//! `/contract/trading-schedule`.

use super::contracts::Definition;
use super::routes::Routes;
use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    Conid, Contract, ContractDetails, ContractRules, Date, OptionRight, PriceStep, Timestamp,
    TradingDay, TradingHours, TradingSpan,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most days of a schedule, and spans of one day.
const MAX_DAYS: usize = 400;
const MAX_SPANS: usize = 16;
/// Most exchanges of one contract.
const MAX_EXCHANGES: usize = 200;
/// Seconds since the epoch stay below this; what is above it are milliseconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// `/iserver/contract/{conid}/info`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ContractInfo {
    local_symbol: Scalar,
    trading_class: Scalar,
    contract_month: Scalar,
    maturity_date: Scalar,
    underlying_con_id: Scalar,
    valid_exchanges: Scalar,
    pub(crate) smart_available: Scalar,
    pub(crate) exchange: Scalar,
    industry: Scalar,
    category: Scalar,
    r_t_h: Scalar,
}

impl ContractInfo {
    /// Where an order can be sent, as the broker lists it.
    pub(crate) fn exchanges(&self) -> Vec<String> {
        let names = self.valid_exchanges.as_str().unwrap_or_default().split(',');
        let names = names.map(str::trim).filter(|name| !name.is_empty()).take(MAX_EXCHANGES);
        names.map(str::to_owned).collect()
    }

    pub(crate) fn into_details(
        self,
        definition: &Definition,
    ) -> Result<ContractDetails, BrokerError> {
        let exchanges = self.exchanges();
        let exchange = Routes::from(&self).decide(None).unwrap_or_default();
        let right = definition.put_or_call.as_str();
        Ok(ContractDetails {
            contract: Contract { exchange, ..Contract::try_from(definition)? },
            local_symbol: self.local_symbol.untrusted(),
            trading_class: self.trading_class.untrusted(),
            contract_month: self.contract_month.untrusted(),
            expiry: self.maturity_date.date().or_else(|| definition.expiry()),
            underlying: self.underlying_con_id.conid().or_else(|| definition.und_conid.conid()),
            strike: definition.strike.decimal().filter(|strike| *strike > Decimal::ZERO),
            right: right.and_then(OptionRight::parse),
            exchanges,
            industry: self.industry.named(),
            category: self.category.named(),
            outside_rth: self.r_t_h.is_true(),
        })
    }
}

/// POST `/iserver/contract/rules`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rules {
    order_types: Many<Scalar>,
    order_types_outside: Many<Scalar>,
    tif_types: Many<Scalar>,
    fraq_types: Many<Scalar>,
    cqt_types: Many<Scalar>,
    fraq_int: Scalar,
    increment: Scalar,
    increment_rules: Many<Step>,
    size_increment: Scalar,
    default_size: Scalar,
    overnight_eligible: Scalar,
    negative_capable: Scalar,
}

/// A price step.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Step {
    lower_edge: Scalar,
    increment: Scalar,
}

impl Rules {
    pub(crate) fn into_rules(self, conid: Conid) -> ContractRules {
        let texts = |list: &Many<Scalar>| list.iter().filter_map(Scalar::untrusted).collect();
        let positive = |scalar: &Scalar| scalar.decimal().filter(|number| *number > Decimal::ZERO);
        let mut price_steps: Vec<PriceStep> = self
            .increment_rules
            .iter()
            .filter_map(|rule| {
                let from = rule.lower_edge.decimal().unwrap_or_default();
                Some(PriceStep { from, step: positive(&rule.increment)? })
            })
            .collect();
        price_steps.sort_by_key(|step| step.from);
        ContractRules {
            conid,
            order_types: texts(&self.order_types),
            order_types_outside: texts(&self.order_types_outside),
            times_in_force: texts(&self.tif_types),
            price_increment: positive(&self.increment),
            price_steps,
            size_increment: positive(&self.size_increment),
            default_size: positive(&self.default_size),
            takes_fractions: self.fraq_types.len() > 0,
            fraction_digits: self.fraq_int.whole().and_then(|digits| u32::try_from(digits).ok()),
            takes_cash_quantity: self.cqt_types.len() > 0,
            overnight: self.overnight_eligible.is_true(),
            negative_prices: self.negative_capable.is_true(),
        }
    }
}

/// `/contract/trading-schedule`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Schedule {
    exchange_time_zone: Scalar,
    schedules: Option<BTreeMap<String, ScheduleDay>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScheduleDay {
    liquid_hours: Many<Hours>,
    extended_hours: Many<Hours>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Hours {
    opening: Scalar,
    closing: Scalar,
}

impl Schedule {
    pub(crate) fn into_hours(self, conid: Conid) -> Result<TradingHours, BrokerError> {
        let days = self.schedules.ok_or(unreadable("trading schedule"))?;
        let days: Result<Vec<TradingDay>, BrokerError> =
            days.into_iter().take(MAX_DAYS).map(day).collect();
        let mut days = days?;
        days.sort_by_key(|day| day.date);
        Ok(TradingHours { conid, time_zone: self.exchange_time_zone.untrusted(), days })
    }
}

fn day((date, day): (String, ScheduleDay)) -> Result<TradingDay, BrokerError> {
    Ok(TradingDay {
        date: Date::parse(&date).map_err(|_| unreadable("date of a trading schedule"))?,
        regular: spans(day.liquid_hours)?,
        extended: spans(day.extended_hours)?,
    })
}

fn spans(hours: Many<Hours>) -> Result<Vec<TradingSpan>, BrokerError> {
    let mut spans = Vec::new();
    for hours in hours.into_iter().take(MAX_SPANS) {
        let opens = instant(&hours.opening).ok_or(unreadable("opening of a trading day"))?;
        let closes = instant(&hours.closing).ok_or(unreadable("closing of a trading day"))?;
        // An empty span is how some days say that they are closed.
        if closes > opens {
            spans.push(TradingSpan { opens, closes });
        }
    }
    spans.sort_by_key(|span| span.opens);
    Ok(spans)
}

/// Seconds since the epoch, or milliseconds where the number says so.
fn instant(scalar: &Scalar) -> Option<Timestamp> {
    let number = i64::try_from(scalar.decimal()?.trunc()).ok()?;
    let millis = if number.abs() < SECONDS_BELOW { number.checked_mul(1_000)? } else { number };
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_their_steps_in_order_and_leave_out_what_is_no_step() {
        let json = r#"{"orderTypes":["limit","market"],"tifTypes":["DAY/o,a"],"cqtTypes":["limit"],
            "fraqTypes":[],"increment":0.05,"sizeIncrement":1,"defaultSize":100,"error":null,
            "incrementRules":[{"lowerEdge":3.0,"increment":0.1},{"lowerEdge":0.0,"increment":0.05},
            {"lowerEdge":9,"increment":0}],"negativeCapable":true}"#;
        let rules: Rules = serde_json::from_str(json).unwrap();
        let rules = rules.into_rules(Conid::new(7).unwrap());
        assert_eq!(rules.price_steps.len(), 2);
        assert_eq!((rules.price_steps[1].from, rules.price_steps[1].step), (dec!(3), dec!(0.1)));
        assert!(rules.takes_cash_quantity && !rules.takes_fractions);
        assert_eq!((rules.negative_prices, rules.overnight), (Some(true), None));
        assert_eq!(rules.fraction_digits, None);
    }

    /// As in IBKR's example of Apple, and of a share that takes no fractions.
    #[test]
    fn fractions_have_as_many_places_as_told_and_the_entry_step_is_no_rule() {
        let read = |json: &str| {
            let rules: Rules = serde_json::from_str(json).unwrap();
            rules.into_rules(Conid::new(7).unwrap())
        };
        let apple = read(
            r#"{"fraqTypes":["limit","market"],"fraqInt":4,"sizeIncrement":100,"increment":0.01,
                "incrementRules":[{"lowerEdge":0.0,"increment":0.01}]}"#,
        );
        assert!(apple.takes_quantity(dec!(1)) && apple.takes_quantity(dec!(0.0001)));
        assert!(!apple.takes_quantity(dec!(0.00001)));
        let whole = read(r#"{"fraqTypes":[],"fraqInt":0,"sizeIncrement":1}"#);
        assert!(whole.takes_quantity(dec!(3)) && !whole.takes_quantity(dec!(0.5)));
    }

    #[test]
    fn a_schedule_has_a_holiday_without_hours() {
        let json = r#"{"exchange_time_zone":"US/Eastern","schedules":{
            "20261126":{"liquid_hours":[],"extended_hours":[]},
            "20261125":{"liquid_hours":[{"opening":1795617000,"closing":1795640400}],
              "extended_hours":[{"cancel_daily_orders":true,"opening":1795597200,
              "closing":"1795654800"}]}}}"#;
        let schedule: Schedule = serde_json::from_str(json).unwrap();
        let hours = schedule.into_hours(Conid::new(7).unwrap()).unwrap();
        assert_eq!(hours.days.len(), 2);
        assert_eq!(hours.days[0].date.to_string(), "2026-11-25");
        assert_eq!(hours.days[0].regular[0].opens, Timestamp::from_millis(1_795_617_000_000));
        assert_eq!(hours.days[0].extended[0].closes, Timestamp::from_millis(1_795_654_800_000));
        assert!(hours.days[1].regular.is_empty() && hours.days[1].extended.is_empty());
    }

    #[test]
    fn a_schedule_that_cannot_be_read_is_an_error_never_a_holiday() {
        for json in [
            "{}",
            r#"{"schedules":{"tomorrow":{}}}"#,
            r#"{"schedules":{"20261125":{"liquid_hours":[{"opening":"x","closing":1}]}}}"#,
        ] {
            let schedule: Schedule = serde_json::from_str(json).unwrap();
            assert!(schedule.into_hours(Conid::new(7).unwrap()).is_err(), "{json}");
        }
    }
}
