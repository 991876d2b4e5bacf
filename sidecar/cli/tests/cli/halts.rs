//! Halting from any terminal, in each state that a sidecar can be in: it stops the next order, or
//! says plainly that it couldn't and what will.

use crate::support::{BINARY, Home, Ran, Server, finish, signal};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CLOSED: (i32, &str) = (1, "KILL_SWITCH_CLOSED");
const SUBMIT: &str = "orders submit --account DU1234567 --enable-paper --approval-id";

/// A home whose sidecar runs on the simulator, with an order that a human approved.
struct Desk {
    home: Home,
    server: Option<Server>,
    approval: String,
}

impl Desk {
    fn open() -> Self {
        let home = Home::new();
        let server = running(&home);
        let approval = approved(&home);
        Self { home, server: Some(server), approval }
    }

    fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    fn close(&self, reason: &str) -> (Ran, Value) {
        let ran = self.home.run(&["kill-switch", "close", "--reason", reason, "--json"]);
        let told: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e} {ran:?}"));
        (ran, told)
    }

    /// Halts, and gives what is told of the simulator's place.
    fn halts(&self, reason: &str) -> Value {
        let (ran, told) = self.close(reason);
        assert_eq!((ran.code, &told["done"]), (0, &true.into()), "{ran:?}");
        let places = told["domains"].as_array().unwrap();
        assert_eq!((places.len(), &places[0]["domain"]), (1, &"simulator".into()), "{told}");
        assert!(places[0]["still_works"].as_str().unwrap().contains("cancels"), "{told}");
        let resume = places[0]["resume"].as_str().unwrap();
        let base = self.home.path().display();
        let line = format!("--simulator --state-dir {base} kill-switch open --domain simulator");
        assert_eq!(resume, format!("ibkr-agent {line}"));
        places[0].clone()
    }

    /// No order goes out any more, and the reason is told.
    fn is_stopped(&self, reason: &str) {
        let refused = self.home.json(&format!("{SUBMIT} {}", self.approval));
        // By the first check, or by the last one before the socket.
        let (code, word) = refused.error();
        let is_last = word == "ORDER_NOT_SENT" && refused.stderr.contains(CLOSED.1);
        assert!(code == 1 && (word == CLOSED.1 || is_last), "{reason}: {refused:?}");
        let list = self.home.json("orders list --account DU1234567 --status all --full").json();
        assert_eq!(list["orders"].as_array().unwrap().len(), 0, "{reason}: {list}");
        let status = self.home.json("kill-switch status").json();
        assert_eq!(status["halted"], true, "{status}");
        assert_eq!(status["halts"][0]["reason"], reason, "{status}");
    }

    fn resumes(&self) {
        self.home.json("kill-switch open --domain simulator").json();
        assert_eq!(self.home.json("kill-switch status").json()["halted"], false);
        assert!(!self.home.state().join("halt").exists());
        let order = self.home.json(&format!("{SUBMIT} {}", self.approval)).json();
        assert_eq!(order["status"], "working", "the approval was given back");
    }
}

fn running(home: &Home) -> Server {
    let mut server = Server::start(home, &["--simulator", "sidecar", "run", "--json"]);
    assert_eq!(server.line()["running"], true);
    server
}

fn approved(home: &Home) -> String {
    let preview = home
        .json(
            "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
             --limit-price 100 --enable-preview",
        )
        .json();
    let id = preview["preview_id"].as_str().unwrap();
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ttl-seconds 600");
    home.json(&line).json()["approval_id"].as_str().unwrap().to_owned()
}

/// Waits until something holds; a machine under load gets its time.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_running_sidecar_is_halted_and_named_and_only_a_signature_resumes_it() {
    let desk = Desk::open();
    let place = desk.halts("seen");
    assert_eq!((&place["found"], &place["done"]), (&"running".into(), &"halted_by_sidecar".into()));
    assert_eq!(place["pid"], desk.pid());
    assert_eq!(place["halt"]["reason"], "seen");
    desk.is_stopped("seen");
    desk.resumes();
}

