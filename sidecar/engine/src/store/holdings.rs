//! The stored form of an account's books: positions as they were explained, and trades counted.

use super::rows::{damaged, decimal};
use super::upgrade::Stored;
use crate::holdings::{Base, Counted, HoldingsEntry};
use ibkr_agent_audit::StoreFailure;
use ibkr_agent_domain::{AccountId, Conid, Timestamp, Untrusted};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Holdings {
    account: String,
    begun_at: i64,
    written_at: i64,
    bases: Vec<StoredBase>,
    trades: Vec<StoredTrade>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredBase {
    conid: u64,
    position: String,
    explained: String,
    symbol: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredTrade {
    id: String,
    revision: u32,
    conid: u64,
    moved: String,
    seen_at: i64,
}

impl From<&HoldingsEntry> for Holdings {
    fn from(entry: &HoldingsEntry) -> Self {
        let base = |(conid, base): (&Conid, &Base)| StoredBase {
            conid: conid.get(),
            position: base.position.to_string(),
            explained: base.explained.to_string(),
            symbol: base.symbol.as_str().to_owned(),
        };
        let trade = |(id, trade): (&String, &Counted)| StoredTrade {
            id: id.clone(),
            revision: trade.revision,
            conid: trade.conid.get(),
            moved: trade.moved.to_string(),
            seen_at: trade.seen_at.as_millis(),
        };
        Self {
            account: entry.account.to_string(),
            begun_at: entry.begun_at.as_millis(),
            written_at: entry.written_at.as_millis(),
            bases: entry.bases.iter().map(base).collect(),
            trades: entry.trades.iter().map(trade).collect(),
        }
    }
}

impl TryFrom<Holdings> for HoldingsEntry {
    type Error = StoreFailure;

    fn try_from(row: Holdings) -> Result<Self, StoreFailure> {
        let mut entry = Self {
            account: AccountId::parse(&row.account).map_err(damaged)?,
            begun_at: Timestamp::from_millis(row.begun_at),
            written_at: Timestamp::from_millis(row.written_at),
            bases: std::collections::BTreeMap::new(),
            trades: std::collections::BTreeMap::new(),
        };
        for base in row.bases {
            let conid = Conid::new(base.conid).map_err(damaged)?;
            let base = Base {
                position: decimal(&base.position)?,
                explained: decimal(&base.explained)?,
                symbol: Untrusted::new(&base.symbol),
            };
            entry.bases.insert(conid, base);
        }
        for trade in row.trades {
            let counted = Counted {
                revision: trade.revision,
                conid: Conid::new(trade.conid).map_err(damaged)?,
                moved: decimal(&trade.moved)?,
                seen_at: Timestamp::from_millis(trade.seen_at),
            };
            entry.trades.insert(trade.id, counted);
        }
        Ok(entry)
    }
}

/// Version 1 had none.
impl Stored for Holdings {}
