//! The broker's truth changes without us: it is told, counted, held against new risk, and ended by
//! evidence only.

use super::bench::{Bench, LOCAL, OPERATOR, account, refusal_of};
use ibkr_agent_domain::{
    AccountId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, ClientOrderId,
    Conid, ErrorCode, Execution, Listed, NotSent, OrderState, Side, Timestamp, Untrusted,
};
use ibkr_agent_engine::{
    Answer, ApprovalStatus, CancelReport, Effect, Finding, Input, Notice, PlaceReport, Sought,
};
use rust_decimal::Decimal;

pub(super) fn conid() -> Conid {
    Conid::new(265_598).unwrap()
}

pub(super) fn id(text: &str) -> BrokerOrderId {
    BrokerOrderId::parse(text).unwrap()
}

/// A row of the broker's list: a limit order to buy.
pub(super) fn row(
    reference: &ClientOrderId,
    order: &str,
    (quantity, limit): (i64, i64),
    status: BrokerOrderStatus,
    filled: i64,
) -> BrokerOrder {
    BrokerOrder {
        reference: Some(reference.clone()),
        side: Some(Side::Buy),
        quantity: Some(Decimal::from(quantity)),
        filled: Some(Decimal::from(filled)),
        order_type: BrokerOrderType::Limit,
        kind: Untrusted::new("LMT"),
        limit_price: Some(Decimal::from(limit)),
        status,
        ..BrokerOrder::of(id(order), account("DU1"), conid())
    }
}

pub(super) fn trade(
    reference: &ClientOrderId,
    name: &str,
    quantity: i64,
    price: Decimal,
) -> Execution {
    Execution {
        id: Untrusted::new(name),
        order_id: Some(id("501")),
        reference: Some(reference.clone()),
        account: account("DU1"),
        conid: conid(),
        symbol: Untrusted::new("AAPL"),
        side: Some(Side::Buy),
        quantity: Decimal::from(quantity),
        price,
        commission: None,
        exchange: Untrusted::new("SMART"),
        time: Timestamp::from_millis(0),
    }
}

impl Bench {
    pub(super) fn looks(&mut self, orders: Vec<BrokerOrder>, executions: Vec<Execution>) {
        self.feed(Input::Evidence {
            account: account("DU1"),
            orders: Listed::of(orders),
            executions: Listed::of(executions),
        });
        self.commit();
    }

    /// Ten shares at 100, which the broker took as its order 501.
    pub(super) fn working(&mut self) -> ClientOrderId {
        let order = self.placed(Side::Buy, 10);
        let report = PlaceReport::Placed {
            order_id: id("501"),
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        };
        self.feed(Input::PlaceDone { order: order.clone(), report });
        self.commit();
        order
    }

    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let told = self.taken(|effect| matches!(effect, Effect::Notice(_)));
        let notice = |effect| {
            let Effect::Notice(notice) = effect else { return None };
            Some(*notice)
        };
        told.into_iter().filter_map(notice).collect()
    }

    pub(super) fn findings_told(&mut self) -> Vec<Finding> {
        let found = |notice| {
            let Notice::Differs { finding, .. } = notice else { return None };
            Some(finding)
        };
        self.notices().into_iter().filter_map(found).collect()
    }
}

pub(super) const WORKS: BrokerOrderStatus = BrokerOrderStatus::Submitted;

