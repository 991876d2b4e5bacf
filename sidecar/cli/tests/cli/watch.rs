//! Watching: each answer is a line with `--json`, a change brings another, a signal ends it.

use crate::support::{Home, Server};
use std::time::{Duration, Instant};

#[test]
fn a_watched_quote_is_shown_again_when_it_moves_and_a_signal_ends_it_at_once() {
    let home = Home::new();
    let quote = ["market", "snapshot", "--instrument", "AAPL", "--watch", "--json"];
    let mut watch = Server::start(&home, &quote);
    let (first, second) = (watch.line(), watch.line());
    assert_eq!(first["quotes"][0]["contract_id"], second["quotes"][0]["contract_id"]);
    assert_ne!(first, second, "nothing changed");
    let asked = Instant::now();
    let (code, rest) = watch.terminate();
    assert_eq!(code, 0, "{rest}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
