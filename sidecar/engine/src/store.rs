//! The sidecar's tables in the ledger's database: what the engine must find again after a crash.
//!
//! [`apply`] runs inside the ledger's one transaction; [`restore`] reads everything back. A value
//! is one version byte and JSON of the row types in `rows.rs`. An order is stored by its canonical
//! bytes, and its digest must come out as it was stored. Rows of version 1 are read as `upgrade.rs`
//! says.

mod authority;
mod callers;
mod chain;
mod evidence;
mod holdings;
mod rows;
mod shown;
mod upgrade;

pub use authority::{enrolled_keys, ever_enrolled};
pub use chain::{ChainReport, verify_chain};
pub use evidence::{Evidence, evidence_of};
pub use upgrade::{is_older, upgrade};

use crate::{
    ApprovalEntry, ApprovalStatus, Batched, CommitJob, HaltEntry, Pending, Precondition, Preview,
    Restored, Row,
};
use ibkr_agent_audit::{Batch, Entry, Snapshot, StoreFailure, Table, TailQuery, TransactError};
use ibkr_agent_domain::{ClientOrderId, Form, OrderState, Record, RecordKind, Shape, Timestamp};
use serde::Serialize;
use upgrade::Stored;

const PREVIEWS: Table = Table::new("previews");
const APPROVALS: Table = Table::new("approvals");
const KEYS: Table = Table::new("idempotency_keys");
const ORDERS: Table = Table::new("orders");
const HALT: Table = Table::new("halt");
const ADMITTED: Table = Table::new("admitted_callers");
const OPERATOR_KEYS: Table = Table::new("operator_keys");
const FOREIGN: Table = Table::new("foreign_orders");
const HOLDINGS: Table = Table::new("holdings");

/// The version of the stored values.
const VERSION: u8 = 2;

/// The version before it.
const VERSION_1: u8 = 1;

/// More records than the emergency file can hold.
const FOLDED: usize = 500;

/// A precondition of a job didn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a precondition of the change no longer holds")]
pub struct PreconditionFailed;

/// Applies a job: checks what must hold, writes the rows, appends the record.
///
/// # Errors
/// [`TransactError::Refused`] before anything was written, [`TransactError::Store`] otherwise.
pub fn apply(
    batch: &mut Batch<'_>,
    job: CommitJob,
) -> Result<Pending<Batched>, TransactError<PreconditionFailed>> {
    for precondition in &job.preconditions {
        if !holds(batch, precondition)? {
            return Err(TransactError::Refused(PreconditionFailed));
        }
    }
    for row in &job.rows {
        write(batch, row)?;
    }
    Ok(job.payload.append(batch, job.now)?)
}

fn holds(batch: &Batch<'_>, precondition: &Precondition) -> Result<bool, StoreFailure> {
    Ok(match precondition {
        Precondition::ApprovalIs(id, status) => {
            let found: Option<rows::Approval> =
                decode_option(batch.get(APPROVALS, id.as_str().as_bytes())?.as_deref())?;
            found.and_then(|row| ApprovalStatus::parse(&row.status)) == Some(*status)
        }
        Precondition::KeyUnused(owner, key) => {
            batch.get(KEYS, &rows::key_of(owner, key))?.is_none()
        }
        Precondition::OrderUnknown(id) => stored_state(batch, id)?.is_none(),
        Precondition::OrderIs(id, state) => stored_state(batch, id)? == Some(*state),
    })
}

fn stored_state(batch: &Batch<'_>, id: &ClientOrderId) -> Result<Option<OrderState>, StoreFailure> {
    let found: Option<rows::Order> =
        decode_option(batch.get(ORDERS, id.as_str().as_bytes())?.as_deref())?;
    Ok(found.and_then(|row| OrderState::parse(&row.state)))
}

