//! What the broker shows without saying it plainly: rows of ours that can't be read, fills that it
//! takes back, and orders that its list leaves out while it shows something of them.

use super::bench::{Bench, LOCAL, account, refusal_of};
use super::truth::{WORKS, conid, id, row, trade};
use ibkr_agent_domain::{
    BrokerOrder, BrokerOrderStatus, ClientOrderId, ErrorCode, Execution, Listed, NotSent,
    OrderState, Side, UnknownBecause, UnreadRow,
};
use ibkr_agent_engine::{ApprovalStatus, Effect, Finding, Input, Notice, PlaceReport, Sought};
use rust_decimal::Decimal;

const FILLED: BrokerOrderStatus = BrokerOrderStatus::Filled;

/// An order's row that can't be read.
fn unread(reference: Option<&ClientOrderId>, status: Option<BrokerOrderStatus>) -> UnreadRow {
    UnreadRow {
        order_id: Some(id("501")),
        reference: reference.cloned(),
        account: None,
        conid: None,
        contract: None,
        status,
        why: "contract id of an order",
    }
}

impl Bench {
    fn looks_at(&mut self, orders: Listed<BrokerOrder>, executions: Listed<Execution>) {
        let account = account("DU1");
        self.feed(Input::Evidence { account, orders, executions });
        self.commit();
    }

    fn cannot_read(&mut self, row: UnreadRow) {
        let orders = Listed { rows: Vec::new(), unread: vec![row] };
        self.looks_at(orders, Listed::default());
    }

    fn filled(&self, order: &ClientOrderId) -> Option<Decimal> {
        self.entry(order).filled
    }

    /// Ten shares at 100 that filled as order 501, by two fills.
    fn filled_ten(&mut self) -> ClientOrderId {
        let order = self.working();
        self.looks(self.filled_rows(&order, 10), fills(&order));
        self.notices();
        order
    }

    fn filled_rows(&self, order: &ClientOrderId, filled: i64) -> Vec<BrokerOrder> {
        vec![row(order, "501", (10, 100), FILLED, filled)]
    }
}

fn fills(order: &ClientOrderId) -> Vec<Execution> {
    let fill = |name, quantity| trade(order, name, quantity, Decimal::ONE_HUNDRED);
    vec![fill("0001.01.01", 6), fill("0002.01.01", 4)]
}

#[test]
fn a_row_of_ours_that_cannot_be_read_is_told_once_and_said_of_the_order() {
    let mut bench = Bench::new();
    let order = bench.working();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    bench.notices();
    for _ in 0..3 {
        bench.cannot_read(unread(Some(&order), Some(WORKS)));
    }
    assert_eq!(bench.findings_told(), [Finding::Unreadable]);
    let entry = bench.entry(&order);
    let says = "the broker shows a row of it that can't be read: contract id of an order";
    assert_eq!((entry.state, entry.message.as_str()), (OrderState::Working, says));
    assert_eq!(entry.seen_at, Some(bench.now().wall), "it was seen");
    // Nothing new on its contract meanwhile.
    let facts = bench.facts();
    let refused = bench.submit_on(&approval, facts);
    assert_eq!(refusal_of(&bench, refused), Some(ErrorCode::OrderInDoubt));
    // A restart tells nothing twice; once it is readable again, the order is told as it is.
    bench.restart();
    bench.cannot_read(unread(Some(&order), Some(WORKS)));
    assert_eq!(bench.findings_told(), []);
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 0)], Vec::new());
    assert_eq!(bench.entry(&order).message, "as the broker's orders and trades show");
    let facts = bench.facts();
    let taken = bench.submit_on(&approval, facts);
    assert_eq!(refusal_of(&bench, taken), None);
}

