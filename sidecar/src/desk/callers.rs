//! Callers that were admitted to writes: who they are, what they do, and the end of that.

use super::{MAX_LABEL, OperatorDesk, set};
use crate::engine::{Admitted, ApprovalStatus, Now, OperatorAct, Spent, Work};
use crate::tools::refusal_body;
use ibkr_agent_audit::TailQuery;
use ibkr_agent_domain::{ApprovalId, ErrorCode, OperatorKeyId, Untrusted};
use ibkr_agent_engine::Engine;
use ibkr_agent_gates::Requester;
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::{Value, json};

/// A caller's label as it was stored when it was admitted.
pub(super) fn label_of(caller: &str) -> String {
    Untrusted::bounded(caller, MAX_LABEL).to_string()
}

fn unspent(engine: &Engine, label: &str, now: Now) -> Vec<ApprovalId> {
    engine.unspent_of(label, now).map(|entry| entry.id.clone()).collect()
}

fn names(approvals: &[ApprovalId]) -> Vec<&str> {
    approvals.iter().map(ApprovalId::as_str).collect()
}

impl OperatorDesk {
    /// Every admitted caller.
    pub(super) async fn callers(&self) -> Result<Value, ErrorBody> {
        let admitted = self.core.engine.look(|engine, _| {
            let admitted: Vec<Admitted> = engine.admitted().cloned().collect();
            admitted
        });
        let mut rows = Vec::new();
        for caller in &admitted.await.map_err(refusal_body)? {
            rows.push(self.caller_row(caller).await?);
        }
        Ok(json!({ "callers": rows }))
    }

    /// One admitted caller, with what it asked for and what it has used of its budgets.
    pub(super) async fn caller(&self, caller: &str) -> Result<Value, ErrorBody> {
        let label = label_of(caller);
        let found = self.core.engine.look(move |engine, now| {
            let admitted = engine.admitted().find(|admitted| admitted.caller == label)?;
            let unspent = unspent(engine, &label, now);
            Some((admitted.clone(), unspent, engine.spent(&label, now)))
        });
        let Some((admitted, unspent, spent)) = found.await.map_err(refusal_body)? else {
            return Err(ErrorBody::new(ErrorCode::InputInvalid, "no such caller is admitted"));
        };
        let mut row = self.caller_row(&admitted).await?;
        set(&mut row, "unspent_approvals", json!(names(&unspent)));
        set(&mut row, "calls_this_minute", Value::Array(spent.iter().map(budget).collect()));
        Ok(row)
    }

    /// Takes an admission back, and tells what was denied with it.
    pub(super) async fn revoke(
        &self,
        requester: Requester,
        caller: &str,
    ) -> Result<Value, ErrorBody> {
        let label = label_of(caller);
        let asked = label.clone();
        let open = self.core.engine.look(move |engine, now| unspent(engine, &asked, now));
        let open = open.await.map_err(refusal_body)?;
        let mut value = self.act(requester, OperatorAct::Revoke { caller: label }).await?;
        // What was spent meanwhile is an order by now, and not denied.
        let denied = self.core.engine.look(move |engine, _| {
            let is_denied = |id: &ApprovalId| {
                engine.approvals().any(|a| a.id == *id && a.status == ApprovalStatus::Denied)
            };
            open.into_iter().filter(is_denied).collect::<Vec<ApprovalId>>()
        });
        let denied = denied.await.map_err(refusal_body)?;
        set(&mut value, "denied_approvals", json!(names(&denied)));
        Ok(value)
    }

    async fn caller_row(&self, admitted: &Admitted) -> Result<Value, ErrorBody> {
        let ledger = self.core.ledger.clone();
        let query = TailQuery { actor: Some(admitted.caller.clone()), before: None, limit: 1 };
        let read = tokio::task::spawn_blocking(move || ledger.snapshot()?.tail(&query)).await;
        let failed = || ErrorBody::new(ErrorCode::InternalError, "the log can't be read");
        let page = read.map_err(|_| failed())?.map_err(|_| failed())?;
        let last = page.entries.first();
        Ok(json!({
            "caller": admitted.caller,
            "admitted_at": admitted.admitted_at.map(|at| at.to_string()),
            "admitted_by": admitted.admitted_by.as_ref().map(OperatorKeyId::as_str),
            "last_seen": last.map(|entry| entry.time.as_str()),
            "last_tool": last.and_then(|entry| entry.tool.as_deref()),
        }))
    }
}

/// Calls of the current minute; asks and submissions share one budget.
fn budget(spent: &Spent) -> Value {
    let kind = match spent.work {
        Work::Read => "reads",
        Work::Preview => "previews",
        Work::Ask | Work::Submit => "asks_and_submissions",
        Work::Cancel => "cancels",
    };
    json!({ "kind": kind, "used": spent.used, "per_minute": spent.per_minute })
}
