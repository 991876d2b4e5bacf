//! The supervisor over small shell scripts in place of Java.

use super::super::{conf, write_script};
use super::*;
use crate::print::Style;
use std::path::Path;

const QUICK: Pace = Pace {
    listen: Duration::from_secs(30),
    try_port: Duration::from_millis(10),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
    restarts: 3,
    window: Duration::from_secs(600),
    waiting: Duration::from_millis(10),
    working: Duration::from_millis(10),
};

fn environment(name: &str) -> Option<String> {
    (name == "PATH").then(|| "/usr/bin:/bin".to_owned())
}

fn supervisor(folder: &Path, script: &str, port: u16) -> Supervisor<'static> {
    let java = folder.join("java");
    write_script(&java, script);
    std::fs::create_dir_all(folder.join("root")).unwrap();
    std::fs::write(folder.join("root/conf.yaml"), format!("listenPort: {port}\n")).unwrap();
    let conf = conf::read(folder).unwrap();
    let ready = Ready { root: folder.to_owned(), java, conf, port };
    Supervisor {
        teller: Teller {
            printer: Printer::new(Style::People),
            page: LoginPage::new(true, port, &environment),
            opens: false,
        },
        ready,
        environment: &environment,
        pace: QUICK,
        stop: CancellationToken::new(),
        has_listened: false,
        talk: Talk::default(),
    }
}

#[tokio::test]
async fn a_gateway_that_never_listened_is_not_started_again_and_its_words_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo started >> lives; echo 'Error: no main class'; exit 3";
    let failure = supervisor(folder.path(), script, 1).run().await.unwrap_err();
    assert_eq!(failure.0.code, "BROKER_BACKEND_UNAVAILABLE");
    assert!(failure.0.message.contains("exit status: 3"), "{failure}");
    assert_eq!(failure.0.details, ["Error: no main class"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("lives")).unwrap(), "started\n");
}

#[tokio::test]
async fn one_that_keeps_ending_is_started_again_and_then_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut supervisor = supervisor(folder.path(), "echo x >> lives; exit 1", 1);
    supervisor.has_listened = true;
    let failure = supervisor.run().await.unwrap_err();
    assert!(failure.0.message.contains("ended 4 times"), "{failure}");
    let lives = std::fs::read_to_string(folder.path().join("lives")).unwrap();
    assert_eq!(lives.lines().count(), QUICK.restarts + 1);
}

#[tokio::test]
async fn one_that_lives_but_cannot_listen_is_ended_and_the_owner_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for script in [
        "echo $$ > pid; echo 'Server listen failed Address already in use'; exec sleep 600",
        // It says nothing: that another process listens is noticed at the port.
        "echo $$ > pid; exec sleep 600",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let failure = supervisor(folder.path(), script, port).run().await.unwrap_err();
        let ours = format!("taken by process {}", std::process::id());
        assert!(failure.0.message.contains(&ours), "{failure}");
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
        assert!(pid.is_empty() || !Path::new("/proc").join(pid.trim()).exists(), "{pid} lives on");
    }
}

#[tokio::test]
async fn stopping_ends_the_whole_group_and_awaits_it() {
    let folder = tempfile::tempdir().unwrap();
    // A Java that is a wrapper: the gateway proper is its child.
    let script = "sleep 600 & echo $! > inner; echo ready; wait";
    let mut supervisor = supervisor(folder.path(), script, 1);
    let stop = supervisor.stop.clone();
    let inner = folder.path().join("inner");
    let stopping = async {
        while std::fs::read_to_string(&inner).unwrap_or_default().trim().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(supervisor.run(), stopping);
    outcome.unwrap();
    let pid = std::fs::read_to_string(&inner).unwrap();
    // Its parent is gone, so it may take a moment until somebody takes its exit.
    let ended = async {
        while is_alive(pid.trim()) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
}

/// Whether a process runs; one that only waits to be taken doesn't.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

#[test]
fn pauses_double_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = supervisor(folder.path(), "", 1);
    let pauses: Vec<u128> = (0..4).map(|at| supervisor.pause(at).as_millis()).collect();
    assert_eq!(pauses, [1, 2, 4, 4]);
    assert_eq!(supervisor.pause(usize::MAX).as_millis(), 4);
}

#[test]
fn every_state_of_the_session_says_what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    let teller = supervisor(folder.path(), "", 1).teller;
    assert!(teller.describe(Login::Ready { is_paper: Some(true) }).1.contains("PAPER"));
    assert!(teller.describe(Login::Ready { is_paper: Some(false) }).1.contains("LIVE"));
    assert!(teller.describe(Login::Ready { is_paper: None }).1.contains("take it for LIVE"));
    assert!(teller.describe(Login::LoggedOut).1.contains("ssh -L 1:127.0.0.1:1 "));
}

#[test]
fn the_tail_and_the_log_of_a_talkative_gateway_are_bounded() {
    let mut talk = Talk::default();
    for number in 0..10_000 {
        talk.note(&number.to_string());
    }
    assert_eq!(talk.tail.len(), TAIL);
    assert_eq!(talk.tail.back().map(String::as_str), Some("9999"));
    assert_eq!((talk.logged, talk.dropped), (MAX_TALK, 10_000 - MAX_TALK));
}
