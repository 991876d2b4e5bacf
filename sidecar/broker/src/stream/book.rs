//! One order book as the stream tells it: rows that are laid over each other by their place.

use crate::stream::desk::Moment;
use crate::wire::stream::LadderRow;
use core::time::Duration;
use ibkr_agent_domain::{AccountId, Conid, Depth, Untrusted};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Most levels that are kept.
const MAX_LEVELS: usize = 100;
/// How long nothing must come before the first picture counts as complete.
const SETTLED: Duration = Duration::from_millis(300);
/// How long a book that never rests is looked at.
const BUSY: Duration = Duration::from_secs(1);

/// A followed book.
pub(crate) struct Book {
    conid: Conid,
    is_sent: bool,
    rows: BTreeMap<u16, LadderRow>,
    first: Option<Instant>,
    heard: Option<Moment>,
    failure: Option<Untrusted>,
}

impl Book {
    pub(crate) const fn new(conid: Conid) -> Self {
        let (first, heard, failure) = (None, None, None);
        Self { conid, is_sent: false, rows: BTreeMap::new(), first, heard, failure }
    }

    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.conid);
    }

    pub(crate) const fn is_sent(&self) -> bool {
        self.is_sent
    }

    pub(crate) fn subscribe(&mut self, account: &AccountId) -> String {
        self.is_sent = true;
        format!("sbd+{account}+{}", self.conid)
    }

    pub(crate) fn hear(&mut self, conid: Conid, rows: Vec<LadderRow>, now: Moment) {
        if conid != self.conid || !self.is_sent || rows.is_empty() {
            return;
        }
        self.first = self.first.or(Some(now.mono));
        self.heard = Some(now);
        for row in rows {
            if let Some(place) = row.place()
                && (self.rows.len() < MAX_LEVELS || self.rows.contains_key(&place))
            {
                self.rows.insert(place, row);
            }
        }
    }

    pub(crate) fn fail(&mut self, text: &str) {
        self.failure = Some(crate::wire::message(text));
    }

    pub(crate) const fn failure(&self) -> Option<&Untrusted> {
        self.failure.as_ref()
    }

    /// When the picture counts as complete, once something was heard.
    pub(crate) fn settles_at(&self) -> Option<Instant> {
        Some((self.heard?.mono + SETTLED).min(self.first? + BUSY))
    }

    /// The levels so far, highest price first.
    pub(crate) fn depth(&self) -> Option<Depth> {
        let heard = self.heard?;
        let mut levels: Vec<_> = self.rows.values().filter_map(LadderRow::level).collect();
        levels.sort_by_key(|level| core::cmp::Reverse(level.price));
        Some(Depth { conid: self.conid, levels, as_of: heard.wall })
    }
}
