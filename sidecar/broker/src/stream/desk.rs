//! What the stream follows and what it has told: a state machine without a socket.
//!
//! ```text
//! up → tic → first frame → subscriptions → frames … tic … renewals → down
//! ```
//!
//! The socket's task asks [`Desk::poll`] what to send and when to come again, and hands every frame
//! to [`Desk::hear`]. Market data is asked for again before the gateway lets it expire, and sooner
//! where it is silent; a new connection asks for everything.
//!
//! Bounds: [`MAX_LINES`] quotes, [`MAX_ORDERS`] orders, [`MAX_FILLS`] fills, one book per account,
//! [`MAX_BURST`] messages a second.

use crate::stream::book::Book;
use crate::stream::line::Line;
use crate::wire::orders::OrderRow;
use crate::wire::stream::{Frame, Notice, PartitionRow};
use crate::wire::trades::TradeRow;
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, BrokerEvent, BrokerOrder, BrokerOrderId, Conid, Execution, ProfitAndLoss, Quote,
    Timestamp, Untrusted,
};
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;

/// Most contracts whose quotes are followed: an account has 100 market-data lines.
const MAX_LINES: usize = 80;
/// Most orders that deltas are laid over.
const MAX_ORDERS: usize = 1_000;
/// Most fills that are known by id, so that a repeated one isn't told twice.
const MAX_FILLS: usize = 2_000;
/// Most books that are followed at once.
const MAX_BOOKS: usize = 8;
/// Most messages sent in a second.
const MAX_BURST: usize = 20;
const SECOND: Duration = Duration::from_secs(1);

/// How soon the first frame must come.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How long the gateway may wait for a session upstream.
const SESSION_LIMIT: Duration = Duration::from_secs(30);
/// How soon the next heartbeat must come once there was one; the gateway sends one in ten seconds.
const BEAT_LIMIT: Duration = Duration::from_secs(25);
/// How soon any frame must come where there are no heartbeats.
const QUIET_LIMIT: Duration = Duration::from_secs(75);
/// How often the connection is kept alive; the gateway wants it every 60 seconds.
const TIC_EVERY: Duration = Duration::from_secs(30);
/// How often account topics are asked for again.
const RENEW_TOPIC: Duration = Duration::from_secs(8 * 60);
/// How soon they are after a refusal.
const RETRY_TOPIC: Duration = Duration::from_secs(15);
/// How long a streamed profit and loss answers a read, which the broker takes once in 5 seconds.
const PNL_FRESH: Duration = Duration::from_secs(5);
/// How long a streamed quote answers a read.
const QUOTE_FRESH: Duration = Duration::from_secs(2);

/// The topics that every login follows. Fills of before aren't told again: they must be read.
const TOPICS: [&str; 3] = ["sor+{}", r#"str+{"realtimeUpdatesOnly":true}"#, "spl+{}"];

/// Now, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) mono: Instant,
    pub(crate) wall: Timestamp,
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Not even an answer to our `tic`.
    FirstFrame,
    /// The gateway keeps waiting for a session upstream.
    Session,
    /// The heartbeat stopped.
    Heartbeat,
}

/// What a frame means for others.
#[derive(Debug)]
pub(crate) enum Told {
    /// To be passed on.
    Event(Box<BrokerEvent>),
    /// The session may have changed: look at it.
    Session,
    /// The broker wants the account list to be asked for first.
    Preflight,
}

fn event(event: BrokerEvent) -> Told {
    Told::Event(Box::new(event))
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing came yet.
    Silent,
    /// The gateway says that it waits for a session.
    Waiting,
    /// Something came that shows a session upstream: topics can be asked for.
    Greeted,
}

/// A connection.
struct Up {
    since: Moment,
    heard: Option<Instant>,
    beat: Option<Instant>,
    progress: Progress,
    tic_at: Instant,
    topics_at: Instant,
    burst_since: Instant,
    burst: usize,
}

/// The state.
#[derive(Default)]
pub(crate) struct Desk {
    up: Option<Up>,
    connections: u64,
    last_frame: Option<Timestamp>,
    last_failure: Option<Untrusted>,
    lines: BTreeMap<Conid, Line>,
    books: BTreeMap<AccountId, Book>,
    accounts: BTreeMap<AccountId, usize>,
    refused: u64,
    farewells: VecDeque<String>,
    orders: BTreeMap<BrokerOrderId, BrokerOrder>,
    fills: VecDeque<Execution>,
    profits: BTreeMap<AccountId, (Instant, ProfitAndLoss)>,
}

