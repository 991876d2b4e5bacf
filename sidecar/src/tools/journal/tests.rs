//! Laws of the journal: nothing lost, nothing told twice, within one process; by time after it.

use super::*;
use ibkr_agent_domain::{BrokerOrderStatus, Conid, Listed, Side, Untrusted};
use rust_decimal::Decimal;

const T: i64 = 1_795_363_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(T + seconds * 1000)
}

fn account() -> AccountId {
    AccountId::parse("DU1").unwrap()
}

fn order(id: &str, status: BrokerOrderStatus, filled: Option<i64>) -> BrokerOrder {
    BrokerOrder {
        symbol: Untrusted::new("AAPL"),
        side: Some(Side::Buy),
        quantity: Some(Decimal::TEN),
        filled: filled.map(Decimal::from),
        kind: Untrusted::new("LIMIT"),
        status,
        updated: Some(at(0)),
        ..BrokerOrder::of(
            BrokerOrderId::parse(id).unwrap(),
            account(),
            Conid::new(265_598).unwrap(),
        )
    }
}

fn fill(id: &str, seconds: i64) -> Execution {
    Execution {
        id: Untrusted::new(id),
        order_id: None,
        reference: None,
        account: account(),
        conid: Conid::new(265_598).unwrap(),
        symbol: Untrusted::new("AAPL"),
        side: Some(Side::Buy),
        quantity: Decimal::ONE,
        price: Decimal::ONE,
        commission: None,
        exchange: Untrusted::new("NYSE"),
        time: at(seconds),
    }
}

fn look(orders: Option<Vec<BrokerOrder>>, fills: Option<Vec<Execution>>) -> Vec<Looked> {
    let (orders, fills) = (orders.map(Listed::of), fills.map(Listed::of));
    vec![Looked { account: account(), orders, fills }]
}

fn halted(halted: bool, seconds: i64) -> Inside {
    Inside { halt: Some((halted, at(seconds))), ..Inside::default() }
}

fn names(state: &State, after: u64) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Fill(fill) => format!("fill {}", fill.id),
        Change::Order(_, id) => format!("order {id}"),
        Change::Gone(_, id) => format!("gone {id}"),
        Change::Approval(owner, id) => format!("approval {id} of {}", owner),
        Change::Request(owner, id) => format!("request {id} of {}", owner),
        Change::Session(broker) => format!("session {broker}"),
        Change::Halt => "halt".to_owned(),
    };
    state.after(after).map(|(_, change)| name(change)).collect()
}

use BrokerOrderStatus::{Filled, Submitted};

#[test]
fn the_first_look_is_the_present_and_each_difference_is_told_once() {
    let mut state = State::default();
    let open = vec![order("1", Submitted, Some(0))];
    state.take(look(Some(open.clone()), Some(vec![fill("a", -9)])), halted(false, 0), at(0));
    assert_eq!(state.newest(), 0, "what was there before isn't a change");

    state.take(look(Some(open), Some(vec![fill("a", -9)])), halted(false, 0), at(1));
    assert_eq!(state.newest(), 0, "nothing changed");

    let orders = vec![order("1", Filled, Some(10)), order("2", Submitted, None)];
    let fills = vec![fill("b", 2), fill("a", -9)];
    state.take(look(Some(orders.clone()), Some(fills.clone())), halted(true, 2), at(3));
    assert_eq!(names(&state, 0), ["fill b", "order 1", "order 2", "halt"]);
    let told = state.newest();

    state.take(look(Some(orders), Some(fills)), halted(true, 2), at(4));
    assert!(names(&state, told).is_empty(), "told once");
    state.take(look(Some(vec![order("1", Filled, Some(10))]), None), halted(true, 2), at(5));
    assert_eq!(names(&state, told), ["gone 2"], "an open order that vanishes is told; a done not");
}

#[test]
fn thin_rows_and_thin_lists_are_not_changes() {
    let mut state = State::default();
    let full = vec![order("1", Submitted, Some(3))];
    state.take(look(Some(full.clone()), Some(vec![fill("a", 0)])), Inside::default(), at(0));
    let thin = vec![order("1", Submitted, None)];
    state.take(look(Some(thin), Some(Vec::new())), Inside::default(), at(1));
    state.take(look(Some(full), Some(vec![fill("a", 0)])), Inside::default(), at(2));
    assert!(names(&state, 0).is_empty(), "{:?}", names(&state, 0));
}

