//! Snapshots: quotes, option quotes with greeks, what is told of a company.
//!
//! The first request for a contract only opens its stream, so it is repeated until the values are
//! there, the tries are used up or the time is. A derivative needs a search for its underlying
//! first; it is made ahead where we know that, and late where the contract is new to us.

use crate::BrokerError;
use crate::cache::Opening;
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::Request;
use crate::wire::market::{COMPANY_FIELDS, FIELDS, OPTION_FIELDS, SnapshotRow};
use crate::wire::parse_list;
use core::time::Duration;
use ibkr_agent_domain::{Conid, Fundamentals, OptionQuote, Quote, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Most contracts of one snapshot.
const MAX_QUOTES: usize = 100;
/// How often a snapshot is asked for until its values are there, and the first pause between.
const SNAPSHOT_TRIES: u32 = 4;
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(150);
/// Most underlyings that are searched for one snapshot.
const MAX_SEARCHES: usize = 20;

/// What a snapshot asks for, and when it is answered.
#[derive(Clone, Copy)]
struct Wanted {
    fields: &'static str,
    is_complete: fn(&SnapshotRow) -> bool,
}

const QUOTE: Wanted = Wanted { fields: FIELDS, is_complete: SnapshotRow::is_complete };
const GREEKS: Wanted = Wanted { fields: OPTION_FIELDS, is_complete: SnapshotRow::has_greeks };
const COMPANY: Wanted = Wanted { fields: COMPANY_FIELDS, is_complete: SnapshotRow::has_company };

/// Rows by contract, and when they were asked for.
struct Snapshot {
    rows: BTreeMap<Conid, SnapshotRow>,
    as_of: Timestamp,
}

impl Snapshot {
    /// The contract's row; an empty one where the broker said nothing of it.
    fn row(&self, conid: Conid) -> SnapshotRow {
        self.rows.get(&conid).cloned().unwrap_or_default()
    }
}

impl ClientPortal {
    pub(crate) async fn read_quotes(&self, conids: &[Conid]) -> Result<Vec<Quote>, BrokerError> {
        let read = self.snapshot(conids, QUOTE).await?;
        let as_of = read.as_of;
        Ok(each(conids, |conid| read.row(conid).into_quote(conid, as_of)))
    }

    pub(crate) async fn read_option_quotes(
        &self,
        conids: &[Conid],
    ) -> Result<Vec<OptionQuote>, BrokerError> {
        let read = self.snapshot(conids, GREEKS).await?;
        let as_of = read.as_of;
        Ok(each(conids, |conid| read.row(conid).into_option_quote(conid, as_of)))
    }

    pub(crate) async fn read_fundamentals(
        &self,
        conid: Conid,
    ) -> Result<Fundamentals, BrokerError> {
        let read = self.snapshot(&[conid], COMPANY).await?;
        let as_of = read.as_of;
        Ok(read.row(conid).into_fundamentals(conid, as_of))
    }

    async fn snapshot(&self, conids: &[Conid], wanted: Wanted) -> Result<Snapshot, BrokerError> {
        let unique: BTreeSet<Conid> = conids.iter().copied().collect();
        if unique.is_empty() || unique.len() > MAX_QUOTES {
            let what = "a snapshot takes 1 to 100 contracts";
            return Err(BrokerError::InvalidRequest { what });
        }
        let list: Vec<String> = unique.iter().map(Conid::to_string).collect();
        let request = Request::get("/iserver/marketdata/snapshot")
            .param("conids", list.join(","))
            .param("fields", wanted.fields)
            .lane(Lane::Snapshot);
        let deadline = Instant::now() + self.transport().request_timeout();
        let mut pause = SNAPSHOT_PAUSE;
        let mut tries = 1;
        self.open_known(&unique).await;
        loop {
            let answer = self.fetch(&request).await?;
            let rows: Vec<SnapshotRow> = parse_list(&answer.body, "snapshot")?;
            let rows: BTreeMap<Conid, SnapshotRow> = rows
                .into_iter()
                .filter_map(|row| Some((row.conid().filter(|id| unique.contains(id))?, row)))
                .collect();
            let lacks = |conid: &&Conid| !rows.get(*conid).is_some_and(wanted.is_complete);
            let lacking: Vec<Conid> = unique.iter().filter(lacks).copied().collect();
            if lacking.is_empty() || tries >= SNAPSHOT_TRIES || Instant::now() + pause > deadline {
                return Ok(Snapshot { rows, as_of: answer.sent_at });
            }
            if tries == 2 {
                self.open_lacking(lacking).await;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            tries += 1;
        }
    }

    /// Searches for the underlyings of contracts that we know as derivatives.
    async fn open_known(&self, conids: &BTreeSet<Conid>) {
        let symbol = |conid: &Conid| match self.caches().openings.find(conid)? {
            Opening::Search(symbol) => Some(symbol),
            Opening::Plain => None,
        };
        let symbols: BTreeSet<String> = conids.iter().filter_map(symbol).collect();
        let is_new = |symbol: &String| self.caches().searched.find(symbol).is_none();
        self.open_symbols(symbols.into_iter().filter(is_new).collect()).await;
    }

    /// Finds out what contracts without values are, and searches for the underlyings of
    /// derivatives, whether that was done before or not. Best effort: without it the quote stays
    /// empty, which is told.
    async fn open_lacking(&self, conids: Vec<Conid>) {
        let Ok(found) = self.define(conids).await else {
            return;
        };
        let derivatives = found.iter().filter(|row| row.is_derivative());
        let symbols = derivatives.filter_map(|row| row.ticker.text());
        self.open_symbols(symbols.collect()).await;
    }

    async fn open_symbols(&self, symbols: BTreeSet<String>) {
        for symbol in symbols.into_iter().take(MAX_SEARCHES) {
            if let Err(error) = self.search_rows(&symbol, None, false).await {
                tracing::debug!(code = error.code().as_str(), "underlying not opened");
                return;
            }
        }
    }
}

fn each<T>(conids: &[Conid], make: impl Fn(Conid) -> T) -> Vec<T> {
    conids.iter().map(|conid| make(*conid)).collect()
}
