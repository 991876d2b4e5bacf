//! Approvals on the operator's desk: how they are shown, and what followed a signature.

use super::{OperatorDesk, parse, set};
use crate::engine::{
    ApprovalEntry, ApprovalStatus, Engine, Expired, Followed, Now, OrderEntry, REFUSALS_VOID,
};
use crate::tools::refusal_body;
use ibkr_agent_domain::{
    ApprovalId, BrokerOrderId, ErrorCode, OnApproval, OperatorKeyId, OrderState, Reason, Untrusted,
};
use ibkr_agent_protocol::catalogue::approvals::OrderOutput;
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for what a signature sends: facts, gates, the broker's first answer.
const OUTCOME_WAIT: Duration = Duration::from_secs(40);

/// Most approvals in a list.
const MAX_ROWS: usize = 200;

/// An approval with what followed its yes.
struct Row {
    entry: ApprovalEntry,
    expired: Expired,
    followed: Followed,
}

impl Row {
    fn of(engine: &Engine, entry: &ApprovalEntry, now: Now) -> Self {
        let expired = if entry.expires_at <= now.wall { Expired::Yes } else { Expired::No };
        Self { entry: entry.clone(), expired, followed: engine.followed(entry) }
    }

    fn listed(&self) -> Value {
        approval(&self.entry, self.expired, &self.followed)
    }
}

impl OperatorDesk {
    /// An approval as it is shown alone.
    pub(super) fn shown(
        &self,
        entry: &ApprovalEntry,
        expired: Expired,
        followed: &Followed,
    ) -> Value {
        let mut value = approval(entry, expired, followed);
        set(&mut value, "domain", json!(self.domain.as_str()));
        value
    }

    fn row_shown(&self, row: &Row) -> Value {
        self.shown(&row.entry, row.expired, &row.followed)
    }

    pub(super) async fn approvals(&self, all: bool) -> Result<Value, ErrorBody> {
        let found = self.core.engine.look(move |engine, now| {
            let mut entries: Vec<&ApprovalEntry> = engine
                .approvals()
                .filter(|entry| {
                    let open = entry.status == ApprovalStatus::Pending;
                    all || (open && entry.expires_at > now.wall)
                })
                .collect();
            entries.sort_by_key(|entry| core::cmp::Reverse(entry.created_at));
            entries.truncate(MAX_ROWS);
            entries.into_iter().map(|entry| Row::of(engine, entry, now)).collect::<Vec<_>>()
        });
        let rows = found.await.map_err(refusal_body)?;
        Ok(json!({ "approvals": rows.iter().map(Row::listed).collect::<Vec<_>>() }))
    }

    pub(super) async fn approval(&self, id: &str) -> Result<Value, ErrorBody> {
        let id = parse(ApprovalId::parse(id))?;
        let row = self.row(&id).await?;
        let mut value = self.row_shown(&row);
        let decided = match row.entry.status {
            ApprovalStatus::Approved | ApprovalStatus::Consumed | ApprovalStatus::Void => true,
            ApprovalStatus::Pending | ApprovalStatus::Denied => false,
        };
        if decided && row.entry.approved_by.is_some() {
            set(&mut value, "what_followed", self.said(&row).into());
        }
        Ok(value)
    }

    /// What followed, with commands that work in any terminal.
    fn said(&self, row: &Row) -> String {
        self.core.invocation.spell(&what_followed(row))
    }

    async fn row(&self, id: &ApprovalId) -> Result<Row, ErrorBody> {
        let id = id.clone();
        let found = self.core.engine.look(move |engine, now| {
            let entry = engine.approvals().find(|entry| entry.id == id);
            entry.map(|entry| Row::of(engine, entry, now))
        });
        let not_found = || ErrorBody::new(ErrorCode::ApprovalNotFound, "no such approval");
        found.await.map_err(refusal_body)?.ok_or_else(not_found)
    }

