//! What a signature sends: once, at once or never.

use super::bench::{Bench, LOCAL, account, approval_of, order_of, refusal_of};
use crate::signing;
use ibkr_agent_domain::{
    Actor, ApprovalId, BrokerOrderId, BrokerOrderStatus, CallId, Door, ErrorCode, OnApproval,
    OrderState, Side,
};
use ibkr_agent_engine::{
    Answer, ApprovalStatus, BrokerFacts, Caller, Effect, Followed, Input, OperatorAct,
    OutcomeQuery, Owner, PlaceReport, PreviewDraft, REFUSALS_VOID, Refusal, Row, Standing, Ticket,
};
use ibkr_agent_gates::Requester;
use rust_decimal::Decimal;
use std::time::Duration;

/// An approval that sends by itself, not signed yet.
fn asked(bench: &mut Bench) -> ApprovalId {
    asked_by(bench, LOCAL_CALL)
}

const LOCAL_CALL: &str = "preview-to-send";

fn asked_by(bench: &mut Bench, call: &str) -> ApprovalId {
    let order = order_of("DU1", Side::Buy, 5);
    let preview = bench.preview_as(call, &order, 0);
    let caller = bench.caller(LOCAL);
    bench.ask_to(caller, &preview, &account("DU1"), OnApproval::Submit)
}

/// The tickets for which the engine reads facts.
fn reads(bench: &mut Bench) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for effect in bench.taken(|effect| matches!(effect, Effect::ReadFacts { .. })) {
        if let Effect::ReadFacts { ticket, .. } = effect {
            tickets.push(ticket);
        }
    }
    tickets
}

fn placed(bench: &mut Bench) -> usize {
    bench.taken(|effect| matches!(effect, Effect::Place(_))).len()
}

fn facts_come(bench: &mut Bench, ticket: Ticket, facts: BrokerFacts) {
    bench.feed(Input::FactsRead { ticket, facts: Ok(Box::new(facts)) });
    bench.commit();
}

/// Signs, and brings the facts that the signature has read.
fn sign(bench: &mut Bench, approval: &ApprovalId) {
    bench.approve(approval);
    let reads = reads(bench);
    assert_eq!(reads.len(), 1, "one signature reads the market once");
    let facts = bench.facts();
    facts_come(bench, reads[0], facts);
}

/// Facts that the gates refuse.
fn drifted(bench: &Bench) -> BrokerFacts {
    BrokerFacts { account_reported: false, ..bench.facts() }
}

fn followed(bench: &Bench, approval: &ApprovalId) -> Followed {
    bench.engine.followed(&approval_of(bench, approval))
}

fn halt(bench: &mut Bench) {
    bench.operate(OperatorAct::Halt { reason: "a test".to_owned() });
    bench.commit();
}

fn resume(bench: &mut Bench) {
    bench.resumes(true);
    bench.commit();
    assert!(!bench.engine.halt_entry().halted);
}

#[test]
fn a_signature_sends_one_order_and_every_later_try_is_told_of_it() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    sign(&mut bench, &approval);
    assert_eq!(placed(&mut bench), 1);
    let order = bench.only_order(&approval);
    bench.feed(Input::PlaceDone {
        order: order.clone(),
        report: PlaceReport::Placed {
            order_id: BrokerOrderId::parse("7").unwrap(),
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        },
    });
    bench.commit();
    assert!(matches!(followed(&bench, &approval), Followed::Order(entry)
        if entry.id == order && entry.state == OrderState::Working));
    // By a key of its own, and again.
    for _ in 0..2 {
        let late = bench.submit(&approval);
        assert!(matches!(bench.answer(late), Some(Answer::Order(entry)) if entry.id == order));
    }
    let again = bench.approve(&approval);
    assert_eq!(refusal_of(&bench, again), Some(ErrorCode::ApprovalConsumed));
    assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0));
    // The record says whose signature sent it.
    let entry = bench.entry(&order);
    assert_eq!(entry.owner, Owner::Local);
    assert!(matches!(approval_of(&bench, &approval).status, ApprovalStatus::Consumed));
}

