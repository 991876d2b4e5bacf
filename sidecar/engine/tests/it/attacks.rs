//! Attacks on the money path: one test for each way that was tried and once worked.
//!
//! The engine runs over the real ledger and store; the broker is whatever a test says it answered.

mod authority;
mod bench;
mod callers;
mod chain;
mod halts;
mod history;
mod holdings;
mod left;
mod reasons;
mod scopes;
mod sends;
mod talk;
mod truth;
mod unsaid;
mod whose;

use self::bench::{Bench, LOCAL, OPERATOR, account, approval_of, order_of, refusal_of};
use ibkr_agent_audit::Emergency;
use ibkr_agent_domain::{
    BrokerName, BrokerOrderId, BrokerOrderStatus, ClientOrderId, ErrorCode, Execution, Listed,
    OrderState, Side, Timestamp, UnknownBecause, Untrusted,
};
use ibkr_agent_engine::{
    Answer, ApprovalStatus, BrokerFacts, CommitError, Effect, Input, OperatorAct, PlaceReport,
    Standing, Work,
};
use ibkr_agent_gates::Question;
use rust_decimal::Decimal;
use std::time::Duration;

fn question(text: &str) -> Question {
    Question {
        reply_id: format!("r-{}", text.len()),
        message_ids: vec!["o354".to_owned()],
        messages: vec![text.to_owned()],
    }
}

fn answer_of(bench: &Bench, order: &ClientOrderId, text: &str, confirmed: bool) -> OperatorAct {
    assert!(bench.engine.orders().any(|o| o.id == *order));
    let text = question(text).text_digest();
    OperatorAct::Answer { order: order.clone(), text, confirmed }
}

/// Facts of a held position.
fn holding(bench: &Bench, position: i64) -> BrokerFacts {
    BrokerFacts { position: Decimal::from(position), ..bench.facts() }
}

#[test]
fn a_question_takes_one_answer_and_a_second_one_makes_nothing_unknown() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    bench.feed(Input::PlaceDone {
        order: order.clone(),
        report: PlaceReport::Question(question("sure?")),
    });
    bench.commit();
    let yes = answer_of(&bench, &order, "sure?", true);
    let no = answer_of(&bench, &order, "sure?", false);
    bench.operate(yes);
    let second = bench.operate(no);
    bench.commit();
    let sent = bench.taken(|effect| matches!(effect, Effect::SendReply(_)));
    assert_eq!(sent.len(), 1, "two answers to one question left the engine");
    assert_eq!(refusal_of(&bench, second), Some(ErrorCode::OrderNotFound));
    // The next question of the chain is asked and can be answered.
    bench.feed(Input::PlaceDone {
        order: order.clone(),
        report: PlaceReport::Question(question("really sure?")),
    });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Question);
    let yes = answer_of(&bench, &order, "really sure?", true);
    bench.operate(yes);
    bench.commit();
    assert_eq!(bench.taken(|effect| matches!(effect, Effect::SendReply(_))).len(), 1);
}

#[test]
fn an_answer_that_could_not_be_recorded_leaves_the_question_standing() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    bench.feed(Input::PlaceDone {
        order: order.clone(),
        report: PlaceReport::Question(question("sure?")),
    });
    bench.commit();
    let yes = answer_of(&bench, &order, "sure?", true);
    let ticket = bench.operate(yes);
    bench.fail_commits(&CommitError::Failed);
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::AuditWriteFailed));
    assert!(bench.entry(&order).question.is_some());
    assert!(bench.taken(|effect| matches!(effect, Effect::SendReply(_))).is_empty());
}

#[test]
fn orders_at_once_cannot_each_count_as_the_one_that_reduces() {
    // Twenty are held and the limit is ten an order: each of these alone only reduces.
    let mut bench = Bench::new();
    let mut tickets = Vec::new();
    let approvals: Vec<_> = (0..3).map(|_| bench.approved_at(Side::Sell, 20, 20)).collect();
    for approval in &approvals {
        tickets.push(bench.submit(approval));
    }
    for ticket in &tickets {
        let facts = Ok(Box::new(holding(&bench, 20)));
        bench.feed(Input::FactsRead { ticket: *ticket, facts });
    }
    bench.commit();
    let sent = bench.taken(|effect| matches!(effect, Effect::Place(_)));
    assert_eq!(sent.len(), 1, "more was sold than is held");
}

