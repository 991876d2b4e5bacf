//! Discovery and the key set: who is believed, what is refused, and how failures end.

use std::time::Duration;

use axum::http::StatusCode;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_token::{
    FetchError, HttpOptions, IssuerConfig, KeysState, MAX_DOCUMENT_BYTES, TokenError, Validator,
};
use serde_json::{Value, json};

use crate::issuer::{Answer, MiniIssuer, bearer, key_set, options};
use crate::keys::Signing;

fn metadata(issuer: &str, keys: &str) -> Answer {
    Answer::Json(json!({"issuer": issuer, "jwks_uri": keys}).to_string())
}

/// Why the keys of a freshly started validator couldn't be fetched.
async fn failure_of(issuer: &MiniIssuer) -> Option<FetchError> {
    issuer.validator().warm().await.issuers[0].failure.clone()
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_serves_when_it_is_up() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    issuer.answer_keys(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    let validator = issuer.validator();
    assert_eq!(validator.ready().issuers[0].state, KeysState::NotFetched);
    let token = bearer(&key.token(&issuer.claims()));
    let error = validator.verify(&token).await.unwrap_err();
    assert_eq!(error, TokenError::KeysUnavailable { issuer: issuer.url.clone() });
    assert_eq!(error.code(), ErrorCode::AuthKeysUnavailable);
    let readiness = validator.ready();
    assert_eq!(readiness.issuers[0].state, KeysState::Unavailable);
    let url = format!("{}/keys", issuer.url);
    assert_eq!(readiness.issuers[0].failure, Some(FetchError::Status { url, status: 503 }));

    issuer.publish(&[&key]);
    assert!(validator.verify(&token).await.is_ok());
    assert!(validator.ready().is_ready());
    assert_eq!(validator.ready().issuers[0].failure, None);
}

#[tokio::test]
async fn failures_are_not_repeated_before_the_wait_is_over() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    issuer.answer_keys(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    let http = HttpOptions { backoff_initial: Duration::from_secs(3600), ..options() };
    let http = HttpOptions { backoff_max: Duration::from_secs(3600), ..http };
    let validator = issuer.validator_with(issuer.config(), http);
    let token = bearer(&key.token(&issuer.claims()));
    for _ in 0..20 {
        assert!(validator.verify(&token).await.is_err());
    }
    assert_eq!((issuer.key_fetches(), issuer.metadata_fetches()), (1, 1));
}

#[tokio::test]
async fn nobody_at_home_is_no_reason_not_to_start() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let issuer = MiniIssuer::start(&[]).await;
    let config = IssuerConfig::new(url, vec!["resource".into()]);
    let validator = issuer.validator_with(config, options());
    let readiness = validator.warm().await;
    assert!(!readiness.is_ready());
    let failure = readiness.issuers[0].failure.clone();
    assert!(matches!(failure, Some(FetchError::Unreachable { .. })), "{failure:?}");
}

#[tokio::test]
async fn an_issuer_that_never_answers_times_out() {
    let issuer = MiniIssuer::start(&[]).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    issuer.answer_keys(Answer::Gate(gate, String::new()));
    let http = HttpOptions { request_timeout: Duration::from_millis(50), ..options() };
    let failure =
        issuer.validator_with(issuer.config(), http).warm().await.issuers[0].failure.clone();
    assert_eq!(failure, Some(FetchError::TimedOut { url: format!("{}/keys", issuer.url) }));
    let http = HttpOptions { refresh_timeout: Duration::from_millis(50), ..options() };
    let failure =
        issuer.validator_with(issuer.config(), http).warm().await.issuers[0].failure.clone();
    assert_eq!(failure, Some(FetchError::RefreshTimedOut { issuer: issuer.url.clone() }));
}

#[tokio::test]
async fn openid_discovery_serves_where_oauth_metadata_is_missing() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    issuer.answer_oauth(Answer::Status(StatusCode::NOT_FOUND));
    issuer.answer_openid(metadata(&issuer.url, &format!("{}/keys", issuer.url)));
    assert!(issuer.validator().warm().await.is_ready());
}

#[tokio::test]
async fn configured_addresses_replace_discovery() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let mut config = issuer.config();
    config.jwks_url = Some(format!("{}/keys", issuer.url));
    assert!(issuer.validator_with(config, options()).warm().await.is_ready());
    assert_eq!(issuer.metadata_fetches(), 0);
    let mut config = issuer.config();
    config.metadata_url = Some(format!("{}/.well-known/openid-configuration", issuer.url));
    issuer.answer_openid(metadata(&issuer.url, &format!("{}/keys", issuer.url)));
    assert!(issuer.validator_with(config, options()).warm().await.is_ready());
    assert_eq!(issuer.metadata_fetches(), 0);
}