#[test]
fn a_hung_sidecar_reads_the_file_before_its_next_order_and_its_number_is_told() {
    let desk = Desk::open();
    desk.signal("-STOP");
    // An agent asks while it hangs: what waits in its socket is taken up when it goes on.
    let waiting = format!("{SUBMIT} {} --json", desk.approval);
    let waiting = desk.home.start(&waiting.split_whitespace().collect::<Vec<_>>());
    let place = desk.halts("it hangs");
    assert_eq!((&place["found"], &place["done"]), (&"hung".into(), &"file_written".into()));
    assert_eq!(place["pid"], desk.pid());
    assert_eq!(place["end_process"], format!("kill -9 {}", desk.pid()));
    let sentence = place["sentence"].as_str().unwrap();
    for words in ["read before each order", "told as sent", "hung and goes on"] {
        assert!(sentence.contains(words), "{words}: {sentence}");
    }
    // Other verbs tell who holds the folder, too.
    let status = desk.home.json("status");
    assert_eq!(status.error(), (7, "STORE_LOCKED".to_owned()));
    assert!(status.stderr.contains(&format!("kill -9 {}", desk.pid())), "{status:?}");
    desk.signal("-CONT");
    assert_ne!(finish(waiting).code, 0);
    desk.is_stopped("it hangs");
    desk.resumes();
}

#[test]
fn a_sidecar_that_is_gone_starts_halted_since_the_moment_of_the_halt() {
    let mut desk = Desk::open();
    desk.server.take().unwrap().kill();
    let place = desk.halts("it crashed");
    assert_eq!((&place["found"], &place["done"]), (&"not_running".into(), &"file_written".into()));
    assert_eq!(place["pid"], Value::Null, "what a crash left names nobody");
    desk.is_stopped("it crashed");
    let since = || desk.home.json("kill-switch status").json()["halts"][0]["since"].clone();
    let first = since();
    for _ in 0..2 {
        let server = running(&desk.home);
        assert_eq!(since(), first, "a start is no halt");
        server.terminate();
    }
    desk.resumes();
}

#[test]
fn lost_sockets_stop_no_halt_and_are_opened_again_by_the_sidecar() {
    let desk = Desk::open();
    for folder in ["agent", "operator"] {
        std::fs::remove_dir_all(desk.home.state().join(folder)).unwrap();
    }
    let place = desk.halts("no sockets");
    assert!(
        place["found"] == "sockets_gone" && place["done"] == "file_written"
            // It may have opened them by then.
            || place["found"] == "running",
        "{place}"
    );
    assert_eq!(place["pid"], desk.pid());
    desk.is_stopped("no sockets");
    until("the operator's socket", || desk.home.state().join("operator/operator.sock").exists());
    assert_eq!(desk.halts("again")["found"], "running");
    desk.resumes();
}

#[test]
fn a_file_taken_away_by_hand_resumes_nothing_and_an_empty_one_halts() {
    let mut desk = Desk::open();
    let file = desk.home.state().join("halt");
    std::fs::write(&file, b"").unwrap();
    let halted = || desk.home.json("kill-switch status").json()["halted"] == true;
    until("the halt", halted);
    std::fs::remove_file(&file).unwrap();
    desk.is_stopped("by hand: the file halt was put into the state folder");
    desk.server.take().unwrap().kill();
    desk.is_stopped("by hand: the file halt was put into the state folder");
    desk.resumes();
}

#[test]
fn what_lies_where_the_file_should_be_halts_and_no_signature_takes_it_away_in_silence() {
    let desk = Desk::open();
    let file = desk.home.state().join("halt");
    std::fs::create_dir(&file).unwrap();
    desk.is_stopped("the file halt in the state folder can't be read");
    assert_eq!(
        desk.home.json("kill-switch open").error(),
        (CLOSED.0, CLOSED.1.to_owned()),
        "what isn't a file is a human's to take away"
    );
    std::fs::remove_dir(&file).unwrap();
    desk.resumes();
}