/// Counts of the state, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) connected_since: Option<Timestamp>,
    pub(crate) last_frame: Option<Timestamp>,
    pub(crate) last_failure: Option<Untrusted>,
    pub(crate) subscriptions: usize,
    pub(crate) refused: u64,
    pub(crate) connections: u64,
}

impl Desk {
    /// A connection stands: everything is asked for anew.
    pub(crate) fn connect(&mut self, now: Moment) {
        self.up = Some(Up {
            since: now,
            heard: None,
            beat: None,
            progress: Progress::Silent,
            tic_at: now.mono,
            topics_at: now.mono,
            burst_since: now.mono,
            burst: 0,
        });
        self.connections = self.connections.saturating_add(1);
        self.forget(now);
    }

    /// The connection is gone, and with it what the stream has told.
    pub(crate) fn disconnect(&mut self, now: Moment) {
        self.up = None;
        self.forget(now);
    }

    fn forget(&mut self, now: Moment) {
        self.farewells.clear();
        self.profits.clear();
        for line in self.lines.values_mut() {
            line.restart(now.mono);
        }
        for book in self.books.values_mut() {
            book.restart();
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.as_ref().is_some_and(Up::is_greeted)
    }

    /// How long the connection has stood.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.up.as_ref().map_or(Duration::ZERO, |up| now.saturating_duration_since(up.since.mono))
    }

    /// Notes why a connection ended or wasn't made.
    pub(crate) fn note_failure(&mut self, why: Untrusted) {
        self.last_failure = Some(why);
    }

    pub(crate) fn figures(&self) -> Figures {
        let topics = if self.is_up() { TOPICS.len() } else { 0 };
        let lines = self.lines.values().filter(|line| line.is_sent()).count();
        let books = self.books.values().filter(|book| book.is_sent()).count();
        Figures {
            connected_since: self.up.as_ref().map(|up| up.since.wall),
            last_frame: self.last_frame,
            last_failure: self.last_failure.clone(),
            subscriptions: topics.saturating_add(lines).saturating_add(books),
            refused: self.refused,
            connections: self.connections,
        }
    }

    /// Follows a contract once more; false where there is no line left.
    pub(crate) fn watch_quote(&mut self, conid: Conid, now: Instant) -> bool {
        if self.lines.len() >= MAX_LINES && !self.lines.contains_key(&conid) {
            self.refused = self.refused.saturating_add(1);
            return false;
        }
        self.lines.entry(conid).or_insert_with(|| Line::new(now)).watch();
        true
    }

    /// Follows a contract once less.
    pub(crate) fn unwatch_quote(&mut self, conid: Conid) {
        let Some(line) = self.lines.get_mut(&conid) else {
            return;
        };
        if line.unwatch() {
            return;
        }
        if line.is_sent() {
            self.farewells.push_back(format!("umd+{conid}+{{}}"));
            self.farewells.truncate(MAX_LINES);
        }
        self.lines.remove(&conid);
    }

    /// Counts who follows an account. Its orders, fills and profit are always followed.
    pub(crate) fn watch_account(&mut self, account: &AccountId) {
        let count = self.accounts.entry(account.clone()).or_default();
        *count = count.saturating_add(1);
    }

