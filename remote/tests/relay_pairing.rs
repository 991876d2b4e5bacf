//! Pairing over real sockets: what a join token buys, and what it doesn't.

#[path = "relay_support/world.rs"]
mod relay_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::relay::{EnrolReply, JoinToken};
use ibkr_agent_remote::pairing::{NewPairing, PairingError};
use ibkr_agent_remote::relay::SidecarRoute as _;
use ibkr_agent_remote::relay::clock::Clock;
use ibkr_agent_remote::store::{StoreError, Subject};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType,
};
use relay_support::{ISSUER, Member, Relay, id};
use x509_parser::extensions::GeneralName;

#[tokio::test]
async fn a_join_token_pairs_once() {
    let relay = Relay::start().await;
    let join = relay.join("home").await;
    let request = Member::new("home").enrolment(&join);
    let (status, _) = relay.enrol(&request).await;
    assert_eq!(status, 200);
    let (status, body) = relay.enrol(&request).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("SIDECAR_PAIRING_REQUIRED"));
    assert_eq!(relay.handle.routes().route_for(ISSUER, "user-of-home"), Ok(id("home")));
}

#[tokio::test]
async fn two_enrolments_at_once_with_one_token_make_one_pairing() {
    let relay = Relay::start().await;
    let join = relay.join("home").await;
    let (one, two) = (Member::new("home").enrolment(&join), Member::new("home").enrolment(&join));
    let (one, two) = tokio::join!(relay.enrol(&one), relay.enrol(&two));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[tokio::test]
async fn an_expired_join_token_is_refused() {
    // The relay's clock stays behind the client's, which checks the server's certificate.
    let start = SystemTime::now() - Duration::from_secs(600);
    let now = Arc::new(std::sync::Mutex::new(start));
    let hands = Arc::clone(&now);
    let relay = Relay::start_with(|config| {
        config.clock = Clock::from_fn(move || *hands.lock().unwrap());
    })
    .await;
    let (in_time, late) = (relay.join("in-time").await, relay.join("late").await);
    *now.lock().unwrap() += Duration::from_secs(599);
    let (status, body) = relay.enrol(&Member::new("in-time").enrolment(&in_time)).await;
    assert_eq!(status, 200, "{body}");
    *now.lock().unwrap() += Duration::from_secs(1);
    let (status, _) = relay.enrol(&Member::new("late").enrolment(&late)).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn unknown_altered_and_foreign_tokens_are_refused_alike() {
    let relay = Relay::start().await;
    let join = relay.join("home").await;
    let unknown = JoinToken::new(id("home"), relay.pki.fingerprint(), [7; 32]);
    let text = join.expose().replace("/home/", "/office/");
    let altered = JoinToken::parse(&text).unwrap();
    let text = join.expose().replace(&relay.pki.fingerprint().to_string(), &"0".repeat(64));
    let foreign = JoinToken::parse(&text).unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for wrong in [&unknown, &altered, &foreign] {
        let member = Member::new(wrong.sidecar_id().as_str());
        answers.insert(relay.enrol(&member.enrolment(wrong)).await);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 403);
    // None of them used the true one up.
    let (status, _) = relay.enrol(&Member::new("home").enrolment(&join)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_request_to_be_a_ca_of_another_name_gets_an_ordinary_certificate() {
    let relay = Relay::start().await;
    let join = relay.join("home").await;
    let member = Member::new("home");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let other = "spiffe://ibkr-agent/sidecar/office";
    params.subject_alt_names = vec![SanType::URI(other.try_into().unwrap())];
    let csr = params.serialize_request(&member.tls_key).unwrap().pem().unwrap();
    let (status, body) = relay.enrol(&member.enrolment_with(&join, csr)).await;
    assert_eq!(status, 200, "{body}");
    let reply: EnrolReply = serde_json::from_str(&body).unwrap();
    let member = member.with_certificate(reply.certificate_pem);
    let der = member.shown.certificate();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!certificate.is_ca());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI("spiffe://ibkr-agent/sidecar/home")]);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
    let now =
        i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
            .unwrap();
    let life = certificate.validity().not_after.timestamp() - now;
    assert!((86_300..=86_400).contains(&life), "{life} s");
    assert!(certificate.validity().not_before.timestamp() > now - 3600);
}

#[tokio::test]
async fn each_certificate_has_its_own_serial() {
    let relay = Relay::start().await;
    let member = Member::new("home");
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let issued = relay.pki.issue_client(
            &member.csr(),
            &member.id,
            Duration::from_secs(60),
            SystemTime::now(),
        );
        serials.insert(issued.unwrap().record.serial);
    }
    assert_eq!(serials.len(), 8);
}

