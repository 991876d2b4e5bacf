//! The audit log on the operator's own surface: records of every caller, and their verification.

use crate::args::{AuditVerb, TailArgs};
use crate::failure::Failure;
use crate::open::Opened;
use crate::run::{Context, mistaken};
use ibkr_agent_domain::{RecordKind, Untrusted};
use ibkr_agent_gateway::operator::Verb as Act;
use serde_json::{Value, json};

/// Records that are shown when nothing is said, and the most that can be asked for.
const DEFAULT_ROWS: u64 = 50;
const MAX_ROWS: u64 = 200;
/// Pages that a filter looks through before it says where to go on.
const MAX_PAGES: usize = 50;

/// Runs a verb of `audit …`.
pub(crate) async fn run(
    context: &Context<'_>,
    opened: &Opened,
    verb: AuditVerb,
) -> Result<(), Failure> {
    let answer = match verb {
        AuditVerb::Tail(which) => tail(opened, &which).await?,
        AuditVerb::Verify => opened.perform(Act::AuditVerify {}, None).await?,
        AuditVerb::Export { .. } => return Err(mistaken()),
    };
    context.printer.value(&answer)
}

async fn tail(opened: &Opened, which: &TailArgs) -> Result<Value, Failure> {
    let limit = which.limit.unwrap_or(DEFAULT_ROWS);
    if limit == 0 || limit > MAX_ROWS {
        return Err(Failure::input(format!("--limit {limit} isn't between 1 and {MAX_ROWS}")));
    }
    check_kind(which.kind.as_deref())?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut before = match which.cursor.as_deref().map(str::parse::<u64>) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => return Err(Failure::input("--cursor isn't a next_cursor")),
    };
    let mut found = Vec::new();
    let mut size = Value::Null;
    for _ in 0..MAX_PAGES {
        // Never more than are still wanted: the page's own cursor then fits what is shown.
        let limit = wanted.saturating_sub(found.len());
        let page = opened.perform(Act::AuditTail { limit, before }, None).await?;
        let events = page.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        found.extend(events.into_iter().filter(|event| fits(event, which)));
        size = page.get("log_size").cloned().unwrap_or_default();
        let next = page.get("next_cursor").and_then(Value::as_str);
        before = next.and_then(|next| next.parse().ok());
        if before.is_none() || found.len() >= wanted {
            break;
        }
    }
    let next_cursor = before.map(|before| before.to_string());
    Ok(json!({ "log_size": size, "events": found, "next_cursor": next_cursor }))
}

/// A kind that doesn't exist would show an empty log to somebody who looks for something.
fn check_kind(asked: Option<&str>) -> Result<(), Failure> {
    let known: Vec<&str> = RecordKind::ALL.iter().map(|kind| kind.as_str()).collect();
    match asked {
        Some(asked) if !known.contains(&asked) => {
            let asked = Untrusted::bounded(asked, 40);
            Err(Failure::input(format!("--kind {asked} isn't one of {}", known.join(", "))))
        }
        Some(_) | None => Ok(()),
    }
}

fn fits(event: &Value, which: &TailArgs) -> bool {
    let is = |key: &str, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| event.get(key).and_then(Value::as_str) == Some(wanted))
    };
    is("kind", which.kind.as_deref()) && is("tool", which.tool.as_deref())
}
