//! Store, anchor and emergency file each say in which generation they were last written, so that
//! one that was put back from a copy, or two of them together, differ from the rest.
//!
//! A generation begins at each opening and each orderly end, in four durable steps:
//!
//! ```text
//! emergency: g, next g+1 → anchor: g+1 → store: g+1 → emergency: g+1
//! ```
//!
//! A crash between two steps leaves a combination that no older copy makes. Within a generation the
//! emergency file also carries the log's size. Not found is what nobody remembers: all three files
//! put back together.

use crate::doubt::{Doubt, StateFile};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes of the emergency file that the mark takes; one sector, so that it is written whole.
pub(crate) const MARK_BYTES: usize = 512;

/// How the mark's line begins.
pub(crate) const MARK_START: &[u8] = b"{\"mark\":";

/// What the emergency file says of the log beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    /// Format version.
    pub(crate) mark: u8,
    /// The log's name.
    pub(crate) origin: String,
    /// The newest generation that all three files had.
    pub(crate) generation: u64,
    /// A generation that was about to begin.
    pub(crate) next: Option<u64>,
    /// Records in the log, at least.
    pub(crate) size: u64,
    /// The anchor couldn't be written.
    pub(crate) anchor_failed: bool,
}

impl Mark {
    /// The bytes on disk: a line, padded to [`MARK_BYTES`].
    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        if line.len() >= MARK_BYTES {
            return Err(std::io::Error::other("the mark has no room for the log's name"));
        }
        line.resize(MARK_BYTES.saturating_sub(1), b' ');
        line.push(b'\n');
        Ok(line)
    }
}

/// The marked start of the emergency file, held by the log's writer.
#[derive(Debug)]
pub struct Witness {
    pub(crate) file: File,
    pub(crate) found: Option<Mark>,
}

/// Whether a written mark has to survive the loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// It has to.
    Yes,
    /// The end of the process is enough.
    No,
}

impl Witness {
    /// Replaces the mark.
    pub(crate) fn write(&self, mark: &Mark, durable: Durable) -> std::io::Result<()> {
        self.file.write_all_at(&mark.bytes()?, 0)?;
        match durable {
            Durable::Yes => self.file.sync_data(),
            Durable::No => Ok(()),
        }
    }
}

/// The generations found at an opening. Zero stands for a file from before there were any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generations<'a> {
    pub(crate) origin: &'a str,
    pub(crate) store: u64,
    /// None without a readable anchor, which is a doubt of its own.
    pub(crate) anchor: Option<u64>,
    pub(crate) emergency: Option<&'a Mark>,
    /// Records in the store.
    pub(crate) size: u64,
}

