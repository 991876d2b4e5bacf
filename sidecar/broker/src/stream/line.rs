//! One contract's quote as the stream tells it: who follows it, and when to ask again.

use crate::stream::desk::Moment;
use crate::wire::market::FIELDS;
use crate::wire::stream::Fields;
use core::time::Duration;
use ibkr_agent_domain::{Conid, Quote};
use tokio::time::Instant;

/// How often a subscription is renewed: the gateway lets it expire in silence after 10 to 15
/// minutes.
const RENEW: Duration = Duration::from_secs(8 * 60);
/// How soon a subscription is repeated that was never answered; doubled each time up to
/// [`SILENT`].
const UNANSWERED: Duration = Duration::from_secs(15);
/// How soon it is repeated when nothing comes any more. A quiet market looks the same, so it
/// costs one message in a while.
const SILENT: Duration = Duration::from_secs(120);

/// A followed contract.
pub(crate) struct Line {
    watchers: usize,
    due_at: Instant,
    sent_at: Option<Instant>,
    unanswered: u32,
    heard: Option<Moment>,
    fields: Fields,
}

impl Line {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            watchers: 0,
            due_at: now,
            sent_at: None,
            unanswered: 0,
            heard: None,
            fields: Fields::default(),
        }
    }

    pub(crate) fn watch(&mut self) {
        self.watchers = self.watchers.saturating_add(1);
    }

    /// One watcher less; whether any is left.
    pub(crate) fn unwatch(&mut self) -> bool {
        self.watchers = self.watchers.saturating_sub(1);
        self.watchers > 0
    }

    /// Forgets what an older connection told.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self { watchers: self.watchers, ..Self::new(now) };
    }

    pub(crate) const fn is_sent(&self) -> bool {
        self.sent_at.is_some()
    }

    pub(crate) const fn due_at(&self) -> Instant {
        self.due_at
    }

    pub(crate) fn subscribe(&mut self, conid: Conid, now: Instant) -> String {
        self.sent_at = Some(now);
        let doubled = UNANSWERED.saturating_mul(1 << self.unanswered.min(4));
        self.unanswered = self.unanswered.saturating_add(1);
        self.due_at = now + doubled.min(SILENT);
        let fields: Vec<String> = FIELDS.split(',').map(|field| format!("{field:?}")).collect();
        format!(r#"smd+{conid}+{{"fields":[{}]}}"#, fields.join(","))
    }

    /// Takes values in; the quote, once it is whole.
    pub(crate) fn hear(&mut self, conid: Conid, fields: Fields, now: Moment) -> Option<Quote> {
        let sent_at = self.sent_at?;
        self.unanswered = 0;
        self.heard = Some(now);
        self.due_at = (sent_at + RENEW).min(now.mono + SILENT);
        self.fields.update(fields);
        self.whole(conid, now)
    }

    /// The quote, if it is whole and was told within `limit`.
    pub(crate) fn quote(&self, conid: Conid, now: Instant, limit: Duration) -> Option<Quote> {
        let heard = self.heard?;
        let is_fresh = now.saturating_duration_since(heard.mono) < limit;
        if is_fresh { self.whole(conid, heard) } else { None }
    }

    fn whole(&self, conid: Conid, heard: Moment) -> Option<Quote> {
        let row = self.fields.row().filter(crate::wire::market::SnapshotRow::is_complete)?;
        Some(row.into_quote(conid, heard.wall))
    }
}