#[test]
fn an_order_that_was_changed_at_the_broker_is_told_counted_and_holds_back_new_risk() {
    let mut bench = Bench::new();
    let order = bench.working();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    bench.notices();
    bench.looks(vec![row(&order, "501", (500, 235), WORKS, 0)], Vec::new());
    assert_eq!(bench.findings_told(), [Finding::Changed]);
    let entry = bench.entry(&order);
    assert_eq!(entry.message, "approved 10 @ 100, now 500 @ 235, filled 0");
    let used = bench.engine.used(Some(&account("DU1")), bench.now());
    assert_eq!(used.notional_today, Decimal::from(500 * 235));
    // Nothing new on that contract while a human hasn't looked.
    let facts = bench.facts();
    let refused = bench.submit_on(&approval, facts);
    assert_eq!(refusal_of(&bench, refused), Some(ErrorCode::OrderInDoubt));
    // It fills, and is told as what it is; the same look again tells nothing again.
    let price = Decimal::new(22_975, 2);
    for _ in 0..2 {
        let rows = vec![row(&order, "501", (500, 235), BrokerOrderStatus::Filled, 500)];
        bench.looks(rows, vec![trade(&order, "e1", 500, price)]);
    }
    assert_eq!(bench.findings_told(), [Finding::Overfilled]);
    let entry = bench.entry(&order);
    assert_eq!(entry.state, OrderState::Filled);
    assert_eq!(entry.message, "approved 10 @ 100, now 500 @ 235, filled 500");
    // A restart forgets none of it, and tells nothing twice.
    bench.restart();
    assert_eq!(bench.entry(&order), entry);
    bench.looks(vec![row(&order, "501", (500, 235), BrokerOrderStatus::Filled, 500)], Vec::new());
    assert_eq!(bench.findings_told(), []);
    let used = bench.engine.used(Some(&account("DU1")), bench.now());
    assert!(used.notional_today >= Decimal::from(114_875), "{used:?}");
}

#[test]
fn what_was_not_changed_and_what_a_row_leaves_out_is_no_finding() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.notices();
    let thin = BrokerOrder {
        reference: Some(order.clone()),
        status: WORKS,
        ..BrokerOrder::of(id("501"), account("DU1"), conid())
    };
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 3)], Vec::new());
    bench.looks(vec![thin], Vec::new());
    assert_eq!(bench.notices(), []);
    assert_eq!(bench.entry(&order).filled, Some(Decimal::from(3)));
}

#[test]
fn each_kind_of_changed_term_is_a_finding() {
    type Change = fn(&mut BrokerOrder);
    let changes: [Change; 5] = [
        |row| row.quantity = Some(Decimal::from(11)),
        |row| row.limit_price = Some(Decimal::new(10_001, 2)),
        |row| row.order_type = BrokerOrderType::Market,
        |row| {
            row.order_type = BrokerOrderType::Other;
            row.trigger_price = Some(Decimal::from(90));
        },
        |row| row.time_in_force = Some(ibkr_agent_domain::BrokerTimeInForce::parse("GTC")),
    ];
    for change in changes {
        let mut bench = Bench::new();
        let order = bench.working();
        let mut changed = row(&order, "501", (10, 100), WORKS, 0);
        change(&mut changed);
        bench.looks(vec![changed.clone()], Vec::new());
        assert_eq!(bench.findings_told(), [Finding::Changed], "{changed:?}");
    }
}

#[test]
fn two_live_orders_under_one_reference_get_two_cancels_and_end_with_the_last_of_them() {
    let mut bench = Bench::new();
    let order = bench.working();
    let both = |first, second| {
        vec![row(&order, "501", (10, 100), first, 0), row(&order, "502", (10, 100), second, 0)]
    };
    bench.looks(both(WORKS, WORKS), Vec::new());
    assert_eq!(bench.findings_told(), [Finding::Twin]);
    let ticket = bench.cancel(LOCAL, "DU1", "501");
    bench.commit();
    let sent = bench.taken(|effect| matches!(effect, Effect::SendCancel { .. }));
    assert_eq!(sent.len(), 2);
    for _ in 0..2 {
        assert!(bench.answer(ticket).is_none());
        let report = CancelReport::Requested { message: String::new() };
        bench.feed(Input::CancelDone { ticket, report });
        bench.commit();
    }
    assert!(matches!(bench.answer(ticket), Some(Answer::CancelRequested { sent: 2, .. })));
    bench.looks(both(BrokerOrderStatus::Cancelled, WORKS), Vec::new());
    assert_eq!(bench.state(&order), OrderState::Working);
    bench.looks(both(BrokerOrderStatus::Cancelled, BrokerOrderStatus::Cancelled), Vec::new());
    assert_eq!(bench.state(&order), OrderState::Cancelled);
    // A late fill of the survivor beats the ending.
    let mut filled = both(BrokerOrderStatus::Cancelled, BrokerOrderStatus::Filled);
    filled[1].filled = Some(Decimal::TEN);
    bench.looks(filled, Vec::new());
    assert_eq!(bench.state(&order), OrderState::Filled);
}