#[test]
fn an_order_told_as_never_sent_whose_row_cannot_be_read_works_and_its_approval_is_spent() {
    for by_statement in [false, true] {
        let mut bench = Bench::new();
        let order = bench.placed(Side::Buy, 10);
        let report = match by_statement {
            false => PlaceReport::NotSent { why: NotSent::ConnectFailed },
            true => PlaceReport::Rejected { message: "no".to_owned() },
        };
        bench.feed(Input::PlaceDone { order: order.clone(), report });
        bench.commit();
        bench.cannot_read(unread(Some(&order), Some(WORKS)));
        assert_eq!(bench.state(&order), OrderState::Working);
        let approval = bench.entry(&order).approval;
        let status = super::bench::approval_of(&bench, &approval).status;
        assert_eq!(status, ApprovalStatus::Consumed);
    }
}

#[test]
fn an_order_never_sent_whose_row_tells_no_status_is_not_sent_again() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 10);
    let report = PlaceReport::NotSent { why: NotSent::ConnectFailed };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    bench.cannot_read(unread(Some(&order), None));
    assert_eq!(bench.findings_told(), [Finding::Unreadable]);
    let approval = bench.entry(&order).approval;
    let facts = bench.facts();
    let again = bench.submit_on(&approval, facts);
    assert_eq!(refusal_of(&bench, again), Some(ErrorCode::OrderInDoubt));
}

#[test]
fn a_fill_of_ours_that_cannot_be_read_is_told_and_ends_nothing() {
    let mut bench = Bench::new();
    let order = bench.working();
    let rows = vec![row(&order, "501", (10, 100), WORKS, 3)];
    let why = "size of a trade";
    let fill = UnreadRow { why, status: None, ..unread(Some(&order), None) };
    bench.looks_at(Listed::of(rows), Listed { rows: Vec::new(), unread: vec![fill] });
    assert_eq!(bench.findings_told(), [Finding::Unreadable]);
    let entry = bench.entry(&order);
    assert_eq!((entry.state, entry.filled), (OrderState::Working, Some(Decimal::from(3))));
    let says = "the broker shows a fill of it that can't be read: size of a trade";
    assert_eq!(entry.message, says);
}

#[test]
fn a_row_that_names_no_order_of_ours_or_one_that_ended_is_not_told_as_ours() {
    let mut bench = Bench::new();
    let order = bench.filled_ten();
    // The broker uses its ids again.
    bench.cannot_read(unread(None, Some(WORKS)));
    let mut elsewhere = unread(Some(&order), Some(WORKS));
    elsewhere.conid = Some(ibkr_agent_domain::Conid::new(272_093).unwrap());
    bench.cannot_read(elsewhere);
    assert_eq!(bench.notices(), []);
    // What was seen to end doesn't work again by a row that can't be read, unless it is another.
    bench.cannot_read(unread(Some(&order), Some(WORKS)));
    assert_eq!(bench.state(&order), OrderState::Filled);
    let another = UnreadRow { order_id: Some(id("502")), ..unread(Some(&order), Some(WORKS)) };
    bench.cannot_read(another);
    assert_eq!(bench.state(&order), OrderState::Working);
    assert_eq!(conid(), bench.entry(&order).order.conid());
}

#[test]
fn a_fill_that_the_broker_took_back_is_told_and_the_order_filled_less_while_limits_keep_counting() {
    let mut bench = Bench::new();
    let order = bench.filled_ten();
    let used = bench.engine.used(Some(&account("DU1")), bench.now());
    // The one fill is gone, and the row says so.
    let left = || vec![fills(&order).remove(1)];
    bench.looks(bench.filled_rows(&order, 4), left());
    assert_eq!(bench.filled(&order), Some(Decimal::TEN), "one look may be an older answer");
    bench.looks(bench.filled_rows(&order, 4), left());
    assert_eq!(bench.filled(&order), Some(Decimal::from(4)));
    assert_eq!(bench.findings_told(), [Finding::TakenBack]);
    let entry = bench.entry(&order);
    let says = "approved 10 @ 100, filled 4, after the broker took fills back";
    assert_eq!(entry.message, says);
    assert_eq!(bench.engine.used(Some(&account("DU1")), bench.now()), used);
    // The same look again says nothing new, nor does a restart; a second one is told again.
    bench.restart();
    assert_eq!(bench.entry(&order), entry);
    bench.looks(bench.filled_rows(&order, 4), left());
    assert_eq!(bench.notices(), []);
    for _ in 0..2 {
        bench.looks(bench.filled_rows(&order, 0), Vec::new());
    }
    assert_eq!(bench.filled(&order), Some(Decimal::ZERO));
    assert_eq!(bench.findings_told(), [Finding::TakenBack]);
}

