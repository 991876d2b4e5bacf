//! A halt as the operator sees it.

use crate::engine::HaltEntry;
use ibkr_agent_domain::Untrusted;
use serde_json::{Value, json};

pub(super) fn shown(halt: &HaltEntry) -> Value {
    let by = |text: &str| Untrusted::bounded(text, 128).to_string();
    let reason = |text: &str| Untrusted::bounded(text, 200).to_string();
    let later = halt.later.iter().map(|later| {
        json!({
            "since": later.since.to_string(),
            "by": by(&later.by),
            "reason": reason(&later.reason),
        })
    });
    json!({
        "halted": halt.halted,
        "since": halt.since.to_string(),
        "by": by(&halt.by),
        "reason": reason(&halt.reason),
        "audit_event_id": halt.audit_event_id,
        "later": later.collect::<Vec<Value>>(),
        "state_doubt": halt.is_of_state().then(|| halt.told()),
    })
}
