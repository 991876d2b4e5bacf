//! It opens no short position that the policy forbids, and turns none around in silence.

use crate::case::{Case, plain};
use crate::{Check, Gate};
use ibkr_agent_domain::Side;
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let guard = case.limits().shorts;
    let limit = format!("short positions: {}", guard.as_str());
    let judged = |passed, observed: String| {
        Check::policy(Gate::Short, passed, "exposure.shorts", observed, &limit)
    };
    let held = case.facts.broker.position;
    let Some(after) = case.position_after() else {
        return judged(false, "the position after it can't be told".to_owned());
    };
    let (held_text, committed) = (plain(held), case.facts.committed());
    let working = if committed.is_zero() {
        String::new()
    } else {
        format!(", {} more on its way on this side", plain(committed))
    };
    match case.side() {
        Side::Sell if after < Decimal::ZERO => {
            let short = plain(-after.max(-case.quantity()));
            let observed = format!("opens a short of {short}: {held_text} held{working}");
            let most = held.checked_sub(committed).map(|left| left.max(Decimal::ZERO).floor());
            let nearest = match most {
                Some(most) if most > Decimal::ZERO => format!("sell {} would pass", plain(most)),
                Some(_) | None => "nothing is left to sell".to_owned(),
            };
            judged(false, observed).nearest(Some(nearest)).guarded(guard)
        }
        // The whole of it is shown, so that nobody takes it for a mere cover.
        Side::Buy if held < Decimal::ZERO && after > Decimal::ZERO => {
            let long = plain(after);
            judged(true, format!("turns a short of {} into {long} held{working}", plain(-held)))
                .warned_if(true)
        }
        Side::Buy | Side::Sell => {
            judged(true, format!("{held_text} held, {} after it{working}", plain(after)))
        }
    }
}