    /// After a yes. Where it sends, waits for a bounded time until it is known what became of the
    /// order: whether or not anybody still waits, the order goes its way.
    pub(super) async fn after_yes(
        &self,
        id: &ApprovalId,
        event: Option<&String>,
    ) -> Result<Value, ErrorBody> {
        // Subscribed before the first look, so that no change falls between.
        let mut changes = self.core.engine.changes();
        let deadline = tokio::time::Instant::now() + OUTCOME_WAIT;
        loop {
            let row = self.row(id).await?;
            if !row.followed.is_under_way() || tokio::time::Instant::now() >= deadline {
                let mut value = self.row_shown(&row);
                set(&mut value, "audit_event_id", json!(event));
                set(&mut value, "what_followed", self.said(&row).into());
                return Ok(value);
            }
            tokio::select! {
                _ = changes.recv() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

/// An approval as the operator sees it: the whole order, and what is signed.
fn approval(entry: &ApprovalEntry, expired: Expired, followed: &Followed) -> Value {
    let counts = matches!(entry.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
    let status = if counts && expired == Expired::Yes { "expired" } else { entry.status.as_str() };
    let terms = entry.terms();
    let bytes = terms.as_ref().map(|t| String::from_utf8_lossy(&t.bytes()).into_owned());
    let mut shown = json!({
        "approval_id": entry.id.as_str(),
        "status": status,
        "broker": entry.plan.broker().as_str(),
        "mode": entry.plan.mode().as_str(),
        "account_id": entry.plan.account().as_str(),
        "on_approval": entry.on_approval().as_str(),
        "asked_by": Untrusted::bounded(&entry.asked_by, 300).as_str(),
        "order_summary": entry.plan.summary(),
        "orders": entry.plan.orders().iter().map(OrderOutput::from).collect::<Vec<_>>(),
        "order_digest": entry.plan.digest().to_string(),
        "canonical_order": String::from_utf8_lossy(&entry.plan.canonical_bytes()),
        "approval_digest": terms.as_ref().map(|terms| terms.digest().to_string()),
        "approval_bytes": bytes,
        "reference_price": entry.reference_price.map(|price| price.to_string()),
        "position": entry.position.to_string(),
        "warnings": entry.warnings,
        "created_at": entry.created_at.to_string(),
        "expires_at": entry.expires_at.to_string(),
        "approved_by": entry.approved_by.as_ref().map(OperatorKeyId::as_str),
    });
    let asked = entry.asked.as_ref();
    if let Some(reason) = asked.and_then(|asked| asked.reason.as_ref()) {
        set(&mut shown, "reason_in_their_words", format!("\u{201c}{reason}\u{201d}").into());
    }
    if asked.is_some_and(|asked| asked.owner.is_some()) {
        set(&mut shown, "preview_of", entry.owner.to_string().into());
    }
    if let Some(refused) = &entry.refused {
        let refused = json!({
            "code": refused.code.as_str(),
            "message": refused.message,
            "checks": refused.details,
            "at": refused.at.to_string(),
            "count": entry.refusals,
            "void_at": REFUSALS_VOID,
        });
        set(&mut shown, "refused", refused);
    }
    if let Followed::Order(order) = followed {
        set(&mut shown, "outcome", outcome(order));
    }
    shown
}

fn outcome(order: &OrderEntry) -> Value {
    json!({
        "status": order.state.as_str(),
        "client_order_id": order.id.as_str(),
        "broker_order_id": order.broker_order_id.as_ref().map(BrokerOrderId::as_str),
        "filled": order.filled.map(|filled| filled.to_string()),
        "average_price": order.average_price.map(|price| price.to_string()),
        "reason": order.reason.map(Reason::text),
        "message": order.words(),
        "broker_message": order.broker_words(),
    })
}

/// What a person is told after the yes, in a sentence or two.
fn what_followed(row: &Row) -> String {
    let Row { entry, followed, .. } = row;
    let id = &entry.id;
    let sends = entry.on_approval() == OnApproval::Submit;
    let again = format!(
        "The approval is good until {}: send it with ibkr-agent approvals approve {id}. Nothing \
         goes out by itself.",
        entry.expires_at
    );
    match followed {
        Followed::Sending => format!(
            "The order is still on its way: see ibkr-agent approvals show {id}. Don't sign again."
        ),
        Followed::Order(order) => of_order(order, &again),
        Followed::Nothing if !sends => {
            "Nothing was sent: whoever asked submits it once, or ibkr-agent orders submit does."
                .to_owned()
        }
        Followed::Nothing => match &entry.refused {
            Some(refused) if entry.status == ApprovalStatus::Void => format!(
                "Nothing was sent: {}: {}. It was refused {} times, so the approval is void: \
                 preview again.",
                refused.code, refused.message, entry.refusals
            ),
            Some(refused) => {
                let count = entry.refusals;
                format!(
                    "Nothing was sent: {}: {} (refusal {count} of {REFUSALS_VOID}). {again}",
                    refused.code, refused.message
                )
            }
            None => format!("Nothing was sent. {again}"),
        },
    }
}

fn of_order(order: &OrderEntry, again: &str) -> String {
    let words = order.broker_words().map(str::to_owned).or_else(|| order.words());
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    let at_broker = match &order.broker_order_id {
        Some(id) => format!("broker order {id}"),
        None => "no broker order id yet".to_owned(),
    };
    match order.state {
        OrderState::Working
        | OrderState::Held
        | OrderState::PendingCancel
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Expired => format!("Sent: {}, {at_broker}.", order.state.as_str()),
        OrderState::Question => format!(
            "The broker asks a question before it takes the order. Answer it with ibkr-agent \
             questions answer {} yes|no.",
            order.id
        ),
        OrderState::Rejected => format!("The broker rejected the order{words}."),
        OrderState::NotSent => format!("Nothing was sent{words}. {again}"),
        OrderState::Unknown => format!(
            "It isn't known whether the broker has the order{words}. Never repeat it: it is looked \
             for; see ibkr-agent orders outcome --client-order-id {}.",
            order.id
        ),
        OrderState::Intended => format!(
            "The order is on its way; see ibkr-agent orders outcome --client-order-id {}.",
            order.id
        ),
    }
}