#[test]
fn an_order_that_filled_while_the_facts_were_read_still_counts_against_the_position() {
    let mut bench = Bench::new();
    let first = bench.approved_at(Side::Sell, 20, 20);
    let second = bench.approved_at(Side::Sell, 20, 20);
    let one = bench.submit(&first);
    let facts = Ok(Box::new(holding(&bench, 20)));
    bench.feed(Input::FactsRead { ticket: one, facts });
    bench.commit();
    let order = bench.only_order(&first);
    let two = bench.submit(&second);
    // Its facts were read before the first one's answer came.
    let facts = Ok(Box::new(holding(&bench, 20)));
    let report = PlaceReport::Placed {
        status: BrokerOrderStatus::Submitted,
        order_id: BrokerOrderId::parse("7").unwrap(),
        message: String::new(),
    };
    bench.feed(Input::PlaceDone { order, report });
    bench.commit();
    bench.feed(Input::FactsRead { ticket: two, facts });
    bench.commit();
    assert_eq!(bench.taken(|effect| matches!(effect, Effect::Place(_))).len(), 1);
    assert_eq!(refusal_of(&bench, two), Some(ErrorCode::OrderPolicyRefused));
}

#[test]
fn facts_that_were_asked_for_before_an_order_of_ours_changed_do_not_hide_it() {
    for (is_reused, refused) in [(true, Some(ErrorCode::OrderPolicyRefused)), (false, None)] {
        let mut bench = Bench::new();
        let first = bench.approved_at(Side::Sell, 20, 20);
        let second = bench.approved_at(Side::Sell, 20, 20);
        // The list of orders is from before the first one was sent; it serves the second one too.
        let as_of = is_reused.then(|| Timestamp::from_millis(bench.wall - 1));
        let one = bench.submit_on(&first, holding(&bench, 20));
        assert_eq!(refusal_of(&bench, one), None);
        let order = bench.only_order(&first);
        let order_id = BrokerOrderId::parse("7").unwrap();
        let report = PlaceReport::Placed {
            order_id,
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        };
        bench.feed(Input::PlaceDone { order, report });
        bench.commit();
        bench.wall += 5_000;
        let facts = BrokerFacts { as_of, ..holding(&bench, 20) };
        let two = bench.submit_on(&second, facts);
        assert_eq!(refusal_of(&bench, two), refused);
    }
}

#[test]
fn a_reduction_passes_while_another_order_is_in_doubt_and_new_risk_does_not() {
    let mut bench = Bench::new();
    let lost = bench.placed(Side::Buy, 5);
    let sell = bench.approved_at(Side::Sell, 5, 20);
    let buy = bench.approved_at(Side::Buy, 5, 20);
    let why = UnknownBecause::TimedOut;
    bench.feed(Input::PlaceDone { order: lost.clone(), report: PlaceReport::Unknown { why } });
    bench.commit();
    assert_eq!(bench.state(&lost), OrderState::Unknown);
    let facts = holding(&bench, 20);
    let (sold, bought) = (bench.submit_on(&sell, facts.clone()), bench.submit_on(&buy, facts));
    assert_eq!(refusal_of(&bench, sold), None);
    assert_eq!(refusal_of(&bench, bought), Some(ErrorCode::OrderInDoubt));
}

#[test]
fn the_clock_going_back_a_day_frees_no_limit_of_the_day() {
    let mut bench = Bench::new();
    bench.placed(Side::Buy, 5);
    bench.day -= 1;
    assert_eq!(bench.engine.used(None, bench.now()).orders_today, 1);
    bench.day += 2;
    assert_eq!(bench.engine.used(None, bench.now()).orders_today, 0);
}

#[test]
fn an_approval_ends_by_the_monotonic_clock_while_the_wall_clock_stands_still() {
    let mut bench = Bench::new();
    // A jump of two days forward and back: the wall clock counts as two days ahead from now on.
    bench.wall += 2 * 86_400_000;
    let asked = bench.approved_at(Side::Buy, 5, 0);
    let pending = bench.asked_at(Side::Buy, 5, 0);
    bench.wall -= 2 * 86_400_000;
    bench.monotonic += Duration::from_secs(11 * 60);
    bench.wall += 11 * 60 * 1000;
    let ticket = bench.submit(&asked);
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::ApprovalExpired));
    let ticket = bench.approve(&pending);
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::ApprovalExpired));
    assert_eq!(approval_of(&bench, &pending).status, ApprovalStatus::Pending);
}

