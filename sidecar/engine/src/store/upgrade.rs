//! Stores of version 1: their rows read as this version's, and written so once, in one transaction.
//!
//! Version 1 kept an order by its fields; version 2 keeps its canonical bytes. An order that was
//! placed lives on in the form of version 1, with the digest that its approval covered. An approval
//! that was pending or approved is void: nobody saw the bytes of version 2. Previews are dropped:
//! they live minutes. Reading never waits for the writing, so that a store on a full disk still
//! starts, and cancels.

use super::{
    ADMITTED, APPROVALS, FOREIGN, HALT, KEYS, OPERATOR_KEYS, ORDERS, PREVIEWS, VERSION, decode,
    encode, rows,
};
use crate::{ApprovalEntry, ApprovalStatus, system_record};
use ibkr_agent_audit::{Batch, FORMAT, Snapshot, StoreFailure, Table};
use ibkr_agent_domain::{CanonicalOrder, RecordKind, Reference, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A row, and how what version 1 stored becomes it.
pub(super) trait Stored: Serialize + DeserializeOwned {
    /// Changes a row of version 1 into one of this version.
    ///
    /// # Errors
    /// [`StoreFailure::Damaged`] when it isn't one.
    fn upgrade(_row: &mut Map<String, Value>) -> Result<(), StoreFailure> {
        Ok(())
    }
}

impl Stored for rows::Preview {
    fn upgrade(row: &mut Map<String, Value>) -> Result<(), StoreFailure> {
        upgrade_order(row)
    }
}

impl Stored for rows::Approval {
    fn upgrade(row: &mut Map<String, Value>) -> Result<(), StoreFailure> {
        upgrade_order(row)?;
        let status = row.get_mut("status").ok_or(StoreFailure::Damaged)?;
        let known = status.as_str().and_then(ApprovalStatus::parse).ok_or(StoreFailure::Damaged)?;
        match known {
            ApprovalStatus::Pending | ApprovalStatus::Approved => {
                *status = ApprovalStatus::Void.as_str().into();
            }
            ApprovalStatus::Denied | ApprovalStatus::Consumed | ApprovalStatus::Void => {}
        }
        Ok(())
    }
}

impl Stored for rows::Order {
    fn upgrade(row: &mut Map<String, Value>) -> Result<(), StoreFailure> {
        upgrade_order(row)
    }
}

impl Stored for rows::Key {}
impl Stored for rows::Halt {}
impl Stored for rows::OperatorKey {}
impl Stored for rows::Foreign {}

/// Reads a row that version 1 stored.
pub(super) fn read<T: Stored>(json: &[u8]) -> Result<T, StoreFailure> {
    let mut row: Map<String, Value> =
        serde_json::from_slice(json).map_err(|_| StoreFailure::Damaged)?;
    T::upgrade(&mut row)?;
    serde_json::from_value(Value::Object(row)).map_err(|_| StoreFailure::Damaged)
}

/// An order as version 1 stored it.
#[derive(Deserialize)]
struct OrderOfVersion1 {
    broker: String,
    mode: String,
    account: String,
    conid: u64,
    symbol: String,
    class: String,
    exchange: String,
    currency: String,
    multiplier: String,
    side: String,
    quantity: String,
    limit_price: String,
    time_in_force: String,
    outside_rth: bool,
    digest: String,
}

impl OrderOfVersion1 {
    /// The canonical bytes that its digest is of.
    fn canonical(&self) -> String {
        format!(
            "ibkr-agent-order/v1\nbroker={}\nmode={}\naccount={}\nconid={}\nsymbol={}\n\
             asset_class={}\nexchange={}\ncurrency={}\nmultiplier={}\nside={}\nquantity={}\n\
             order_type=limit\nlimit_price={}\ntime_in_force={}\noutside_rth={}\n",
            self.broker,
            self.mode,
            self.account,
            self.conid,
            self.symbol,
            self.class,
            self.exchange,
            self.currency,
            self.multiplier,
            self.side,
            self.quantity,
            self.limit_price,
            self.time_in_force,
            self.outside_rth,
        )
    }
}

/// Changes the order of a row of version 1.
fn upgrade_order(row: &mut Map<String, Value>) -> Result<(), StoreFailure> {
    let order = row.get_mut("order").ok_or(StoreFailure::Damaged)?;
    let old: OrderOfVersion1 =
        serde_json::from_value(order.take()).map_err(|_| StoreFailure::Damaged)?;
    let canonical = old.canonical();
    let parsed = CanonicalOrder::parse(&canonical).map_err(|_| StoreFailure::Damaged)?;
    if parsed.digest().to_string() != old.digest {
        return Err(StoreFailure::Damaged);
    }
    *order = json!({"canonical": canonical, "digest": old.digest});
    Ok(())
}

/// Whether a store is older than this version.
///
/// # Errors
/// [`StoreFailure`] when the store fails.
pub fn is_older(snapshot: &Snapshot) -> Result<bool, StoreFailure> {
    Ok(snapshot.format()? < FORMAT)
}

/// Writes every row of an older store as this version's, and says so in the log. All of it is one
/// transaction: after a kill the store is the old one or the new one. A store of this version is
/// left alone.
///
/// # Errors
/// [`StoreFailure::Damaged`] for a row that can't be read; [`StoreFailure`] when the store fails.
pub fn upgrade(batch: &mut Batch<'_>, now: Timestamp) -> Result<(), StoreFailure> {
    if batch.format()? >= FORMAT {
        return Ok(());
    }
    for (key, _) in batch.all(PREVIEWS)? {
        batch.delete(PREVIEWS, &key)?;
    }
    let ended = voided(batch, now)?;
    rewrite::<rows::Approval>(batch, APPROVALS)?;
    rewrite::<rows::Order>(batch, ORDERS)?;
    rewrite::<rows::Key>(batch, KEYS)?;
    rewrite::<rows::Halt>(batch, HALT)?;
    rewrite::<rows::OperatorKey>(batch, OPERATOR_KEYS)?;
    rewrite::<rows::Foreign>(batch, FOREIGN)?;
    for (key, _) in batch.all(ADMITTED)? {
        batch.put(ADMITTED, &key, &[VERSION])?;
    }
    batch.set_format(FORMAT)?;
    let mut record = system_record(RecordKind::Notice);
    record.details.push("store_upgraded_to_version_2");
    drop(batch.append(record, now)?);
    for entry in ended {
        let mut record = system_record(RecordKind::Notice);
        record.details.push("approval_of_version_1_is_void");
        record.account = Some(entry.plan.account().clone());
        record.references.push(Reference::Approval(entry.id));
        record.references.push(Reference::Order(entry.plan.digest()));
        drop(batch.append(record, now)?);
    }
    Ok(())
}

/// The approvals that an upgrade ends before their time.
fn voided(batch: &Batch<'_>, now: Timestamp) -> Result<Vec<ApprovalEntry>, StoreFailure> {
    let mut found = Vec::new();
    for (_, value) in batch.all(APPROVALS)? {
        let row: rows::Approval = decode(&value)?;
        let entry = ApprovalEntry::try_from(row)?;
        if entry.status == ApprovalStatus::Void && entry.expires_at > now {
            found.push(entry);
        }
    }
    Ok(found)
}

fn rewrite<T: Stored>(batch: &mut Batch<'_>, table: Table) -> Result<(), StoreFailure> {
    for (key, value) in batch.all(table)? {
        let row: T = decode(&value)?;
        batch.put(table, &key, &encode(&row)?)?;
    }
    Ok(())
}
