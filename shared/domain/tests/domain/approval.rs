//! The bytes that an operator signs, fixed in `fixtures/canonical`. `UPDATE_GOLDEN=1` writes them
//! anew, which is a change of the format: it needs a new version.

use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, ApprovalTerms, BrokerName, Currency, Digest, Door, Mode, Money,
    OnApproval, OperatorKeyId, OperatorSignature, PreviewId, SidecarId, Timestamp, Untrusted,
    operator_key_id,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Every field is there.
fn full() -> ApprovalTerms {
    ApprovalTerms {
        action: Digest::of(b"an order"),
        sidecar: SidecarId::parse("sc-1").unwrap(),
        mode: Mode::Paper,
        broker: BrokerName::parse("paper").unwrap(),
        broker_mode: Some(Mode::Paper),
        account: AccountId::parse("DU1234567").unwrap(),
        requester: Actor::token("https://issuer.example", "alice", Some("agent")),
        owner: None,
        door: Door::Relay,
        approval: ApprovalId::parse("ap-1").unwrap(),
        preview: PreviewId::parse("pv-1").unwrap(),
        policy: "paper".to_owned(),
        policy_hash: Digest::of(b"a policy"),
        reference_price: Some(dec("229.50")),
        reference_time: Some(Timestamp::from_millis(1_795_000_000_000)),
        max_drift_percent: dec("2.0"),
        position: dec("-10"),
        exposure: Some(Money::new(dec("2295.00"), Currency::USD)),
        warnings: vec!["the price is old".to_owned(), "an odd lot".to_owned()],
        on_approval: OnApproval::Hold,
        reason: None,
        nonce: Digest::of(b"a nonce"),
        created_at: Timestamp::from_millis(1_795_000_001_000),
        not_after: Timestamp::from_millis(1_795_000_601_000),
    }
}

/// What came later: the signature sends, for a reason, and an operator took another's preview.
fn later() -> ApprovalTerms {
    ApprovalTerms {
        requester: Actor::Operator { key: None },
        owner: Some("https://issuer.example|alice".to_owned()),
        door: Door::Operator,
        on_approval: OnApproval::Submit,
        reason: Some(Untrusted::new("they said:\nmode=live")),
        ..full()
    }
}

/// Whatever may be absent is.
fn bare() -> ApprovalTerms {
    ApprovalTerms {
        mode: Mode::Simulated,
        broker_mode: None,
        requester: Actor::Local { client: Untrusted::new("agent") },
        door: Door::Stdio,
        reference_price: None,
        reference_time: None,
        exposure: None,
        warnings: Vec::new(),
        ..full()
    }
}

fn golden(name: &str, terms: &ApprovalTerms) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/canonical");
    let path = folder.join(name);
    let bytes = terms.bytes();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&expected), "{name}");
    assert_eq!(terms.digest(), Digest::of(&expected));
}

#[test]
fn approval_bytes_are_the_recorded_ones() {
    golden("approval-v1.txt", &full());
    golden("approval-bare-v1.txt", &bare());
    golden("approval-submit-v1.txt", &later());
}

#[test]
fn the_signed_text_names_the_bytes_and_nothing_else_that_is_signed_begins_like_it() {
    let text = ApprovalTerms::signed_text(&full().digest());
    assert_eq!(text, format!("ibkr-agent-approval-signature/v1\n{}\n", full().digest()));
}

/// Every field, changed one at a time.
fn changes() -> Vec<fn(&mut ApprovalTerms)> {
    vec![
        |t| t.action = Digest::of(b"another order"),
        |t| t.sidecar = SidecarId::parse("sc-2").unwrap(),
        |t| t.mode = Mode::Simulated,
        |t| t.broker = BrokerName::parse("other").unwrap(),
        |t| t.broker_mode = Some(Mode::Live),
        |t| t.account = AccountId::parse("DU7654321").unwrap(),
        |t| t.requester = Actor::Local { client: Untrusted::new("agent") },
        |t| t.requester = Actor::token("https://other.example", "alice", Some("agent")),
        |t| t.requester = Actor::token("https://issuer.example", "bob", Some("agent")),
        |t| t.requester = Actor::token("https://issuer.example", "alice", Some("other")),
        |t| t.requester = Actor::Operator { key: None },
        |t| t.requester = Actor::Operator { key: OperatorKeyId::parse("k1").ok() },
        |t| t.door = Door::LocalHttp,
        |t| t.approval = ApprovalId::parse("ap-2").unwrap(),
        |t| t.preview = PreviewId::parse("pv-2").unwrap(),
        |t| t.policy = "other".to_owned(),
        |t| t.policy_hash = Digest::of(b"another policy"),
        |t| t.reference_price = Some(dec("229.51")),
        |t| t.reference_price = None,
        |t| t.reference_time = Some(Timestamp::from_millis(1_795_000_000_001)),
        |t| t.max_drift_percent = dec("3"),
        |t| t.position = dec("10"),
        |t| t.exposure = Some(Money::new(dec("2296"), Currency::USD)),
        |t| t.exposure = Some(Money::new(dec("2295"), Currency::parse("EUR").unwrap())),
        |t| t.warnings = vec!["the price is old\nan odd lot".to_owned()],
        |t| t.warnings.reverse(),
        |t| t.on_approval = OnApproval::Submit,
        |t| t.reason = Some(Untrusted::new("because")),
        |t| t.owner = Some("local".to_owned()),
        |t| t.nonce = Digest::of(b"another nonce"),
        |t| t.created_at = Timestamp::from_millis(1_795_000_001_001),
        |t| t.not_after = Timestamp::from_millis(1_795_000_601_001),
    ]
}

