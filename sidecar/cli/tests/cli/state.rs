//! The state folder of the real program: which files it makes, and starts over one that lacks some.

use crate::support::{Home, Server};
use std::collections::BTreeSet;
use std::path::Path;

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

/// The names that the first column of the page's table gives, in backquotes.
fn rows_of_the_page() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/state-folder.md");
    let page = std::fs::read_to_string(page).unwrap();
    let first = |line: &str| Some(line.strip_prefix('|')?.split('|').next()?.to_owned());
    let cells = page.lines().filter_map(first);
    let names = |cell: String| {
        let parts: Vec<String> = cell.split('`').map(str::to_owned).collect();
        parts.into_iter().skip(1).step_by(2)
    };
    cells.flat_map(names).collect()
}

/// Whether the page has a row for a file or folder.
fn is_told(rows: &[String], name: &str) -> bool {
    rows.iter().any(|row| match row.split_once('<') {
        Some((start, _)) => name.starts_with(start),
        None => row.trim_end_matches('/') == name,
    })
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn every_file_that_a_running_sidecar_makes_has_a_row_in_the_page_of_the_state_folder() {
    let home = Home::new();
    let mut sidecar = Server::start(&home, &["sidecar", "run", "--json"]);
    sidecar.line();
    approved_and_submitted(&home, 100);
    home.json("kill-switch close --reason looked").json();
    let rows = rows_of_the_page();
    let found = entries(&home.state());
    assert!(found.contains(&"simulator.json".to_owned()), "{found:?}");
    for name in &found {
        assert!(is_told(&rows, name), "{name} has no row in docs/state-folder.md: {rows:?}");
    }
    // And no row stands there that a made-up name would fit.
    assert!(!is_told(&rows, "another.file") && rows.len() > 8, "{rows:?}");
}

/// An order that rests: its approval.
fn approved_and_submitted(home: &Home, limit: u32) -> String {
    let preview = home
        .json(&format!(
            "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
             --limit-price {limit} --enable-preview"
        ))
        .json();
    let id = preview["preview_id"].as_str().unwrap();
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ttl-seconds 300");
    let approval = home.json(&line).json()["approval_id"].as_str().unwrap().to_owned();
    let line = format!("orders submit --account DU1234567 --approval-id {approval} --enable-paper");
    assert_eq!(home.json(&line).json()["status"], "working");
    approval
}

#[test]
fn a_simulated_broker_that_lost_its_books_is_told_as_one_that_shows_the_order_no_more() {
    let (home, other) = (Home::new(), Home::new());
    approved_and_submitted(&other, 100);
    let first = approved_and_submitted(&home, 100);
    let books = |home: &Home| home.state().join("simulator.json");
    let older = std::fs::read(books(&home)).unwrap();
    let second = approved_and_submitted(&home, 101);
    let newest = std::fs::read(books(&home)).unwrap();
    let foreign = std::fs::read(books(&other)).unwrap();
    // What the broker shows is seen when it is looked at, and what it lost isn't.
    let is_seen = |approval: &str| {
        let outcome = home.json(&format!("orders outcome --approval-id {approval}")).json();
        let time = |key: &str| outcome[key].as_str().unwrap().to_owned();
        time("seen_at") >= time("checked_at")
    };
    assert!(is_seen(&first) && is_seen(&second));
    for (bytes, seen) in
        [(None, [false; 2]), (Some(older), [true, false]), (Some(foreign), [false; 2])]
    {
        match bytes {
            Some(bytes) => std::fs::write(books(&home), bytes).unwrap(),
            None => std::fs::remove_file(books(&home)).unwrap(),
        }
        assert_eq!([&first, &second].map(|approval| is_seen(approval)), seen);
        assert_eq!(home.json("kill-switch status").json()["halted"], false);
    }
    for bytes in [&[][..], &newest[..newest.len() / 2]] {
        std::fs::write(books(&home), bytes).unwrap();
        assert_eq!(home.json("health").error(), (7, "STORE_DAMAGED".to_owned()));
    }
    std::fs::write(books(&home), &newest).unwrap();
    assert!(is_seen(&first) && is_seen(&second));
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
