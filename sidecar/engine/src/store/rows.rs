//! The stored form of the engine's entries: texts and integers, so that the format doesn't follow
//! changes of the types by accident. Fields are only added, with a default.

use super::authority::{StoredAsked, StoredRefusal, StoredSigned};
use super::shown::{Shown, StoredFill};
use crate::{
    ApprovalEntry, ApprovalStatus, Finding, ForeignEntry, HaltEntry, KeyEntry, OperatorKeyEntry,
    OrderEntry, Owner, Preview as PreviewEntry, Speaker,
};
use core::num::NonZeroU8;
use ibkr_agent_audit::StoreFailure;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerOrderId, CallId, CanonicalOrder, ClientOrderId, Digest,
    IdempotencyKey, Leg, OperatorKeyId, OrderPlan, OrderState, PreviewId, Reason, Timestamp,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

pub(super) fn damaged<E>(_: E) -> StoreFailure {
    StoreFailure::Damaged
}

pub(super) fn decimal(text: &str) -> Result<Decimal, StoreFailure> {
    text.parse().map_err(damaged)
}

pub(super) fn decimal_option(text: Option<&String>) -> Result<Option<Decimal>, StoreFailure> {
    text.map(|text| decimal(text)).transpose()
}

/// An owner that can't be read is nobody's: better not to start than to give an order away.
pub(super) fn owner(text: &str) -> Result<Owner, StoreFailure> {
    Owner::parse(text).ok_or(StoreFailure::Damaged)
}

/// The key of an idempotency row: owner, a zero byte, the caller's key.
pub(super) fn key_of(owner: &Owner, key: &IdempotencyKey) -> Vec<u8> {
    [owner.to_string().as_bytes(), &[0], key.as_str().as_bytes()].concat()
}

/// An order by its canonical bytes: what is stored is what was approved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOrder {
    canonical: String,
    digest: String,
}

impl From<&CanonicalOrder> for StoredOrder {
    fn from(order: &CanonicalOrder) -> Self {
        Self {
            canonical: String::from_utf8_lossy(&order.canonical_bytes()).into_owned(),
            digest: order.digest().to_string(),
        }
    }
}

impl StoredOrder {
    fn read(&self, known: &KnownOrders) -> Result<CanonicalOrder, StoreFailure> {
        // What is read writes exactly these bytes again, so their digest is the order's.
        if Digest::of(self.canonical.as_bytes()).to_string() != self.digest {
            return Err(StoreFailure::Damaged);
        }
        match known.get(&self.canonical) {
            Some(order) => Ok(order.clone()),
            None => CanonicalOrder::parse(&self.canonical).map_err(damaged),
        }
    }
}

/// Orders that were read, by their canonical bytes.
pub(super) type KnownOrders = HashMap<String, CanonicalOrder>;

/// The orders of an approval by their canonical bytes; a single order's are its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPlan {
    canonical: String,
    digest: String,
}

impl From<&OrderPlan> for StoredPlan {
    fn from(plan: &OrderPlan) -> Self {
        Self {
            canonical: String::from_utf8_lossy(&plan.canonical_bytes()).into_owned(),
            digest: plan.digest().to_string(),
        }
    }
}

impl TryFrom<StoredPlan> for OrderPlan {
    type Error = StoreFailure;

    fn try_from(row: StoredPlan) -> Result<Self, StoreFailure> {
        let plan = Self::parse(&row.canonical).map_err(damaged)?;
        // What was read writes exactly these bytes again.
        if Digest::of(row.canonical.as_bytes()).to_string() != row.digest {
            return Err(StoreFailure::Damaged);
        }
        Ok(plan)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Preview {
    id: String,
    owner: String,
    order: StoredPlan,
    reference_price: Option<String>,
    #[serde(default)]
    reference_time: Option<i64>,
    position: String,
    would_pass: bool,
    warnings: Vec<String>,
    created_at: i64,
    expires_at: i64,
}

impl From<&PreviewEntry> for Preview {
    fn from(entry: &PreviewEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            owner: entry.owner.to_string(),
            order: StoredPlan::from(&entry.plan),
            reference_price: entry.reference_price.map(|price| price.to_string()),
            reference_time: entry.reference_time.map(Timestamp::as_millis),
            position: entry.position.to_string(),
            would_pass: entry.would_pass,
            warnings: entry.warnings.clone(),
            created_at: entry.created_at.as_millis(),
            expires_at: entry.expires_at.as_millis(),
        }
    }
}

impl TryFrom<Preview> for PreviewEntry {
    type Error = StoreFailure;

