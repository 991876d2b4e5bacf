//! Approvals on the operator's own surface: the whole order is shown, then exactly it is signed.

use crate::args::ApprovalsVerb;
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::open::{self, Opened};
use crate::run::{Context, mistaken};
use crate::verbs::ids;
use crate::verbs::operator::{can_sign, shows, signer};
use crate::verbs::orders::settle_questions;
use ibkr_agent_domain::{ApprovalId, Digest, ErrorCode};
use ibkr_agent_gateway::operator::{
    OperatorClient, OperatorConnectError, OperatorPublicKey, Verb as Act,
};
use ibkr_agent_gateway::proof::{ApprovalProof, MAX_PROOF_BYTES, read_proof};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// What is said of an approval in a list, and once it is decided.
const BRIEF: &[&str] = &[
    "approval_id",
    "status",
    "domain",
    "broker",
    "mode",
    "on_approval",
    "order_summary",
    "asked_by",
    "expires_at",
    "approved_by",
    "audit_event_id",
    "outcome",
    "refused",
    "what_followed",
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
            let id = ids::approval(opened, approval_id).await?;
            return context.printer.approval(&show(opened, id).await?);
        }
        ApprovalsVerb::Approve { approval_id, order_digest } => {
            let id = ids::approval(opened, approval_id).await?;
            approve(context, opened, id, order_digest.as_deref()).await?
        }
        ApprovalsVerb::Take { preview_id } => take(context, opened, preview_id).await?,
        ApprovalsVerb::Deny { approval_id: id } | ApprovalsVerb::Revoke { approval_id: id } => {
            let id = ids::approval(opened, id).await?;
            opened.perform(Act::Deny { id }, None).await?
        }
        ApprovalsVerb::Create { account, preview_id, ttl_seconds, ask_only, on_approval } => {
            let arguments = Arguments::new()
                .text("account_id", Some(&account))
                .text("preview_id", Some(&preview_id))
                .number("ttl_seconds", ttl_seconds)
                .text("on_approval", Some(on_approval.as_str()));
            return create(context, opened, arguments, ask_only).await;
        }
        ApprovalsVerb::Status { .. } | ApprovalsVerb::Verify { .. } => {
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

/// Makes a caller's preview an approval, and says yes as the operator who sits here.
async fn take(context: &Context<'_>, opened: &Opened, preview: String) -> Result<Value, Failure> {
    can_sign(opened)?;
    let taken = opened.perform(Act::TakePreview { preview }, None).await?;
    approve(context, opened, text_of(&taken, "approval_id")?, None).await
}

async fn show(opened: &Opened, id: String) -> Result<Value, Failure> {
    opened.perform(Act::Approval { id }, None).await
}

/// Shows the order and all that the yes covers, unlocks the key, signs exactly that.
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
        context.printer.notice(match shown.get("on_approval").and_then(Value::as_str) {
            Some("submit") => "Your signature sends exactly this order at once:",
            _ => "You are about to sign exactly this order:",
        });
        context.printer.show_approval(&shown);
    }
    let covered = covered(&shown, &digest)?;
    let signer = signer(context, opened).await?;
    let yes = signer.approve(&id, &covered).map_err(|error| Failure(error.into()))?;
    let answer = opened.perform(yes, Some(&signer)).await?;
    // The broker's question waits for the human who is here.
    let at = |pointer| answer.pointer(pointer).and_then(Value::as_str);
    match (at("/outcome/status"), at("/outcome/client_order_id")) {
        (Some("question"), Some(order)) => {
            let order = order.to_owned();
            Box::pin(settle_questions(context, opened, &order)).await?;
            show(opened, id).await
        }
        (_, _) => Ok(answer),
    }
}

/// The digest that is signed: of the bytes that were shown, which are about the order that was
/// shown, and nothing that the sidecar merely states.
fn covered(shown: &Value, order_digest: &str) -> Result<Digest, Failure> {
    let mismatch = |message: &str| Failure::new(ErrorCode::ApprovalPreviewMismatch, message);
    let Some(bytes) = shown.get("approval_bytes").and_then(Value::as_str) else {
        let message = "this approval was asked for before signatures were kept";
        return Err(Failure::new(ErrorCode::ApprovalUnsigned, message));
    };
    let order = text_of(shown, "canonical_order")?;
    if Digest::of(order.as_bytes()).to_string() != order_digest {
        return Err(mismatch("the order that was shown has another digest"));
    }
    let action = format!("action={order_digest}");
    if !bytes.lines().any(|line| line == action) {
        return Err(mismatch("the approval's bytes are about another order"));
    }
    Ok(Digest::of(bytes.as_bytes()))
}

fn text_of(value: &Value, key: &str) -> Result<String, Failure> {
    value.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(unreadable)
}

fn unreadable() -> Failure {
    Failure::new(ErrorCode::InternalError, "the sidecar's answer can't be read")
}

/// `approvals verify`: gathers the proof, here or from a file, and checks it in this process.
pub(crate) async fn verify(
    context: &Context<'_>,
    approval_id: Option<String>,
    file: Option<&Path>,
    public_key: Option<&str>,
) -> Result<(), Failure> {
    let expected = public_key
        .map(str::parse::<OperatorPublicKey>)
        .transpose()
        .map_err(|error| Failure::input(format!("--public-key: {error}")))?;
    let proof = match (file, approval_id) {
        (Some(file), _) => from_file(file)?,
        (None, Some(id)) => from_here(context, id).await?,
        (None, None) => return Err(mistaken()),
    };
    let checked = proof.check(expected.as_ref()).map_err(Failure)?;
    let mut shown = serde_json::to_value(&checked).map_err(|_| unreadable())?;
    let proof = serde_json::to_value(&proof).map_err(|_| unreadable())?;
    if let (Some(shown), Value::Object(proof)) = (shown.as_object_mut(), proof) {
        shown.extend(proof);
    }
    context.printer.value(&shown)
}

fn from_file(file: &Path) -> Result<ApprovalProof, Failure> {
    let unread = |error: &dyn std::error::Error| {
        Failure::because(ErrorCode::InputInvalid, "the proof can't be read", error)
    };
    let opened = std::fs::File::open(file).map_err(|error| unread(&error))?;
    let mut text = String::new();
    opened.take(MAX_PROOF_BYTES).read_to_string(&mut text).map_err(|error| unread(&error))?;
    serde_json::from_str(&text).map_err(|error| unread(&error))
}

/// From the sidecar that runs on this state, or else from its files.
async fn from_here(context: &Context<'_>, id: String) -> Result<ApprovalProof, Failure> {
    let plan = open::plan(context)?;
    match OperatorClient::connect(&plan.state_dir).await {
        Ok(mut client) => {
            let answer = client.call(Act::ApprovalProof { id }, None).await?;
            serde_json::from_value(answer).map_err(|_| unreadable())
        }
        Err(OperatorConnectError::NotRunning) => {
            let id = ApprovalId::parse(&id).map_err(|error| Failure::input(error.to_string()))?;
            read_proof(&plan.state_dir, &id).map_err(Failure)
        }
        Err(error) => Err(Failure(error.into())),
    }
}