#[test]
fn an_older_look_makes_no_ended_order_work_again() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.looks(vec![row(&order, "501", (10, 100), BrokerOrderStatus::Cancelled, 0)], Vec::new());
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 0)], Vec::new());
    assert_eq!(bench.state(&order), OrderState::Cancelled);
}

#[test]
fn a_late_fill_beats_a_rejection_and_a_wrong_statement_and_spends_the_approval() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 10);
    let report = PlaceReport::Rejected { message: "no".to_owned() };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Rejected);
    bench.looks(Vec::new(), vec![trade(&order, "e1", 10, Decimal::ONE_HUNDRED)]);
    assert_eq!(bench.state(&order), OrderState::Filled);

    let order = bench.placed(Side::Buy, 9);
    let report = PlaceReport::NotSent { why: NotSent::ConnectFailed };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::NotSent);
    bench.looks(vec![row(&order, "600", (9, 100), WORKS, 0)], Vec::new());
    assert_eq!(bench.state(&order), OrderState::Working);
    let approval = bench.entry(&order).approval;
    assert_eq!(super::bench::approval_of(&bench, &approval).status, ApprovalStatus::Consumed);
}

#[test]
fn an_order_that_the_broker_takes_inactive_is_held_and_told_and_may_come_to_life() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 10);
    let report = PlaceReport::Placed {
        order_id: id("501"),
        status: BrokerOrderStatus::Inactive,
        message: "locating shares".to_owned(),
    };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Held);
    let held = |notice: &Notice| matches!(notice, Notice::Held { .. });
    assert_eq!(bench.notices().iter().filter(|notice| held(notice)).count(), 1);
    for status in [BrokerOrderStatus::Inactive, WORKS] {
        bench.looks(vec![row(&order, "501", (10, 100), status, 0)], Vec::new());
    }
    assert_eq!(bench.state(&order), OrderState::Working);
    assert!(!bench.notices().iter().any(held));
}

/// Whole looks that lack the order until it was asked for singly and the broker knew none.
fn gone(bench: &mut Bench, order: &ClientOrderId) {
    for _ in 0..2 {
        bench.looks(Vec::new(), Vec::new());
        bench.looks(Vec::new(), Vec::new());
        let asked = bench.taken(|effect| matches!(effect, Effect::AskOrder { .. }));
        assert_eq!(asked.len(), 1, "asked for once a minute");
        bench.feed(Input::OrderSought {
            order: order.clone(),
            asked: id("501"),
            answer: Sought::Gone,
        });
        bench.commit();
        bench.monotonic += std::time::Duration::from_secs(61);
    }
}

#[test]
fn an_order_that_left_the_list_is_asked_for_and_ends_when_its_day_is_over() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.notices();
    bench.looks(Vec::new(), Vec::new());
    assert!(bench.taken(|effect| matches!(effect, Effect::AskOrder { .. })).is_empty());
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 0)], Vec::new());
    bench.day += 1;
    gone(&mut bench, &order);
    assert_eq!(bench.state(&order), OrderState::Expired);
    assert!(bench.engine.accounts_to_watch().is_empty(), "it isn't polled for ever");
    assert!(bench.notices().iter().any(|notice| matches!(notice, Notice::Vanished { .. })));
    // What it did after all is believed.
    bench.looks(Vec::new(), vec![trade(&order, "e1", 10, Decimal::ONE_HUNDRED)]);
    assert_eq!(bench.state(&order), OrderState::Filled);
}

#[test]
fn an_order_that_vanished_in_the_middle_of_its_day_is_in_doubt() {
    let mut bench = Bench::new();
    let order = bench.working();
    gone(&mut bench, &order);
    assert_eq!(bench.state(&order), OrderState::Unknown);
    assert!(bench.notices().iter().any(|n| matches!(n, Notice::OutcomeUnknown { .. })));
}

#[test]
fn a_list_that_was_not_read_whole_shows_no_absence() {
    let mut bench = Bench::new();
    bench.working();
    for _ in 0..5 {
        let unread = ibkr_agent_domain::UnreadRow {
            order_id: None,
            reference: None,
            account: None,
            conid: None,
            contract: None,
            status: None,
            why: "contract id of an order",
        };
        bench.feed(Input::Evidence {
            account: account("DU1"),
            orders: Listed { rows: Vec::new(), unread: vec![unread] },
            executions: Listed::default(),
        });
        bench.commit();
    }
    assert!(bench.taken(|effect| matches!(effect, Effect::AskOrder { .. })).is_empty());
}

