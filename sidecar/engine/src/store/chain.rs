//! Whether everything that the log and the store say of approvals goes back to a signature:
//! approved ← signature by an enrolled key, intent ← approved, outcome ← intent, row ← record.
//!
//! It reads the whole log once. Approvals from before signatures were kept are counted, not
//! called broken; once one was signed, all later ones must be. Not here: whether the log itself is
//! what was written, which [`Snapshot::verify`] answers first.

use super::{APPROVALS, HALT, OPERATOR_KEYS, ORDERS, all, authority, rows};
use crate::sends::{REFUSED_AFTER_YES, VOID_AFTER_REFUSALS};
use crate::{ApprovalEntry, ApprovalStatus, OperatorKeyEntry, OrderEntry, VerifySignature};
use ibkr_agent_audit::{Entry, Snapshot, StoreFailure};
use ibkr_agent_domain::{
    ApprovalTerms, Digest, OperatorSignature, OrderState, RecordKind, operator_key_id,
};
use std::collections::BTreeMap;

/// Records that are read at once.
const CHUNK: usize = 500;

/// Most breaks that are named; the rest is counted.
const MAX_NAMED: usize = 50;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainReport {
    /// Approvals in the log whose signature holds.
    pub signed: u64,
    /// Approvals in the log from before signatures were kept.
    pub before_signatures: u64,
    /// What doesn't go back to a signature, one sentence each, at most fifty.
    pub breaks: Vec<String>,
    /// All of them.
    pub broken: u64,
}

impl ChainReport {
    fn broken(&mut self, sentence: String) {
        self.broken = self.broken.saturating_add(1);
        if self.breaks.len() < MAX_NAMED {
            self.breaks.push(sentence);
        }
    }
}

/// Where the log leaves an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Approved,
    Denied,
    Spent,
    /// Sending it was refused too often.
    Void,
}

#[derive(Debug)]
struct Known {
    stand: Stand,
    order: Option<String>,
    /// The digest of the signed bytes; none from before signatures were kept.
    signed: Option<Digest>,
    /// How often sending it was refused after the yes.
    refusals: u8,
}

/// The public keys that the log enrolled; none for one that it knows by its id alone.
type Keys = BTreeMap<String, Option<[u8; 32]>>;

struct Walk {
    verify: VerifySignature,
    keys: Keys,
    approvals: BTreeMap<String, Known>,
    /// By our reference, the approval that each spends.
    orders: BTreeMap<String, String>,
    halted: bool,
    report: ChainReport,
}

/// Checks the chain. `verify` checks a signature.
///
/// # Errors
/// [`StoreFailure`] when something can't be read at all.
pub fn verify_chain(
    snapshot: &Snapshot,
    verify: VerifySignature,
) -> Result<ChainReport, StoreFailure> {
    let mut walk = Walk {
        verify,
        keys: Keys::new(),
        approvals: BTreeMap::new(),
        orders: BTreeMap::new(),
        halted: false,
        report: ChainReport::default(),
    };
    let keys = operator_keys(snapshot)?;
    let mut next = 0;
    loop {
        let leaves = snapshot.leaves(next, CHUNK)?;
        let Some((last, _)) = leaves.last() else { break };
        next = last.saturating_add(1);
        for (_, leaf) in &leaves {
            let entry = serde_json::from_slice(leaf).map_err(|_| StoreFailure::Damaged)?;
            walk.record(&entry, &keys);
        }
    }
    for (key, leaf) in &keys {
        if !authority::is_enrolled(snapshot, key, *leaf)? {
            let sentence = format!("operator key {}: no record of the log enrolled it", key.id);
            walk.report.broken(sentence);
        }
    }
    for row in all::<rows::Approval>(snapshot, APPROVALS)? {
        walk.approval_row(&row.try_into()?);
    }
    for row in all::<rows::Order>(snapshot, ORDERS)? {
        walk.order_row(&row.try_into()?);
    }
    for row in all::<rows::Halt>(snapshot, HALT)? {
        let row: crate::HaltEntry = row.into();
        if row.halted != walk.halted {
            let says = |halted| if halted { "halted" } else { "not halted" };
            walk.report.broken(format!(
                "trading: its row says {}, the log says {}",
                says(row.halted),
                says(walk.halted)
            ));
        }
    }
    Ok(walk.report)
}

fn operator_keys(
    snapshot: &Snapshot,
) -> Result<Vec<(OperatorKeyEntry, Option<u64>)>, StoreFailure> {
    let mut keys = Vec::new();
    for row in all::<rows::OperatorKey>(snapshot, OPERATOR_KEYS)? {
        let leaf = row.leaf;
        keys.push((row.try_into()?, leaf));
    }
    Ok(keys)
}

pub(super) fn reference<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    entry.references.get(key).map(String::as_str)
}

