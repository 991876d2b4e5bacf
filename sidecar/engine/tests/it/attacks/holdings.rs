//! Positions that move without a trade: told once, when they stand still, and never by mistake.

use super::bench::{Bench, account};
use super::truth::{conid, id};
use ibkr_agent_domain::{
    Conid, Currency, Execution, Listed, Position, Side, Timestamp, UnreadRow, Untrusted,
};
use ibkr_agent_engine::{Input, Jump, Notice};
use rust_decimal::Decimal;
use std::time::Duration;

fn other() -> Conid {
    Conid::new(272_093).unwrap()
}

fn position(conid: Conid, quantity: i64) -> Position {
    Position {
        account: account("DU1"),
        conid,
        symbol: Untrusted::new("AAPL"),
        class: None,
        quantity: Decimal::from(quantity),
        market_price: None,
        market_value: None,
        average_cost: None,
        unrealized_pnl: None,
        currency: Currency::USD,
    }
}

/// What the books see of an account, look by look.
struct Account {
    bench: Bench,
    trades: Vec<Execution>,
    positions: Vec<Position>,
}

impl Account {
    /// A hundred shares that were there before.
    fn new() -> Self {
        let positions = vec![position(conid(), 100)];
        let mut account = Self { bench: Bench::new(), trades: Vec::new(), positions };
        account.look();
        assert_eq!(account.jumps(), [], "nothing can be told of a first look");
        account
    }

    /// A trade of anybody's, a minute after the last one.
    fn trades(&mut self, name: &str, side: Option<Side>, quantity: i64) {
        self.bench.wall += 60_000;
        self.trades.push(Execution {
            id: Untrusted::new(name),
            order_id: Some(id("9001")),
            reference: None,
            account: account("DU1"),
            conid: conid(),
            symbol: Untrusted::new("AAPL"),
            side,
            quantity: Decimal::from(quantity),
            price: Decimal::ONE_HUNDRED,
            commission: None,
            exchange: Untrusted::new("SMART"),
            time: Timestamp::from_millis(self.bench.wall),
        });
    }

    fn holds(&mut self, quantity: i64) {
        self.positions = vec![position(conid(), quantity)];
    }

    fn look(&mut self) {
        let trades = Listed::of(self.trades.clone());
        self.look_at(trades);
    }

    fn look_at(&mut self, executions: Listed<Execution>) {
        let account = account("DU1");
        let orders = Listed::default();
        self.bench.feed(Input::Evidence { account: account.clone(), orders, executions });
        self.bench.feed(Input::Held { account, positions: self.positions.clone() });
        self.bench.commit();
    }

    /// So many looks, ten seconds apart.
    fn looks(&mut self, count: u32) {
        for _ in 0..count {
            self.look();
            self.bench.monotonic += Duration::from_secs(10);
            self.bench.wall += 10_000;
        }
    }

    /// What was told as jumped: contract, before, after, explained.
    fn jumps(&mut self) -> Vec<(u64, i64, i64, i64)> {
        let mut told = Vec::new();
        for notice in self.bench.notices() {
            if let Notice::PositionJumped { jumps, count, .. } = notice {
                assert_eq!(usize::try_from(count).unwrap(), jumps.len());
                let number = |value: Decimal| i64::try_from(value).unwrap();
                told.extend(jumps.iter().map(
                    |Jump { conid, before, after, explained, .. }| {
                        (conid.get(), number(*before), number(*after), number(*explained))
                    },
                ));
            }
        }
        told
    }
}

#[test]
fn a_position_that_moved_without_a_trade_is_told_once_when_it_stands_still() {
    let mut account = Account::new();
    account.holds(40);
    account.look();
    assert_eq!(account.jumps(), [], "the trade may be listed a moment later");
    account.looks(4);
    assert_eq!(account.jumps(), [(conid().get(), 100, 40, 0)]);
    account.looks(40);
    assert_eq!(account.jumps(), []);
}

#[test]
fn a_position_that_moved_by_more_than_its_trades_is_told_with_both() {
    let mut account = Account::new();
    account.trades("a.01", Some(Side::Sell), 10);
    account.trades("b.01", Some(Side::Buy), 3);
    account.holds(0);
    account.looks(4);
    assert_eq!(account.jumps(), [(conid().get(), 100, 0, -7)]);
}

#[test]
fn what_trades_of_anybody_explain_is_never_told() {
    let mut account = Account::new();
    // Listed before the position shows it, after it, and at once.
    account.trades("a.01", Some(Side::Buy), 10);
    account.looks(1);
    account.holds(110);
    account.looks(4);
    account.holds(150);
    account.looks(1);
    account.trades("b.01", Some(Side::Buy), 40);
    account.looks(4);
    account.trades("c.01", Some(Side::Sell), 150);
    account.positions.clear();
    account.looks(4);
    assert_eq!(account.jumps(), []);
}

