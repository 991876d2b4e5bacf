//! Every file of a real state folder, deleted, emptied, cut, put back from an older copy and
//! replaced by another installation's; and those that go together.

use super::support::{Start, World, files, pairing};
use std::collections::BTreeSet;
use std::path::Path;

const INCOMPLETE: &str = "STATE_INCOMPLETE";
const RESTORED: &str = "STATE_RESTORED";
const DAMAGED: &str = "STORE_DAMAGED";

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Deleted,
    Emptied,
    Cut,
    Older,
    Other,
}

/// The start that follows from a harm.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// Halted, the cause naming the file.
    Halted(&'static str),
    /// No start.
    Refused(&'static str),
    /// The file never changes, so an older copy is the file itself.
    Same,
    /// Not told from what the file may become in good order.
    Open,
}

use Expected::{Halted, Open, Refused, Same};

const HARMS: [Harm; 5] = [Harm::Deleted, Harm::Emptied, Harm::Cut, Harm::Older, Harm::Other];

/// A file, its name in the cause, and what follows from each of [`HARMS`].
type Row = (&'static str, &'static str, [Expected; 5]);

const TABLE: [Row; 7] = [
    (
        "installation.json",
        "installation.json",
        [Refused(INCOMPLETE), Refused(DAMAGED), Refused(DAMAGED), Same, Refused(DAMAGED)],
    ),
    (
        "store.redb",
        "store",
        [Refused(DAMAGED), Refused(DAMAGED), Refused(DAMAGED), Refused(DAMAGED), Refused(DAMAGED)],
    ),
    (
        "store.anchor",
        "store.anchor",
        [
            Halted(INCOMPLETE),
            Halted(INCOMPLETE),
            Halted(INCOMPLETE),
            Halted(RESTORED),
            Refused(DAMAGED),
        ],
    ),
    (
        "emergency.log",
        "emergency.log",
        [
            Halted(INCOMPLETE),
            Halted(INCOMPLETE),
            Halted(INCOMPLETE),
            Halted(RESTORED),
            Halted(INCOMPLETE),
        ],
    ),
    (
        "identity.pk8",
        "identity.pk8",
        [Halted(INCOMPLETE), Refused(INCOMPLETE), Refused(INCOMPLETE), Same, Halted(INCOMPLETE)],
    ),
    (
        "operator-demo.key",
        "operator key",
        [Halted(INCOMPLETE), Halted(INCOMPLETE), Halted(INCOMPLETE), Same, Halted(INCOMPLETE)],
    ),
    (
        "relay.json",
        "relay.json",
        // Another sidecar's pairing looks as a new pairing does; the remote knows whose it is.
        [Halted(INCOMPLETE), Halted(INCOMPLETE), Halted(INCOMPLETE), Halted(RESTORED), Open],
    ),
];

fn harm(path: &Path, harm: Harm, then: &Path, other: &Path) {
    match harm {
        Harm::Deleted => std::fs::remove_file(path).unwrap(),
        Harm::Emptied => std::fs::write(path, b"").unwrap(),
        Harm::Cut => {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
        Harm::Older => drop(std::fs::copy(then, path).unwrap()),
        Harm::Other => drop(std::fs::copy(other, path).unwrap()),
    }
}

/// Folders `then` and `now` of one installation, a run between them, and `other` of another.
async fn prepared() -> World {
    let world = World::new().await;
    for (name, issued) in [("other", 1_900_000_000), ("now", 1_800_000_000)] {
        world.run(name).await;
        std::fs::write(world.state(name).join("relay.json"), pairing(issued)).unwrap();
        world.run(name).await;
    }
    world.copy("now", "then");
    std::fs::write(world.state("now").join("relay.json"), pairing(1_800_043_200)).unwrap();
    world.run("now").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_a_state_folder_can_go_back_or_go_missing_in_silence() {
    let world = prepared().await;
    let known: BTreeSet<String> = TABLE.iter().map(|(file, ..)| (*file).to_owned()).collect();
    assert_eq!(files(&world.state("now")), known, "a file that this table doesn't know");
    let mut wrong = Vec::new();
    for (file, word, expected) in TABLE {
        for (kind, expected) in HARMS.into_iter().zip(expected) {
            world.copy("now", "case");
            let [path, then, other] = ["case", "then", "other"].map(|f| world.state(f).join(file));
            let before = std::fs::read(&path).unwrap();
            harm(&path, kind, &then, &other);
            let same = std::fs::read(&path).is_ok_and(|after| after == before);
            let (start, cause) = world.try_start("case").await;
            let fits = match expected {
                Halted(code) => start == Start::halted(code) && cause.contains(word),
                Refused(code) => {
                    start == Start::refused(code) && cause.contains(word)
                        || code == DAMAGED && start == Start::refused(code)
                }
                Same => same && start == Start::Open,
                Open => start == Start::Open,
            };
            if !fits || (same && !matches!(expected, Same)) {
                wrong.push(format!("{file} {kind:?}: {start:?} ({cause}), same: {same}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.end().await;
}

/// Files of the older copy put back together, and files deleted together.
type Case = (&'static [&'static str], &'static [&'static str], Expected);

const KEYS: [&str; 4] = ["operator-demo.key", "identity.pk8", "relay.json", "installation.json"];
const LOG: [&str; 3] = ["store.redb", "store.anchor", "emergency.log"];

#[tokio::test(flavor = "multi_thread")]
async fn files_that_go_back_or_go_missing_together_are_found_while_one_is_left() {
    let cases: [Case; 9] = [
        (&["store.redb", "store.anchor"], &[], Halted(RESTORED)),
        (&["store.redb", "emergency.log"], &[], Refused(DAMAGED)),
        (&["store.anchor", "emergency.log"], &[], Halted(RESTORED)),
        // The two ways in which a halt and the day's limits were forgotten.
        (&["store.redb"], &["store.anchor"], Halted(RESTORED)),
        (&[], &["store.redb", "store.anchor"], Refused(INCOMPLETE)),
        (&[], &LOG, Refused(INCOMPLETE)),
        (&[], &["installation.json", "store.redb", "store.anchor"], Refused(INCOMPLETE)),
        // Nobody else remembers: only a checkpoint that somebody keeps elsewhere tells.
        // Nobody else remembers: only a checkpoint that is kept elsewhere tells.
        (&LOG, &[], Open),
        (&[], &KEYS, Refused(INCOMPLETE)),
    ];
    let world = prepared().await;
    for (older, deleted, expected) in cases {
        world.copy("now", "case");
        for file in older {
            std::fs::copy(world.state("then").join(file), world.state("case").join(file)).unwrap();
        }
        for file in deleted {
            std::fs::remove_file(world.state("case").join(file)).unwrap();
        }
        let (start, cause) = world.try_start("case").await;
        let fits = match expected {
            Halted(code) => start == Start::halted(code),
            Refused(code) => start == Start::refused(code),
            Same | Open => start == Start::Open,
        };
        assert!(fits, "{older:?} back, {deleted:?} gone: {start:?} ({cause})");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_the_keys_of_another_time_or_nothing_but_keys_never_begins_anew() {
    let world = prepared().await;
    for left in files(&world.state("now")) {
        world.copy("now", "case");
        for file in files(&world.state("case")) {
            if file != left {
                std::fs::remove_file(world.state("case").join(file)).unwrap();
            }
        }
        let (start, cause) = world.try_start("case").await;
        assert_eq!(start, Start::refused(INCOMPLETE), "only {left} is left: {cause}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_starts_at_once_and_so_does_every_start_after_it() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.try_start("new").await.0, Start::Open);
    }
    assert!(!world.state("new").join("store.partial").exists());
    world.end().await;
}
