//! Approvals on the operator's own surface: the whole order is shown, then exactly it is signed.

use crate::args::ApprovalsVerb;
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::open::Opened;
use crate::run::{Context, mistaken};
use crate::verbs::operator::{can_sign, shows, signer};
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::operator::Verb as Act;
use serde_json::Value;

/// What is said of an approval in a list, and once it is decided.
const BRIEF: &[&str] = &[
    "approval_id",
    "status",
    "order_summary",
    "asked_by",
    "expires_at",
    "approved_by",
    "audit_event_id",
];

/// Runs a verb of `approvals …`.
pub(crate) async fn run(
    context: &Context<'_>,
    opened: &Opened,
    verb: ApprovalsVerb,
) -> Result<(), Failure> {
    let answer = match verb {
        ApprovalsVerb::List { all } => opened.perform(Act::Approvals { all }, None).await?,
        ApprovalsVerb::Show { approval_id } => {
            return context.printer.approval(&show(opened, approval_id).await?);
        }
        ApprovalsVerb::Approve { approval_id, order_digest } => {
            approve(context, opened, approval_id, order_digest.as_deref()).await?
        }
        ApprovalsVerb::Deny { approval_id: id } | ApprovalsVerb::Revoke { approval_id: id } => {
            opened.perform(Act::Deny { id }, None).await?
        }
        ApprovalsVerb::Create { account, preview_id, ttl_seconds, ask_only } => {
            let arguments = Arguments::new()
                .text("account_id", Some(&account))
                .text("preview_id", Some(&preview_id))
                .number("ttl_seconds", ttl_seconds);
            return create(context, opened, arguments, ask_only).await;
        }
        ApprovalsVerb::Status { .. } => {
            return Err(mistaken());
        }
    };
    // For people an order that was shown a moment ago, or stands in a list, is its summary.
    let shown = if context.printer.is_json() { answer } else { in_brief(answer) };
    context.printer.value(&shown)
}

/// Approvals without what only `approvals show` needs.
fn in_brief(mut answer: Value) -> Value {
    let list = answer.get_mut("approvals").and_then(Value::as_array_mut);
    let maps: Vec<&mut Value> = match list {
        Some(list) => list.iter_mut().collect(),
        None => vec![&mut answer],
    };
    for map in maps.into_iter().filter_map(Value::as_object_mut) {
        map.retain(|key, _| BRIEF.contains(&key.as_str()));
    }
    answer
}

/// Asks as an agent would, and says yes as the operator who sits here.
async fn create(
    context: &Context<'_>,
    opened: &Opened,
    arguments: Arguments,
    ask_only: bool,
) -> Result<(), Failure> {
    if !ask_only {
        // Before anything is asked for: an approval that nobody can sign helps nobody.
        can_sign(opened)?;
    }
    let request_id = context.request_id.clone();
    let asked = opened.call("ibkr_approvals_create", arguments, request_id).await?;
    if ask_only {
        return context.printer.document(asked.get());
    }
    let asked: Value = serde_json::from_str(asked.get()).map_err(|_| unreadable())?;
    let id = text_of(&asked, "approval_id")?;
    let approved = approve(context, opened, id, None).await?;
    context.printer.value(&if context.printer.is_json() { approved } else { in_brief(approved) })
}

async fn show(opened: &Opened, id: String) -> Result<Value, Failure> {
    opened.perform(Act::Approval { id }, None).await
}

/// Shows the order, unlocks the key, signs the digest that was shown.
async fn approve(
    context: &Context<'_>,
    opened: &Opened,
    id: String,
    expected: Option<&str>,
) -> Result<Value, Failure> {
    let shown = show(opened, id.clone()).await?;
    let digest = text_of(&shown, "order_digest")?;
    if expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&digest)) {
        let message = format!("this approval's order has the digest {digest}, not the given one");
        return Err(Failure::new(ErrorCode::ApprovalPreviewMismatch, message));
    }
    if shows(context, opened) {
        context.printer.notice("You are about to sign exactly this order:");
        context.printer.show_approval(&shown);
    }
    let signer = signer(context, opened).await?;
    opened.perform(Act::Approve { id, digest }, Some(&signer)).await
}

fn text_of(value: &Value, key: &str) -> Result<String, Failure> {
    value.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(unreadable)
}

fn unreadable() -> Failure {
    Failure::new(ErrorCode::InternalError, "the sidecar's answer can't be read")
}
