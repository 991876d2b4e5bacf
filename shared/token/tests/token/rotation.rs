//! Keys that come and go: new ids, junk ids, reused ids, withdrawn keys.

use std::sync::Arc;
use std::time::Duration;

use ibkr_agent_token::{HttpOptions, KeysState, TokenError, Validator};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::issuer::{Answer, MiniIssuer, bearer, key_set, options};
use crate::keys::Signing;

/// Options under which every uncached check fetches the keys anew.
fn always_stale() -> HttpOptions {
    HttpOptions { keys_max_age: Duration::ZERO, ..options() }
}

fn unknown_key_token(issuer: &MiniIssuer, key: &Signing, kid: &str) -> String {
    let header = json!({"alg": key.alg, "kid": kid, "typ": "at+jwt"});
    key.token_of(&header.to_string(), &issuer.claims().to_string())
}

/// Verifies tokens at once. Returns the outcomes.
async fn verify_all(validator: &Validator, tokens: Vec<String>) -> Vec<Result<(), TokenError>> {
    let mut tasks = JoinSet::new();
    for token in tokens {
        let validator = validator.clone();
        tasks.spawn(async move { validator.verify(&bearer(&token)).await.map(|_| ()) });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_costs_one_fetch_and_junk_ids_cost_none() {
    let (old, new) = (Signing::ed25519("old"), Signing::ed25519("new"));
    let issuer = MiniIssuer::start(&[&old]).await;
    let validator = issuer.validator();
    let first = validator.verify(&bearer(&old.token(&issuer.claims()))).await;
    assert!(first.is_ok());
    assert_eq!(issuer.key_fetches(), 1);

    issuer.publish(&[&old, &new]);
    let numbered = |n| new.token(&issuer.claims_with("sub", json!(format!("user-{n}"))));
    let outcomes = verify_all(&validator, (0..200).map(numbered).collect()).await;
    assert_eq!(outcomes, vec![Ok(()); 200]);
    assert_eq!(issuer.key_fetches(), 2, "200 tokens under a new id share one fetch");

    let junk = (0..500).map(|n| unknown_key_token(&issuer, &new, &format!("junk-{n}")));
    let outcomes = verify_all(&validator, junk.collect()).await;
    assert_eq!(outcomes, vec![Err(TokenError::UnknownKey); 500]);
    assert_eq!(issuer.key_fetches(), 2, "junk ids fetch nothing more");
    assert_eq!(issuer.metadata_fetches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_tokens_of_all_share_one_fetch() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let numbered = |n| key.token(&issuer.claims_with("sub", json!(format!("user-{n}"))));
    let outcomes = verify_all(&issuer.validator(), (0..100).map(numbered).collect()).await;
    assert_eq!(outcomes, vec![Ok(()); 100]);
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn a_junk_id_that_a_fresh_set_lacked_is_remembered() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let http = HttpOptions { refetch_interval: Duration::ZERO, ..options() };
    let validator = issuer.validator_with(issuer.config(), http);
    validator.warm().await;
    let junk = bearer(&unknown_key_token(&issuer, &key, "junk"));
    for _ in 0..20 {
        assert_eq!(validator.verify(&junk).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(issuer.key_fetches(), 2, "one fetch for the id, none after it");
    // Another id asks again and finds a set in which the remembered one is a key.
    let other = Signing::ed25519("junk");
    issuer.publish(&[&key, &other]);
    let new = bearer(&unknown_key_token(&issuer, &key, "another"));
    assert_eq!(validator.verify(&new).await, Err(TokenError::UnknownKey));
    assert!(validator.verify(&bearer(&other.token(&issuer.claims()))).await.is_ok());
}

#[tokio::test]
async fn a_new_key_under_an_old_id_is_fetched_on_a_bad_signature() {
    let (before, after) = (Signing::ed25519("same"), Signing::ed25519("same"));
    let issuer = MiniIssuer::start(&[&before]).await;
    let validator = issuer.validator();
    let old = bearer(&before.token(&issuer.claims()));
    assert!(validator.verify(&old).await.is_ok());
    issuer.publish(&[&after]);
    let new = bearer(&after.token(&issuer.claims()));
    assert!(validator.verify(&new).await.is_ok());
    assert_eq!(issuer.key_fetches(), 2);
    assert_eq!(validator.verify(&old).await, Err(TokenError::BadSignature));
    assert_eq!(issuer.key_fetches(), 2, "bad signatures are rate-limited too");
}

#[tokio::test]
async fn a_new_algorithm_under_an_old_id_is_fetched() {
    let (before, after) = (Signing::rsa("same", "RS256", 0), Signing::p256("same"));
    let issuer = MiniIssuer::start(&[&before]).await;
    let validator = issuer.validator();
    validator.warm().await;
    issuer.publish(&[&after]);
    assert!(validator.verify(&bearer(&after.token(&issuer.claims()))).await.is_ok());
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_remembered_tokens_along() {
    let (kept, withdrawn) = (Signing::ed25519("kept"), Signing::ed25519("withdrawn"));
    let issuer = MiniIssuer::start(&[&kept, &withdrawn]).await;
    let validator = issuer.validator_with(issuer.config(), always_stale());
    let token = bearer(&withdrawn.token(&issuer.claims()));
    assert!(validator.verify(&token).await.is_ok());
    let fetches = issuer.key_fetches();
    assert!(validator.verify(&token).await.is_ok());
    assert_eq!(issuer.key_fetches(), fetches, "the second answer was remembered");

    issuer.publish(&[&kept]);
    assert!(validator.verify(&bearer(&kept.token(&issuer.claims()))).await.is_ok());
    assert_eq!(validator.verify(&token).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn an_emptied_key_set_is_believed() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let validator = issuer.validator_with(issuer.config(), always_stale());
    let token = bearer(&key.token(&issuer.claims()));
    assert!(validator.verify(&token).await.is_ok());
    issuer.publish(&[]);
    let readiness = validator.warm().await;
    assert_eq!(readiness.issuers[0].state, KeysState::Unavailable);
    assert!(!readiness.is_ready());
    assert_eq!(validator.verify(&token).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn old_keys_stay_while_the_issuer_fails() {
    let (old, new) = (Signing::ed25519("old"), Signing::ed25519("new"));
    let issuer = MiniIssuer::start(&[&old]).await;
    let validator = issuer.validator_with(issuer.config(), always_stale());
    assert_eq!(validator.warm().await.issuers[0].state, KeysState::Ready);
    for broken in [
        Answer::Status(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
        Answer::Json("<html>".into()),
        Answer::Json(r#"{"keys":{}}"#.into()),
    ] {
        issuer.answer_keys(broken);
        let known = old.token(&issuer.claims_with("jti", json!(issuer.key_fetches())));
        assert!(validator.verify(&bearer(&known)).await.is_ok());
        let unknown = validator.verify(&bearer(&new.token(&issuer.claims()))).await.unwrap_err();
        assert_eq!(unknown, TokenError::KeysUnavailable { issuer: issuer.url.clone() });
        assert!(unknown.is_retryable());
        let readiness = validator.ready();
        assert_eq!(readiness.issuers[0].state, KeysState::Failing);
        assert!(readiness.is_ready(), "old keys still serve");
    }
    issuer.publish(&[&old, &new]);
    assert!(validator.verify(&bearer(&new.token(&issuer.claims()))).await.is_ok());
    assert_eq!(validator.ready().issuers[0].state, KeysState::Ready);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_spoil_the_fetch_for_others() {
    let (old, new) = (Signing::ed25519("old"), Signing::ed25519("new"));
    let issuer = MiniIssuer::start(&[&old]).await;
    let validator = issuer.validator();
    validator.warm().await;

    let gate = Arc::new(Semaphore::new(0));
    issuer.answer_keys(Answer::Gate(Arc::clone(&gate), key_set(&[&old, &new])));
    let leaver = tokio::spawn({
        let (validator, junk) = (validator.clone(), unknown_key_token(&issuer, &new, "junk"));
        async move { validator.verify(&bearer(&junk)).await }
    });
    while issuer.key_fetches() < 2 {
        tokio::task::yield_now().await;
    }
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    // The interval is an hour: only the fetch that the leaver began can bring the key.
    let token = bearer(&new.token(&issuer.claims()));
    assert!(validator.verify(&token).await.is_ok());
    assert_eq!(issuer.key_fetches(), 2);
}

#[tokio::test]
async fn while_old_keys_are_fetched_again_others_go_on_with_them() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let validator = issuer.validator_with(issuer.config(), always_stale());
    validator.warm().await;
    let gate = Arc::new(Semaphore::new(0));
    issuer.answer_keys(Answer::Gate(Arc::clone(&gate), key_set(&[&key])));
    let waiting = tokio::spawn({
        let (validator, token) = (validator.clone(), key.token(&issuer.claims()));
        async move { validator.verify(&bearer(&token)).await }
    });
    while issuer.key_fetches() < 2 {
        tokio::task::yield_now().await;
    }
    let other = key.token(&issuer.claims_with("sub", json!("user-2")));
    assert!(validator.verify(&bearer(&other)).await.is_ok(), "the fetch is still held back");
    assert!(!waiting.is_finished(), "the fetch is still held back");
    gate.add_permits(1);
    assert!(waiting.await.unwrap().is_ok());
}