impl Generations<'_> {
    /// The newest generation that any file knows.
    pub(crate) fn newest(&self) -> u64 {
        let mark = self.emergency.map_or(0, |mark| mark.next.unwrap_or(mark.generation));
        self.store.max(self.anchor.unwrap_or(0)).max(mark)
    }

    /// What doesn't fit.
    pub(crate) fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let mark = self.emergency.filter(|mark| mark.origin == self.origin);
        if mark.is_none() && self.emergency.is_some() {
            doubts.push(Doubt::Foreign(StateFile::Emergency));
        }
        let floor = mark.map_or(0, |mark| mark.generation);
        let ceiling = mark.and_then(|mark| mark.next).unwrap_or(floor);
        let anchor = self.anchor.unwrap_or(self.store);
        let newest = self.store.max(anchor);
        let behind = |found: u64| found < floor || (newest > ceiling && found < newest);
        if behind(self.store) || mark.is_some_and(|mark| mark.size > self.size) {
            doubts.push(Doubt::Older(StateFile::Store));
        }
        if behind(anchor) {
            doubts.push(Doubt::Older(StateFile::Anchor));
        }
        if newest > ceiling && doubts.iter().all(|doubt| doubt.file() != StateFile::Emergency) {
            doubts.push(Doubt::Older(StateFile::Emergency));
        }
        if mark.is_some_and(|mark| mark.anchor_failed) {
            doubts.push(Doubt::NotRenewed(StateFile::Anchor));
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "ibkr-agent/test";

    fn mark(generation: u64, next: Option<u64>) -> Mark {
        Mark {
            mark: 1,
            origin: ORIGIN.to_owned(),
            generation,
            next,
            size: 10,
            anchor_failed: false,
        }
    }

    fn doubts(store: u64, anchor: u64, emergency: &Mark) -> Vec<Doubt> {
        let found = Generations {
            origin: ORIGIN,
            store,
            anchor: Some(anchor),
            emergency: Some(emergency),
            size: 10,
        };
        found.doubts()
    }

    #[test]
    fn a_crash_between_any_two_steps_of_a_new_generation_is_no_doubt() {
        let (begun, done) = (mark(7, Some(8)), mark(8, None));
        for (store, anchor, emergency) in [
            (7, 7, &mark(7, None)),
            (7, 7, &begun),
            (7, 8, &begun),
            (8, 8, &begun),
            (8, 8, &done),
            (0, 0, &mark(0, Some(1))),
            (0, 1, &mark(0, Some(1))),
        ] {
            assert_eq!(doubts(store, anchor, emergency), [], "{store} {anchor} {emergency:?}");
        }
    }

    #[test]
    fn every_file_and_every_pair_of_files_from_an_earlier_generation_is_found() {
        let older = |file| Doubt::Older(file);
        let (store, anchor) = (older(StateFile::Store), older(StateFile::Anchor));
        let emergency = older(StateFile::Emergency);
        for behind in [1, 2, 5] {
            let now = mark(8, None);
            let then = mark(8 - behind, None);
            assert_eq!(doubts(8 - behind, 8, &now), [store]);
            assert_eq!(doubts(8, 8 - behind, &now), [anchor]);
            assert_eq!(doubts(8, 8, &then), [emergency]);
            assert_eq!(doubts(8 - behind, 8 - behind, &now), [store, anchor]);
            assert_eq!(doubts(8 - behind, 8, &then), [store, emergency]);
            assert_eq!(doubts(8, 8 - behind, &then), [anchor, emergency]);
            // Nobody is left who remembers.
            assert_eq!(doubts(8 - behind, 8 - behind, &then), []);
        }
    }

    #[test]
    fn files_of_the_time_before_generations_fit_each_other_and_nothing_later() {
        let found = |store, anchor, emergency| {
            let found = Generations { origin: ORIGIN, store, anchor, emergency, size: 10 };
            found.doubts()
        };
        assert_eq!(found(0, Some(0), None), []);
        assert_eq!(found(1, Some(1), None), [Doubt::Older(StateFile::Emergency)]);
        assert_eq!(found(0, Some(0), Some(&mark(1, None))).len(), 2);
    }

    #[test]
    fn a_store_with_fewer_records_than_the_emergency_file_knows_is_older() {
        let found = Generations {
            origin: ORIGIN,
            store: 8,
            anchor: Some(8),
            emergency: Some(&mark(8, None)),
            size: 9,
        };
        assert_eq!(found.doubts(), [Doubt::Older(StateFile::Store)]);
        assert_eq!(Generations { size: 10, ..found }.doubts(), []);
    }

    #[test]
    fn a_mark_of_another_log_and_an_anchor_that_failed_are_doubts() {
        let other = Mark { origin: "ibkr-agent/other".to_owned(), ..mark(8, None) };
        assert_eq!(doubts(8, 8, &other), [Doubt::Foreign(StateFile::Emergency)]);
        let failed = Mark { anchor_failed: true, ..mark(8, None) };
        assert_eq!(doubts(8, 8, &failed), [Doubt::NotRenewed(StateFile::Anchor)]);
    }
}
