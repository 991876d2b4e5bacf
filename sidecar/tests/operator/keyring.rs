//! A signature counts for one verb, challenge, sidecar and domain.

use ibkr_agent_domain::{SidecarId, Timestamp};
use ibkr_agent_gateway::operator::keyring::{MAX_KEYS, MAX_LABEL_CHARS};
use ibkr_agent_gateway::operator::{
    Challenge, EnrolledKey, Keyring, KeyringError, NewKey, OperatorDomain, OperatorPublicKey,
    OperatorSigner, Proof, Verb, create_key, load_key,
};

fn signer() -> OperatorSigner {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
    load_key(&path, OperatorDomain::Simulator, None).unwrap()
}

fn ring(domain: OperatorDomain, signer: &OperatorSigner) -> Keyring {
    let mut ring = Keyring::new(domain);
    let key = EnrolledKey {
        public_key: signer.public_key(),
        label: ibkr_agent_domain::Untrusted::new("desk"),
        enrolled_at: Timestamp::from_millis(0),
    };
    ring.enrol(key).unwrap();
    ring
}

fn sidecar(name: &str) -> SidecarId {
    SidecarId::parse(name).unwrap()
}

fn approve(id: &str) -> Verb {
    let signature = "00".repeat(64);
    Verb::Approve { id: id.to_owned(), digest: "00".repeat(32), signature }
}

#[test]
fn a_key_id_is_the_start_of_the_public_keys_sha256() {
    let key = OperatorPublicKey::from_bytes([0; 32]);
    assert_eq!(key.id().as_str(), "66687aadf862bd77");
    assert_eq!(key.to_string().parse::<OperatorPublicKey>().unwrap(), key);
}

#[test]
fn a_signature_holds_for_exactly_what_was_signed() {
    let signer = signer();
    let ring = ring(OperatorDomain::Simulator, &signer);
    let home = sidecar("home");
    let challenge = Challenge("c1".to_owned());
    let verb = approve("a1");
    let proof = signer.prove(&home, &challenge, &verb).unwrap();
    assert_eq!(ring.verify(&home, &challenge, &verb, &proof).unwrap(), signer.id());

    let refused =
        |ring: &Keyring, home: &SidecarId, challenge: &str, verb: &Verb, proof: &Proof| {
            let challenge = Challenge(challenge.to_owned());
            ring.verify(home, &challenge, verb, proof).unwrap_err().code
        };
    let signature = "00".repeat(64);
    let other_order = Verb::Approve { id: "a1".to_owned(), digest: "11".repeat(32), signature };
    let garbled = Proof { signature: "zz".to_owned(), ..proof.clone() };
    let unknown = Proof { key: "0000000000000000".to_owned(), ..proof.clone() };
    let no_id = Proof { key: "not an id".to_owned(), ..proof.clone() };
    let mut flipped = proof.clone();
    let last = if flipped.signature.pop() == Some('0') { '1' } else { '0' };
    flipped.signature.push(last);
    let codes = [
        refused(&ring, &home, "c2", &verb, &proof),
        refused(&ring, &sidecar("away"), "c1", &verb, &proof),
        refused(&ring, &home, "c1", &approve("a2"), &proof),
        refused(&ring, &home, "c1", &other_order, &proof),
        refused(&ring, &home, "c1", &verb, &garbled),
        refused(&ring, &home, "c1", &verb, &unknown),
        refused(&ring, &home, "c1", &verb, &no_id),
        refused(&ring, &home, "c1", &verb, &flipped),
        refused(&Keyring::new(OperatorDomain::Simulator), &home, "c1", &verb, &proof),
    ];
    assert!(codes.iter().all(|code| code == "SIGNATURE_INVALID"), "{codes:?}");
}

#[test]
fn a_demo_keys_signature_is_worth_nothing_in_the_brokers_domain() {
    let signer = signer();
    let home = sidecar("home");
    let challenge = Challenge("c1".to_owned());
    let verb = approve("a1");
    let proof = signer.prove(&home, &challenge, &verb).unwrap();
    // Even a keyring that holds the demo key by mistake.
    let ring = ring(OperatorDomain::Broker, &signer);
    let refused = ring.verify(&home, &challenge, &verb, &proof).unwrap_err();
    assert_eq!(refused.code, "SIGNATURE_INVALID");
}

#[test]
fn a_key_is_enrolled_once_and_their_number_is_bounded() {
    let key = |byte| EnrolledKey {
        public_key: OperatorPublicKey::from_bytes([byte; 32]),
        label: ibkr_agent_domain::Untrusted::new("desk"),
        enrolled_at: Timestamp::from_millis(0),
    };
    let mut ring = Keyring::new(OperatorDomain::Broker);
    ring.enrol(key(0)).unwrap();
    assert!(matches!(ring.enrol(key(0)), Err(KeyringError::Enrolled(_))));
    for byte in 1..u8::try_from(MAX_KEYS).unwrap() {
        ring.enrol(key(byte)).unwrap();
    }
    assert_eq!(ring.enrol(key(0xff)), Err(KeyringError::TooMany));
    assert_eq!(ring.iter().count(), MAX_KEYS);
}

#[test]
fn an_enrolment_needs_a_key_and_a_harmless_label() {
    let at = Timestamp::from_millis(7);
    let hex = "ab".repeat(32);
    assert_eq!(EnrolledKey::parse("abcd", "desk", at), Err(KeyringError::NotAKey));
    assert_eq!(EnrolledKey::parse(&hex, "  ", at), Err(KeyringError::NoLabel));
    let key = EnrolledKey::parse(&hex, &format!("\u{1b}[2J{}", "x".repeat(200)), at).unwrap();
    assert!(!key.label.as_str().contains('\u{1b}'));
    assert!(key.label.as_str().chars().count() < MAX_LABEL_CHARS + 20);
}