#[tokio::test]
async fn metadata_that_is_not_the_issuers_own_is_refused() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let keys = format!("{}/keys", issuer.url);
    let at = format!("{}/.well-known/oauth-authorization-server", issuer.url);
    for other in [format!("{}/", issuer.url), "https://other.example".into()] {
        issuer.answer_oauth(metadata(&other, &keys));
        let expected = FetchError::IssuerMismatch { url: at.clone(), expected: issuer.url.clone() };
        assert_eq!(failure_of(&issuer).await, Some(expected));
    }
    issuer.answer_openid(Answer::Json("[]".into()));
    for insecure in ["http://keys.example/keys", "ftp://127.0.0.1/keys", "file:///etc/keys"] {
        issuer.answer_oauth(Answer::Status(StatusCode::NOT_FOUND));
        issuer.answer_openid(metadata(&issuer.url, insecure));
        let failure = failure_of(&issuer).await;
        assert!(matches!(failure, Some(FetchError::InsecureKeySet { .. })), "{insecure}");
    }
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let key = Signing::ed25519("ed");
    let (issuer, other) = (MiniIssuer::start(&[]).await, MiniIssuer::start(&[&key]).await);
    issuer.answer_keys(Answer::Redirect(format!("{}/keys", other.url)));
    let url = format!("{}/keys", issuer.url);
    assert_eq!(failure_of(&issuer).await, Some(FetchError::Status { url, status: 302 }));
    assert_eq!(other.key_fetches(), 0);
}

#[tokio::test]
async fn documents_are_bounded_on_both_sides() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let set = key_set(&[&key]);
    let padded = |size: usize| Answer::Json(format!("{set}{}", " ".repeat(size - set.len())));
    issuer.answer_keys(padded(MAX_DOCUMENT_BYTES));
    assert_eq!(failure_of(&issuer).await, None);
    issuer.answer_keys(padded(MAX_DOCUMENT_BYTES + 1));
    let url = format!("{}/keys", issuer.url);
    assert_eq!(failure_of(&issuer).await, Some(FetchError::TooLarge { url }));
}

#[tokio::test]
async fn odd_keys_are_left_out_and_do_not_take_the_set_down() {
    let (rs, es, ed) =
        (Signing::rsa("rs", "RS256", 0), Signing::p256("es"), Signing::ed25519("ed"));
    let with = |key: &Signing, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let odd = [
        json!({"kty": "oct", "kid": "ed", "alg": "HS256", "k": "c2VjcmV0"}),
        json!({"kty": "oct", "kid": "ed", "k": "c2VjcmV0"}),
        json!({"kty": "AKP", "kid": "ed", "alg": "ML-DSA-44", "pub": "AA"}),
        json!("text"),
        json!(null),
        json!([]),
        with(&ed, "use", json!("enc")),
        with(&ed, "key_ops", json!(["sign"])),
        with(&ed, "alg", json!("Ed25519")),
        with(&ed, "alg", json!("ES256")),
        with(&ed, "alg", json!("HS256")),
        with(&ed, "crv", json!("X25519")),
        with(&ed, "crv", json!("Ed448")),
        with(&ed, "x", json!("AAAA")),
        with(&ed, "d", json!("AAAA")),
        with(&ed, "kid", json!(7)),
        with(&es, "crv", json!("secp256k1")),
        with(&es, "crv", json!("P-384")),
        with(&es, "y", json!("AAAA")),
        with(&rs, "alg", json!("RSA-OAEP")),
        with(&rs, "alg", json!("RS512")),
        with(&rs, "n", json!("AQAB")),
        with(&rs, "e", json!("")),
    ];
    let issuer = MiniIssuer::start(&[]).await;
    issuer.answer_keys(Answer::Json(json!({"keys": odd}).to_string()));
    let readiness = issuer.validator().warm().await;
    assert_eq!(
        (readiness.issuers[0].keys, readiness.issuers[0].state),
        (0, KeysState::Unavailable)
    );

    let mut keys = odd.to_vec();
    let without_alg = with(&rs, "alg", Value::Null);
    let verifying = with(&es, "key_ops", json!(["verify"]));
    keys.extend([without_alg, verifying, ed.jwk()]);
    issuer.answer_keys(Answer::Json(json!({"keys": keys}).to_string()));
    let validator = issuer.validator();
    assert_eq!(validator.warm().await.issuers[0].keys, 3);
    for key in [&rs, &es, &ed] {
        let outcome = validator.verify(&bearer(&key.token(&issuer.claims()))).await;
        assert!(outcome.is_ok(), "{}", key.alg);
    }
    let ps = Signing::rsa("rs", "PS256", 0);
    let outcome = validator.verify(&bearer(&ps.token(&issuer.claims()))).await;
    assert_eq!(outcome, Err(TokenError::AlgorithmRefused), "an undeclared RSA key is RS256");
}

#[tokio::test]
async fn each_issuer_answers_for_its_own_tokens_only() {
    let (key, other_key) = (Signing::ed25519("same"), Signing::ed25519("same"));
    let issuer = MiniIssuer::start(&[&key]).await;
    let other = MiniIssuer::start(&[&other_key]).await;
    let configs = vec![issuer.config(), other.config()];
    let clock = std::sync::Arc::clone(&issuer.clock);
    let validator = Validator::new(configs, options(), clock).unwrap();
    let verify = |key: &Signing, of: &MiniIssuer| {
        let (validator, token) = (validator.clone(), bearer(&key.token(&of.claims())));
        async move { validator.verify(&token).await }
    };
    let mine = verify(&key, &issuer).await.unwrap();
    let theirs = verify(&other_key, &other).await.unwrap();
    assert_eq!((mine.issuer(), theirs.issuer()), (issuer.url.as_str(), other.url.as_str()));
    assert_eq!(verify(&key, &other).await, Err(TokenError::BadSignature));
    assert_eq!(verify(&other_key, &issuer).await, Err(TokenError::BadSignature));

    // One issuer that is down doesn't hold the other up.
    drop(other);
    assert!(verify(&key, &issuer).await.is_ok());
}
