//! The loss of power at a random moment: what was answered is there, nothing is there by half.

use super::disk::Disk;
use super::support::{ROWS, Random, config, record, runtime, time};
use ibkr_agent_audit::{Ledger, TransactError};
use std::collections::BTreeSet;

const LOSSES: u64 = 200;

/// Commits until the disk dies; gives the rows that were answered as durable.
fn commit_until_death(disk: &Disk, random: &mut Random) -> BTreeSet<u64> {
    let mut acknowledged = BTreeSet::new();
    let Ok(ledger) = Ledger::open_over(config(None), disk.clone()) else {
        return acknowledged;
    };
    let runtime = runtime();
    let mut next = 0;
    while !disk.is_dead() && next < 2000 {
        let wanted = 1 + random.below(4);
        let mut waiting = Vec::new();
        for row in next..next + wanted {
            let record = record(&format!("client-{row}"));
            let committed = ledger.transact(move |batch| {
                let slot = batch.append(record, time(1))?;
                batch.put(ROWS, &row.to_be_bytes(), slot.event().as_str().as_bytes())?;
                Ok::<_, TransactError<()>>(())
            });
            waiting.push((row, committed));
        }
        next += wanted;
        for (row, committed) in waiting {
            if runtime.block_on(committed).is_ok() {
                acknowledged.insert(row);
            }
        }
    }
    acknowledged
}

#[test]
fn no_answered_record_is_lost_and_none_is_there_by_half() {
    let (mut answered, mut died_at_work) = (0, 0);
    for seed in 0..LOSSES {
        let mut random = Random(seed);
        let disk = Disk::dying_after(60 + random.below(900));
        let acknowledged = commit_until_death(&disk, &mut random);
        disk.die();
        answered += acknowledged.len();
        died_at_work += u64::from(!acknowledged.is_empty());
        let survivor = disk.after_the_loss(&mut random);
        let ledger = Ledger::open_over(config(None), survivor)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let snapshot = ledger.snapshot().unwrap();
        let report = snapshot
            .verify(ledger.verifier())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let rows = snapshot.all(ROWS).unwrap();
        let found: BTreeSet<u64> = rows
            .iter()
            .map(|(key, _)| u64::from_be_bytes(key.as_slice().try_into().unwrap()))
            .collect();
        assert!(acknowledged.is_subset(&found), "seed {seed}: an answered row is lost");
        let leaves = report.size - 1;
        let count = u64::try_from(found.len()).unwrap();
        assert_eq!(leaves, count, "seed {seed}: a leaf without its row, or a row without its leaf");
    }
    assert!(answered > 1000, "only {answered} rows were answered before a loss");
    assert!(died_at_work > 100, "only {died_at_work} losses fell into the work");
}