#[test]
fn an_approval_read_back_at_start_ends_when_it_would_have() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    bench.wall += 4 * 60 * 1000;
    bench.restart();
    bench.monotonic += Duration::from_secs(6 * 60);
    let ticket = bench.submit(&approval);
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::ApprovalExpired));
}

#[test]
fn an_order_id_of_another_account_never_stands_in_the_way_of_a_cancel() {
    let mut bench = Bench::new();
    // Two logins number their orders by themselves: 7 is an order of each account.
    for name in ["DU1", "DU2"] {
        let order = bench.placed_on(&account(name), Side::Buy, 5);
        let order_id = BrokerOrderId::parse("7").unwrap();
        let report = PlaceReport::Placed {
            order_id,
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        };
        bench.feed(Input::PlaceDone { order, report });
        bench.commit();
    }
    for named in ["DU1", "DU2"] {
        for who in [LOCAL, OPERATOR] {
            bench.cancel(who, named, "7");
            bench.commit();
            let sent = bench.cancels();
            assert_eq!(sent.len(), 1, "{named}");
            assert_eq!(sent[0].1, account(named));
        }
    }
}

#[test]
fn an_operators_cancel_of_a_foreign_order_goes_through_the_login_that_shows_its_account() {
    let mut bench = Bench::with_brokers();
    let ticket = bench.cancel(OPERATOR, "DU2", "99");
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::BrokerBackendUnavailable));
    let broker = BrokerName::parse("other").unwrap();
    bench.feed(Input::AccountSeen { account: account("DU2"), broker: broker.clone() });
    bench.cancel(OPERATOR, "DU2", "99");
    bench.commit();
    let sent = bench.cancels();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, broker);
    // An agent still can't reach it.
    let ticket = bench.cancel(LOCAL, "DU2", "99");
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::OrderNotOurs));
}

#[test]
fn spent_writes_leave_the_budget_of_cancels_whole() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, work| {
        let caller = bench.caller(LOCAL);
        let ticket = bench.ticket();
        bench.feed(Input::Admit { ticket, caller, work });
        refusal_of(bench, ticket)
    };
    while ask(&mut bench, Work::Ask).is_none() {}
    // Asks and submissions spend the same budget.
    for work in [Work::Ask, Work::Submit] {
        assert_eq!(ask(&mut bench, work), Some(ErrorCode::AuthRateLimited), "{work:?}");
    }
    assert_eq!(ask(&mut bench, Work::Cancel), None);
}

#[test]
fn no_age_of_a_token_stops_a_cancel_or_an_ask_and_only_a_young_one_submits() {
    let mut bench = Bench::new();
    let now = bench.now().wall;
    let ask = |bench: &mut Bench, work, age_ms: i64| {
        let mut caller = bench.caller(LOCAL);
        let issued_at = Timestamp::from_millis(now.as_millis() - age_ms);
        caller.standing = Standing::Token { issued_at };
        let ticket = bench.ticket();
        bench.feed(Input::Admit { ticket, caller, work });
        refusal_of(bench, ticket)
    };
    let (limit, ages) = (15 * 60 * 1000, 24 * 3600 * 1000);
    // It is a write all the same: whom no operator admitted may not.
    for work in [Work::Ask, Work::Submit, Work::Cancel] {
        assert_eq!(ask(&mut bench, work, 0), Some(ErrorCode::AuthNotAdmitted), "{work:?}");
    }
    let caller = bench.caller(LOCAL).requester.actor.label();
    bench.operate(OperatorAct::Admit { caller });
    bench.commit();
    for work in [Work::Read, Work::Preview, Work::Ask, Work::Cancel] {
        for age in [0, limit, limit + 1, ages, now.as_millis()] {
            assert_eq!(ask(&mut bench, work, age), None, "{work:?} by a token of {age} ms");
        }
    }
    for (age, refused) in [(-1, false), (0, false), (limit, false), (limit + 1, true), (ages, true)]
    {
        let expected = refused.then_some(ErrorCode::AuthTokenTooOld);
        assert_eq!(ask(&mut bench, Work::Submit, age), expected, "a token of {age} ms");
    }
}