#[test]
fn every_field_changes_the_bytes() {
    let mut seen = BTreeSet::from([full().bytes()]);
    for (index, change) in changes().into_iter().enumerate() {
        let mut terms = full();
        change(&mut terms);
        assert!(seen.insert(terms.bytes()), "change {index} left the bytes as they were");
    }
}

#[test]
fn the_spelling_of_a_number_does_not_change_the_bytes() {
    let mut other = full();
    other.reference_price = Some(dec("229.5"));
    other.max_drift_percent = dec("2");
    other.position = dec("-10.00");
    assert_eq!(other.bytes(), full().bytes());
}

#[test]
fn a_signature_is_128_hexadecimal_digits_and_nothing_else() {
    let signature =
        OperatorSignature::from_bytes(core::array::from_fn(|i| u8::try_from(i).unwrap()));
    assert_eq!(OperatorSignature::parse(&signature.to_string()), Ok(signature));
    for text in ["", "00", &"0".repeat(127), &"g".repeat(128), &"0".repeat(130), &"é".repeat(64)] {
        assert!(OperatorSignature::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_keys_id_is_the_start_of_its_digest() {
    let key = [7_u8; 32];
    assert!(Digest::of(&key).to_string().starts_with(operator_key_id(&key).as_str()));
    assert_eq!(operator_key_id(&key).as_str().len(), 16);
}

fn actor() -> impl Strategy<Value = Actor> {
    let text = "[a-z=\\\\\n]{0,4}";
    let token = (text, text, proptest::option::of(text))
        .prop_map(|(issuer, subject, client)| Actor::token(&issuer, &subject, client.as_deref()));
    prop_oneof![
        text.prop_map(|client| Actor::Local { client: Untrusted::new(&client) }),
        token,
        text.prop_map(|claimed| Actor::Unauthenticated { claimed: Untrusted::new(&claimed) }),
        proptest::option::of("[a-z]{1,2}").prop_map(|key| Actor::Operator {
            key: key.and_then(|k| OperatorKeyId::parse(&k).ok())
        }),
        Just(Actor::System),
    ]
}

prop_compose! {
    /// Few values of each field, so that two of them meet often, and texts that try to forge lines.
    fn terms()(
        requester in actor(),
        policy in "(a|b|a\nmode=live|a\\\\nmode=live|a\r)",
        warnings in proptest::collection::vec("[a\n1]{0,3}", 0..3),
        price in proptest::option::of(0_i64..3),
        time in proptest::option::of(0_i64..3),
        exposure in proptest::option::of(0_i64..3),
        position in -1_i64..2,
        modes in (any::<bool>(), proptest::option::of(any::<bool>())),
        ids in ("[ab]{1,2}", "[ab]{1,2}"),
        until in 0_i64..3,
    ) -> ApprovalTerms {
        let mode = |paper| if paper { Mode::Paper } else { Mode::Simulated };
        ApprovalTerms {
            requester,
            policy,
            warnings,
            reference_price: price.map(Decimal::from),
            reference_time: time.map(Timestamp::from_millis),
            exposure: exposure.map(|amount| Money::new(Decimal::from(amount), Currency::USD)),
            position: Decimal::from(position),
            mode: mode(modes.0),
            broker_mode: modes.1.map(mode),
            approval: ApprovalId::parse(&ids.0).unwrap(),
            preview: PreviewId::parse(&ids.1).unwrap(),
            not_after: Timestamp::from_millis(until),
            ..full()
        }
    }
}

proptest! {
    #[test]
    fn two_different_approvals_never_share_bytes(one in terms(), other in terms()) {
        prop_assert_eq!(one == other, one.bytes() == other.bytes());
    }

    #[test]
    fn no_text_forges_a_line(terms in terms()) {
        let bytes = terms.bytes();
        let text = core::str::from_utf8(&bytes).unwrap();
        let keys: Vec<&str> =
            text.lines().skip(1).map(|line| line.split_once('=').unwrap().0).collect();
        let unique: BTreeSet<&&str> = keys.iter().collect();
        prop_assert_eq!(unique.len(), keys.len());
    }
}
