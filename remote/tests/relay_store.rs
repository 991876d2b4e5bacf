//! The remote's store: what it refuses to start with, and who may read it.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test where they can't go on")]

#[path = "relay_support/world.rs"]
mod relay_support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::{Digest, ErrorCode};
use ibkr_agent_remote::pki::{Pki, PkiError};
use ibkr_agent_remote::store::{IssuedCertificate, NewEnrolment, Store, StoreError, Subject};
use relay_support::{ISSUER, id};

fn fill(store: &Store, sidecar: &str) {
    let now = SystemTime::now();
    let join = Digest::of(sidecar.as_bytes());
    let subjects = vec![Subject::new(ISSUER, sidecar)];
    let end = now + Duration::from_secs(600);
    store.add_join(&join, &id(sidecar), subjects, end, now).unwrap();
    let certificate = IssuedCertificate {
        serial: "01".to_owned(),
        sha256: "02".to_owned(),
        expires_at: 1_900_000_000,
    };
    let new = NewEnrolment { join, sidecar: id(sidecar), identity_key: [3; 32], certificate };
    store.enrol(&new, now).unwrap();
}

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("remote.redb")
}

#[test]
fn pairings_revocations_and_checkpoints_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store, "home");
    fill(&store, "office");
    store.revoke(&id("office")).unwrap();
    assert_eq!(store.checkpoint(&id("home")).unwrap(), None);
    store.put_checkpoint(&id("home"), "note 1").unwrap();
    store.put_checkpoint(&id("home"), "note 2").unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let directory = store.directory();
    assert_eq!(directory.route(ISSUER, "home"), Some(&id("home")));
    assert_eq!(directory.route(ISSUER, "office"), None);
    assert!(directory.active(&id("office")).is_none());
    assert!(directory.pairing(&id("office")).unwrap().revoked);
    assert_eq!(store.checkpoint(&id("home")).unwrap().as_deref(), Some("note 2"));
    assert!(matches!(store.revoke(&id("nobody")), Err(StoreError::NotPaired(_))));
}

#[test]
fn a_second_opening_is_refused_as_locked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let second = Store::open(dir.path()).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    assert_eq!(second.code(), ErrorCode::StoreLocked);
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_store_that_was_emptied_removed_or_replaced_is_refused_every_time() {
    let other = tempfile::tempdir().unwrap();
    fill(&Store::open(other.path()).unwrap(), "other");
    let sabotages: [&dyn Fn(&Path); 3] = [
        &|path| std::fs::write(path, b"").unwrap(),
        &|path| std::fs::remove_file(path).unwrap(),
        &|path| assert!(std::fs::copy(file(other.path()), path).unwrap() > 0),
    ];
    for sabotage in sabotages {
        let dir = tempfile::tempdir().unwrap();
        fill(&Store::open(dir.path()).unwrap(), "home");
        sabotage(&file(dir.path()));
        for _ in 0..2 {
            let refused = Store::open(dir.path()).unwrap_err();
            assert!(matches!(refused, StoreError::Emptied { .. }), "{refused}");
            assert_eq!(refused.code(), ErrorCode::StoreDamaged);
        }
    }
}

#[test]
fn a_store_from_before_a_revocation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store, "home");
    drop(store);
    let old = std::fs::read(file(dir.path())).unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.revoke(&id("home")).unwrap();
    drop(store);
    std::fs::write(file(dir.path()), old).unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::RolledBack { found: 2, expected: 3, .. }), "{refused}");
}

#[test]
fn garbage_in_place_of_the_store_or_its_anchor_is_damage() {
    for name in ["remote.redb", "remote.anchor"] {
        let dir = tempfile::tempdir().unwrap();
        fill(&Store::open(dir.path()).unwrap(), "home");
        std::fs::write(dir.path().join(name), vec![0x5a; 8192]).unwrap();
        let refused = Store::open(dir.path()).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::StoreDamaged, "{name}: {refused}");
    }
}

#[test]
fn every_file_is_its_owners_alone_even_if_it_was_not() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Store::open(dir.path()).unwrap(), "home");
    Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap();
    let names = ["remote.redb", "remote.anchor", "relay-client-ca.pem", "relay-server-ca.pem"];
    for name in names {
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(dir.path().join(name), open).unwrap();
    }
    Store::open(dir.path()).unwrap();
    Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap();
    for name in names {
        let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(dir.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_failed_enrolment_leaves_the_join_token() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let now = SystemTime::now();
    let join = Digest::of(b"join");
    let end = now + Duration::from_secs(60);
    store.add_join(&join, &id("home"), vec![Subject::new(ISSUER, "a")], end, now).unwrap();
    let certificate =
        IssuedCertificate { serial: String::new(), sha256: String::new(), expires_at: 0 };
    let mut new = NewEnrolment { join, sidecar: id("office"), identity_key: [0; 32], certificate };
    assert!(matches!(store.enrol(&new, now), Err(StoreError::JoinRefused)));
    assert!(matches!(store.enrol(&new, end), Err(StoreError::JoinRefused)));
    new.sidecar = id("home");
    store.enrol(&new, end - Duration::from_secs(1)).unwrap();
    assert!(matches!(store.enrol(&new, now), Err(StoreError::JoinRefused)));
}

#[test]
fn the_authorities_are_made_once_and_a_file_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap();
    let again = Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Pki::open(elsewhere.path(), "localhost", SystemTime::now()).unwrap();
    assert_ne!(first.fingerprint(), other.fingerprint());
    // A leaf with its key is no authority.
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["x".to_owned()]).unwrap().self_signed(&key).unwrap();
    let text = format!("{}{}", key.serialize_pem(), leaf.pem());
    std::fs::write(dir.path().join("relay-client-ca.pem"), text).unwrap();
    let refused = Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap_err();
    assert!(matches!(refused, PkiError::Damaged { .. }), "{refused}");
}