#[test]
fn a_signal_halts() {
    let desk = Desk::open();
    desk.signal("-USR1");
    until("the halt", || desk.home.json("kill-switch status").json()["halted"] == true);
    desk.is_stopped("signal SIGUSR1");
    assert_eq!(desk.home.json("status").json()["halt"]["by"], "operator (signal)");
    desk.resumes();
}

#[test]
fn a_second_halt_is_kept_beside_the_first() {
    let desk = Desk::open();
    desk.halts("first");
    let since = desk.home.json("kill-switch status").json()["halts"][0]["since"].clone();
    let told = desk.halts("second");
    assert_eq!(told["halt"]["reason"], "first");
    assert_eq!(told["halt"]["later"][0]["reason"], "second");
    let halts = desk.home.json("kill-switch status").json()["halts"].clone();
    let reasons: Vec<&Value> =
        halts.as_array().unwrap().iter().map(|halt| &halt["reason"]).collect();
    assert_eq!(reasons, ["first", "second"]);
    assert_eq!(halts[0]["since"], since);
    desk.is_stopped("first");
    let tail = desk.home.json("audit tail --kind halted").json();
    assert!(tail["events"].as_array().unwrap().len() >= 2, "{tail}");
    desk.resumes();
}

/// A command in a view of the files where a folder can't be written. None where the system gives
/// nobody such a view.
fn read_only_view(folder: &Path, rest: &str) -> Option<Command> {
    let can = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        return None;
    }
    let folder = folder.display();
    let script = format!(
        "mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}' && {rest}"
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    Some(command)
}

/// Runs `kill-switch close` where the state folder is read-only.
fn close_read_only(home: &Home, reason: &str) -> (i32, Value) {
    let line = format!("'{BINARY}' kill-switch close --reason '{reason}' --json");
    let state = home.state();
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&state, mode).unwrap();
    };
    let view = read_only_view(&state, &line);
    let mut command = view.unwrap_or_else(|| {
        mode(0o500);
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        command
    });
    let output = command.env("IBKR_AGENT_HOME", home.path()).stdin(Stdio::null()).output();
    mode(0o700);
    let output = output.unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), told.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

#[test]
fn a_read_only_folder_is_halted_by_the_running_sidecar_and_without_one_it_is_said_what_will() {
    let desk = Desk::open();
    let (code, told) = close_read_only(&desk.home, "read-only");
    let place = &told["domains"][0];
    assert_eq!((code, &place["done"]), (0, &"halted_by_sidecar".into()), "{told}");
    assert_eq!(place["file"], Value::Null);
    desk.is_stopped("read-only");
    desk.resumes();
    // It hangs, too: no channel is left.
    desk.signal("-STOP");
    let (code, told) = close_read_only(&desk.home, "no channel");
    let place = &told["domains"][0];
    assert_eq!((code, &told["done"]), (3, &false.into()), "{told}");
    assert_eq!((&place["halted"], &place["done"]), (&false.into(), &"nothing".into()));
    let sentence = place["sentence"].as_str().unwrap();
    assert!(sentence.contains("nothing was halted"), "{sentence}");
    assert!(sentence.contains(&format!("kill -9 {} ends it", desk.pid())), "{sentence}");
    desk.signal("-CONT");
}