#[test]
fn a_signature_over_an_approval_that_holds_sends_nothing() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0));
    let facts = bench.facts();
    bench.submit_on(&approval, facts);
    assert_eq!(placed(&mut bench), 1);
}

#[test]
fn what_was_signed_before_a_restart_goes_out_by_another_signature_or_submission_only() {
    for at_facts in [false, true] {
        let mut bench = Bench::new();
        let approval = asked(&mut bench);
        bench.approve(&approval);
        let before = reads(&mut bench);
        if !at_facts {
            bench.jobs.clear();
        }
        bench.restart();
        assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0), "a restart sends");
        let facts = bench.facts();
        facts_come(&mut bench, before[0], facts);
        assert_eq!(placed(&mut bench), 0, "facts from before a restart send");
        let entry = approval_of(&bench, &approval);
        assert_eq!(entry.status, ApprovalStatus::Approved);
        assert_eq!(bench.engine.followed(&entry), Followed::Nothing);
        if at_facts {
            sign(&mut bench, &approval);
        } else {
            let facts = bench.facts();
            bench.submit_on(&approval, facts);
        }
        assert_eq!(placed(&mut bench), 1);
    }
}

#[test]
fn a_yes_that_could_not_be_recorded_sends_nothing() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    let yes = signing::yes_to(&approval_of(&bench, &approval));
    let ticket = bench.operate(yes);
    bench.fail_commits(&ibkr_agent_engine::CommitError::Failed);
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::AuditWriteFailed));
    assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0));
    assert_ne!(followed(&bench, &approval), Followed::Sending);
}

#[test]
fn what_was_signed_before_a_halt_does_not_go_out_when_trading_resumes() {
    // While the facts are read; and when it was decided already.
    for decided in [false, true] {
        let mut bench = Bench::new();
        let approval = asked(&mut bench);
        bench.approve(&approval);
        let ticket = reads(&mut bench)[0];
        let facts = bench.facts();
        let input = Input::FactsRead { ticket, facts: Ok(Box::new(facts)) };
        if decided {
            bench.feed(input);
            let intent = std::mem::take(&mut bench.jobs);
            halt(&mut bench);
            resume(&mut bench);
            bench.jobs = intent;
            bench.commit();
        } else {
            halt(&mut bench);
            resume(&mut bench);
            bench.feed(input);
            bench.commit();
            let refused = approval_of(&bench, &approval).refused.unwrap();
            assert_eq!(refused.code, ErrorCode::KillSwitchClosed);
        }
        assert_eq!(placed(&mut bench), 0, "decided: {decided}");
        assert_eq!(approval_of(&bench, &approval).status, ApprovalStatus::Approved);
        // Signed again, it is sent.
        sign(&mut bench, &approval);
        assert_eq!(placed(&mut bench), 1);
    }
}

#[test]
fn what_cannot_leave_soon_after_its_signature_does_not_leave_later() {
    for by_wall in [false, true] {
        let mut bench = Bench::new();
        let approval = asked(&mut bench);
        bench.approve(&approval);
        let ticket = reads(&mut bench)[0];
        if by_wall {
            bench.wall += 61_000;
        } else {
            bench.monotonic += Duration::from_secs(61);
        }
        let facts = bench.facts();
        facts_come(&mut bench, ticket, facts);
        assert_eq!(placed(&mut bench), 0);
        let entry = approval_of(&bench, &approval);
        assert_eq!((entry.status, entry.refusals), (ApprovalStatus::Approved, 1));
        assert_eq!(entry.refused.unwrap().code, ErrorCode::OrderNotSent);
    }
}

