//! Positions that moved by more than the trades that the broker shows: an execution that was never
//! listed, a transfer, a split, an exercise, an assignment, an expiry.
//!
//! A contract's position as it was last explained is compared with each look's, less each trade of
//! the account that was listed since, whoever made it. Positions and trades are never read at
//! one moment, so a difference counts when it stands still for a while: the same position and no
//! further trade in between. A position that didn't move is never told: not everything that trades
//! (a currency) is listed as a position. Nothing here changes an order or a limit.
//!
//! The books are written down when they begin, when something was told, and once a day: between
//! those, the broker's list of a week's trades explains the rest.

use crate::{After, Effect, Engine, Notice, Now, Payload, Row, system_record};
use ibkr_agent_domain::{
    AccountId, Conid, Execution, Listed, Position, RecordKind, Reference, Side, Timestamp,
    Untrusted,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a difference must stand still.
const STILL: Duration = Duration::from_secs(15);
/// After how long a position that didn't move isn't waited for any longer.
const LAG: Duration = Duration::from_secs(5 * 60);
/// How far trades and positions of the first look may lie apart.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// How often the books are written down when nothing is told.
const WRITTEN: Duration = Duration::from_secs(24 * 3600);
/// The broker shows trades of seven days: what is older can't come again.
const REMEMBERED: Duration = Duration::from_secs(9 * 24 * 3600);
/// Most trades that are remembered per account; with more, nothing is compared.
const MOST: usize = 20_000;
/// Moves that one notice names; the rest is counted.
const NAMED: usize = 5;

/// A trade that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The correction's number, where its id has one.
    pub revision: u32,
    /// The contract.
    pub conid: Conid,
    /// How it moved the position; nothing when its side wasn't told.
    pub moved: Decimal,
    /// When it was first seen.
    pub seen_at: Timestamp,
}

/// What a contract's position is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The position as it was last explained.
    pub position: Decimal,
    /// What the trades add up to that were listed since.
    pub explained: Decimal,
    /// The contract's name, once known.
    pub symbol: Untrusted,
}

/// The books of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingsEntry {
    /// The account.
    pub account: AccountId,
    /// When they began: trades from before are part of the first look's positions.
    pub begun_at: Timestamp,
    /// When they were last written down.
    pub written_at: Timestamp,
    /// By contract; one that isn't there wasn't held.
    pub bases: BTreeMap<Conid, Base>,
    /// By the part of a trade's id that its corrections share.
    pub trades: BTreeMap<String, Counted>,
}

/// A position that moved by more than trades explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The contract.
    pub conid: Conid,
    /// Its name; empty when the broker never told one.
    pub symbol: Untrusted,
    /// The position as it was last explained.
    pub before: Decimal,
    /// As it is.
    pub after: Decimal,
    /// What the listed trades make of the difference.
    pub explained: Decimal,
}

/// One account, as it was watched since the start.
#[derive(Debug)]
struct Watched {
    books: Option<HoldingsEntry>,
    /// Trades of the first looks, before there are books.
    early: BTreeMap<String, Counted>,
    /// Whether the last look's trades were read whole.
    is_whole: bool,
    /// Contracts of which a trade's side isn't known.
    unsure: BTreeSet<Conid>,
    /// Positions that don't fit, what was explained of them, and since when both stand still.
    odd: BTreeMap<Conid, (Decimal, Decimal, Duration)>,
}

/// Every account's.
#[derive(Debug, Default)]
pub(super) struct Holdings(BTreeMap<AccountId, Watched>);

impl Watched {
    const fn new(books: Option<HoldingsEntry>) -> Self {
        Self {
            books,
            early: BTreeMap::new(),
            is_whole: false,
            unsure: BTreeSet::new(),
            odd: BTreeMap::new(),
        }
    }

    fn count(&mut self, trade: &Execution, now: Timestamp) {
        let (id, revision) = trade.revision().unwrap_or_else(|| (trade.id.as_str(), 0));
        let moved = match trade.side {
            Some(Side::Buy) => trade.quantity,
            Some(Side::Sell) => -trade.quantity,
            None => Decimal::ZERO,
        };
        let counted = Counted { revision, conid: trade.conid, moved, seen_at: now };
        let Some(books) = &mut self.books else {
            self.early.insert(id.to_owned(), counted);
            return;
        };
        let known = books.trades.get(id);
        if known.is_some_and(|known| known.revision >= revision) {
            return;
        }
        // A list that is read for the first time may be empty: what comes later is no news.
        let is_old = known.is_none() && trade.time < books.begun_at;
        let more = moved - known.map_or(Decimal::ZERO, |known| known.moved);
        let seen_at = known.map_or(now, |known| known.seen_at);
        books.trades.insert(id.to_owned(), Counted { seen_at, ..counted });
        if is_old {
            return;
        }
        let base = books.bases.entry(trade.conid).or_default();
        base.explained = base.explained.saturating_add(more);
        if trade.side.is_none() {
            self.unsure.insert(trade.conid);
        }
    }