#[test]
fn a_full_disk_stops_no_halt() {
    let home = Home::new();
    let base = home.path().join("small");
    std::fs::create_dir(&base).unwrap();
    // Everything in one view of the files: a disk of its own, filled to the last byte.
    let script = format!(
        "mount -t tmpfs -o size=16m tmpfs '{base}' && cd '{base}' || exit 77\n\
         '{BINARY}' sidecar run --json > ../ready & pid=$!\n\
         until grep -q running ../ready; do kill -0 $pid || exit 78; done\n\
         cat /dev/zero > '{base}/filler' 2> ../full\n\
         '{BINARY}' kill-switch close --reason full --json > ../told; echo $? > ../code\n\
         '{BINARY}' status --json > ../status\n\
         kill -9 $pid",
        base = base.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    let ran = command.env("IBKR_AGENT_HOME", &base).stdin(Stdio::null()).output().unwrap();
    if ran.status.code() == Some(77) || String::from_utf8_lossy(&ran.stderr).contains("unshare") {
        // Nobody may mount here; the engine's and the file's own tests have a disk that fails.
        return;
    }
    assert_ne!(ran.status.code(), Some(78), "the sidecar didn't start: {ran:?}");
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert!(read("full").contains("space"), "{ran:?}");
    let told: Value = serde_json::from_str(&read("told")).unwrap();
    let place = &told["domains"][0];
    assert_eq!(place["found"], "running", "{told}");
    assert!(place["done"] == "halted_by_sidecar" || place["done"] == "halted_in_memory", "{told}");
    let works = place["still_works"].as_str().unwrap();
    assert!(works.starts_with("cancels; the rest when the log"), "{works}");
    assert_eq!((read("code").trim(), &place["halted"]), ("0", &true.into()), "{told}");
    let status: Value = serde_json::from_str(&read("status")).unwrap();
    assert_eq!(status["halt"]["halted"], true, "{status}");
}

const BROKER: &str = "broker:\n  backend: client_portal_gateway\n  base_url: http://127.0.0.1:9\n  \
    expect: paper\naccounts:\n  allowed: [DU5550001]\npaper:\n  enabled: true\n";

/// A sidecar for a real broker's login beside the simulator's.
fn two_domains(home: &Home) -> (String, Server, Server) {
    let config = home.file("broker.yaml", BROKER);
    let words = ["--config", &config, "sidecar", "run", "--json"];
    let mut broker = Server::start(home, &words);
    assert_eq!(broker.line()["backend"], "broker");
    (config, broker, running(home))
}

fn halted(home: &Home, config: &str) -> [bool; 2] {
    ["", &format!("--config {config} ")].map(|config| {
        let status = home.json(&format!("{config}kill-switch status")).json();
        status["halted"].as_bool().unwrap()
    })
}

fn names(told: &Value) -> Vec<(String, bool)> {
    let places = told["domains"].as_array().unwrap().iter();
    let name = |place: &Value| place["domain"].as_str().unwrap().to_owned();
    places.map(|place| (name(place), place["halted"] == true)).collect()
}

#[test]
fn a_terminal_without_configuration_halts_every_domain_and_names_each() {
    let home = Home::new();
    let (config, _broker, _simulator) = two_domains(&home);
    let told = home.json("kill-switch close --reason everything").json();
    assert_eq!(names(&told), [("broker".to_owned(), true), ("simulator".to_owned(), true)]);
    assert_eq!(halted(&home, &config), [true, true]);
    let people = home.run(&["kill-switch", "close"]);
    for words in
        ["broker     halted", "simulator  halted", "still works", "kill-switch open --domain"]
    {
        assert!(people.stdout.contains(words), "{words}: {people:?}");
    }
}

#[test]
fn a_terminal_may_name_one_domain_and_the_other_trades_on() {
    let home = Home::new();
    let (config, _broker, _simulator) = two_domains(&home);
    let told = home.json("kill-switch close --domain broker").json();
    assert_eq!(names(&told), [("broker".to_owned(), true)]);
    assert_eq!(halted(&home, &config), [false, true]);
}

#[test]
fn another_and_a_broken_configuration_halt_as_none_does() {
    let home = Home::new();
    let (config, _broker, _simulator) = two_domains(&home);
    let broken = home.file("broken.yaml", "broker: [\n");
    let told = home.json(&format!("--config {broken} kill-switch close --log =,=")).json();
    assert_eq!(names(&told), [("broker".to_owned(), true), ("simulator".to_owned(), true)]);
    assert!(told["notes"].to_string().contains("broken.yaml"), "{told}");
    assert_eq!(halted(&home, &config), [true, true]);
    // Resuming needs no configuration either, where the sidecar runs.
    home.json(&format!("--config {broken} kill-switch open --domain simulator")).json();
    assert_eq!(halted(&home, &config), [false, true]);
    // One that names another folder halts there and here.
    let other = Home::new();
    let elsewhere = running(&other);
    let store = format!("store:\n  path: {}\n", other.path().display());
    let config = home.file("other.yaml", &store);
    let told = home.json(&format!("--config {config} kill-switch close")).json();
    assert_eq!(told["domains"].as_array().unwrap().len(), 3, "{told}");
    assert_eq!(other.json("kill-switch status").json()["halted"], true);
    drop(elsewhere);
}

/// A terminal that knows nothing but its home folder.
fn bare(home: &Path, line: &str) -> (i32, Value, String) {
    let mut command = Command::new(BINARY);
    command.args(line.split_whitespace()).env_clear().env("HOME", home).stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), told, String::from_utf8(output.stderr).unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn a_bare_terminal_finds_a_sidecar_of_its_user_that_runs_on_a_folder_elsewhere() {
    let home = Home::new();
    let state = Home::new();
    let mut command = Command::new(BINARY);
    command.args(["sidecar", "run", "--json"]).env_clear().env("HOME", home.path());
    command.env("IBKR_AGENT_HOME", state.path());
    let mut server = Server::spawn(command);
    assert_eq!(server.line()["running"], true);
    let (code, told, _) = bare(home.path(), "kill-switch close --json");
    assert_eq!((code, names(&told)), (0, vec![("simulator".to_owned(), true)]), "{told}");
    let resume = told["domains"][0]["resume"].as_str().unwrap();
    assert!(resume.contains(&format!("--state-dir {}", state.path().display())), "{resume}");
    assert_eq!(state.json("kill-switch status").json()["halted"], true);
    // Where a folder is named, another one is told, not touched.
    let named = Home::new();
    let other = running(&named);
    state.json("kill-switch open").json();
    let line = format!("kill-switch close --json --state-dir {}", named.path().display());
    let (code, told, _) = bare(home.path(), &line);
    assert_eq!((code, names(&told).len()), (0, 1), "{told}");
    assert_eq!(told["elsewhere"][0]["pid"], server.id());
    assert_eq!(state.json("kill-switch status").json()["halted"], false);
    drop(other);
}

#[test]
fn where_nothing_is_found_nothing_is_said_to_be_halted() {
    let home = Home::new();
    let (code, told, stderr) = bare(home.path(), "kill-switch close --json");
    assert_eq!((code, &told["done"]), (3, &false.into()), "{told}");
    assert!(
        stderr.contains("HALT_INCOMPLETE") && stderr.contains("nothing was halted"),
        "{stderr}"
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made, either");
}

#[test]
fn a_folder_that_this_user_cannot_enter_is_told_as_not_halted() {
    let home = Home::new();
    // Not even root can enter a loop, and a file has no inside.
    std::os::unix::fs::symlink("broker", home.path().join("broker")).unwrap();
    std::fs::write(home.path().join("simulator"), b"").unwrap();
    let ran = home.run(&["kill-switch", "close", "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &told["done"]), (3, &false.into()), "{ran:?}");
    assert_eq!(names(&told), [("broker".to_owned(), false), ("simulator".to_owned(), false)]);
    for place in told["domains"].as_array().unwrap() {
        let sentence = place["sentence"].as_str().unwrap();
        assert!(sentence.contains("can't be looked into"), "{sentence}");
        assert!(sentence.contains("as the user who runs the sidecar"), "{sentence}");
    }
}

#[test]
fn halting_starts_nothing_and_opens_no_store() {
    let home = Home::new();
    std::fs::create_dir(home.state()).unwrap();
    let told = home.json("kill-switch close --reason early").json();
    assert_eq!(told["domains"][0]["found"], "not_running");
    let left: Vec<_> = std::fs::read_dir(home.state()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the halt's file: {left:?}");
    // The first start of all is halted, too.
    let status = home.json("kill-switch status").json();
    assert_eq!((&status["halted"], &status["halts"][0]["reason"]), (&true.into(), &"early".into()));
}
