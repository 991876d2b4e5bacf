//! The market data is real time, or the mode accepts less.

use crate::case::Case;
use crate::{Check, Gate};
use ibkr_agent_domain::{DataStatus, ErrorCode};

pub(super) fn check(case: &Case<'_>) -> Check {
    let Some(quote) = case.quote() else {
        let code = ErrorCode::MarketDataUnavailable;
        return Check::new(Gate::DataStatus, false, code, "no quote", "real-time market data");
    };
    let tolerated = case.limits().delayed_data_modes.contains(&case.order.mode());
    let late = match quote.status {
        DataStatus::Delayed | DataStatus::Frozen | DataStatus::FrozenDelayed => true,
        DataStatus::RealTime | DataStatus::NotSubscribed | DataStatus::Unknown => false,
    };
    let passed = quote.status == DataStatus::RealTime || (late && tolerated);
    let code = match quote.status {
        DataStatus::NotSubscribed => ErrorCode::MarketDataUnavailable,
        DataStatus::RealTime
        | DataStatus::Delayed
        | DataStatus::Frozen
        | DataStatus::FrozenDelayed
        | DataStatus::Unknown => ErrorCode::MarketDataDelayed,
    };
    let limit =
        if tolerated { "real_time; delayed is accepted with a warning" } else { "real_time" };
    let check = Check::new(Gate::DataStatus, passed, code, quote.status.as_str(), limit);
    Check { rule: late.then_some("price.delayed_data"), ..check }.warned_if(late)
}