/// The orders that a record names: those of a plan, under numbered keys from the second on.
fn orders_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let is_order = |key: &str| {
        let rest = key.strip_prefix("client_order_id");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    entry.references.iter().filter(move |(key, _)| is_order(key)).map(|(_, text)| text.as_str())
}

impl Walk {
    fn record(&mut self, entry: &Entry, rows: &[(OperatorKeyEntry, Option<u64>)]) {
        let kind = RecordKind::ALL.iter().find(|kind| kind.as_str() == entry.kind);
        match kind {
            Some(RecordKind::KeyEnrolled) => self.enrolled(entry, rows),
            Some(RecordKind::Approved) => self.approved(entry),
            Some(RecordKind::Denied) => self.stands(entry, Stand::Denied),
            Some(RecordKind::ApprovalReturned) => self.stands(entry, Stand::Approved),
            Some(RecordKind::Intent) => self.intent(entry),
            Some(RecordKind::Outcome) => self.outcome(entry),
            Some(RecordKind::Refused) => self.refused(entry),
            Some(RecordKind::Halted) => self.halted = true,
            Some(RecordKind::Resumed | RecordKind::StateAccepted) => self.halted = false,
            Some(
                RecordKind::Genesis
                | RecordKind::Started
                | RecordKind::Read
                | RecordKind::Previewed
                | RecordKind::ApprovalAsked
                | RecordKind::Admitted
                | RecordKind::CallerRevoked
                | RecordKind::PolicySet
                | RecordKind::Notice
                | RecordKind::Forgotten,
            )
            | None => {}
        }
    }

    fn enrolled(&mut self, entry: &Entry, rows: &[(OperatorKeyEntry, Option<u64>)]) {
        let Some(id) = reference(entry, "operator_key") else { return };
        // A record from before public keys were kept names the key by the start of its digest.
        let row = || rows.iter().find(|(key, _)| authority::enrols(entry, key));
        let text = reference(entry, "public_key");
        let text = text.or_else(|| row().map(|(key, _)| key.public_key.as_str()));
        let bytes = text.and_then(|text| Digest::parse(text).ok()).map(|key| *key.as_bytes());
        let own = bytes.filter(|bytes| operator_key_id(bytes).as_str() == id);
        if own.is_none() && text.is_some() {
            let sentence = format!("record {}: the public key isn't the key {id}", entry.index);
            self.report.broken(sentence);
        }
        self.keys.insert(id.to_owned(), own);
    }

    fn approved(&mut self, entry: &Entry) {
        let Some(id) = reference(entry, "approval_id") else {
            self.report.broken(format!("record {}: it approves nothing", entry.index));
            return;
        };
        let signed = match self.signature(entry) {
            Ok(digest) => digest,
            Err(why) => {
                self.report.broken(format!("approval {id}: {why} (record {})", entry.index));
                None
            }
        };
        let order = reference(entry, "order_digest").map(str::to_owned);
        // What was signed and not sent may be signed again, and keeps what was refused.
        let before = self.approvals.get(id);
        let refusals = before.map_or(0, |known| known.refusals);
        if before.is_some_and(|known| known.stand != Stand::Approved) {
            let index = entry.index;
            self.report
                .broken(format!("approval {id}: approved when it was over (record {index})"));
        }
        let known = Known { stand: Stand::Approved, order, signed, refusals };
        self.approvals.insert(id.to_owned(), known);
    }

