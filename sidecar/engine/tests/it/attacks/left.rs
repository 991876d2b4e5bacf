//! Orders whose position was closed elsewhere: told once, when it stands still, and no others.

use super::bench::{Bench, account};
use super::truth::{conid, id, row};
use ibkr_agent_domain::{
    BrokerOrder, BrokerOrderStatus, ClientOrderId, Currency, Position, Side, Untrusted,
};
use ibkr_agent_engine::{BrokerFacts, Effect, Finding, Input, Notice, PlaceReport};
use rust_decimal::Decimal;
use std::time::Duration;

/// An order of ten at 100 that works, approved and sent at a position.
struct Story {
    bench: Bench,
    order: ClientOrderId,
    side: Side,
}

impl Story {
    fn new(side: Side, position: i64) -> Self {
        let mut bench = Bench::new();
        let approval = bench.approved_at(side, 10, position);
        let facts = BrokerFacts { position: Decimal::from(position), ..bench.facts() };
        bench.submit_on(&approval, facts);
        assert_eq!(bench.taken(|effect| matches!(effect, Effect::Place(_))).len(), 1);
        let order = bench.only_order(&approval);
        let status = BrokerOrderStatus::Submitted;
        let report = PlaceReport::Placed { order_id: id("501"), status, message: String::new() };
        bench.feed(Input::PlaceDone { order: order.clone(), report });
        bench.commit();
        bench.notices();
        Self { bench, order, side }
    }

    /// Looks that show so much filled of it and such a position, ten seconds apart.
    fn looks(&mut self, count: u32, filled: i64, position: i64) {
        for _ in 0..count {
            let shown = row(&self.order, "501", (10, 100), BrokerOrderStatus::Submitted, filled);
            self.bench.looks(vec![BrokerOrder { side: Some(self.side), ..shown }], Vec::new());
            let positions = vec![Position {
                account: account("DU1"),
                conid: conid(),
                symbol: Untrusted::new("AAPL"),
                class: None,
                quantity: Decimal::from(position),
                market_price: None,
                market_value: None,
                average_cost: None,
                unrealized_pnl: None,
                currency: Currency::USD,
            }];
            self.bench.feed(Input::Held { account: account("DU1"), positions });
            self.bench.commit();
            self.bench.monotonic += Duration::from_secs(10);
            self.bench.wall += 10_000;
        }
    }

    /// What was told of it as left behind.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for notice in self.bench.notices() {
            if let Notice::Differs { finding: Finding::LeftBehind, order, difference, .. } = notice
            {
                assert_eq!(order, self.order);
                told.push(difference);
            }
        }
        told
    }
}

#[test]
fn a_working_order_whose_position_was_closed_elsewhere_is_told_once_also_over_a_restart() {
    for (side, position) in [(Side::Sell, 10), (Side::Buy, -10)] {
        let mut story = Story::new(side, position);
        story.looks(5, 0, position);
        assert_eq!(story.told(), Vec::<String>::new(), "{side}: it closes what is there");
        story.looks(1, 0, 0);
        assert_eq!(story.told(), Vec::<String>::new(), "{side}: its own fill may be on its way");
        story.looks(5, 0, 0);
        let told = story.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("10 of it are left, and the position is 0"), "{told:?}");
        story.bench.restart();
        story.looks(5, 0, 0);
        assert_eq!(story.told(), Vec::<String>::new(), "{side}: told before the restart");
    }
}

#[test]
fn one_that_still_closes_something_but_less_than_is_left_of_it_is_told_too() {
    let mut story = Story::new(Side::Sell, 10);
    story.looks(5, 4, 6);
    assert_eq!(story.told(), Vec::<String>::new(), "what filled is what is gone");
    story.looks(5, 4, 2);
    let told = story.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("6 of it are left, and the position is 2"), "{told:?}");
}

#[test]
fn an_order_that_was_to_open_and_a_position_that_comes_and_goes_are_no_news() {
    let mut opening = Story::new(Side::Sell, 0);
    opening.looks(5, 0, 0);
    assert_eq!(opening.told(), Vec::<String>::new());
    let mut moving = Story::new(Side::Sell, 10);
    for position in [0, 10, 0, 10, 0, 10] {
        moving.looks(1, 0, position);
    }
    assert_eq!(moving.told(), Vec::<String>::new(), "it never stood still");
}
