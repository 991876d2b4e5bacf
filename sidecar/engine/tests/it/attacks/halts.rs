//! Halts that came by no door, halts on top of each other, and what may go out after the end of
//! one.

use super::bench::{Bench, refusal_of};
use ibkr_agent_domain::{
    BrokerOrderId, BrokerOrderStatus, ErrorCode, NotSent, OrderState, Reason, Side, Timestamp,
};
use ibkr_agent_engine::{Answer, Effect, FoundHalt, Input, OperatorAct, PlaceReport, Ticket};
use std::time::Duration;

impl Bench {
    /// The driver found a halt's file.
    fn finds(&mut self, since: Option<Timestamp>, reason: &str) {
        let requester = Box::new(self.requester(super::OPERATOR));
        let found = vec![FoundHalt { since, reason: reason.to_owned() }];
        self.feed(Input::HaltsFound { requester, by: "operator (file)".to_owned(), found });
    }

    fn halts(&mut self, reason: &str) {
        self.operate(OperatorAct::Halt { reason: reason.to_owned() });
        self.commit();
    }

    /// A signed resume up to the file, which the driver takes away or can't.
    pub(super) fn resumes(&mut self, cleared: bool) -> Ticket {
        let ticket = self.operate(OperatorAct::Resume { reason: "over".to_owned() });
        self.commit();
        for effect in self.taken(|effect| matches!(effect, Effect::Reopen { .. })) {
            if let Effect::Reopen { ticket, requester, entry, generation } = effect {
                self.feed(Input::Reopened { ticket, requester, entry, generation, cleared });
            }
        }
        self.commit();
        ticket
    }

    fn is_halted(&self) -> bool {
        self.engine.halt_entry().halted
    }

    fn sent_orders(&mut self) -> usize {
        self.taken(|effect| matches!(effect, Effect::Place(_))).len()
    }

    fn reasons(&self) -> Vec<String> {
        let halt = self.engine.halt_entry();
        let later = halt.later.iter().map(|later| later.reason.clone());
        core::iter::once(halt.reason.clone()).chain(later).collect()
    }
}

#[test]
fn a_file_that_is_found_between_the_record_and_the_socket_holds_the_order_back() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    let ticket = bench.submit(&approval);
    let facts = Ok(Box::new(bench.facts()));
    bench.feed(Input::FactsRead { ticket, facts });
    // The intent is on its way to the log when somebody halts at another terminal.
    bench.finds(None, "elsewhere");
    bench.commit();
    assert_eq!(bench.sent_orders(), 0);
    let order = bench.only_order(&approval);
    assert_eq!(bench.state(&order), OrderState::NotSent);
    assert_eq!(bench.entry(&order).reason, Some(Reason::NotSent(NotSent::Halted)));
    let shut = bench.taken(|effect| matches!(effect, Effect::SetLatch { halted: true }));
    assert!(!shut.is_empty());
}

#[test]
fn an_order_that_was_asked_for_before_a_halt_does_not_go_out_by_itself_after_its_end() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    let ticket = bench.submit(&approval);
    bench.halts("a drill");
    bench.resumes(true);
    assert!(!bench.is_halted());
    // The facts that it waited for come only now.
    let facts = Ok(Box::new(bench.facts()));
    bench.feed(Input::FactsRead { ticket, facts });
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::KillSwitchClosed));
    assert_eq!(bench.sent_orders(), 0);
    // Asked again, it is a new request.
    let facts = bench.facts();
    bench.submit_on(&approval, facts);
    assert_eq!(bench.sent_orders(), 1);
}

#[test]
fn an_order_that_waited_for_its_turn_over_a_halt_is_given_back() {
    let mut bench = Bench::new();
    let first = bench.placed(Side::Buy, 1);
    let waiting = bench.approved_at(Side::Buy, 1, 0);
    let facts = bench.facts();
    bench.submit_on(&waiting, facts);
    assert_eq!(bench.sent_orders(), 0, "the first one's answer hasn't come");
    bench.halts("a drill");
    bench.resumes(true);
    let report = PlaceReport::Placed {
        order_id: BrokerOrderId::parse("601").unwrap(),
        status: BrokerOrderStatus::Submitted,
        message: String::new(),
    };
    bench.feed(Input::PlaceDone { order: first, report });
    bench.commit();
    assert_eq!(bench.sent_orders(), 0);
    assert_eq!(bench.state(&bench.only_order(&waiting)), OrderState::NotSent);
}

