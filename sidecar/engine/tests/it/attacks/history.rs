//! What has ended, in numbers: it is forgotten in small steps, with all that belongs to it.

use super::bench::{Bench, approval_of, order_of};
use crate::signing;
use ibkr_agent_domain::{
    ApprovalId, BrokerOrderId, CallId, ClientOrderId, IdempotencyKey, OrderState, Side, Timestamp,
};
use ibkr_agent_engine::{
    ApprovalStatus, Effect, Engine, Input, KeyEntry, OperatorAct, OrderEntry, Row, store,
};

/// Most rows that one step may change: an order with its key and its approval, 256 times.
const STEP: usize = 3 * 256;

impl Bench {
    /// Writes copies of an order under other ids, with their approvals and keys, past the engine;
    /// the first ended longest ago. They count no more.
    fn copies(&mut self, of: &ClientOrderId, many: usize) {
        let template = self.entry(of);
        let approval = approval_of(self, &template.approval);
        for numbers in (0..many).collect::<Vec<_>>().chunks(500) {
            let mut rows = Vec::new();
            for number in numbers {
                let at = i64::try_from(many - number).unwrap() * 1000 + 3 * 24 * 3600 * 1000;
                let at = Timestamp::from_millis(self.wall - at);
                let order = OrderEntry {
                    id: ClientOrderId::parse(&format!("ia{number:032x}")).unwrap(),
                    call: CallId::parse(&format!("copy-{number}")).unwrap(),
                    approval: ApprovalId::parse(&format!("ap-copy-{number}")).unwrap(),
                    key: IdempotencyKey::parse(&format!("key-copy-{number}")).unwrap(),
                    broker_order_id: BrokerOrderId::parse(&format!("9{number}")).ok(),
                    incarnations: Vec::new(),
                    state: OrderState::Filled,
                    counts_until: Some(at),
                    created_at: at,
                    updated_at: at,
                    ..template.clone()
                };
                let mut approval = approval.clone();
                approval.id = order.approval.clone();
                (approval.created_at, approval.expires_at) = (at, at);
                rows.push(Row::Key(KeyEntry {
                    owner: order.owner.clone(),
                    key: order.key.clone(),
                    request: order.order.digest(),
                    order: order.id.clone(),
                    created_at: at,
                }));
                rows.push(Row::Approval(Box::new(approval)));
                rows.push(Row::Order(Box::new(order)));
            }
            signing::edit(&self.runtime, &self.ledger, rows);
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.engine.orders().count(), self.engine.approvals().count())
    }

    fn preview_now(&mut self, call: &str) {
        self.preview_as(call, &order_of("DU1", Side::Buy, 1), 0);
    }
}

#[test]
fn what_is_more_than_is_kept_is_forgotten_in_steps_that_a_halt_comes_between() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 1);
    bench.copies(&order, 3000);
    let restored = store::restore(&bench.ledger.snapshot().unwrap()).unwrap();
    assert_eq!(restored.orders.len(), 3001);
    let config = super::bench::config(Some("paper"));
    let (engine, first) = Engine::restore(config, restored, bench.now());
    bench.engine = engine;
    bench.take(first);
    let steps = |bench: &Bench| bench.jobs.iter().map(|job| job.rows.len()).max().unwrap();
    assert!(steps(&bench) <= STEP, "{} rows", steps(&bench));
    // A halt, while all but the first step still waits: it isn't behind them.
    let halt = bench.operate(OperatorAct::Halt { reason: "now".to_owned() });
    assert!(steps(&bench) <= STEP);
    bench.commit_waiting();
    assert!(bench.answer(halt).is_some(), "it was answered before all was forgotten");
    assert!(!bench.jobs.is_empty(), "more is forgotten after it");
    assert!(steps(&bench) <= STEP);
    bench.commit();
    // Five hundred that ended, and the one that is under way.
    assert_eq!(bench.counts(), (501, 501));
    bench.restart();
    assert_eq!(bench.counts(), (501, 501));
    let kept = |number: usize| {
        let id = ClientOrderId::parse(&format!("ia{number:032x}")).unwrap();
        bench.engine.orders().any(|entry| entry.id == id)
    };
    assert!(kept(2500) && kept(2999) && !kept(2499), "the newest are kept");
}

#[test]
fn an_approval_is_kept_as_long_as_its_order_and_goes_with_it() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 1);
    bench.copies(&order, 400);
    bench.restart();
    assert_eq!(bench.counts(), (401, 401));
    // None of them is looked at again, or forgotten, by anything that comes later.
    for call in 0..3 {
        bench.wall += 1000;
        bench.preview_now(&format!("later-{call}"));
    }
    assert_eq!(bench.counts(), (401, 401));
    bench.wall += 14 * 24 * 3600 * 1000;
    for call in 0..60 {
        bench.preview_now(&format!("much-later-{call}"));
    }
    assert_eq!(bench.counts(), (1, 1), "the order that is under way, with its approval");
    bench.restart();
    assert_eq!(bench.counts(), (1, 1));
    let keys = store::restore(&bench.ledger.snapshot().unwrap()).unwrap().keys;
    assert_eq!(keys.len(), 1);
}

#[test]
fn an_approval_whose_order_could_not_be_recorded_is_forgotten_in_its_time() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 1, 0);
    let ticket = bench.submit(&approval);
    let facts = Ok(Box::new(bench.facts()));
    bench.feed(Input::FactsRead { ticket, facts });
    bench.fail_commits(&ibkr_agent_engine::CommitError::Precondition);
    assert!(bench.taken(|effect| matches!(effect, Effect::Place(_))).is_empty());
    assert_eq!(approval_of(&bench, &approval).status, ApprovalStatus::Approved);
    bench.wall += 15 * 24 * 3600 * 1000;
    bench.preview_now("later");
    assert_eq!(bench.counts(), (0, 0));
}