#[test]
fn a_repeated_call_id_never_puts_another_order_under_a_preview_that_was_shown() {
    let mut bench = Bench::new();
    let shown = bench.preview_as("call-x", &order_of("DU1", Side::Buy, 5), 0);
    let other = bench.preview_as("call-x", &order_of("DU1", Side::Buy, 9), 0);
    assert_ne!(shown, other);
    let asked = bench.ask(&shown, &account("DU1"));
    let quantity = approval_of(&bench, &asked).plan.orders()[0].terms().quantity.get();
    assert_eq!(quantity, Decimal::from(5));
}

fn fill(order: &ClientOrderId, side: Side, quantity: i64) -> Execution {
    let ours = order_of("DU1", side, 5);
    Execution {
        id: Untrusted::new("e1"),
        order_id: None,
        reference: Some(order.clone()),
        account: ours.account().clone(),
        conid: ours.conid(),
        symbol: Untrusted::new("AAPL"),
        side: Some(side),
        quantity: Decimal::from(quantity),
        price: Decimal::ONE_HUNDRED,
        commission: None,
        exchange: Untrusted::new("SMART"),
        time: Timestamp::from_millis(0),
    }
}

#[test]
fn the_same_evidence_is_recorded_once() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    let evidence = |executions| Input::Evidence {
        account: account("DU1"),
        orders: Listed::default(),
        executions: Listed::of(executions),
    };
    bench.feed(evidence(vec![fill(&order, Side::Buy, 2)]));
    bench.commit();
    let size = bench.ledger.head().size;
    for _ in 0..3 {
        bench.feed(evidence(vec![fill(&order, Side::Buy, 2)]));
        bench.commit();
    }
    assert_eq!(bench.ledger.head().size, size, "every look wrote a record of the same thing");
}

#[test]
fn a_fill_of_the_other_side_is_no_evidence() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    let report = PlaceReport::Unknown { why: UnknownBecause::TimedOut };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    let executions = vec![fill(&order, Side::Sell, 5)];
    bench.feed(Input::Evidence {
        account: account("DU1"),
        orders: Listed::default(),
        executions: Listed::of(executions),
    });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::Unknown);
}

#[test]
fn an_approval_has_ended_at_its_last_moment() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    bench.wall = approval_of(&bench, &approval).expires_at.as_millis();
    let ticket = bench.submit(&approval);
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::ApprovalExpired));
}

#[test]
fn a_halt_that_the_log_cannot_take_is_kept_by_the_emergency_file_and_holds_after_the_start() {
    let mut bench = Bench::new();
    let ticket = bench.operate(OperatorAct::Halt { reason: "now".to_owned() });
    bench.fail_commits(&CommitError::Failed);
    assert!(bench.engine.halt_entry().halted);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("emergency.log");
    let (mut emergency, _) = Emergency::open(&path, &[9; 32]).unwrap();
    let now = bench.now().wall;
    let mut events = Vec::new();
    for effect in bench.taken(|effect| matches!(effect, Effect::EmergencyHalt { .. })) {
        if let Effect::EmergencyHalt { permit, .. } = effect {
            events.push(emergency.record(permit, now).unwrap().event().to_string());
        }
    }
    assert_eq!(events.len(), 1, "the halt was not handed to the emergency file");
    bench.feed(Input::EmergencyHalted { ticket, event: events.pop() });
    assert!(matches!(bench.answer(ticket), Some(Answer::Done)));
    let (_, waiting) = Emergency::open(&path, &[9; 32]).unwrap();
    bench.take_over(waiting);
    bench.restart();
    assert!(bench.engine.halt_entry().halted, "the restart forgot the halt");
    let shut = bench.taken(|effect| matches!(effect, Effect::SetLatch { halted: true }));
    assert!(!shut.is_empty());
}

#[test]
fn a_halt_that_nothing_could_record_is_told_so_and_holds_until_the_restart() {
    let mut bench = Bench::new();
    let ticket = bench.operate(OperatorAct::Halt { reason: "now".to_owned() });
    bench.fail_commits(&CommitError::Failed);
    bench.feed(Input::EmergencyHalted { ticket, event: None });
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::AuditWriteFailed));
    assert!(bench.engine.halt_entry().halted);
}
