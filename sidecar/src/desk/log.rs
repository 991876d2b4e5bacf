//! What the operator reads of the log: records, its verification, what proves an approval.

use super::{OperatorDesk, parse};
use crate::engine::store;
use crate::operator::verify_signature;
use crate::proof::proof_in;
use ibkr_agent_audit::{StoreFailure, TailQuery};
use ibkr_agent_domain::{ApprovalId, ErrorCode};
use ibkr_agent_protocol::catalogue::audit::AuditEventOutput;
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::{Value, json};

impl OperatorDesk {
    pub(super) async fn approval_proof(&self, id: &str) -> Result<Value, ErrorBody> {
        let id = parse(ApprovalId::parse(id))?;
        let ledger = self.core.ledger.clone();
        let read = tokio::task::spawn_blocking(move || proof_in(ledger.snapshot(), &id)).await;
        let failed = || ErrorBody::new(ErrorCode::InternalError, "the store can't be read");
        serde_json::to_value(read.map_err(|_| failed())??).map_err(|_| failed())
    }

    pub(super) async fn audit_tail(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Value, ErrorBody> {
        let ledger = self.core.ledger.clone();
        let query = TailQuery { actor: None, before, limit };
        let read = tokio::task::spawn_blocking(move || ledger.snapshot()?.tail(&query)).await;
        let failed = || ErrorBody::new(ErrorCode::InternalError, "the log can't be read");
        let page = read.map_err(|_| failed())?.map_err(|_| failed())?;
        let events: Vec<AuditEventOutput> =
            page.entries.iter().map(crate::tools::audit_event).collect();
        Ok(json!({
            "log_size": self.core.ledger.head().size,
            "events": events,
            "next_cursor": page.next_before.map(|index| index.to_string()),
        }))
    }

    /// The log against its checkpoint, then what it and the store say of approvals.
    pub(super) async fn audit_verify(&self) -> Result<Value, ErrorBody> {
        let ledger = self.core.ledger.clone();
        let verified = tokio::task::spawn_blocking(move || {
            let snapshot = ledger.snapshot()?;
            Ok::<_, StoreFailure>(match snapshot.verify(ledger.verifier()) {
                Ok(report) => Ok((report, store::verify_chain(&snapshot, verify_signature)?)),
                Err(error) => Err(error),
            })
        });
        let failed = || ErrorBody::new(ErrorCode::InternalError, "the log can't be read");
        let (report, chain) = match verified.await.map_err(|_| failed())?.map_err(|_| failed())? {
            Ok(found) => found,
            Err(error) => {
                return Err(ErrorBody::new(ErrorCode::AuditChainInvalid, error.to_string()));
            }
        };
        if let Some(first) = chain.breaks.first() {
            let message = match chain.broken {
                1 => first.clone(),
                broken => format!("{first}; {broken} breaks in all"),
            };
            let mut body = ErrorBody::new(ErrorCode::AuditChainInvalid, message);
            body.details = chain.breaks;
            return Err(body);
        }
        Ok(json!({
            "verified": true,
            "size": report.size,
            "root": report.root,
            "key": self.core.ledger.verifier().to_string(),
            "checkpoint": report.checkpoint,
            "state_doubt": self.state_doubt().await?,
            "approvals_signed": chain.signed,
            "approvals_before_signatures": chain.before_signatures,
        }))
    }
}