#[tokio::test]
async fn requests_that_prove_nothing_are_refused_and_use_nothing_up() {
    let relay = Relay::start().await;
    let join = relay.join("home").await;
    let member = Member::new("home");
    let good = member.enrolment(&join);

    let mut wrong_key = good.clone();
    wrong_key.identity_public_key = Member::new("x").enrolment(&join).identity_public_key;
    let mut other_csr = good.clone();
    other_csr.csr_pem = Member::new("x").csr();
    let mut short_key = good.clone();
    short_key.identity_public_key.pop();
    let not_a_csr = member.enrolment_with(&join, "-----BEGIN NOTHING-----".to_owned());
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let csr = CertificateParams::default().serialize_request(&ed25519).unwrap().pem().unwrap();
    let wrong_kind = member.enrolment_with(&join, csr);
    for (request, expected) in
        [(wrong_key, 403), (other_csr, 403), (short_key, 400), (not_a_csr, 400), (wrong_kind, 400)]
    {
        let (status, body) = relay.enrol(&request).await;
        assert_eq!(status, expected, "{body}");
    }
    let (status, _) = relay.enrol(&good).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn bodies_that_are_too_big_or_no_enrolment_are_refused() {
    let relay = Relay::start().await;
    let big = format!("{{\"join_token\":\"{}\"}}", "a".repeat(64 * 1024));
    assert_eq!(relay.post("/pairing/enrol", big.as_bytes()).await.0, 413);
    assert_eq!(relay.post("/pairing/enrol", b"{").await.0, 400);
    assert_eq!(relay.post("/pairing/enrol", b"{}").await.0, 422);
    assert_eq!(relay.post("/elsewhere", b"{}").await.0, 404);
}

#[tokio::test]
async fn enrolments_are_limited_in_rate() {
    let relay = Relay::start().await;
    let mut limited = 0;
    for _ in 0..40 {
        let (status, body) = relay.post("/pairing/enrol", b"{}").await;
        if status == 429 {
            assert!(body.contains("AUTH_RATE_LIMITED"));
            limited += 1;
        }
    }
    assert!(limited > 0);
}

#[tokio::test]
async fn a_subject_belongs_to_one_sidecar() {
    let relay = Relay::start().await;
    relay.pair("home").await;
    let new = |sidecar: &str, subject: &str| NewPairing {
        sidecar: id(sidecar),
        subjects: vec![Subject::new(ISSUER, subject)],
        ttl: Duration::from_secs(600),
    };
    let taken = relay.handle.pairing().create(new("office", "user-of-home")).await.unwrap_err();
    assert!(matches!(taken, PairingError::Store(StoreError::SubjectTaken { .. })), "{taken}");
    assert_eq!(taken.code(), ErrorCode::InputInvalid);
    // Two tokens for one subject may wait; only the first to be used gets it.
    let one = relay.handle.pairing().create(new("office", "shared")).await.unwrap();
    let two = relay.handle.pairing().create(new("cabin", "shared")).await.unwrap();
    assert_eq!(relay.enrol(&Member::new("office").enrolment(&one)).await.0, 200);
    assert_eq!(relay.enrol(&Member::new("cabin").enrolment(&two)).await.0, 409);
    // A star serves the rest; an exact subject keeps its own.
    let star = relay.handle.pairing().create(new("cabin", "*")).await.unwrap();
    assert_eq!(relay.enrol(&Member::new("cabin").enrolment(&star)).await.0, 200);
    let routes = relay.handle.routes();
    assert_eq!(routes.route_for(ISSUER, "shared"), Ok(id("office")));
    assert_eq!(routes.route_for(ISSUER, "anybody"), Ok(id("cabin")));
    assert!(routes.route_for("https://other.test", "anybody").is_err());
    assert!(routes.route_for("https://issuer.test/", "anybody").is_err());
}

#[tokio::test]
async fn the_life_of_a_join_token_is_bounded_on_both_sides() {
    let relay = Relay::start().await;
    for (seconds, is_good) in [(59, false), (60, true), (7 * 86_400, true), (7 * 86_400 + 1, false)]
    {
        let new = NewPairing {
            sidecar: id("home"),
            subjects: vec![Subject::new(ISSUER, "user")],
            ttl: Duration::from_secs(seconds),
        };
        assert_eq!(relay.handle.pairing().create(new).await.is_ok(), is_good, "{seconds} s");
    }
}