#[test]
fn an_order_that_is_found_when_it_is_asked_for_is_believed() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.looks(Vec::new(), Vec::new());
    bench.looks(Vec::new(), Vec::new());
    let found = row(&order, "501", (10, 100), BrokerOrderStatus::Cancelled, 0);
    let answer = Sought::Found(Box::new(found));
    bench.feed(Input::OrderSought { order: order.clone(), asked: id("501"), answer });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Cancelled);
}

#[test]
fn words_that_refuse_a_cancel_decide_nothing() {
    let mut bench = Bench::new();
    let order = bench.working();
    let ticket = bench.cancel(OPERATOR, "DU1", "501");
    bench.commit();
    let report = CancelReport::Refused {
        code: ErrorCode::OrderCancelRefused,
        message: "already filled or cancelled".to_owned(),
    };
    bench.feed(Input::CancelDone { ticket, report });
    bench.commit();
    let Some(Answer::CancelRequested { order: Some(entry), refused: Some(_), .. }) =
        bench.answer(ticket)
    else {
        panic!("{:?}", bench.answer(ticket));
    };
    assert_eq!((&entry.id, entry.state), (&order, OrderState::Working));
}

#[test]
fn a_row_of_another_side_or_contract_is_not_ours_whatever_reference_it_carries() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.notices();
    let other = Conid::new(272_093).unwrap();
    let mut sell = row(&order, "700", (10, 100), WORKS, 0);
    sell.side = Some(Side::Sell);
    let mut elsewhere = row(&order, "701", (10, 100), WORKS, 0);
    elsewhere.conid = other;
    bench.looks(vec![sell, elsewhere], Vec::new());
    let notices = bench.notices();
    let [Notice::ForeignOrders { count: 2, .. }] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(bench.entry(&order).incarnations.is_empty());
}

#[test]
fn a_correction_takes_the_place_of_the_fill_that_it_corrects() {
    let mut bench = Bench::new();
    let order = bench.working();
    let hundred = Decimal::ONE_HUNDRED;
    bench.looks(Vec::new(), vec![trade(&order, "0001.01.01", 6, hundred)]);
    bench.looks(Vec::new(), vec![trade(&order, "0001.01.02", 4, hundred)]);
    bench.looks(Vec::new(), vec![trade(&order, "0001.01.01", 6, hundred)]);
    assert_eq!(bench.entry(&order).filled, Some(Decimal::from(4)));
}

#[test]
fn what_ended_long_ago_is_forgotten_with_its_key_and_its_approval_and_what_counts_is_kept() {
    let mut bench = Bench::new();
    let order = bench.working();
    let approval = bench.entry(&order).approval;
    assert_eq!(bench.kept_keys(), 1);
    bench.looks(vec![row(&order, "501", (10, 100), BrokerOrderStatus::Filled, 10)], Vec::new());
    let fortnight = 14 * 24 * 3600 * 1000;
    let preview = |bench: &mut Bench| {
        bench.preview_as("later", &super::bench::order_of("DU1", Side::Buy, 1), 0);
    };
    bench.wall += fortnight - 1000;
    preview(&mut bench);
    assert_eq!(bench.engine.orders().count(), 1);
    bench.wall += 2000;
    preview(&mut bench);
    assert_eq!(bench.engine.orders().count(), 0);
    assert!(bench.engine.approvals().all(|entry| entry.id != approval));
    assert_eq!(bench.kept_keys(), 0);
    bench.restart();
    assert_eq!(bench.engine.orders().count(), 0);
    assert_eq!(bench.engine.approvals().count(), 0);
}

#[test]
fn an_account_has_counters_of_its_own() {
    let mut bench = Bench::new();
    let other: AccountId = account("DU2");
    bench.placed_on(&other, Side::Buy, 1);
    let used = |name: &AccountId| bench.engine.used(Some(name), bench.now()).orders_today;
    assert_eq!((used(&other), used(&account("DU1"))), (1, 0));
    assert_eq!(bench.engine.used(None, bench.now()).orders_today, 1);
}