#[test]
fn a_refusal_after_the_yes_says_what_moved_and_the_third_makes_the_approval_void() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    for count in 1..=REFUSALS_VOID {
        // The last one tries by a submission of its own.
        if count < REFUSALS_VOID {
            bench.approve(&approval);
        } else {
            bench.submit(&approval);
        }
        let ticket = reads(&mut bench)[0];
        let facts = drifted(&bench);
        facts_come(&mut bench, ticket, facts);
        assert_eq!(placed(&mut bench), 0);
        bench.restart();
        let entry = approval_of(&bench, &approval);
        let void = count == REFUSALS_VOID;
        let expected = if void { ApprovalStatus::Void } else { ApprovalStatus::Approved };
        assert_eq!((entry.status, entry.refusals), (expected, count));
        let refused = entry.refused.unwrap();
        assert!(refused.details.iter().any(|text| text.contains("account")), "{refused:?}");
    }
    let again = bench.approve(&approval);
    assert_eq!(refusal_of(&bench, again), Some(ErrorCode::ApprovalExpired));
    let late = bench.submit(&approval);
    bench.commit();
    assert_eq!(refusal_of(&bench, late), Some(ErrorCode::ApprovalExpired));
    assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0));
}

#[test]
fn a_signature_sends_nothing_where_orders_are_switched_off() {
    let mut bench = Bench::switched_off();
    let approval = asked(&mut bench);
    bench.approve(&approval);
    assert_eq!((reads(&mut bench).len(), placed(&mut bench)), (0, 0));
    let refused = approval_of(&bench, &approval).refused.unwrap();
    assert_eq!(refused.code, ErrorCode::PaperTradingDisabled);
}

#[test]
fn facts_that_cannot_be_read_are_a_refusal_that_counts() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    bench.approve(&approval);
    let ticket = reads(&mut bench)[0];
    let gone = Refusal::new(ErrorCode::BrokerSessionRequired, "nobody is logged in");
    bench.feed(Input::FactsRead { ticket, facts: Err(gone) });
    bench.commit();
    let entry = approval_of(&bench, &approval);
    assert_eq!((entry.status, entry.refusals), (ApprovalStatus::Approved, 1));
    assert_eq!(bench.engine.followed(&entry), Followed::Nothing);
}

#[test]
fn a_submission_that_races_a_signature_makes_no_second_order() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    bench.approve(&approval);
    let by_signature = reads(&mut bench)[0];
    let by_caller = bench.submit(&approval);
    for ticket in [by_caller, by_signature] {
        let facts = bench.facts();
        bench.feed(Input::FactsRead { ticket, facts: Ok(Box::new(facts)) });
    }
    bench.commit();
    assert_eq!(placed(&mut bench), 1);
}

#[test]
fn a_yes_taken_back_while_the_facts_are_read_sends_nothing() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    bench.approve(&approval);
    let ticket = reads(&mut bench)[0];
    bench.operate(OperatorAct::Deny { approval: approval.clone() });
    let facts = bench.facts();
    facts_come(&mut bench, ticket, facts);
    assert_eq!(placed(&mut bench), 0);
    let entry = approval_of(&bench, &approval);
    assert_eq!((entry.status, entry.refusals), (ApprovalStatus::Denied, 0));
}

/// A caller by token, whose things are its own.
fn token(call: &str) -> Caller {
    let actor = Actor::token("https://issuer.example", "alice", Some("client"));
    let call = CallId::parse(call).unwrap();
    Caller {
        requester: Requester { call, actor, door: Door::Relay, tool: "attack" },
        scopes: ibkr_agent_domain::ScopeSet::default(),
        standing: Standing::Local,
    }
}

