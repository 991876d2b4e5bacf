//! Why an order wasn't sent, or why its outcome is unknown: one typed reason from the broker's
//! answer to row, record and what its caller is told.

use super::bench::{Bench, LOCAL};
use super::question;
use ibkr_agent_audit::Table;
use ibkr_agent_domain::{
    BrokerOrderId, BrokerOrderStatus, ClientOrderId, NotSent, OrderState, Reason, Side,
    UnknownBecause,
};
use ibkr_agent_engine::{
    Answer, CancelReport, Effect, Input, OperatorAct, PlaceReport, refusal_of as told_to_caller,
};
use serde_json::Value;

/// An order that was sent, or that the broker asks about.
pub(super) fn sent(bench: &mut Bench, is_asked: bool) -> ClientOrderId {
    let approval = bench.approved_at(Side::Buy, 1, 0);
    let facts = bench.facts();
    bench.submit_on(&approval, facts);
    let order = bench.only_order(&approval);
    if is_asked {
        report(bench, &order, PlaceReport::Question(question("Are you sure?")));
    }
    order
}

fn report(bench: &mut Bench, order: &ClientOrderId, report: PlaceReport) {
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
}

/// What is told of a reason by the entry, the refusal and the log, now and after a restart.
fn check_told(bench: &mut Bench, order: &ClientOrderId, state: OrderState, reason: Reason) {
    let word = reason.text();
    let newest = bench.newest_record();
    assert!(reason.words().iter().all(|word| newest.details.contains(&(*word).to_owned())));
    for moment in ["at once", "after a restart"] {
        let entry = bench.entry(order);
        assert_eq!((entry.state, entry.reason), (state, Some(reason)), "{word} {moment}");
        assert_eq!(entry.words(), Some(reason.sentence()), "{word} {moment}");
        let refusal = told_to_caller(&entry).unwrap();
        assert_eq!(refusal.message, reason.sentence(), "{word} {moment}");
        assert!(refusal.details.contains(&format!("reason={word}")), "{refusal:?}");
        assert!(refusal.details.contains(&format!("cause={}", reason.code())), "{refusal:?}");
        bench.restart();
    }
}

#[test]
fn every_reason_of_an_order_that_was_not_sent_reaches_row_record_and_caller() {
    for why in NotSent::ALL.iter().copied() {
        let mut bench = Bench::new();
        let order = sent(&mut bench, false);
        report(&mut bench, &order, PlaceReport::NotSent { why });
        let codes = bench.newest_record().codes;
        assert_eq!(codes, [why.code().as_str()], "{why:?}");
        check_told(&mut bench, &order, OrderState::NotSent, Reason::NotSent(why));
    }
}

#[test]
fn every_reason_of_an_unknown_outcome_reaches_row_record_and_caller() {
    for why in UnknownBecause::ALL.iter().copied() {
        let mut bench = Bench::new();
        let order = sent(&mut bench, false);
        report(&mut bench, &order, PlaceReport::Unknown { why });
        check_told(&mut bench, &order, OrderState::Unknown, Reason::Unknown(why));
    }
}

#[test]
fn an_answer_that_was_not_sent_leaves_the_order_unknown_for_that_reason() {
    for why in NotSent::ALL.iter().copied() {
        let mut bench = Bench::new();
        let order = sent(&mut bench, true);
        report(&mut bench, &order, PlaceReport::NotSent { why });
        check_told(&mut bench, &order, OrderState::Unknown, Reason::Unanswered(why));
    }
}

#[test]
fn a_reason_ends_with_the_state_that_it_explains() {
    let mut bench = Bench::new();
    let order = sent(&mut bench, false);
    let why = UnknownBecause::TimedOut;
    report(&mut bench, &order, PlaceReport::Unknown { why });
    bench.operate(OperatorAct::Settle { order: order.clone(), exists: true });
    bench.commit();
    let entry = bench.entry(&order);
    assert_eq!((entry.state, entry.reason), (OrderState::Working, None));
    let order = sent(&mut bench, false);
    report(&mut bench, &order, PlaceReport::Unknown { why });
    bench.operate(OperatorAct::Settle { order: order.clone(), exists: false });
    bench.commit();
    let stated = Reason::NotSent(NotSent::AbsenceStated);
    check_told(&mut bench, &order, OrderState::NotSent, stated);
}