fn write(batch: &mut Batch<'_>, row: &Row) -> Result<(), StoreFailure> {
    match row {
        Row::Preview(preview) => {
            let value = encode(&rows::Preview::from(preview.as_ref()))?;
            batch.put(PREVIEWS, preview.id.as_str().as_bytes(), &value)
        }
        Row::ForgetPreview(id) => batch.delete(PREVIEWS, id.as_str().as_bytes()),
        Row::Approval(approval) => {
            let value = encode(&rows::Approval::from(approval.as_ref()))?;
            batch.put(APPROVALS, approval.id.as_str().as_bytes(), &value)
        }
        Row::Key(key) => {
            let value = encode(&rows::Key::from(key))?;
            batch.put(KEYS, &rows::key_of(&key.owner, &key.key), &value)
        }
        Row::ForgetApproval(id) => batch.delete(APPROVALS, id.as_str().as_bytes()),
        Row::ForgetOrder(id) => batch.delete(ORDERS, id.as_str().as_bytes()),
        Row::ForgetKey(owner, key) => batch.delete(KEYS, &rows::key_of(owner, key)),
        Row::Order(order) => {
            let value = encode(&rows::Order::from(order.as_ref()))?;
            batch.put(ORDERS, order.id.as_str().as_bytes(), &value)
        }
        Row::Halt(halt) => batch.put(HALT, b"now", &encode(&rows::Halt::from(halt))?),
        Row::Admitted(admitted) => {
            batch.put(ADMITTED, admitted.caller.as_bytes(), &callers::write(admitted)?)
        }
        Row::ForgetAdmitted(caller) => batch.delete(ADMITTED, caller.as_bytes()),
        Row::OperatorKey(key) => {
            // The one record of this job comes next.
            let value = encode(&rows::OperatorKey::enrolled(key, batch.next_index()))?;
            batch.put(OPERATOR_KEYS, key.id.as_str().as_bytes(), &value)
        }
        Row::Foreign(entry) => {
            let value = encode(&rows::Foreign::from(entry))?;
            batch.put(FOREIGN, &rows::foreign_key(&entry.account, &entry.order), &value)
        }
        Row::ForgetForeign(account, order) => {
            batch.delete(FOREIGN, &rows::foreign_key(account, order))
        }
        Row::Holdings(entry) => {
            let value = encode(&holdings::Holdings::from(entry.as_ref()))?;
            batch.put(HOLDINGS, entry.account.as_str().as_bytes(), &value)
        }
    }
}

/// Takes over what the emergency file recorded while the log couldn't be written: into the log, and
/// a halt into the row that the start reads. The file is newer than anything in the store.
///
/// # Errors
/// [`StoreFailure`] when the store fails.
pub fn take_over(batch: &mut Batch<'_>, waiting: Vec<Entry>) -> Result<(), StoreFailure> {
    for entry in waiting {
        if entry.kind == RecordKind::Halted.as_str() {
            let since = Timestamp::parse(&entry.time).map_err(|_| StoreFailure::Damaged)?;
            let halt = HaltEntry {
                halted: true,
                since,
                by: entry.actor.clone(),
                reason: "halted while the log could not be written".to_owned(),
                audit_event_id: None,
                later: Vec::new(),
            };
            write_halt(batch, halt)?;
        }
        batch.fold(entry)?;
    }
    Ok(())
}

/// Halts at the start, because the files of the state folder don't fit each other: row and record.
///
/// # Errors
/// [`StoreFailure`] when the store fails.
pub fn halt_at_start(
    batch: &mut Batch<'_>,
    cause: &str,
    record: Record,
    now: Timestamp,
) -> Result<(), StoreFailure> {
    let halt = HaltEntry {
        halted: true,
        since: now,
        by: record.actor.label(),
        reason: cause.to_owned(),
        audit_event_id: None,
        later: Vec::new(),
    };
    let before = halt_row(batch)?.filter(|before| before.halted);
    let halt = match before {
        Some(before) if before.reason == halt.reason => before,
        Some(before) => halt.followed_by(before),
        None => halt,
    };
    write(batch, &Row::Halt(halt))?;
    batch.append(record, now).map(drop)
}