    /// Compares; gives what jumped, and makes it the new base.
    fn compare(&mut self, positions: &[Position], now: Now) -> Vec<Jump> {
        let Some(books) = &mut self.books else {
            return Vec::new();
        };
        for position in positions {
            let base = books.bases.entry(position.conid).or_default();
            base.symbol = position.symbol.clone();
        }
        let held: BTreeMap<Conid, Decimal> =
            positions.iter().map(|one| (one.conid, one.quantity)).collect();
        let mut jumps = Vec::new();
        for (conid, base) in &mut books.bases {
            let after = held.get(conid).copied().unwrap_or_default();
            let moved = after.saturating_sub(base.position);
            let explained = base.explained;
            if moved != explained {
                let since = match self.odd.get(conid) {
                    Some((at, by, since)) if (*at, *by) == (after, explained) => *since,
                    Some(_) | None => now.monotonic,
                };
                self.odd.insert(*conid, (after, explained, since));
                let wait = if moved.is_zero() { LAG } else { STILL };
                if now.monotonic.saturating_sub(since) < wait {
                    continue;
                }
                if !moved.is_zero() && !self.unsure.contains(conid) {
                    let (before, symbol) = (base.position, base.symbol.clone());
                    jumps.push(Jump { conid: *conid, symbol, before, after, explained });
                }
            }
            self.unsure.remove(conid);
            self.odd.remove(conid);
            (base.position, base.explained) = (after, Decimal::ZERO);
        }
        books.bases.retain(|_, base| !(base.position.is_zero() && base.explained.is_zero()));
        books.trades.retain(|_, trade| now.wall.since(trade.seen_at) <= REMEMBERED);
        jumps
    }
}

impl Holdings {
    pub(super) fn restore(entries: Vec<HoldingsEntry>) -> Self {
        let watched = |books: HoldingsEntry| (books.account.clone(), Watched::new(Some(books)));
        Self(entries.into_iter().map(watched).collect())
    }

    /// Takes in a look's trades.
    pub(super) fn count(
        &mut self,
        account: &AccountId,
        trades: &Listed<Execution>,
        now: Timestamp,
    ) {
        let watched = self.0.entry(account.clone()).or_insert_with(|| Watched::new(None));
        watched.is_whole = trades.is_whole() && trades.rows.len() < MOST;
        for trade in trades.rows.iter().filter(|trade| trade.account == *account) {
            watched.count(trade, now);
        }
    }

    /// The broker took a trade back: its position goes back too.
    pub(super) fn uncount(&mut self, account: &AccountId, id: &str) {
        let books = self.0.get_mut(account).and_then(|watched| watched.books.as_mut());
        let Some(books) = books else { return };
        if let Some(trade) = books.trades.remove(id) {
            let base = books.bases.entry(trade.conid).or_default();
            base.explained = base.explained.saturating_sub(trade.moved);
        }
    }
}

impl Engine {
    /// Positions as a look read them, after its orders and trades were taken in.
    pub(super) fn held(
        &mut self,
        account: &AccountId,
        positions: &[Position],
        now: Now,
    ) -> Option<Effect> {
        let watched = self.holdings.0.get_mut(account).filter(|watched| watched.is_whole)?;
        let jumps = watched.compare(positions, now);
        let is_new = watched.books.is_none();
        let books = watched.books.get_or_insert_with(|| HoldingsEntry {
            account: account.clone(),
            begun_at: now.wall.minus(FIRST_LOOK),
            written_at: now.wall,
            bases: positions.iter().map(based).collect(),
            trades: std::mem::take(&mut watched.early),
        });
        if !is_new && jumps.is_empty() && now.wall.since(books.written_at) < WRITTEN {
            return None;
        }
        books.written_at = now.wall;
        let rows = vec![Row::Holdings(Box::new(books.clone()))];
        let mut record = system_record(RecordKind::Notice);
        record.account = Some(account.clone());
        if jumps.is_empty() {
            record.details.push("positions_noted");
            let payload = Payload::Record(record);
            return Some(self.commit(Vec::new(), rows, payload, After::Kept, now));
        }
        record.details.push("position_jumped");
        record
            .references
            .extend(jumps.iter().take(NAMED).map(|jump| Reference::Contract(jump.conid)));
        let count = u64::try_from(jumps.len()).unwrap_or(u64::MAX);
        record.references.push(Reference::Count(count));
        let jumps = jumps.into_iter().take(NAMED).collect();
        let notice = Notice::PositionJumped { account: account.clone(), jumps, count };
        let after = After::Notice(Box::new(notice));
        Some(self.commit(Vec::new(), rows, Payload::Record(record), after, now))
    }
}

fn based(position: &Position) -> (Conid, Base) {
    let base = Base {
        position: position.quantity,
        explained: Decimal::ZERO,
        symbol: position.symbol.clone(),
    };
    (position.conid, base)
}
