//! The gateway's stream: one WebSocket per broker login, which feeds events, caches and books.
//!
//! Without it everything works by reads. What it tells is never the only source of an order's
//! state: some builds of the gateway deliver no order frames at all.
//!
//! [`socket`] holds the connection, [`desk`] what is followed and told; a small lock around the
//! desk is held for moments and never across an await.

mod book;
mod desk;
mod line;
mod socket;

use crate::client::ClientPortal;
use crate::{BrokerError, WatchGuard};
use core::time::Duration;
use desk::{Desk, Moment, Told};
use ibkr_agent_domain::{
    AccountId, BrokerEvent, BrokerOrder, Conid, Depth, ProfitAndLoss, Quote, Timestamp, Untrusted,
    Watch,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};

pub(crate) use socket::supervise;

/// How many events a subscriber may be behind before it misses some.
const MAX_EVENTS: usize = 1_024;
/// How long a book's reader waits for the connection.
const UP_WAIT: Duration = Duration::from_secs(3);

/// The stream as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamHealth {
    /// Since when a connection stands; none where there is no connection.
    pub connected_since: Option<Timestamp>,
    /// When the last frame came.
    pub last_frame: Option<Timestamp>,
    /// How many subscriptions are open: topics, quotes and books.
    pub subscriptions: usize,
    /// Watches that weren't followed because too many contracts were.
    pub refused_watches: u64,
    /// Connections made since the start.
    pub connections: u64,
    /// What the broker refused last, or why the last connection ended.
    pub last_failure: Option<Untrusted>,
}

/// What the stream shares with readers.
pub(crate) struct Streams {
    desk: Mutex<Desk>,
    /// Tells the socket's task that there is something to send.
    work: Notify,
    /// Tells readers of books that something came.
    news: Notify,
    book_turn: tokio::sync::Mutex<()>,
    events: broadcast::Sender<BrokerEvent>,
}

impl Streams {
    pub(crate) fn new(events: broadcast::Sender<BrokerEvent>) -> Self {
        Self {
            desk: Mutex::default(),
            work: Notify::new(),
            news: Notify::new(),
            book_turn: tokio::sync::Mutex::default(),
            events,
        }
    }

    /// The channel that the session's events go through too.
    pub(crate) fn channel() -> broadcast::Sender<BrokerEvent> {
        broadcast::channel(MAX_EVENTS).0
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<BrokerEvent> {
        self.events.subscribe()
    }

    pub(crate) fn health(&self) -> StreamHealth {
        let figures = self.desk().figures();
        StreamHealth {
            connected_since: figures.connected_since,
            last_frame: figures.last_frame,
            subscriptions: figures.subscriptions,
            refused_watches: figures.refused,
            connections: figures.connections,
            last_failure: figures.last_failure,
        }
    }

    /// Follows something until the guard is dropped; beyond the bound it follows nothing.
    pub(crate) fn follow(self: &Arc<Self>, what: Watch) -> WatchGuard {
        match &what {
            Watch::Quote(conid) => {
                if !self.desk().watch_quote(*conid, Instant::now()) {
                    tracing::debug!("too many quotes are watched: this one isn't followed");
                    return WatchGuard::idle();
                }
                self.work.notify_one();
            }
            Watch::Account(account) => self.desk().watch_account(account),
        }
        let streams = Arc::downgrade(self);
        WatchGuard::new(move || {
            let Some(streams) = streams.upgrade() else {
                return;
            };
            match &what {
                Watch::Quote(conid) => streams.desk().unwatch_quote(*conid),
                Watch::Account(account) => streams.desk().unwatch_account(account),
            }
            streams.work.notify_one();
        })
    }

    /// Tells subscribers something.
    pub(crate) fn tell(&self, event: BrokerEvent) {
        // Nobody listening is fine.
        drop(self.events.send(event));
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open book; ended when it is dropped.
struct OpenBook<'a> {
    streams: &'a Streams,
    account: &'a AccountId,
}

impl Drop for OpenBook<'_> {
    fn drop(&mut self) {
        self.streams.desk().close_book(self.account);
        self.streams.work.notify_one();
    }
}

impl ClientPortal {
    fn moment(&self) -> Moment {
        Moment { mono: Instant::now(), wall: self.transport().clock().now() }
    }