#[test]
fn a_prompt_is_told_in_our_words_and_in_the_brokers_each_as_its_own() {
    let mut bench = Bench::new();
    let order = sent(&mut bench, false);
    let message = "p12: Use the price management? [Yes / No]".to_owned();
    report(&mut bench, &order, PlaceReport::Prompted { order_id: None, message: message.clone() });
    let entry = bench.entry(&order);
    assert_eq!(entry.reason, Some(Reason::Unknown(UnknownBecause::Prompted)));
    assert_eq!(entry.words().unwrap(), UnknownBecause::Prompted.sentence());
    assert_eq!(entry.broker_words(), Some(message.as_str()));
    let told = told_to_caller(&entry).unwrap().message;
    assert!(told.contains(UnknownBecause::Prompted.sentence()) && told.contains(&message));
}

#[test]
fn a_refusal_without_the_brokers_words_is_told_in_ours_and_keeps_the_approval_spent() {
    let mut bench = Bench::new();
    let order = sent(&mut bench, false);
    report(&mut bench, &order, PlaceReport::Rejected { message: String::new() });
    let entry = bench.entry(&order);
    assert_eq!((entry.state, entry.broker_words()), (OrderState::Rejected, None));
    assert!(entry.words().unwrap().contains("gave no reason"));
    let approval = super::bench::approval_of(&bench, &entry.approval);
    assert_eq!(approval.status.as_str(), "consumed");
}

#[test]
fn a_cancel_that_failed_is_told_and_recorded_with_its_reason() {
    let failures = [
        (CancelReport::NotSent { why: NotSent::LoggedOut }, "logged_out", "no cancel was taken"),
        (
            CancelReport::Unknown { why: UnknownBecause::AnswerCut },
            "answer_cut",
            "the cancel may not have arrived",
        ),
    ];
    for (failure, word, means) in failures {
        let mut bench = Bench::new();
        let order = bench.placed(Side::Buy, 5);
        let taken = PlaceReport::Placed {
            order_id: BrokerOrderId::parse("77").unwrap(),
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        };
        report(&mut bench, &order, taken);
        let ticket = bench.cancel(LOCAL, "DU1", "77");
        bench.commit();
        assert_eq!(bench.taken(|effect| matches!(effect, Effect::SendCancel { .. })).len(), 1);
        bench.feed(Input::CancelDone { ticket, report: failure });
        bench.commit();
        let newest = bench.newest_record();
        assert_eq!(newest.details, [word]);
        let Some(Answer::Refused(refusal)) = bench.answer(ticket) else { panic!("{word}") };
        assert_eq!(newest.codes, [refusal.code.as_str()]);
        assert!(refusal.message.starts_with(means), "{refusal:?}");
        assert_eq!(refusal.details, [format!("reason={word}")]);
    }
}

#[test]
fn a_row_of_another_version_keeps_what_it_said_of_its_reason() {
    // What the row says; the reason that is read, and what is told of it.
    for (word, message, reason, told) in [
        // Earlier versions kept the word, or words of their own, as the message.
        (None, "timed_out", UnknownBecause::TimedOut, UnknownBecause::TimedOut.sentence()),
        (None, "the broker has seen it", UnknownBecause::Other, "the broker has seen it"),
        (None, "halted", UnknownBecause::Other, "halted"),
        // Later ones may know more words.
        (Some("a_new_word"), "", UnknownBecause::Other, "a_new_word"),
        (Some("a_new_word"), "and more", UnknownBecause::Other, "and more"),
        (None, "", UnknownBecause::Other, UnknownBecause::Other.sentence()),
    ] {
        let mut bench = Bench::new();
        let order = sent(&mut bench, false);
        report(&mut bench, &order, PlaceReport::Unknown { why: UnknownBecause::ServerError });
        edit_row(&bench, &order, move |row| {
            row["message"] = message.into();
            match word {
                Some(word) => row["reason"] = word.into(),
                None => drop(row.as_object_mut().unwrap().remove("reason")),
            }
        });
        bench.restart();
        let entry = bench.entry(&order);
        assert_eq!(entry.state, OrderState::Unknown);
        assert_eq!(entry.reason, Some(Reason::Unknown(reason)), "{word:?} {message}");
        assert_eq!(entry.words().as_deref(), Some(told), "{word:?} {message}");
    }
}

/// Changes an order's row as another version would have written it.
pub(super) fn edit_row(
    bench: &Bench,
    order: &ClientOrderId,
    change: impl Fn(&mut Value) + Send + 'static,
) {
    const ORDERS: Table = Table::new("orders");
    let key = order.as_str().as_bytes().to_vec();
    let edited = bench.ledger.transact::<(), (), _>(move |batch| {
        let value = batch.get(ORDERS, &key)?.unwrap();
        let (version, json) = value.split_first().unwrap();
        let mut row: Value = serde_json::from_slice(json).unwrap();
        change(&mut row);
        let value = [vec![*version], serde_json::to_vec(&row).unwrap()].concat();
        batch.put(ORDERS, &key, &value)?;
        Ok(())
    });
    bench.runtime.block_on(edited).unwrap();
}