    /// The digest that an approval's record proves to be signed; none if it is older.
    fn signature(&mut self, entry: &Entry) -> Result<Option<Digest>, &'static str> {
        let part = |key| reference(entry, key);
        let (Some(signature), Some(digest), Some(key)) =
            (part("signature"), part("approval_digest"), part("operator_key"))
        else {
            if self.report.signed > 0 {
                return Err("its record holds no signature");
            }
            self.report.before_signatures = self.report.before_signatures.saturating_add(1);
            return Ok(None);
        };
        let public_key = match self.keys.get(key) {
            Some(Some(public_key)) => public_key,
            Some(None) => return Err("the public key of its signature is gone"),
            None => return Err("it is signed by a key that wasn't enrolled before"),
        };
        let digest = Digest::parse(digest).map_err(|_| "its record holds no digest")?;
        let signature =
            OperatorSignature::parse(signature).map_err(|_| "its record holds no signature")?;
        let text = ApprovalTerms::signed_text(&digest);
        if !(self.verify)(public_key, text.as_bytes(), signature.as_bytes()) {
            return Err("its signature doesn't hold");
        }
        self.report.signed = self.report.signed.saturating_add(1);
        Ok(Some(digest))
    }

    /// A refusal after the yes counts; the last one ends the approval.
    fn refused(&mut self, entry: &Entry) {
        let says = |word| entry.details.iter().any(|detail| detail == word);
        if !says(REFUSED_AFTER_YES) {
            return;
        }
        let Some(id) = reference(entry, "approval_id") else { return };
        let Some(known) = self.approvals.get_mut(id) else {
            self.report.broken(format!("approval {id}: refused, and no record approves it"));
            return;
        };
        known.refusals = known.refusals.saturating_add(1);
        if says(VOID_AFTER_REFUSALS) {
            known.stand = Stand::Void;
        }
    }

    fn stands(&mut self, entry: &Entry, stand: Stand) {
        let Some(id) = reference(entry, "approval_id") else { return };
        match (self.approvals.get_mut(id), stand) {
            (Some(known), stand) => known.stand = stand,
            // Denied without ever having been approved.
            (None, Stand::Denied) => {
                let known = Known { stand, order: None, signed: None, refusals: 0 };
                self.approvals.insert(id.to_owned(), known);
            }
            (None, Stand::Approved | Stand::Spent | Stand::Void) => {
                let sentence = format!("approval {id}: given back, and no record approves it");
                self.report.broken(sentence);
            }
        }
    }

    fn intent(&mut self, entry: &Entry) {
        let Some(id) = reference(entry, "approval_id") else {
            self.follows_an_intent(entry);
            return;
        };
        let wrong = match self.approvals.get_mut(id) {
            None => Some("an order was intended, and no record approves it"),
            Some(known) if known.stand == Stand::Denied => {
                Some("an order was intended after it was denied")
            }
            Some(known) if known.stand == Stand::Void => {
                Some("an order was intended after it was refused too often")
            }
            Some(known) if known.stand == Stand::Spent => {
                Some("a second order was intended under it")
            }
            Some(known) => {
                known.stand = Stand::Spent;
                let same = known.order.as_deref() == reference(entry, "order_digest");
                (!same).then_some("another order was intended than was approved")
            }
        };
        if let Some(wrong) = wrong {
            self.report.broken(format!("approval {id}: {wrong} (record {})", entry.index));
        }
        self.orders.extend(orders_of(entry).map(|order| (order.to_owned(), id.to_owned())));
    }

    /// An order that was given back unsent, and that the broker has after all, spends its approval.
    fn outcome(&mut self, entry: &Entry) {
        self.follows_an_intent(entry);
        let state = reference(entry, "outcome").and_then(OrderState::parse);
        if state.is_none_or(|state| state == OrderState::NotSent) {
            return;
        }
        for id in orders_of(entry).filter_map(|order| self.orders.get(order)) {
            if let Some(known) = self.approvals.get_mut(id)
                && known.stand == Stand::Approved
            {
                known.stand = Stand::Spent;
            }
        }
    }

    /// What names an order of ours comes after the record that intends it.
    fn follows_an_intent(&mut self, entry: &Entry) {
        let index = entry.index;
        for order in orders_of(entry).filter(|order| !self.orders.contains_key(*order)) {
            self.report.broken(format!("order {order}: record {index} follows no intent"));
        }
    }

    fn approval_row(&mut self, row: &ApprovalEntry) {
        let known = self.approvals.get(row.id.as_str());
        let stand = known.map(|known| known.stand);
        let fits = match row.status {
            ApprovalStatus::Pending => stand.is_none(),
            ApprovalStatus::Approved => stand == Some(Stand::Approved),
            ApprovalStatus::Denied => stand == Some(Stand::Denied),
            ApprovalStatus::Consumed => stand == Some(Stand::Spent),
            // An upgrade ends what nobody decided, or nobody spent.
            ApprovalStatus::Void => {
                matches!(stand, None | Some(Stand::Approved | Stand::Void))
            }
        };
        let id = &row.id;
        if !fits {
            let says = match stand {
                None => "no record of the log approves or denies it",
                Some(Stand::Approved) => "the log says approved",
                Some(Stand::Denied) => "the log says denied",
                Some(Stand::Spent) => "the log says consumed",
                Some(Stand::Void) => "the log says void",
            };
            let status = row.status.as_str();
            self.report.broken(format!("approval {id}: its row says {status}, and {says}"));
            return;
        }
        let refusals = known.map_or(0, |known| known.refusals);
        if refusals != row.refusals {
            let counts = row.refusals;
            self.report.broken(format!(
                "approval {id}: its row counts {counts} refusals, the log {refusals}"
            ));
            return;
        }
        let Some(signed) = known.and_then(|known| known.signed) else { return };
        if row.terms().is_none_or(|terms| terms.digest() != signed) {
            self.report.broken(format!("approval {id}: its row isn't what was signed"));
        } else if row.status != ApprovalStatus::Denied
            && let Err(why) = row.check_signature(self.verify)
        {
            self.report.broken(format!("approval {id}: its row was altered: {why}"));
        }
    }

    fn order_row(&mut self, row: &OrderEntry) {
        if !self.orders.contains_key(row.id.as_str()) {
            self.report.broken(format!("order {}: no record of the log intends it", row.id));
        }
    }
}