    fn try_from(row: Preview) -> Result<Self, StoreFailure> {
        Ok(Self {
            id: PreviewId::parse(&row.id).map_err(damaged)?,
            owner: owner(&row.owner)?,
            plan: row.order.try_into()?,
            reference_price: decimal_option(row.reference_price.as_ref())?,
            reference_time: row.reference_time.map(Timestamp::from_millis),
            position: decimal(&row.position)?,
            would_pass: row.would_pass,
            warnings: row.warnings,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Approval {
    id: String,
    owner: String,
    asked_by: String,
    preview: String,
    order: StoredPlan,
    reference_price: Option<String>,
    position: String,
    warnings: Vec<String>,
    pub(super) status: String,
    #[serde(default)]
    asked: Option<StoredAsked>,
    approved_by: Option<String>,
    #[serde(default)]
    signed: Option<StoredSigned>,
    #[serde(default, skip_serializing_if = "is_none_yet")]
    refusals: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<StoredRefusal>,
    created_at: i64,
    expires_at: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_none_yet(count: &u8) -> bool {
    *count == 0
}

impl Approval {
    pub(super) fn canonical(&self) -> &str {
        &self.order.canonical
    }
}

impl From<&ApprovalEntry> for Approval {
    fn from(entry: &ApprovalEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            owner: entry.owner.to_string(),
            asked_by: entry.asked_by.clone(),
            preview: entry.preview.to_string(),
            order: StoredPlan::from(&entry.plan),
            reference_price: entry.reference_price.map(|price| price.to_string()),
            position: entry.position.to_string(),
            warnings: entry.warnings.clone(),
            status: entry.status.as_str().to_owned(),
            asked: entry.asked.as_ref().map(StoredAsked::from),
            approved_by: entry.approved_by.as_ref().map(OperatorKeyId::to_string),
            signed: entry.signed.as_ref().map(StoredSigned::from),
            refusals: entry.refusals,
            refused: entry.refused.as_ref().map(StoredRefusal::from),
            created_at: entry.created_at.as_millis(),
            expires_at: entry.expires_at.as_millis(),
        }
    }
}

impl TryFrom<Approval> for ApprovalEntry {
    type Error = StoreFailure;

    fn try_from(row: Approval) -> Result<Self, StoreFailure> {
        let approved_by = row.approved_by.map(|id| OperatorKeyId::parse(&id)).transpose();
        Ok(Self {
            id: ApprovalId::parse(&row.id).map_err(damaged)?,
            owner: owner(&row.owner)?,
            asked_by: row.asked_by,
            preview: PreviewId::parse(&row.preview).map_err(damaged)?,
            plan: row.order.try_into()?,
            reference_price: decimal_option(row.reference_price.as_ref())?,
            position: decimal(&row.position)?,
            warnings: row.warnings,
            status: ApprovalStatus::parse(&row.status).ok_or(StoreFailure::Damaged)?,
            asked: row.asked.map(TryInto::try_into).transpose()?,
            approved_by: approved_by.map_err(damaged)?,
            signed: row.signed.map(TryInto::try_into).transpose()?,
            refusals: row.refusals,
            refused: row.refused.map(TryInto::try_into).transpose()?,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Key {
    owner: String,
    key: String,
    request: String,
    order: String,
    created_at: i64,
}

impl From<&KeyEntry> for Key {
    fn from(entry: &KeyEntry) -> Self {
        Self {
            owner: entry.owner.to_string(),
            key: entry.key.to_string(),
            request: entry.request.to_string(),
            order: entry.order.to_string(),
            created_at: entry.created_at.as_millis(),
        }
    }
}

impl TryFrom<Key> for KeyEntry {
    type Error = StoreFailure;

    fn try_from(row: Key) -> Result<Self, StoreFailure> {
        Ok(Self {
            owner: owner(&row.owner)?,
            key: IdempotencyKey::parse(&row.key).map_err(damaged)?,
            request: Digest::parse(&row.request).map_err(damaged)?,
            order: ClientOrderId::parse(&row.order).map_err(damaged)?,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredQuestion {
    reply_id: String,
    message_ids: Vec<String>,
    messages: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    id: String,
    owner: String,
    call: String,
    approval: String,
    key: String,
    order: StoredOrder,
    /// Its number in its plan and how many that has; a row from before plans is of the only one.
    #[serde(default)]
    leg: Option<(u8, u8)>,
    pub(super) state: String,
    broker_order_id: Option<String>,
    filled: Option<String>,
    average_price: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    message: String,
    #[serde(default)]
    said_by_broker: bool,
    question: Option<StoredQuestion>,
    counted_notional: String,
    trading_day: i64,
    created_at: i64,
    updated_at: i64,
    #[serde(default)]
    shown: Vec<Shown>,
    #[serde(default)]
    fills: Vec<StoredFill>,
    #[serde(default)]
    told: Vec<String>,
    #[serde(default)]
    seen_at: Option<i64>,
    #[serde(default)]
    policy_rate: Option<String>,
    #[serde(default)]
    counts_until: Option<i64>,
}

impl From<&OrderEntry> for Order {
    fn from(entry: &OrderEntry) -> Self {
        let question = entry.question.as_ref().map(|question| StoredQuestion {
            reply_id: question.reply_id.clone(),
            message_ids: question.message_ids.clone(),
            messages: question.messages.clone(),
        });
        Self {
            id: entry.id.to_string(),
            owner: entry.owner.to_string(),
            call: entry.call.to_string(),
            approval: entry.approval.to_string(),
            key: entry.key.to_string(),
            order: StoredOrder::from(&entry.order),
            leg: Some((entry.leg.number(), entry.leg.of().get())),
            state: entry.state.as_str().to_owned(),
            broker_order_id: entry.broker_order_id.as_ref().map(BrokerOrderId::to_string),
            filled: entry.filled.map(|value| value.to_string()),
            average_price: entry.average_price.map(|value| value.to_string()),
            reason: entry.reason.map(Reason::text),
            message: entry.message.clone(),
            said_by_broker: entry.said_by == Speaker::Broker,
            question,
            counted_notional: entry.counted_notional.to_string(),
            trading_day: entry.trading_day,
            created_at: entry.created_at.as_millis(),
            updated_at: entry.updated_at.as_millis(),
            shown: entry.incarnations.iter().map(Shown::from).collect(),
            fills: entry.fills.iter().map(StoredFill::of).collect(),
            told: entry.told.iter().map(|finding| finding.as_str().to_owned()).collect(),
            seen_at: entry.seen_at.map(Timestamp::as_millis),
            policy_rate: entry.policy_rate.map(|rate| rate.to_string()),
            counts_until: entry.counts_until.map(Timestamp::as_millis),
        }
    }
}

/// The reason of a state, and the words beside it. Older versions kept the reason's word, or words
/// of their own, as the message; those of a newer one are told as they are.
fn told(
    state: OrderState,
    word: Option<String>,
    message: String,
    by_broker: bool,
) -> (Option<Reason>, String) {
    let text = word.as_deref().or((!by_broker).then_some(message.as_str()));
    let Some(reason) = Reason::kept(state, text) else { return (None, message) };
    let message = match word {
        Some(word) if word != reason.text() && message.is_empty() => word,
        None if reason.text() == message => String::new(),
        Some(_) | None => message,
    };
    (Some(reason), message)
}

impl TryFrom<Order> for OrderEntry {
    type Error = StoreFailure;

    fn try_from(row: Order) -> Result<Self, StoreFailure> {
        row.read(&KnownOrders::new())
    }
}

impl Order {
    /// Reads it; the order's bytes only where they aren't known already.
    pub(super) fn read(self, known: &KnownOrders) -> Result<OrderEntry, StoreFailure> {
        let row = self;
        let broker_order_id = row.broker_order_id.map(|id| BrokerOrderId::parse(&id)).transpose();
        let order = row.order.read(known)?;
        let state = OrderState::parse(&row.state).ok_or(StoreFailure::Damaged)?;
        let (reason, message) = told(state, row.reason, row.message, row.said_by_broker);
        let read = |one: Shown| one.read(order.account(), order.conid());
        let incarnations = row.shown.into_iter().map(read).collect::<Result<_, _>>()?;
        let told = row.told.iter().map(|text| Finding::parse(text).ok_or(StoreFailure::Damaged));
        Ok(OrderEntry {
            incarnations,
            fills: row.fills.into_iter().map(StoredFill::read).collect::<Result<_, _>>()?,
            told: told.collect::<Result<_, _>>()?,
            seen_at: row.seen_at.map(Timestamp::from_millis),
            policy_rate: decimal_option(row.policy_rate.as_ref())?,
            counts_until: row.counts_until.map(Timestamp::from_millis),
            id: ClientOrderId::parse(&row.id).map_err(damaged)?,
            owner: owner(&row.owner)?,
            call: CallId::parse(&row.call).map_err(damaged)?,
            approval: ApprovalId::parse(&row.approval).map_err(damaged)?,
            key: IdempotencyKey::parse(&row.key).map_err(damaged)?,
            order,
            leg: row.leg.map_or(Some(Leg::SOLE), leg).ok_or(StoreFailure::Damaged)?,
            reason,
            state,
            broker_order_id: broker_order_id.map_err(damaged)?,
            filled: decimal_option(row.filled.as_ref())?,
            average_price: decimal_option(row.average_price.as_ref())?,
            message,
            said_by: if row.said_by_broker { Speaker::Broker } else { Speaker::Gateway },
            question: row.question.map(|question| ibkr_agent_gates::Question {
                reply_id: question.reply_id,
                message_ids: question.message_ids,
                messages: question.messages,
            }),
            counted_notional: decimal(&row.counted_notional)?,
            trading_day: row.trading_day,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
        })
    }
}

fn leg((number, of): (u8, u8)) -> Option<Leg> {
    Leg::new(number, NonZeroU8::new(of)?)
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Halt {
    halted: bool,
    since: i64,
    by: String,
    reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<LaterHalt>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LaterHalt {
    since: i64,
    by: String,
    reason: String,
}

impl From<&crate::LaterHalt> for LaterHalt {
    fn from(later: &crate::LaterHalt) -> Self {
        Self { since: later.since.as_millis(), by: later.by.clone(), reason: later.reason.clone() }
    }
}

impl From<LaterHalt> for crate::LaterHalt {
    fn from(later: LaterHalt) -> Self {
        let since = Timestamp::from_millis(later.since);
        Self { since, by: later.by, reason: later.reason }
    }
}

impl From<&HaltEntry> for Halt {
    fn from(entry: &HaltEntry) -> Self {
        Self {
            halted: entry.halted,
            since: entry.since.as_millis(),
            by: entry.by.clone(),
            reason: entry.reason.clone(),
            later: entry.later.iter().map(LaterHalt::from).collect(),
        }
    }
}

impl From<Halt> for HaltEntry {
    fn from(row: Halt) -> Self {
        Self {
            halted: row.halted,
            since: Timestamp::from_millis(row.since),
            by: row.by,
            reason: row.reason,
            audit_event_id: None,
            later: row.later.into_iter().map(crate::LaterHalt::from).collect(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OperatorKey {
    id: String,
    public_key: String,
    label: String,
    enrolled_at: i64,
    /// Where the log enrols it; a version that didn't keep it left none.
    #[serde(default)]
    pub(super) leaf: Option<u64>,
}

impl OperatorKey {
    /// A key with the position of the record that enrols it.
    pub(super) fn enrolled(entry: &OperatorKeyEntry, leaf: u64) -> Self {
        Self {
            id: entry.id.to_string(),
            public_key: entry.public_key.clone(),
            label: entry.label.clone(),
            enrolled_at: entry.enrolled_at.as_millis(),
            leaf: Some(leaf),
        }
    }
}

impl TryFrom<OperatorKey> for OperatorKeyEntry {
    type Error = StoreFailure;

    fn try_from(row: OperatorKey) -> Result<Self, StoreFailure> {
        Ok(Self {
            id: OperatorKeyId::parse(&row.id).map_err(damaged)?,
            public_key: row.public_key,
            label: row.label,
            enrolled_at: Timestamp::from_millis(row.enrolled_at),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Foreign {
    account: String,
    order: String,
    seen_at: i64,
}

/// The key of a foreign order: no account id holds a line feed.
pub(super) fn foreign_key(account: &AccountId, order: &str) -> Vec<u8> {
    format!("{account}\n{order}").into_bytes()
}

impl From<&ForeignEntry> for Foreign {
    fn from(entry: &ForeignEntry) -> Self {
        Self {
            account: entry.account.to_string(),
            order: entry.order.clone(),
            seen_at: entry.seen_at.as_millis(),
        }
    }
}

impl TryFrom<Foreign> for ForeignEntry {
    type Error = StoreFailure;

    fn try_from(row: Foreign) -> Result<Self, StoreFailure> {
        Ok(Self {
            account: AccountId::parse(&row.account).map_err(damaged)?,
            order: row.order,
            seen_at: Timestamp::from_millis(row.seen_at),
        })
    }
}
