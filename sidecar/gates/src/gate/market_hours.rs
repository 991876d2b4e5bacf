//! The market is open, or the policy lets orders wait for it.

use crate::case::Case;
use crate::{Check, Gate, MarketHours};
use ibkr_agent_domain::TradingNow;

pub(super) fn check(case: &Case<'_>) -> Check {
    let rule = case.limits().market_hours;
    let hours = case.facts.broker.hours.as_ref();
    let regular = hours.map_or(TradingNow::Unknown, |hours| hours.at(case.now));
    let any = hours.map_or(TradingNow::Unknown, |hours| hours.at_any_hour(case.now));
    let later = match regular {
        TradingNow::Closed { opens } => format!("; regular hours begin {opens}"),
        TradingNow::Open { .. } | TradingNow::Unknown => String::new(),
    };
    let (passed, waits, observed) = match (regular, any) {
        (TradingNow::Open { closes }, _) => (true, false, format!("open until {closes}")),
        (_, TradingNow::Open { closes }) => {
            // An order of regular hours waits as well.
            let waits = !case.order.terms().outside_rth;
            let observed = format!("extended hours until {closes}{later}");
            (rule != MarketHours::Regular, waits, observed)
        }
        (TradingNow::Closed { .. }, _) | (TradingNow::Unknown, TradingNow::Closed { .. }) => {
            (rule == MarketHours::Any, true, format!("closed{later}"))
        }
        // The broker would say so itself: nothing can trade by it.
        (TradingNow::Unknown, TradingNow::Unknown) => {
            (true, true, "whether the market is open isn't known".to_owned())
        }
    };
    let limit = format!("{} hours", rule.as_str());
    Check::policy(Gate::MarketHours, passed, "orders.market_hours", observed, limit)
        .warned_if(waits)
}
