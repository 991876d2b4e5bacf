//! What the check of log and store against signatures finds, and what it leaves alone.

use super::bench::{Bench, approval_of};
use super::truth::{WORKS, row};
use crate::signing;
use ibkr_agent_domain::{
    Actor, Decision, Door, NotSent, OrderState, Record, RecordKind, Reference, Side, UnknownBecause,
};
use ibkr_agent_engine::store::{ChainReport, verify_chain};
use ibkr_agent_engine::{ApprovalStatus, Effect, HaltEntry, Input, OperatorAct, PlaceReport, Row};
use rust_decimal::Decimal;

fn checked(bench: &Bench) -> ChainReport {
    verify_chain(&bench.ledger.snapshot().unwrap(), signing::authority().verify).unwrap()
}

/// The one sentence that a broken chain gives.
fn the_break(bench: &Bench) -> String {
    let report = checked(bench);
    assert_eq!(report.broken, 1, "{report:?}");
    report.breaks.into_iter().next().unwrap()
}

#[test]
fn what_really_happened_goes_back_to_signatures() {
    let mut bench = Bench::new();
    let sent = bench.placed(Side::Buy, 5);
    let report = PlaceReport::Unknown { why: UnknownBecause::TimedOut };
    bench.feed(Input::PlaceDone { order: sent.clone(), report });
    bench.commit();
    bench.operate(OperatorAct::Settle { order: sent, exists: false });
    bench.commit();
    // Given back unsent, and spent after all.
    let held = bench.approved_at(Side::Buy, 5, 0);
    let ticket = bench.submit(&held);
    let facts = Ok(Box::new(bench.facts()));
    bench.feed(Input::FactsRead { ticket, facts });
    bench.operate(OperatorAct::Halt { reason: "now".to_owned() });
    bench.commit();
    assert!(bench.taken(|effect| matches!(effect, Effect::Place(_))).is_empty());
    bench.resumes(true);
    let facts = bench.facts();
    bench.submit_on(&held, facts);
    assert_eq!(bench.taken(|effect| matches!(effect, Effect::Place(_))).len(), 1);
    // Asked, denied, taken back.
    bench.asked_at(Side::Buy, 1, 0);
    let denied = bench.asked_at(Side::Buy, 2, 0);
    let revoked = bench.approved_at(Side::Buy, 3, 0);
    for approval in [denied, revoked] {
        bench.operate(OperatorAct::Deny { approval });
        bench.commit();
    }
    let report = checked(&bench);
    assert_eq!(report, ChainReport { signed: 3, ..ChainReport::default() });
}

#[test]
fn a_row_marked_as_approved_is_found_with_its_id() {
    let mut bench = Bench::new();
    let approval = bench.asked_at(Side::Buy, 5, 0);
    for status in [ApprovalStatus::Approved, ApprovalStatus::Consumed, ApprovalStatus::Denied] {
        let row = approval_of(&bench, &approval);
        bench.edit(vec![Row::Approval(Box::new(ibkr_agent_engine::ApprovalEntry {
            status,
            ..row
        }))]);
        let found = the_break(&bench);
        assert!(found.contains(approval.as_str()) && found.contains(status.as_str()), "{found}");
    }
}

#[test]
fn a_decision_that_was_undone_in_the_store_is_found() {
    for status in [ApprovalStatus::Approved, ApprovalStatus::Pending] {
        let mut bench = Bench::new();
        let approval = bench.approved_at(Side::Buy, 5, 0);
        let given = approval_of(&bench, &approval);
        bench.operate(OperatorAct::Deny { approval: approval.clone() });
        bench.commit();
        // The very row of before, with its good signature.
        bench.edit(vec![Row::Approval(Box::new(ibkr_agent_engine::ApprovalEntry {
            status,
            ..given
        }))]);
        let found = the_break(&bench);
        assert!(found.contains(approval.as_str()) && found.contains("denied"), "{found}");
    }
}

#[test]
fn an_altered_field_of_a_signed_row_is_found() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    let row = approval_of(&bench, &approval);
    let mut position = row.clone();
    position.position = Decimal::from(7);
    let mut signature = row.clone();
    signature.signed = None;
    let mut owner = row;
    owner.owner = ibkr_agent_engine::Owner::Nobody;
    for altered in [position, signature, owner] {
        bench.edit(vec![Row::Approval(Box::new(altered))]);
        assert!(the_break(&bench).contains(approval.as_str()));
    }
}

#[test]
fn a_forged_key_and_a_forged_order_are_found() {
    let mut bench = Bench::new();
    bench.edit(vec![Row::OperatorKey(signing::entry_of(&[6; 32]))]);
    assert!(the_break(&bench).contains(signing::entry_of(&[6; 32]).id.as_str()));
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    let mut row = bench.entry(&order);
    row.id = ibkr_agent_domain::ClientOrderId::parse("forged").unwrap();
    row.state = OrderState::NotSent;
    bench.edit(vec![Row::Order(Box::new(row))]);
    // The restart tells of the order that was really sent, and of nothing else.
    assert!(the_break(&bench).contains("forged"));
}

#[test]
fn a_halt_that_was_lifted_in_the_store_is_found() {
    let mut bench = Bench::new();
    bench.operate(OperatorAct::Halt { reason: "now".to_owned() });
    bench.commit();
    assert_eq!(checked(&bench).broken, 0);
    let halt = HaltEntry { halted: false, ..bench.engine.halt_entry().clone() };
    bench.edit(vec![Row::Halt(halt)]);
    assert!(the_break(&bench).contains("the log says halted"));
}

fn approved(references: Vec<Reference>) -> Record {
    let actor = Actor::Operator { key: None };
    let mut record = Record::new(RecordKind::Approved, actor, Door::Operator, Decision::Permitted);
    record.references = references;
    record
}

#[test]
fn approvals_from_before_signatures_are_counted_and_end_with_the_first_signed_one() {
    let mut bench = Bench::new();
    let old = |name: &str| {
        approved(vec![Reference::Approval(ibkr_agent_domain::ApprovalId::parse(name).unwrap())])
    };
    bench.record(old("ap-old"));
    let report = checked(&bench);
    assert_eq!((report.before_signatures, report.broken), (1, 0));
    bench.approved_at(Side::Buy, 5, 0);
    assert_eq!(checked(&bench).broken, 0);
    bench.record(old("ap-late"));
    assert!(the_break(&bench).contains("ap-late"));
}

#[test]
fn a_record_of_a_yes_whose_signature_does_not_hold_is_found() {
    let mut bench = Bench::new();
    let approval = bench.asked_at(Side::Buy, 5, 0);
    let digest = approval_of(&bench, &approval).terms().unwrap().digest();
    bench.record(approved(vec![
        Reference::Approval(approval),
        Reference::ApprovalBytes(digest),
        Reference::OperatorKey(signing::entry_of(&signing::KEY).id),
        Reference::Signature(signing::sign(&[6; 32], &digest)),
    ]));
    let report = checked(&bench);
    assert!(report.breaks.iter().any(|b| b.contains("its signature doesn't hold")), "{report:?}");
}

#[test]
fn an_order_given_back_unsent_that_the_broker_has_after_all_spends_its_approval_in_the_chain() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    let report = PlaceReport::NotSent { why: NotSent::ConnectFailed };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    assert_eq!(checked(&bench).broken, 0);
    bench.looks(vec![row(&order, "501", (5, 100), WORKS, 0)], Vec::new());
    assert_eq!(bench.state(&order), OrderState::Working);
    assert_eq!(checked(&bench).broken, 0, "{:?}", checked(&bench));
}