#[test]
fn a_fill_that_is_missing_while_the_row_still_counts_it_is_not_taken_back() {
    let mut bench = Bench::new();
    let order = bench.filled_ten();
    for _ in 0..3 {
        bench.looks(bench.filled_rows(&order, 10), Vec::new());
        // The first read of a session shows nothing, and a thin row tells no quantity.
        bench.looks(Vec::new(), Vec::new());
        let mut thin = bench.filled_rows(&order, 0);
        thin[0].filled = None;
        bench.looks(thin, Vec::new());
    }
    assert_eq!(bench.filled(&order), Some(Decimal::TEN));
    assert_eq!(bench.notices(), []);
}

#[test]
fn looks_that_disagree_or_were_not_read_whole_take_nothing_back() {
    let mut bench = Bench::new();
    let order = bench.filled_ten();
    let foreign = UnreadRow { order_id: None, ..unread(None, None) };
    for filled in [4, 10, 4, 3, 4] {
        bench.looks(bench.filled_rows(&order, filled), Vec::new());
        let rows = bench.filled_rows(&order, 4);
        let orders = Listed { rows, unread: vec![foreign.clone()] };
        bench.looks_at(orders, Listed::default());
    }
    assert_eq!(bench.filled(&order), Some(Decimal::TEN));
}

#[test]
fn a_correction_to_less_is_believed_at_once_and_to_nothing_too() {
    for left in [4, 0] {
        let mut bench = Bench::new();
        let order = bench.filled_ten();
        let corrected = trade(&order, "0001.01.02", left, Decimal::ONE_HUNDRED);
        // The day is over: its row is no longer listed.
        bench.looks(Vec::new(), vec![corrected, fills(&order).remove(1)]);
        assert_eq!(bench.filled(&order), Some(Decimal::from(left + 4)));
        let notices = bench.notices();
        let [Notice::Differs { finding: Finding::TakenBack, difference, .. }] = notices.as_slice()
        else {
            panic!("{notices:?}");
        };
        let says = format!("filled {}, after the broker took fills back", left + 4);
        assert!(difference.ends_with(&says), "{difference}");
    }
}

#[test]
fn an_order_that_left_the_list_is_asked_for_though_its_fills_or_its_twin_are_still_listed() {
    for has_twin in [false, true] {
        let mut bench = Bench::new();
        let order = bench.working();
        let twin = || row(&order, "502", (10, 100), WORKS, 0);
        let listed = || if has_twin { vec![twin()] } else { Vec::new() };
        let fill = || vec![trade(&order, "0001.01.01", 3, Decimal::ONE_HUNDRED)];
        let first = row(&order, "501", (10, 100), WORKS, 3);
        bench.looks([vec![first], listed()].concat(), fill());
        for _ in 0..2 {
            bench.looks(listed(), fill());
        }
        let asked = bench.taken(|effect| matches!(effect, Effect::AskOrder { .. }));
        let [Effect::AskOrder { order: which, .. }] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        assert_eq!(*which, id("501"));
        let cancelled = row(&order, "501", (10, 100), BrokerOrderStatus::Cancelled, 3);
        let answer = Sought::Found(Box::new(cancelled));
        bench.feed(Input::OrderSought { order: order.clone(), asked: id("501"), answer });
        bench.commit();
        let expected = if has_twin { OrderState::Working } else { OrderState::Cancelled };
        assert_eq!(bench.state(&order), expected);
    }
}

