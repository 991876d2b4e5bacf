//! One leaf of the log: a record with its position and time, as canonical JSON.
//!
//! Field order is the struct's; every field is always present, so the same record always gives the
//! same bytes. A change of this format is a new `v` with its own golden file.

use core::{fmt, iter};
use ibkr_agent_domain::{AccountId, Digest, Record, Reference, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The position of an event in the log, with the start of its leaf hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId {
    index: u64,
    text: String,
}

impl EventId {
    pub(crate) fn new(index: u64, leaf: &ibkr_agent_tlog::Hash) -> Self {
        let hash = leaf.to_string();
        Self { index, text: format!("ev-{index}-{}", hash.get(..12).unwrap_or_default()) }
    }

    pub(crate) fn emergency(number: u64) -> Self {
        Self { index: u64::MAX, text: format!("ev-emergency-{number}") }
    }

    /// Position in the log, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The id as users see it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A leaf as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Format version.
    pub v: u8,
    /// Position, from 0.
    pub index: u64,
    /// RFC 3339 UTC, by the sidecar's clock.
    pub time: String,
    /// What happened.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// Through which door.
    pub door: String,
    /// The tool or operator verb.
    pub tool: Option<String>,
    /// Keyed hash of the account, 16 hexadecimal digits.
    pub account: Option<String>,
    /// What was decided.
    pub decision: String,
    /// Error codes.
    pub codes: Vec<String>,
    /// Gate ids and fixed explanations.
    pub details: Vec<String>,
    /// SHA-256 of the arguments.
    pub input: Option<String>,
    /// SHA-256 of the answer.
    pub output: Option<String>,
    /// SHA-256 of the policy.
    pub policy: Option<String>,
    /// Ids that tie it to other records.
    pub references: BTreeMap<String, String>,
}

impl Entry {
    /// Writes down a record.
    pub(crate) fn new(index: u64, time: Timestamp, record: &Record, account_key: &[u8]) -> Self {
        let mut references = BTreeMap::new();
        for (key, text) in record.references.iter().map(Reference::parts) {
            // A second order of a plan is `client_order_id.2`.
            let same = (2..).map(|number| format!("{key}.{number}"));
            let free = iter::once(key.to_owned()).chain(same).find(|k| !references.contains_key(k));
            references.extend(free.map(|key| (key, text)));
        }
        Self {
            v: 1,
            index,
            time: time.to_string(),
            kind: record.kind.as_str().to_owned(),
            actor: record.actor.label(),
            door: record.door.as_str().to_owned(),
            tool: record.tool.map(str::to_owned),
            account: record.account.as_ref().map(|account| account_hash(account_key, account)),
            decision: record.decision.as_str().to_owned(),
            codes: record.codes.iter().map(|code| code.as_str().to_owned()).collect(),
            details: record.details.iter().map(|&detail| detail.to_owned()).collect(),
            input: record.input.as_ref().map(Digest::to_string),
            output: record.output.as_ref().map(Digest::to_string),
            policy: record.policy.as_ref().map(Digest::to_string),
            references,
        }
    }
}

/// The keyed hash under which an account stands in the log: the first 16 hexadecimal digits of
/// HMAC-SHA-256 (RFC 2104) over the account id.
pub(crate) fn account_hash(key: &[u8], account: &AccountId) -> String {
    use sha2::Digest as _;
    let mut block = [0_u8; 64];
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let pad = |mask: u8| block.map(|byte| byte ^ mask);
    let inner = sha2::Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(account.as_str().as_bytes())
        .finalize();
    let outer = sha2::Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let digest = Digest::from_bytes(outer.into()).to_string();
    digest.get(..16).unwrap_or_default().to_owned()
}