/// A preview of a caller by token that an operator took.
fn taken(bench: &mut Bench) -> (ibkr_agent_domain::PreviewId, ApprovalId) {
    let draft = PreviewDraft { plan: order_of("DU1", Side::Buy, 5).into(), facts: bench.facts() };
    let ticket = bench.ticket();
    let caller = token("call-preview");
    bench.feed(Input::Preview { ticket, caller, draft: Box::new(draft) });
    bench.commit();
    let Some(Answer::Preview(preview, _)) = bench.answer(ticket) else { panic!("no preview") };
    let preview = preview.id.clone();
    let ticket = bench.operate(OperatorAct::Take { preview: preview.clone() });
    bench.commit();
    let Some(Answer::Approval(entry, ..)) = bench.answer(ticket) else { panic!("not taken") };
    (preview, entry.id.clone())
}

#[test]
fn an_operator_takes_a_callers_preview_and_its_order_is_the_callers() {
    let mut bench = Bench::new();
    let (preview, approval) = taken(&mut bench);
    let entry = approval_of(&bench, &approval);
    assert_eq!(entry.owner, Owner::of(&token("x").requester.actor));
    assert_eq!(entry.on_approval(), OnApproval::Submit);
    let bytes = String::from_utf8(entry.terms().unwrap().bytes()).unwrap();
    assert!(bytes.contains("\nrequester=operator\n"), "{bytes}");
    assert!(bytes.contains("\nowner=https://issuer.example|alice\n"), "{bytes}");
    sign(&mut bench, &approval);
    assert_eq!(placed(&mut bench), 1);
    let ticket = bench.ticket();
    let query = OutcomeQuery::Preview(preview);
    bench.feed(Input::Outcome { ticket, caller: token("call-outcome"), query: query.clone() });
    assert!(matches!(bench.answer(ticket), Some(Answer::Order(order))
        if order.approval == approval));
    // Nobody else's.
    let (ticket, caller) = (bench.ticket(), bench.caller(LOCAL));
    bench.feed(Input::Outcome { ticket, caller, query });
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::OrderNotFound));
}

#[test]
fn what_an_operator_took_is_nobody_elses_by_editing_the_store() {
    let mut bench = Bench::new();
    let (_, approval) = taken(&mut bench);
    bench.approve(&approval);
    let mut stolen = approval_of(&bench, &approval);
    bench.restart();
    stolen.owner = Owner::Local;
    let mut renamed = stolen.clone();
    if let Some(asked) = &mut renamed.asked {
        asked.owner = None;
    }
    for row in [stolen, renamed] {
        bench.edit(vec![Row::Approval(Box::new(row))]);
        let late = bench.submit(&approval);
        bench.commit();
        assert_eq!(refusal_of(&bench, late), Some(ErrorCode::ApprovalUnsigned));
    }
    assert_eq!(placed(&mut bench), 0);
}

#[test]
fn an_order_never_counts_its_own_size_twice_when_it_is_signed_again() {
    let mut bench = Bench::new();
    let approval = asked(&mut bench);
    bench.approve(&approval);
    let ticket = reads(&mut bench)[0];
    let facts = drifted(&bench);
    facts_come(&mut bench, ticket, facts);
    sign(&mut bench, &approval);
    assert_eq!(placed(&mut bench), 1);
    let used = bench.engine.used(None, bench.now());
    assert_eq!((used.orders_today, used.notional_today), (1, Decimal::from(500)));
}

#[test]
fn asking_after_a_signed_order_that_waits_for_its_turn_does_not_end_its_minute() {
    for asks in [false, true] {
        let mut bench = Bench::new();
        // Another order of the login is on its way, so that the signed one waits.
        let first = bench.placed(Side::Buy, 1);
        reads(&mut bench);
        let approval = asked(&mut bench);
        sign(&mut bench, &approval);
        assert_eq!(placed(&mut bench), 0);
        if asks {
            bench.submit(&approval);
        }
        bench.monotonic += Duration::from_secs(61);
        let report = PlaceReport::Rejected { message: "no".to_owned() };
        bench.feed(Input::PlaceDone { order: first, report });
        bench.commit();
        assert_eq!(placed(&mut bench), 0, "asked: {asks}");
    }
}
