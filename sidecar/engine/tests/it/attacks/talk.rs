//! One write conversation per login, and questions that end by themselves.

use super::bench::{Bench, LOCAL, approval_of, refusal_of};
use super::question;
use ibkr_agent_domain::{
    ApprovalId, BrokerOrderId, BrokerOrderStatus, ClientOrderId, ErrorCode, OrderState, Side,
};
use ibkr_agent_engine::{
    ApprovalStatus, CommitError, Effect, Input, OperatorAct, PlaceReport, Ticket,
};
use std::time::Duration;

impl Bench {
    /// Submits and commits; the order that it made, and whether it was sent.
    fn sent(&mut self, approval: &ApprovalId) -> (ClientOrderId, usize, Ticket) {
        let facts = self.facts();
        let ticket = self.submit_on(approval, facts);
        (self.only_order(approval), self.places(), ticket)
    }

    fn places(&mut self) -> usize {
        self.taken(|effect| matches!(effect, Effect::Place(_))).len()
    }

    fn reported(&mut self, order: &ClientOrderId, report: PlaceReport) {
        self.feed(Input::PlaceDone { order: order.clone(), report });
        self.commit();
    }

    fn accepted(&mut self, order: &ClientOrderId, id: &str) {
        let report = PlaceReport::Placed {
            order_id: BrokerOrderId::parse(id).unwrap(),
            status: BrokerOrderStatus::Submitted,
            message: String::new(),
        };
        self.reported(order, report);
    }

    /// The answers to questions that left: yes or no.
    fn replies(&mut self) -> Vec<bool> {
        let sent = self.taken(|effect| matches!(effect, Effect::SendReply(_)));
        let confirmed = |effect: &Effect| {
            let Effect::SendReply(permit) = effect else { panic!("{effect:?}") };
            permit.get().action().confirmed()
        };
        sent.iter().map(confirmed).collect()
    }

    fn ticks(&mut self, seconds: u64) {
        self.monotonic += Duration::from_secs(seconds);
        self.feed(Input::Tick);
        self.commit();
    }

    /// An order about which the broker asks.
    fn asks(&mut self) -> ClientOrderId {
        let approval = self.approved_at(Side::Buy, 1, 0);
        let (order, sent, _) = self.sent(&approval);
        assert_eq!(sent, 1);
        self.reported(&order, PlaceReport::Question(question("Are you sure?")));
        order
    }
}

#[test]
fn orders_of_one_login_are_sent_one_after_the_other_and_none_is_lost() {
    let mut bench = Bench::new();
    let approvals: Vec<ApprovalId> = (0..4).map(|_| bench.approved_at(Side::Buy, 1, 0)).collect();
    let mut orders = Vec::new();
    let mut sent = 0;
    for approval in &approvals {
        let (order, now, _) = bench.sent(approval);
        orders.push(order);
        sent += now;
    }
    assert_eq!(sent, 1, "the others wait for the first one's answer");
    for (number, order) in orders.iter().enumerate() {
        bench.accepted(order, &format!("60{number}"));
        assert_eq!(bench.places(), usize::from(number < 3));
    }
    assert!(orders.iter().all(|order| bench.state(order) == OrderState::Working));
}

#[test]
fn behind_a_question_nothing_is_placed_and_what_waited_is_given_back() {
    let mut bench = Bench::new();
    let (first, second) = (bench.approved_at(Side::Buy, 1, 0), bench.approved_at(Side::Buy, 1, 0));
    let third = bench.approved_at(Side::Buy, 1, 0);
    let (asked, _, _) = bench.sent(&first);
    let (waits, sent, _) = bench.sent(&second);
    assert_eq!(sent, 0);
    bench.reported(&asked, PlaceReport::Question(question("Are you sure?")));
    assert_eq!((bench.places(), bench.state(&waits)), (0, OrderState::NotSent));
    assert_eq!(approval_of(&bench, &second).status, ApprovalStatus::Approved);
    // Not even decided on while the question waits.
    let refused = bench.submit(&third);
    bench.commit();
    assert_eq!(refusal_of(&bench, refused), Some(ErrorCode::OrderQuestionPending));
    // The question ends by itself.
    bench.ticks(61);
    assert_eq!(bench.replies(), [false]);
    bench.reported(&asked, PlaceReport::Rejected { message: "as you wish".to_owned() });
    let (_, sent, _) = bench.sent(&second);
    assert_eq!(sent, 1, "the approval that was given back still counts");
}

#[test]
fn a_question_that_nobody_answers_is_answered_with_no_once_and_the_record_comes_first() {
    let mut bench = Bench::new();
    let order = bench.asks();
    bench.ticks(59);
    assert_eq!(bench.replies(), Vec::<bool>::new());
    bench.monotonic += Duration::from_secs(2);
    bench.feed(Input::Tick);
    assert_eq!(bench.replies(), Vec::<bool>::new(), "nothing leaves before its record");
    bench.commit();
    assert_eq!(bench.replies(), [false]);
    bench.ticks(120);
    assert_eq!(bench.replies(), Vec::<bool>::new(), "one question, one answer");
    bench.reported(&order, PlaceReport::Rejected { message: "as you wish".to_owned() });
    assert_eq!(bench.state(&order), OrderState::Rejected);
}

#[test]
fn a_second_question_has_its_own_time() {
    let mut bench = Bench::new();
    let order = bench.asks();
    bench.ticks(50);
    let yes = OperatorAct::Answer {
        order: order.clone(),
        text: question("Are you sure?").text_digest(),
        confirmed: true,
    };
    bench.operate(yes);
    bench.commit();
    assert_eq!(bench.replies(), [true]);
    bench.reported(&order, PlaceReport::Question(question("Are you really sure?")));
    bench.ticks(50);
    assert_eq!(bench.replies(), Vec::<bool>::new());
    bench.ticks(11);
    assert_eq!(bench.replies(), [false]);
}

#[test]
fn halting_answers_an_open_question_with_no() {
    let mut bench = Bench::new();
    bench.asks();
    bench.operate(OperatorAct::Halt { reason: "stop".to_owned() });
    bench.commit();
    assert_eq!(bench.replies(), [false]);
}

#[test]
fn with_the_log_broken_a_question_gets_no_answer_and_its_order_is_in_doubt() {
    let mut bench = Bench::new();
    let order = bench.asks();
    bench.preview_fails();
    bench.monotonic += Duration::from_secs(61);
    bench.feed(Input::Tick);
    assert_eq!(bench.replies(), Vec::<bool>::new());
    assert_eq!(bench.state(&order), OrderState::Unknown);
    let looks = bench.taken(|effect| matches!(effect, Effect::SeekEvidence { .. }));
    assert!(!looks.is_empty());
}

#[test]
fn a_cancel_overtakes_a_placement_that_has_no_answer_yet() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    let (order, _, _) = bench.sent(&approval);
    bench.accepted(&order, "601");
    let next = bench.approved_at(Side::Buy, 1, 0);
    bench.sent(&next);
    bench.cancel(LOCAL, "DU1", "601");
    bench.commit();
    assert_eq!(bench.cancels().len(), 1);
}

impl Bench {
    /// The log stops taking writes.
    fn preview_fails(&mut self) {
        let order = super::order_of("DU1", Side::Buy, 1);
        let caller = self.caller(LOCAL);
        let (ticket, facts) = (self.ticket(), self.facts());
        let draft = Box::new(ibkr_agent_engine::PreviewDraft { plan: order.into(), facts });
        self.feed(Input::Preview { ticket, caller, draft });
        self.fail_commits(&CommitError::Failed);
    }
}
