//! What proves one approval, gathered so that anybody can check it with the public key alone.

use super::chain::reference;
use super::{APPROVALS, authority, decode_option, rows};
use crate::ApprovalEntry;
use ibkr_agent_audit::{Entry, Snapshot, StoreFailure, TailQuery};
use ibkr_agent_domain::{Actor, OperatorKeyId, RecordKind};

/// Records that are read at once.
const CHUNK: usize = 500;

/// What anybody needs to check one approval: the bytes, the signature, the key, and the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The row.
    pub row: ApprovalEntry,
    /// The record of the yes, with its time and position.
    pub approved: Option<Entry>,
    /// The record that enrolled the key.
    pub enrolled: Option<Entry>,
}

/// Finds what proves an approval; `None` when the store doesn't hold it.
///
/// # Errors
/// [`StoreFailure`] when the store fails.
pub fn evidence_of(snapshot: &Snapshot, id: &str) -> Result<Option<Evidence>, StoreFailure> {
    let value = snapshot.get(APPROVALS, id.as_bytes())?;
    let Some(row) = decode_option::<rows::Approval>(value.as_deref())? else {
        return Ok(None);
    };
    let row: ApprovalEntry = row.try_into()?;
    let mut evidence = Evidence { row, approved: None, enrolled: None };
    let key = evidence.row.approved_by.clone();
    evidence.approved = record_of_yes(snapshot, id, key.as_ref())?;
    if let Some(key) = key {
        evidence.enrolled = authority::enrolment_of(snapshot, &key)?;
    }
    Ok(Some(evidence))
}

/// The record of a yes, among those of the key that gave it.
fn record_of_yes(
    snapshot: &Snapshot,
    id: &str,
    key: Option<&OperatorKeyId>,
) -> Result<Option<Entry>, StoreFailure> {
    let Some(key) = key else { return Ok(None) };
    let actor = Actor::Operator { key: Some(key.clone()) }.label();
    let mut query = TailQuery { actor: Some(actor), before: None, limit: CHUNK };
    loop {
        let page = snapshot.tail(&query)?;
        let is_it = |entry: &&Entry| {
            entry.kind == RecordKind::Approved.as_str()
                && reference(entry, "approval_id") == Some(id)
        };
        if let Some(found) = page.entries.iter().find(is_it) {
            return snapshot.proven(found.index);
        }
        query.before = page.next_before;
        if query.before.is_none() {
            return Ok(None);
        }
    }
}