/// A halt that comes after what the row says.
fn write_halt(batch: &mut Batch<'_>, halt: HaltEntry) -> Result<(), StoreFailure> {
    let halt = match halt_row(batch)? {
        Some(before) => before.followed_by(halt),
        None => halt,
    };
    write(batch, &Row::Halt(halt))
}

fn halt_row(batch: &Batch<'_>) -> Result<Option<HaltEntry>, StoreFailure> {
    let found: Option<rows::Halt> = decode_option(batch.get(HALT, b"now")?.as_deref())?;
    Ok(found.map(HaltEntry::from))
}

/// Reads back everything that the engine needs.
///
/// # Errors
/// [`StoreFailure::Damaged`] when a row can't be read: better not to start than to forget an order.
pub fn restore(snapshot: &Snapshot) -> Result<Restored, StoreFailure> {
    let mut restored = Restored::default();
    for row in all::<rows::Preview>(snapshot, PREVIEWS)? {
        let preview = Preview::try_from(row)?;
        // Nobody can approve the bytes of an older version.
        if preview.plan.form() == Form::V2 {
            restored.previews.push(preview);
        }
    }
    // An approval's order was placed as it was approved: what has been read isn't read again.
    let mut known = rows::KnownOrders::new();
    for row in all::<rows::Approval>(snapshot, APPROVALS)? {
        let text = row.canonical().to_owned();
        let entry = ApprovalEntry::try_from(row)?;
        if let Shape::Single(order) = entry.plan.shape() {
            known.insert(text, order.clone());
        }
        restored.approvals.push(entry);
    }
    for row in all::<rows::Key>(snapshot, KEYS)? {
        restored.keys.push(row.try_into()?);
    }
    for row in all::<rows::Order>(snapshot, ORDERS)? {
        restored.orders.push(row.read(&known)?);
    }
    for row in all::<rows::Halt>(snapshot, HALT)? {
        restored.halt = Some(row.into());
    }
    let keys = authority::operator_keys(snapshot)?;
    let (known, unknown): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, known)| *known);
    restored.operator_keys = known.into_iter().map(|(key, _)| key).collect();
    restored.unknown_keys = unknown.into_iter().map(|(key, _)| key.id).collect();
    for row in all::<rows::Foreign>(snapshot, FOREIGN)? {
        restored.foreign.push(row.try_into()?);
    }
    for row in all::<holdings::Holdings>(snapshot, HOLDINGS)? {
        restored.holdings.push(row.try_into()?);
    }
    // Records of the emergency file are folded in later than they were made, with the clock of that
    // moment: the newest time isn't always the last record's.
    let newest = TailQuery { limit: FOLDED, ..TailQuery::default() };
    for entry in snapshot.tail(&newest)?.entries {
        let time = Timestamp::parse(&entry.time).map_err(|_| StoreFailure::Damaged)?;
        restored.newest_record = restored.newest_record.max(Some(time));
    }
    for (caller, value) in snapshot.all(ADMITTED)? {
        restored.admitted.push(callers::read(caller, &value)?);
    }
    Ok(restored)
}

fn all<T: Stored>(snapshot: &Snapshot, table: Table) -> Result<Vec<T>, StoreFailure> {
    let mut rows = Vec::new();
    snapshot.each(table, |_, value| {
        rows.push(decode(value)?);
        Ok(())
    })?;
    Ok(rows)
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreFailure> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, row).map_err(|_| StoreFailure::Damaged)?;
    Ok(bytes)
}

fn decode<T: Stored>(bytes: &[u8]) -> Result<T, StoreFailure> {
    match bytes.split_first() {
        Some((&VERSION_1, json)) => upgrade::read(json),
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|_| StoreFailure::Damaged),
        Some(_) | None => Err(StoreFailure::Damaged),
    }
}

fn decode_option<T: Stored>(bytes: Option<&[u8]>) -> Result<Option<T>, StoreFailure> {
    bytes.map(decode).transpose()
}