#[test]
fn an_order_does_not_end_by_the_absence_of_one_while_its_twin_works() {
    let mut bench = Bench::new();
    let order = bench.working();
    let both = ["501", "502"].map(|name| row(&order, name, (10, 100), WORKS, 0));
    bench.looks(both.to_vec(), Vec::new());
    bench.day += 1;
    for _ in 0..4 {
        bench.looks(vec![both[1].clone()], Vec::new());
        bench.monotonic += std::time::Duration::from_secs(61);
        let answer = Sought::Gone;
        bench.feed(Input::OrderSought { order: order.clone(), asked: id("501"), answer });
        bench.commit();
    }
    assert_eq!(bench.state(&order), OrderState::Working);
}

#[test]
fn an_order_that_only_a_fill_shows_can_be_cancelled_by_the_id_that_the_fill_names() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 10);
    let report = PlaceReport::Unknown { why: UnknownBecause::TimedOut };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    bench.looks(Vec::new(), vec![trade(&order, "0001.01.01", 3, Decimal::ONE_HUNDRED)]);
    assert_eq!(bench.state(&order), OrderState::Working);
    bench.cancel(LOCAL, "DU1", "501");
    bench.commit();
    assert_eq!(bench.taken(|effect| matches!(effect, Effect::SendCancel { .. })).len(), 1);
}

#[test]
fn an_order_told_as_filled_is_told_as_cancelled_when_its_fill_was_taken_back_and_it_was_cancelled()
{
    let mut bench = Bench::new();
    let order = bench.working();
    let fills = fills(&order);
    // Filled by what one look shows too much: the fill that was taken back, and its replacement.
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 6)], vec![fills[0].clone()]);
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 4)], vec![fills[1].clone()]);
    assert_eq!(bench.state(&order), OrderState::Filled);
    let cancelled = || vec![row(&order, "501", (10, 100), BrokerOrderStatus::Cancelled, 4)];
    for _ in 0..2 {
        bench.looks(cancelled(), vec![fills[1].clone()]);
    }
    assert_eq!(bench.filled(&order), Some(Decimal::from(4)));
    assert_eq!(bench.state(&order), OrderState::Cancelled);
}

#[test]
fn an_order_that_filled_by_its_fills_alone_is_asked_for_until_a_row_says_that_it_ended() {
    let mut bench = Bench::new();
    let order = bench.working();
    bench.looks(vec![row(&order, "501", (10, 100), WORKS, 0)], Vec::new());
    // It left the list, was raised there, and filled what was approved.
    for _ in 0..3 {
        bench.looks(Vec::new(), fills(&order));
    }
    assert_eq!(bench.state(&order), OrderState::Filled);
    bench.restart();
    bench.looks(Vec::new(), fills(&order));
    bench.looks(Vec::new(), fills(&order));
    let asked = bench.taken(|effect| matches!(effect, Effect::AskOrder { .. }));
    assert_eq!(asked.len(), 2, "{asked:?}");
    let raised = row(&order, "501", (500, 100), WORKS, 10);
    let answer = Sought::Found(Box::new(raised));
    bench.feed(Input::OrderSought { order: order.clone(), asked: id("501"), answer });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Working);
    assert_eq!(bench.findings_told(), [Finding::Changed]);
    // Once the broker says that it is over, nobody asks any more.
    for _ in 0..6 {
        bench.looks(bench.filled_rows(&order, 10), fills(&order));
        bench.looks(Vec::new(), fills(&order));
        bench.monotonic += std::time::Duration::from_secs(61);
    }
    assert!(bench.taken(|effect| matches!(effect, Effect::AskOrder { .. })).is_empty());
}