    /// The opposite of [`Desk::watch_account`].
    pub(crate) fn unwatch_account(&mut self, account: &AccountId) {
        if let Some(count) = self.accounts.get_mut(account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.accounts.remove(account);
            }
        }
    }

    /// Opens a book; false where one of the account is open, or too many are.
    pub(crate) fn open_book(&mut self, account: &AccountId, conid: Conid) -> bool {
        if self.books.contains_key(account) || self.books.len() >= MAX_BOOKS {
            return false;
        }
        self.books.insert(account.clone(), Book::new(conid));
        true
    }

    /// Ends an account's book.
    pub(crate) fn close_book(&mut self, account: &AccountId) {
        if self.books.remove(account).is_some_and(|book| book.is_sent()) {
            self.farewells.push_back(format!("ubd+{account}"));
        }
    }

    pub(crate) fn book(&self, account: &AccountId) -> Option<&Book> {
        self.books.get(account)
    }

    /// A quote that was told moments ago, whole.
    pub(crate) fn fresh_quote(&self, conid: Conid, now: Instant) -> Option<Quote> {
        self.lines.get(&conid)?.quote(conid, now, QUOTE_FRESH)
    }

    /// An account's profit and loss as told moments ago.
    pub(crate) fn fresh_profit(&self, account: &AccountId, now: Instant) -> Option<ProfitAndLoss> {
        let (heard, profit) = self.profits.get(account)?;
        (now.saturating_duration_since(*heard) < PNL_FRESH).then(|| profit.clone())
    }

    /// Learns whole orders from a read, so that deltas can be laid over them.
    pub(crate) fn learn_orders(&mut self, read: &[BrokerOrder]) {
        for order in read {
            self.keep_order(order.clone());
        }
    }

    fn keep_order(&mut self, order: BrokerOrder) {
        if self.orders.len() >= MAX_ORDERS && !self.orders.contains_key(&order.order_id) {
            // Ids grow: the least one is the oldest, unless an older one has ended.
            let ended = self.orders.values().find(|kept| !kept.status.is_open());
            let oldest = ended.map(|kept| kept.order_id.clone());
            match oldest {
                Some(id) => self.orders.remove(&id),
                None => self.orders.pop_first().map(|(_, kept)| kept),
            };
        }
        self.orders.insert(order.order_id.clone(), order);
    }

    /// What to send now, and when to ask again at the latest.
    pub(crate) fn poll(&mut self, now: Instant) -> Result<(Vec<String>, Instant), Silence> {
        let Some(up) = self.up.as_mut() else {
            return Ok((Vec::new(), now + SECOND));
        };
        let quiet_at = up.limit();
        if quiet_at.0 <= now {
            return Err(quiet_at.1);
        }
        let mut next = quiet_at.0;
        if now.saturating_duration_since(up.burst_since) >= SECOND {
            (up.burst_since, up.burst) = (now, 0);
        }
        let mut out = Vec::new();
        if up.tic_at <= now {
            up.tic_at = now + TIC_EVERY;
            out.push("tic".to_owned());
        }
        next = next.min(up.tic_at);
        if up.is_greeted() {
            if up.topics_at <= now {
                up.topics_at = now + RENEW_TOPIC;
                out.extend(TOPICS.map(str::to_owned));
            }
            next = next.min(up.topics_at);
            let mut room = MAX_BURST.saturating_sub(up.burst);
            let said = self.farewells.len().min(room);
            out.extend(self.farewells.drain(..said));
            room = room.saturating_sub(said);
            for (account, book) in self.books.iter_mut().filter(|(_, book)| !book.is_sent()) {
                out.push(book.subscribe(account));
            }
            let mut is_cut = !self.farewells.is_empty();
            for (conid, line) in &mut self.lines {
                if line.due_at() <= now {
                    if room == 0 {
                        is_cut = true;
                        continue;
                    }
                    room -= 1;
                    out.push(line.subscribe(*conid, now));
                }
                next = next.min(line.due_at());
            }
            up.burst = MAX_BURST.saturating_sub(room);
            if is_cut {
                next = next.min(up.burst_since + SECOND);
            }
        }
        Ok((out, next))
    }

    /// Takes a frame in.
    pub(crate) fn hear(&mut self, frame: Frame, now: Moment) -> Vec<Told> {
        let mut told = Vec::new();
        self.last_frame = Some(now.wall);
        let is_later = self.connections > 1;
        if let Some(up) = self.up.as_mut() {
            up.heard = Some(now.mono);
            if matches!(frame, Frame::Beat) {
                up.beat = Some(now.mono);
            }
            if up.advance(&frame) && is_later {
                told.push(event(BrokerEvent::Resumed));
            }
        }
        match frame {
            Frame::Waiting | Frame::Beat | Frame::Greeting | Frame::Life => {}
            Frame::Status { authenticated, competing } => {
                if authenticated == Some(false) || competing == Some(true) {
                    told.push(Told::Session);
                }
            }
            Frame::Quote(conid, fields) => {
                let line = self.lines.get_mut(&conid);
                let quote = line.and_then(|line| line.hear(conid, fields, now));
                told.extend(quote.map(|quote| event(BrokerEvent::Quote(quote))));
            }
            Frame::Ladder(account, conid, rows) => {
                if let Some(book) = self.books.get_mut(&account) {
                    book.hear(conid, rows, now);
                }
            }
            Frame::Orders(rows) => told.extend(rows.into_iter().filter_map(|row| self.order(row))),
            Frame::Trades(rows) => {
                told.extend(rows.into_iter().filter_map(|row| self.fill(row)));
            }
            Frame::ProfitAndLoss(rows) => {
                told.extend(rows.into_iter().map(|(account, row)| self.profit(account, &row, now)));
            }
            Frame::Notices(notices) => {
                told.extend(notices.iter().filter_map(notification));
            }
            Frame::Failure { topic, text } => told.extend(self.failure(&topic, &text, now)),
        }
        told
    }

    /// A delta without an order that it could be laid over tells nothing that we could pass on.
    fn order(&mut self, row: OrderRow) -> Option<Told> {
        let (id, account) = row.names()?;
        let known = self.orders.get(&id).filter(|known| known.account == account);
        let order = match known {
            Some(known) => {
                let mut order = known.clone();
                row.onto(&mut order);
                if order == *known {
                    return None;
                }
                order
            }
            None if row.has_status() => row.into_order(&account).ok()?,
            None => return None,
        };
        self.keep_order(order.clone());
        Some(event(BrokerEvent::Order(Box::new(order))))
    }

    /// A fill is told once, and once more when something of it became known later.
    fn fill(&mut self, row: TradeRow) -> Option<Told> {
        let account = row.told_account()?;
        let fill = row.into_execution(&account).ok()?;
        if self.fills.contains(&fill) {
            return None;
        }
        self.fills.retain(|known| known.id != fill.id);
        if self.fills.len() >= MAX_FILLS {
            self.fills.pop_front();
        }
        self.fills.push_back(fill.clone());
        Some(event(BrokerEvent::Execution(fill)))
    }

    fn profit(&mut self, account: AccountId, row: &PartitionRow, now: Moment) -> Told {
        let (heard, profit) = self.profits.entry(account.clone()).or_insert_with(|| {
            let nothing = ProfitAndLoss {
                account,
                daily: None,
                unrealized: None,
                net_liquidation: None,
                excess_liquidity: None,
                market_value: None,
                as_of: now.wall,
            };
            (now.mono, nothing)
        });
        *heard = now.mono;
        row.onto(profit);
        profit.as_of = now.wall;
        event(BrokerEvent::ProfitAndLoss(profit.clone()))
    }

    fn failure(&mut self, topic: &str, text: &str, now: Moment) -> Option<Told> {
        let shown = crate::wire::message(text);
        tracing::debug!(stream.failure = %shown, "the broker's stream refused something");
        self.last_failure = Some(shown);
        if let Some(rest) = topic.strip_prefix("sbd+") {
            let account = rest.split('+').next().and_then(|id| AccountId::parse(id).ok());
            let book = account.and_then(|account| self.books.get_mut(&account));
            if let Some(book) = book {
                book.fail(text);
            }
        }
        let wants_accounts = text.to_ascii_lowercase().contains("no accounts");
        if wants_accounts && let Some(up) = self.up.as_mut() {
            up.topics_at = now.mono + RETRY_TOPIC;
        }
        wants_accounts.then_some(Told::Preflight)
    }
}

