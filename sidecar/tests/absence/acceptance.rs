//! Halted by the start: what is refused, what passes, what an operator signs, and what stays.

use super::support::{Start, World, approved, ask, look, sign, submit};
use ibkr_agent_domain::Timestamp;
use ibkr_agent_gateway::app::Sidecar;
use ibkr_agent_gateway::audit::{Entry, Ledger, LedgerConfig, TailQuery};
use ibkr_agent_gateway::operator::Verb;
use serde_json::json;
use std::path::Path;

fn records(sidecar: &Sidecar, kind: &str) -> Vec<Entry> {
    let query = TailQuery { actor: None, before: None, limit: 200 };
    let entries = sidecar.ledger().snapshot().unwrap().tail(&query).unwrap().entries;
    entries.into_iter().filter(|entry| entry.kind == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_over_an_older_store_trades_only_after_an_operator_signed_exactly_that() {
    let world = World::new().await;
    let state = world.state("now");
    let sidecar = world.start("now").await.unwrap();
    let resting = approved(&sidecar, &state).await;
    let resting = submit(&sidecar, &resting).await.unwrap();
    let unspent = approved(&sidecar, &state).await;
    world.stop("now", sidecar).await;
    world.copy("now", "then");
    // What the older store doesn't know: a halt.
    let sidecar = world.start("now").await.unwrap();
    look(&sidecar, Verb::Halt { reason: "enough".to_owned() }).await;
    world.stop("now", sidecar).await;
    for file in ["store.redb", "store.anchor"] {
        std::fs::copy(world.state("then").join(file), state.join(file)).unwrap();
    }

    let (start, cause) = world.try_start("now").await;
    assert_eq!(start, Start::halted("STATE_RESTORED"));
    // The cause outlives the start that found it.
    assert_eq!(world.try_start("now").await, (start, cause.clone()));
    let sidecar = world.start("now").await.unwrap();
    assert_eq!(submit(&sidecar, &unspent).await.unwrap_err().code, "KILL_SWITCH_CLOSED");
    let cancel = json!({"account_id": "DU1234567", "broker_order_id": resting["broker_order_id"]});
    let cancelled = ask(&sidecar, "ibkr_paper_order_cancel", cancel).await.unwrap();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");

    let reason = || "compared with the broker".to_owned();
    let plain = sign(&sidecar, &state, Verb::Resume { reason: reason() }).await.unwrap_err();
    assert_eq!(plain.code, "KILL_SWITCH_CLOSED");
    assert!(plain.message.contains("state accept"), "{}", plain.message);
    let other = Verb::AcceptState { cause: format!("{cause} and more"), reason: reason() };
    let other = sign(&sidecar, &state, other).await.unwrap_err();
    assert_eq!(other.code, "SIGNATURE_INVALID");
    let unsigned = Verb::AcceptState { cause: cause.clone(), reason: reason() };
    assert!(unsigned.needs_signature());
    assert_eq!(look(&sidecar, Verb::HaltStatus {}).await["halted"], true);

    let accept = Verb::AcceptState { cause, reason: reason() };
    sign(&sidecar, &state, accept.clone()).await.unwrap();
    submit(&sidecar, &unspent).await.unwrap();
    let again = sign(&sidecar, &state, accept).await.unwrap_err();
    assert_eq!(again.code, "INPUT_INVALID");
    let (halted, accepted) = (records(&sidecar, "halted"), records(&sidecar, "state_accepted"));
    assert_eq!((halted.len(), accepted.len()), (1, 1), "{halted:?} {accepted:?}");
    assert_eq!(halted[0].codes, ["STATE_RESTORED"]);
    assert!(halted[0].details.contains(&"store.redb".to_owned()), "{:?}", halted[0].details);
    assert_eq!((&accepted[0].codes, &accepted[0].input), (&halted[0].codes, &halted[0].input));
    assert!(accepted[0].actor.starts_with("operator:"));
    world.stop("now", sidecar).await;
    assert_eq!(world.try_start("now").await.0, Start::Open);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_own_halt_does_not_hide_what_the_start_found() {
    let world = World::new().await;
    world.run("now").await;
    std::fs::remove_file(world.state("now").join("store.anchor")).unwrap();
    let sidecar = world.start("now").await.unwrap();
    look(&sidecar, Verb::Halt { reason: "look at it".to_owned() }).await;
    let state = world.state("now");
    let plain = Verb::Resume { reason: "go".to_owned() };
    assert_eq!(sign(&sidecar, &state, plain).await.unwrap_err().code, "KILL_SWITCH_CLOSED");
    let halt = look(&sidecar, Verb::HaltStatus {}).await;
    let cause = halt["state_doubt"].as_str().unwrap().to_owned();
    assert!(cause.contains("store.anchor missing"), "{cause}");
    assert!(cause.contains("halted by operator: look at it"), "{cause}");
    let accept = Verb::AcceptState { cause, reason: "looked".to_owned() };
    sign(&sidecar, &state, accept).await.unwrap();
    assert_eq!(look(&sidecar, Verb::HaltStatus {}).await["halted"], false);
    world.stop("now", sidecar).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_emergency_file_is_kept_and_what_can_be_read_of_it_counts() {
    let world = World::new().await;
    world.run("now").await;
    let path = world.state("now").join("emergency.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = b"{\"v\":1,\"index\":0,\"ti\n";
    bytes[512..512 + end.len()].copy_from_slice(end);
    std::fs::write(&path, &bytes).unwrap();
    let (start, cause) = world.try_start("now").await;
    assert_eq!(start, Start::halted("STATE_INCOMPLETE"));
    assert!(cause.contains("emergency.log unreadable"), "{cause}");
    let kept = std::fs::read(world.state("now").join("emergency.log.set-aside-1")).unwrap();
    assert_eq!(kept, bytes, "nothing of it is lost");
    // What was moved aside is no part of the folder any more.
    assert_eq!(world.try_start("now").await.1, cause);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_cannot_be_renewed_stops_trading_and_the_next_start_says_so() {
    let world = World::new().await;
    let state = world.state("now");
    let sidecar = world.start("now").await.unwrap();
    let resting = approved(&sidecar, &state).await;
    let resting = submit(&sidecar, &resting).await.unwrap();
    let unspent = approved(&sidecar, &state).await;
    // A folder in the place of the file that the anchor is written to: as on a full disk, the
    // store itself can still be written.
    std::fs::create_dir(state.join("store.partial")).unwrap();
    ask(&sidecar, "ibkr_health", json!({})).await.unwrap();
    while sidecar.ledger().is_writable() {
        tokio::task::yield_now().await;
    }
    let refused = submit(&sidecar, &unspent).await.unwrap_err();
    assert_eq!(refused.code, "AUDIT_WRITE_FAILED");
    let cancel = json!({"account_id": "DU1234567", "broker_order_id": resting["broker_order_id"]});
    ask(&sidecar, "ibkr_paper_order_cancel", cancel).await.unwrap();
    world.stop("now", sidecar).await;
    std::fs::remove_dir(state.join("store.partial")).unwrap();
    let (start, cause) = world.try_start("now").await;
    assert_eq!(start, Start::halted("STATE_INCOMPLETE"));
    assert!(cause.contains("store.anchor not renewed"), "{cause}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_anchor_cannot_be_renewed_still_cancels_and_does_nothing_else() {
    let world = World::new().await;
    let state = world.state("now");
    let sidecar = world.start("now").await.unwrap();
    let resting = approved(&sidecar, &state).await;
    let resting = submit(&sidecar, &resting).await.unwrap();
    let unspent = approved(&sidecar, &state).await;
    world.stop("now", sidecar).await;
    std::fs::create_dir(state.join("store.partial")).unwrap();
    let sidecar = world.start("now").await.unwrap();
    assert_eq!(submit(&sidecar, &unspent).await.unwrap_err().code, "AUDIT_WRITE_FAILED");
    let cancel = json!({"account_id": "DU1234567", "broker_order_id": resting["broker_order_id"]});
    ask(&sidecar, "ibkr_paper_order_cancel", cancel).await.unwrap();
    world.stop("now", sidecar).await;
    std::fs::remove_dir(state.join("store.partial")).unwrap();
    let sidecar = world.start("now").await.unwrap();
    let folded = records(&sidecar, "intent");
    let told = |entry: &&Entry| entry.details.contains(&"from_emergency_file".to_owned());
    assert_eq!(folded.iter().filter(told).count(), 1, "{folded:?}");
    world.stop("now", sidecar).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_the_version_before_opens_as_it_is_and_is_marked_then() {
    let world = World::new().await;
    world.run("other").await;
    let state = world.state("now");
    std::fs::create_dir(&state).unwrap();
    version_before(&state, &world.state("other"));
    world.copy("now", "unmarked");
    let mut start = world.try_start("now").await;
    while start.0 == Start::refused("STORE_LOCKED") {
        // The writer that made the folder is just ending.
        start = world.try_start("now").await;
    }
    assert_eq!(start.0, Start::Open, "{}", start.1);
    // From here on what comes from before the marks is older.
    for file in ["store.anchor", "emergency.log"] {
        world.copy("now", "case");
        std::fs::copy(world.state("unmarked").join(file), world.state("case").join(file)).unwrap();
        assert_eq!(world.try_start("case").await.0, Start::halted("STATE_RESTORED"), "{file}");
    }
    // And what doesn't fit isn't taken for a folder of the version before.
    std::fs::remove_file(world.state("unmarked").join("store.anchor")).unwrap();
    assert_eq!(world.try_start("unmarked").await.0, Start::halted("STATE_INCOMPLETE"));
    world.end().await;
}

/// What the version before left: no generation anywhere, nothing remembered.
fn version_before(state: &Path, other: &Path) {
    let (seed, key) = ([7; 32], [9; 32]);
    let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
    let installation = json!({"version": 1, "sidecar": "sc-before", "log_seed": hex(seed),
                              "account_key": hex(key)});
    std::fs::write(state.join("installation.json"), installation.to_string()).unwrap();
    std::fs::write(state.join("emergency.log"), vec![0; 64 * 1024]).unwrap();
    std::fs::copy(other.join("identity.pk8"), state.join("identity.pk8")).unwrap();
    let config = LedgerConfig {
        path: Some(state.join("store.redb")),
        origin: "ibkr-agent/sc-before".to_owned(),
        signing_seed: zeroize::Zeroizing::new(seed),
        account_key: zeroize::Zeroizing::new(key.to_vec()),
        now: Timestamp::from_millis(1_795_000_000_000),
    };
    drop(Ledger::open(config).unwrap());
    while !state.join("store.anchor").exists() {
        std::thread::yield_now();
    }
    let anchor = std::fs::read_to_string(state.join("store.anchor")).unwrap();
    assert!(!anchor.contains("generation"), "{anchor}");
}
