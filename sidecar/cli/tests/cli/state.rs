//! The state folder of the real program: which files it makes, and starts over one that lacks some.

use crate::support::{Home, Server};
use std::collections::BTreeSet;

fn files(home: &Home) -> BTreeSet<String> {
    let entries = std::fs::read_dir(home.state()).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Files that `sidecar/tests/absence` has a row for, and the simulated broker's own.
#[test]
fn ordinary_verbs_leave_the_known_files_and_no_halves() {
    let home = Home::new();
    for verb in ["health", "status", "kill-switch status", "accounts list"] {
        home.json(verb).json();
        let known = [
            "emergency.log",
            "identity.pk8",
            "installation.json",
            "operator-demo.key",
            "simulator.json.lock",
            "store.anchor",
            "store.redb",
        ];
        assert_eq!(files(&home), known.map(str::to_owned).into(), "after {verb}");
    }
}

#[test]
fn a_missing_anchor_halts_until_an_operator_accepts_it_by_name() {
    let home = Home::new();
    home.json("health").json();
    std::fs::remove_file(home.state().join("store.anchor")).unwrap();
    let halt = home.json("kill-switch status").json();
    assert_eq!(halt["halted"], true);
    let reason = halt["halts"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "STATE_INCOMPLETE: store.anchor missing");
    assert_eq!(home.json("audit verify").json()["state_doubt"], reason);
    assert_eq!(home.json("kill-switch open").error(), (1, "KILL_SWITCH_CLOSED".to_owned()));
    assert_eq!(home.json("state accept --reason looked").json()["done"], true);
    assert_eq!(home.json("kill-switch status").json()["halted"], false);
    assert_eq!(home.json("state accept").error(), (2, "INPUT_INVALID".to_owned()));
    let tail = home.json("audit tail --kind state_accepted").json();
    assert_eq!(tail["events"][0]["codes"][0], "STATE_INCOMPLETE", "{tail:#}");
}

#[test]
fn keys_that_are_gone_are_not_made_anew_over_an_old_store() {
    let home = Home::new();
    home.json("health").json();
    std::fs::remove_file(home.state().join("installation.json")).unwrap();
    for verb in ["health", "sidecar identity create", "sidecar run"] {
        let ran = home.json(verb);
        assert_eq!(ran.error(), (7, "STATE_INCOMPLETE".to_owned()), "{verb}");
        assert!(ran.stderr.contains("store.redb"), "{verb}: {}", ran.stderr);
    }
}

#[test]
fn an_owner_that_was_killed_leaves_nothing_in_doubt() {
    let home = Home::new();
    for _ in 0..3 {
        let mut server = Server::start(&home, &["sidecar", "run", "--json"]);
        server.line();
        home.json("health").json();
        server.kill();
        assert_eq!(home.json("kill-switch status").json()["halted"], false);
    }
}

#[test]
fn keys_made_before_the_first_start_are_part_of_a_new_installation() {
    let home = Home::new();
    let made = home.json("sidecar identity create").json();
    assert_eq!(home.json("kill-switch status").json()["halted"], false);
    assert_eq!(home.json("sidecar identity create").json(), made);
}
