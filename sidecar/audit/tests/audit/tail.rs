//! Paging backwards through the log, whole and by actor.

use super::support::{append, config, runtime};
use ibkr_agent_audit::{Ledger, Snapshot, TailQuery};

fn pages(snapshot: &Snapshot, actor: Option<&str>, limit: usize) -> Vec<Vec<u64>> {
    let mut before = None;
    let mut pages = Vec::new();
    loop {
        let query = TailQuery { actor: actor.map(str::to_owned), before, limit };
        let page = snapshot.tail(&query).unwrap();
        pages.push(page.entries.iter().map(|entry| entry.index).collect());
        before = page.next_before;
        if before.is_none() {
            return pages;
        }
    }
}

#[test]
fn pages_run_from_the_newest_to_the_first_without_gap_or_overlap() {
    let ledger = Ledger::open(config(None)).unwrap();
    runtime().block_on(append(&ledger, &["a", "b", "a", "b", "a", "c"]));
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(pages(&snapshot, None, 3), [vec![6, 5, 4], vec![3, 2, 1], vec![0]]);
    assert_eq!(pages(&snapshot, None, 7), [vec![6, 5, 4, 3, 2, 1, 0]]);
    assert_eq!(pages(&snapshot, Some("local:a"), 2), [vec![5, 3], vec![1]]);
    assert_eq!(pages(&snapshot, Some("local:b"), 500), [vec![4, 2]]);
    assert_eq!(pages(&snapshot, Some("local:nobody"), 5), [Vec::<u64>::new()]);
}

#[test]
fn a_page_holds_one_record_at_least_and_500_at_most() {
    let ledger = Ledger::open(config(None)).unwrap();
    let names: Vec<&str> = std::iter::repeat_n("a", 3).collect();
    runtime().block_on(append(&ledger, &names));
    assert_eq!(pages(&ledger.snapshot().unwrap(), None, 0).len(), 4);
    let jobs: Vec<_> = (0..510)
        .map(|_| {
            let record = super::support::record("many");
            ledger.transact(move |batch| {
                let slot = batch.append(record, super::support::time(1))?;
                Ok::<_, ibkr_agent_audit::TransactError<()>>(slot.event().clone())
            })
        })
        .collect();
    let runtime = runtime();
    for job in jobs {
        runtime.block_on(job).unwrap();
    }
    let query = TailQuery { limit: usize::MAX, ..TailQuery::default() };
    assert_eq!(ledger.snapshot().unwrap().tail(&query).unwrap().entries.len(), 500);
}

#[test]
fn a_snapshot_does_not_see_what_came_after_it() {
    let ledger = Ledger::open(config(None)).unwrap();
    let snapshot = ledger.snapshot().unwrap();
    runtime().block_on(append(&ledger, &["later"]));
    assert_eq!(pages(&snapshot, None, 9), [vec![0]]);
    assert!(snapshot.verify(ledger.verifier()).is_ok());
}