impl Up {
    const fn is_greeted(&self) -> bool {
        matches!(self.progress, Progress::Greeted)
    }

    /// Learns how far the connection is; whether it has just become usable.
    fn advance(&mut self, frame: &Frame) -> bool {
        let was_greeted = self.is_greeted();
        self.progress = match (self.progress, frame) {
            (Progress::Greeted, _) => Progress::Greeted,
            (_, Frame::Waiting | Frame::Status { authenticated: Some(false), .. }) => {
                Progress::Waiting
            }
            // Beats and answers to `tic` come without a session too.
            (Progress::Waiting, Frame::Beat | Frame::Life) => Progress::Waiting,
            (
                Progress::Silent | Progress::Waiting,
                Frame::Status { .. }
                | Frame::Greeting
                | Frame::Beat
                | Frame::Life
                | Frame::Quote(..)
                | Frame::Ladder(..)
                | Frame::Orders(_)
                | Frame::Trades(_)
                | Frame::ProfitAndLoss(_)
                | Frame::Notices(_)
                | Frame::Failure { .. },
            ) => Progress::Greeted,
        };
        !was_greeted && self.is_greeted()
    }

    /// When the connection counts as silent, and how.
    fn limit(&self) -> (Instant, Silence) {
        let since = self.since.mono;
        match (self.progress, self.beat) {
            (Progress::Silent, _) => (since + FIRST_FRAME, Silence::FirstFrame),
            (Progress::Waiting, _) => (since + SESSION_LIMIT, Silence::Session),
            (Progress::Greeted, Some(beat)) => (beat + BEAT_LIMIT, Silence::Heartbeat),
            (Progress::Greeted, None) => {
                (self.heard.unwrap_or(since) + QUIET_LIMIT, Silence::Heartbeat)
            }
        }
    }
}

fn notification(notice: &Notice) -> Option<Told> {
    let text = notice.text.untrusted().or_else(|| notice.message.untrusted());
    let title = notice.title.untrusted();
    if text.is_none() && title.is_none() {
        return None;
    }
    let (title, text) = (title.unwrap_or_default(), text.unwrap_or_default());
    Some(event(BrokerEvent::Notification { title, text }))
}