#[test]
fn a_read_that_failed_hides_nothing() {
    let mut state = State::default();
    state.take(look(None, None), Inside::default(), at(0));
    let orders = vec![order("1", Submitted, Some(0))];
    let fills = vec![fill("before", -5), fill("since", 5)];
    let mut late = orders;
    late[0].updated = Some(at(5));
    state.take(look(Some(late.clone()), Some(fills.clone())), Inside::default(), at(9));
    assert_eq!(names(&state, 0), ["fill since", "order 1"]);
    let told = state.newest();
    state.take(look(None, None), Inside::default(), at(10));
    let mut more = fills;
    more.push(fill("later", 11));
    state.take(look(Some(late), Some(more)), Inside::default(), at(12));
    assert_eq!(names(&state, told), ["fill later"]);
}

#[test]
fn approvals_and_requests_are_told_with_their_owner() {
    let mut state = State::default();
    let id = ApprovalId::parse("ap-1").unwrap();
    let reference = ClientOrderId::parse("ia1").unwrap();
    let owner = Owner::Local;
    let inside = |status, requested: Option<OrderState>| Inside {
        approvals: BTreeMap::from([(id.clone(), (owner.clone(), status))]),
        requests: requested
            .map(|state| (reference.clone(), (owner.clone(), state)))
            .into_iter()
            .collect(),
        ..Inside::default()
    };
    state.take(Vec::new(), inside("pending", None), at(0));
    state.take(Vec::new(), inside("approved", None), at(1));
    state.take(Vec::new(), inside("consumed", Some(OrderState::Working)), at(2));
    let expected = ["approval ap-1 of local", "approval ap-1 of local", "request ia1 of local"];
    assert_eq!(names(&state, 0), expected);
}

#[test]
fn a_cursor_reads_back_and_nonsense_does_not() {
    let journal = Journal::new();
    let mark = journal.mark(7, at(0), 3);
    assert_eq!(Mark::parse(&mark.to_text()), Some(mark.clone()));
    assert!(mark.to_text().len() <= 64);
    for text in ["", "c1", "7", "c2.00000000.1.1.0", "c1.00000000.1.-1.0", "c1.0.1.1.0", "c1.x"] {
        assert_eq!(Mark::parse(text), None, "{text}");
    }
    assert_eq!(Mark::parse(&format!("{}.1", mark.to_text())), None);
}

#[test]
fn a_cursor_of_this_process_leads_to_its_number_and_one_of_another_to_its_time() {
    let (journal, other) = (Journal::new(), Journal::new());
    let mut state = State::default();
    for _ in 0..5 {
        state.push(Change::Halt);
    }
    let day = at(86_400 + 3600);
    assert_eq!(journal.place(&state, &journal.mark(3, at(0), 0), day), Place::After(3));
    let elsewhere = other.mark(3, at(0), 0);
    let by_time = Place::ByTime { from: at(-60), then: 5, skip: 0 };
    assert_eq!(journal.place(&state, &elsewhere, at(100)), by_time);
    assert_eq!(journal.place(&state, &elsewhere, day), Place::TooOld);
    let never_counted = journal.mark(6, at(0), 0);
    assert_eq!(journal.place(&state, &never_counted, at(100)), by_time);
    let going_on = Place::ByTime { from: at(-60), then: 2, skip: 20 };
    assert_eq!(journal.place(&state, &journal.mark(2, at(0), 20), at(100)), going_on);
}

#[test]
fn numbers_that_are_no_longer_kept_are_found_by_time() {
    let journal = Journal::new();
    let mut state = State::default();
    for _ in 0..MAX_KEPT + 10 {
        state.push(Change::Halt);
    }
    assert_eq!(state.after(0).count(), MAX_KEPT);
    assert_eq!(journal.place(&state, &journal.mark(10, at(0), 0), at(1)), Place::After(10));
    let lost = journal.place(&state, &journal.mark(9, at(0), 0), at(1));
    assert!(matches!(lost, Place::ByTime { .. }), "{lost:?}");
}