    /// Quotes, from the stream where it told them moments ago, whole.
    pub(crate) async fn current_quotes(&self, conids: &[Conid]) -> Result<Vec<Quote>, BrokerError> {
        let now = Instant::now();
        let mut told: BTreeMap<Conid, Quote> = {
            let desk = self.streams().desk();
            let fresh = |conid: &Conid| Some((*conid, desk.fresh_quote(*conid, now)?));
            conids.iter().filter_map(fresh).collect()
        };
        let lacking: Vec<Conid> =
            conids.iter().filter(|conid| !told.contains_key(conid)).copied().collect();
        if told.is_empty() {
            return self.read_quotes(conids).await;
        }
        if !lacking.is_empty() {
            let read = self.read_quotes(&lacking).await?;
            told.extend(read.into_iter().map(|quote| (quote.conid, quote)));
        }
        Ok(conids.iter().filter_map(|conid| told.get(conid).cloned()).collect())
    }

    /// An account's profit and loss, if the stream told it moments ago.
    pub(crate) fn streamed_profit(&self, account: &AccountId) -> Option<ProfitAndLoss> {
        self.streams().desk().fresh_profit(account, Instant::now())
    }

    /// Lets the stream lay its deltas over whole orders.
    pub(crate) fn learn_orders(&self, read: &[BrokerOrder]) {
        self.streams().desk().learn_orders(read);
    }

    /// Follows a book until its first picture is complete. One at a time, since the gateway ends
    /// all books of an account together.
    pub(crate) async fn read_depth(
        &self,
        account: &AccountId,
        conid: Conid,
    ) -> Result<Depth, BrokerError> {
        self.require(account).await?;
        let deadline = Instant::now() + self.transport().request_timeout();
        let late = |_| BrokerError::TimedOut;
        let streams = self.streams();
        let up_by = deadline.min(Instant::now() + UP_WAIT);
        if timeout_at(up_by, streams.wait(|desk| desk.is_up().then_some(()))).await.is_err() {
            let why = "the gateway's stream isn't connected";
            return Err(BrokerError::Unreachable { why });
        }
        let _turn = timeout_at(deadline, streams.book_turn.lock()).await.map_err(late)?;
        if !streams.desk().open_book(account, conid) {
            return Err(BrokerError::InvalidRequest { what: "a book of the account is open" });
        }
        let _open = OpenBook { streams, account };
        streams.work.notify_one();
        timeout_at(deadline, streams.picture(account)).await.map_err(late)?
    }
}

impl Streams {
    /// Waits until the desk has an answer.
    async fn wait<T>(&self, mut look: impl FnMut(&Desk) -> Option<T>) -> T {
        loop {
            let news = self.news.notified();
            let mut news = core::pin::pin!(news);
            // Registered before looking, so that nothing is missed in between.
            news.as_mut().enable();
            if let Some(found) = look(&self.desk()) {
                return found;
            }
            news.await;
        }
    }

    /// Waits until the open book of an account is complete.
    async fn picture(&self, account: &AccountId) -> Result<Depth, BrokerError> {
        loop {
            let settles_at = self
                .wait(|desk| {
                    let book = desk.book(account)?;
                    match book.failure() {
                        Some(failure) => Some(Err(failure.clone())),
                        None => book.settles_at().map(Ok),
                    }
                })
                .await
                .map_err(|message| BrokerError::Rejected { message })?;
            tokio::time::sleep_until(settles_at).await;
            let desk = self.desk();
            let book = desk.book(account);
            let is_settled = book.and_then(book::Book::settles_at) <= Some(Instant::now());
            if let Some(depth) = book.and_then(book::Book::depth).filter(|_| is_settled) {
                return Ok(depth);
            }
        }
    }

    /// Passes on what a frame told; whether the session should be looked at, and its account list
    /// asked for again.
    fn publish(&self, told: Vec<Told>) -> Looks {
        let mut looks = Looks::default();
        for told in told {
            match told {
                Told::Event(event) => self.tell(*event),
                Told::Session => looks.session = true,
                Told::Preflight => looks.preflight = true,
            }
        }
        self.news.notify_waiters();
        looks
    }
}

/// What to look at after a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    session: bool,
    preflight: bool,
}

#[cfg(test)]
mod tests;