#[test]
fn a_second_halt_is_kept_behind_the_first_whose_time_stays_over_restarts() {
    let mut bench = Bench::new();
    bench.halts("first");
    let since = bench.engine.halt_entry().since;
    for (number, reason) in ["second", "third"].into_iter().enumerate() {
        bench.wall += 3_600_000;
        let before = bench.ledger.head().size;
        if number == 0 {
            bench.halts(reason)
        } else {
            bench.finds(None, reason)
        }
        bench.commit();
        assert_eq!(bench.ledger.head().size, before + 1, "each is a record");
    }
    bench.restart();
    assert_eq!(bench.reasons(), ["first", "second", "third"]);
    let halt = bench.engine.halt_entry().clone();
    assert_eq!((halt.since, halt.by.as_str()), (since, "operator"));
    assert_eq!(halt.later[1].by, "operator (file)");
    // One resume ends them all.
    bench.resumes(true);
    assert!(!bench.is_halted() && bench.engine.halt_entry().later.is_empty());
}

#[test]
fn a_file_that_each_start_finds_again_is_one_halt_of_the_time_when_it_was_written() {
    let mut bench = Bench::new();
    let written = bench.now().wall;
    bench.wall += 60_000;
    bench.finds(Some(written), "at a terminal");
    bench.commit();
    assert_eq!(bench.engine.halt_entry().since, written);
    let size = bench.ledger.head().size;
    for _ in 0..3 {
        bench.wall += 3_600_000;
        bench.restart();
        bench.finds(Some(written), "at a terminal");
        bench.commit();
    }
    assert_eq!((bench.ledger.head().size, bench.reasons().len()), (size, 1));
    // A clock that is ahead of ours doesn't halt in the future.
    let ahead = Timestamp::from_millis(bench.wall + 86_400_000);
    bench.resumes(true);
    bench.finds(Some(ahead), "another terminal");
    assert_eq!(bench.engine.halt_entry().since, bench.now().wall);
}

#[test]
fn a_resume_ends_halted_where_the_file_stays_and_where_somebody_halts_meanwhile() {
    let mut bench = Bench::new();
    bench.halts("first");
    let ticket = bench.resumes(false);
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::KillSwitchClosed));
    assert!(bench.is_halted());
    bench.restart();
    assert!(bench.is_halted(), "durable");
    let ticket = bench.operate(OperatorAct::Resume { reason: "over".to_owned() });
    bench.commit();
    bench.finds(None, "in between");
    for effect in bench.taken(|effect| matches!(effect, Effect::Reopen { .. })) {
        if let Effect::Reopen { ticket, requester, entry, generation } = effect {
            bench.feed(Input::Reopened { ticket, requester, entry, generation, cleared: true });
        }
    }
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::KillSwitchClosed));
    let open = bench.taken(|effect| matches!(effect, Effect::SetLatch { halted: false }));
    assert!(bench.is_halted() && open.is_empty());
    bench.restart();
    assert!(bench.is_halted());
    let ticket = bench.resumes(true);
    assert!(matches!(bench.answer(ticket), Some(Answer::Done)) && !bench.is_halted());
}

#[test]
fn the_same_words_within_a_minute_are_one_act_and_an_hour_later_another() {
    let mut bench = Bench::new();
    bench.halts("by the operator");
    bench.finds(Some(bench.now().wall), "by the operator");
    bench.commit();
    assert_eq!(bench.reasons().len(), 1, "the terminal that wrote the file also told the sidecar");
    bench.monotonic += Duration::from_secs(3600);
    bench.wall += 3_600_000;
    bench.halts("by the operator");
    assert_eq!(bench.reasons().len(), 2);
}

#[test]
fn a_halt_in_the_same_words_while_a_resume_is_under_way_is_another_one() {
    let mut bench = Bench::new();
    bench.finds(None, "signal SIGUSR1");
    bench.commit();
    let ticket = bench.operate(OperatorAct::Resume { reason: "over".to_owned() });
    bench.finds(None, "signal SIGUSR1");
    bench.commit();
    for effect in bench.taken(|effect| matches!(effect, Effect::Reopen { .. })) {
        if let Effect::Reopen { ticket, requester, entry, generation } = effect {
            bench.feed(Input::Reopened { ticket, requester, entry, generation, cleared: true });
        }
    }
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::KillSwitchClosed));
    let open = bench.taken(|effect| matches!(effect, Effect::SetLatch { halted: false }));
    assert!(bench.is_halted() && open.is_empty());
    bench.restart();
    assert!(bench.is_halted(), "durable");
}