#[test]
fn while_trades_go_on_nothing_is_told_and_afterwards_the_whole_difference_counts() {
    let mut account = Account::new();
    for count in 1..20 {
        // The position is always one trade behind.
        account.holds(100 + count - 1);
        account.trades(&format!("{count}.01"), Some(Side::Buy), 1);
        account.looks(1);
    }
    account.holds(119);
    account.looks(4);
    assert_eq!(account.jumps(), []);
}

#[test]
fn a_corrected_trade_explains_what_it_says_now() {
    let mut account = Account::new();
    account.trades("a.01", Some(Side::Buy), 10);
    account.holds(110);
    account.looks(2);
    account.trades("a.02", Some(Side::Buy), 4);
    account.holds(104);
    account.looks(4);
    assert_eq!(account.jumps(), []);
}

#[test]
fn a_trade_without_a_side_explains_anything_once() {
    let mut account = Account::new();
    account.trades("a.01", None, 10);
    account.holds(90);
    account.looks(4);
    assert_eq!(account.jumps(), []);
    account.holds(80);
    account.looks(4);
    assert_eq!(account.jumps(), [(conid().get(), 90, 80, 0)]);
}

#[test]
fn what_trades_and_is_no_position_is_never_told() {
    let mut account = Account::new();
    account.trades("currency.01", Some(Side::Buy), 5000);
    account.trades.last_mut().unwrap().conid = other();
    account.looks(60);
    account.positions.push(position(other(), 7));
    account.looks(4);
    assert_eq!(account.jumps(), [(other().get(), 0, 7, 0)]);
}

#[test]
fn trades_that_a_first_look_did_not_show_explain_nothing_and_tell_nothing() {
    let mut account = Account::new();
    let begun = account.bench.wall;
    account.trades("old.01", Some(Side::Buy), 100);
    account.trades.last_mut().unwrap().time = Timestamp::from_millis(begun - 3_600_000);
    account.holds(90);
    account.trades("new.01", Some(Side::Sell), 10);
    account.looks(4);
    assert_eq!(account.jumps(), []);
}

#[test]
fn trades_that_were_not_read_whole_show_no_jump() {
    let mut account = Account::new();
    account.holds(40);
    for _ in 0..10 {
        let unread = UnreadRow {
            order_id: None,
            reference: None,
            account: None,
            conid: None,
            contract: None,
            status: None,
            why: "size of a trade",
        };
        account.look_at(Listed { rows: Vec::new(), unread: vec![unread] });
        account.bench.monotonic += Duration::from_secs(10);
    }
    assert_eq!(account.jumps(), []);
    account.looks(4);
    assert_eq!(account.jumps(), [(conid().get(), 100, 40, 0)]);
}

#[test]
fn what_moved_while_nothing_ran_is_told_by_the_next_run_unless_trades_explain_it() {
    let mut account = Account::new();
    account.trades("a.01", Some(Side::Buy), 10);
    account.holds(110);
    account.looks(4);
    account.bench.restart();
    account.looks(4);
    assert_eq!(account.jumps(), []);
    // An order filled while nothing ran, and its trade is still listed; then one, whose isn't.
    account.bench.restart();
    account.trades("b.01", Some(Side::Buy), 5);
    account.holds(115);
    account.looks(4);
    assert_eq!(account.jumps(), []);
    account.bench.restart();
    account.bench.wall += 8 * 24 * 3600 * 1000;
    account.trades.clear();
    account.holds(135);
    account.looks(4);
    assert_eq!(account.jumps().len(), 1);
    account.bench.restart();
    account.looks(4);
    assert_eq!(account.jumps(), [], "it was told before the restart");
}

#[test]
fn books_are_written_once_a_day_while_nothing_jumps() {
    let mut account = Account::new();
    let records = |account: &Account| account.bench.newest_record().index;
    account.looks(1);
    let before = records(&account);
    account.looks(20);
    assert_eq!(records(&account), before);
    account.bench.wall += 24 * 3600 * 1000;
    account.looks(20);
    assert_eq!(records(&account), before + 1);
    assert_eq!(account.bench.newest_record().details, ["positions_noted"]);
}

#[test]
fn many_positions_that_jump_at_once_are_one_notice_that_counts_them() {
    let mut account = Account::new();
    let jumped = |number: u64| position(Conid::new(number).unwrap(), 5);
    account.positions.extend((1..=8).map(jumped));
    account.looks(4);
    let notices = account.bench.notices();
    let [Notice::PositionJumped { jumps, count: 8, .. }] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert_eq!(jumps.len(), 5);
}
