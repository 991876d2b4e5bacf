//! Which tokens are accepted and, for each attack, the one cause of refusal.

use std::time::Duration;

use aws_lc_rs::hmac;
use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet};
use ibkr_agent_token::{TokenError, TokenType};
use serde_json::{Value, json};

use crate::issuer::{MiniIssuer, NOW, RESOURCE, bearer, options};
use crate::keys::{Signing, encode};

async fn outcome_of(issuer: &MiniIssuer, token: &str) -> Result<(), TokenError> {
    issuer.validator().verify(&bearer(token)).await.map(|_| ())
}

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_accepted() {
    let keys = [
        Signing::rsa("rs", "RS256", 0),
        Signing::rsa("ps", "PS256", 1),
        Signing::p256("es"),
        Signing::ed25519("ed"),
    ];
    let issuer = MiniIssuer::start(&keys.iter().collect::<Vec<_>>()).await;
    let validator = issuer.validator();
    for key in &keys {
        let token = bearer(&key.token(&issuer.claims()));
        let verified = validator.verify(&token).await.unwrap();
        assert_eq!(verified.issuer(), issuer.url);
        assert_eq!(verified.subject(), "user-1");
        assert_eq!(verified.client(), Some("agent-1"));
        assert_eq!(verified.audience(), RESOURCE);
        assert_eq!(verified.issued_at(), Some(NOW - 10));
        assert_eq!(verified.expires_at(), NOW + 290);
        assert_eq!(*verified.token_hash(), token.hash());
        let scopes: ScopeSet = [Scope::PositionsRead, Scope::AccountsRead].into_iter().collect();
        assert_eq!(*verified.scopes(), scopes);
        assert_eq!(verified.require(Scope::PositionsRead), Ok(()));
        let missing = verified.require(Scope::OrdersPaperSubmit).unwrap_err();
        assert_eq!(missing, TokenError::MissingScope { needed: Scope::OrdersPaperSubmit });
        assert_eq!(missing.code(), ErrorCode::AuthMissingScope);
    }
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn scope_and_scp_are_united_whatever_their_form() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let validator = issuer.validator();
    let both: ScopeSet = [Scope::PositionsRead, Scope::OrdersRead].into_iter().collect();
    let (one, two) = ("ibkr:positions:read", "ibkr:orders:read");
    let table = [
        json!({"scope": one, "scp": two}),
        json!({"scope": one, "scp": [two, "other"]}),
        json!({"scp": format!("{one} {two}")}),
        json!({"scope": [one, two]}),
        json!({"scp": [format!("{one} {two}")]}),
    ];
    for scopes in table {
        let mut claims = issuer.claims_with("scope", Value::Null);
        for (name, value) in scopes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let verified = validator.verify(&bearer(&key.token(&claims))).await.unwrap();
        assert_eq!(*verified.scopes(), both, "{scopes}");
    }
    let none = issuer.claims_with("scope", Value::Null);
    let verified = validator.verify(&bearer(&key.token(&none))).await.unwrap();
    assert!(verified.scopes().is_empty());
}

#[tokio::test]
async fn claims_are_refused_by_name() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let aud = TokenError::WrongAudience;
    let table = [
        ("aud", json!([RESOURCE]), Ok(())),
        ("aud", json!(["https://other.example", RESOURCE]), Ok(())),
        ("aud", json!("https://other.example"), Err(aud.clone())),
        ("aud", json!(["https://other.example"]), Err(aud.clone())),
        ("aud", json!([]), Err(aud.clone())),
        ("aud", json!(format!("{RESOURCE}/")), Err(aud)),
        ("aud", json!(1), Err(TokenError::BadClaim("aud"))),
        ("aud", json!([RESOURCE, 1]), Err(TokenError::BadClaim("aud"))),
        ("aud", Value::Null, Err(TokenError::MissingClaim("aud"))),
        ("iss", Value::Null, Err(TokenError::MissingClaim("iss"))),
        ("iss", json!([issuer.url]), Err(TokenError::BadClaim("iss"))),
        ("iss", json!(format!("{}/", issuer.url)), Err(TokenError::UnknownIssuer)),
        ("iss", json!("https://other.example"), Err(TokenError::UnknownIssuer)),
        ("sub", Value::Null, Err(TokenError::MissingClaim("sub"))),
        ("sub", json!(""), Err(TokenError::BadClaim("sub"))),
        ("sub", json!("s".repeat(512)), Ok(())),
        ("sub", json!("s".repeat(513)), Err(TokenError::BadClaim("sub"))),
        ("sub", json!(7), Err(TokenError::BadClaim("sub"))),
        ("exp", Value::Null, Err(TokenError::MissingClaim("exp"))),
        ("exp", json!((NOW + 290).to_string()), Err(TokenError::BadClaim("exp"))),
        ("exp", json!(-1), Err(TokenError::BadClaim("exp"))),
        ("exp", json!(1e300), Err(TokenError::BadClaim("exp"))),
        ("exp", json!(u64::MAX), Err(TokenError::BadClaim("exp"))),
        ("exp", json!(1_800_000_290.75), Ok(())),
        ("nbf", json!("soon"), Err(TokenError::BadClaim("nbf"))),
        ("iat", json!([NOW]), Err(TokenError::BadClaim("iat"))),
        ("iat", Value::Null, Ok(())),
        ("scope", json!(5), Err(TokenError::BadClaim("scope"))),
        ("scp", json!({"a": 1}), Err(TokenError::BadClaim("scp"))),
        ("client_id", json!(5), Err(TokenError::BadClaim("client_id"))),
    ];
    for (name, value, expected) in table {
        let shown = format!("{name}: {value}");
        let token = key.token(&issuer.claims_with(name, value));
        assert_eq!(outcome_of(&issuer, &token).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_claim_that_is_null_counts_as_absent() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    for name in ["iss", "sub", "aud", "exp"] {
        let mut claims = issuer.claims();
        claims[name] = Value::Null;
        let outcome = outcome_of(&issuer, &key.token(&claims)).await;
        assert_eq!(outcome, Err(TokenError::MissingClaim(name)));
    }
}

#[tokio::test]
async fn times_are_judged_by_our_clock_on_both_sides_of_each_limit() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let expired = |expires_at| Err(TokenError::Expired { expires_at, now: NOW });
    let early = |not_before| Err(TokenError::NotYetValid { not_before, now: NOW });
    let future = |issued_at| Err(TokenError::IssuedInFuture { issued_at, now: NOW });
    let long = |seconds| Err(TokenError::LifetimeTooLong { seconds, maximum: 86_400 });
    let table = [
        (json!({"exp": NOW - 4}), Ok(())),
        (json!({"exp": NOW - 5}), expired(NOW - 5)),
        (json!({"exp": NOW - 6}), expired(NOW - 6)),
        (json!({"exp": 0}), expired(0)),
        (json!({"nbf": NOW + 5}), Ok(())),
        (json!({"nbf": NOW + 6}), early(NOW + 6)),
        (json!({"iat": NOW + 5}), Ok(())),
        (json!({"iat": NOW + 6}), future(NOW + 6)),
        (json!({"iat": NOW + 3600, "exp": NOW + 7200}), future(NOW + 3600)),
        (json!({"iat": NOW, "exp": NOW + 86_400}), Ok(())),
        (json!({"iat": NOW, "exp": NOW + 86_401}), long(86_401)),
        (json!({"iat": NOW - 80_000, "exp": NOW + 10_000}), long(90_000)),
        (json!({"iat": null, "exp": NOW + 86_401}), long(86_401)),
        (json!({"exp": NOW + 315_360_000}), long(315_360_010)),
    ];
    for (changes, expected) in table {
        let mut claims = issuer.claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        assert_eq!(outcome_of(&issuer, &key.token(&claims)).await, expected, "{changes}");
    }
}

/// Whether a token with each header, rightly signed by an RS256 key `rs`, is refused and why.
async fn check_headers(table: &[(&str, Result<(), TokenError>)]) {
    let key = Signing::rsa("rs", "RS256", 0);
    let issuer = MiniIssuer::start(&[&key]).await;
    let claims = issuer.claims().to_string();
    for (header, expected) in table {
        let token = key.token_of(header, &claims);
        assert_eq!(outcome_of(&issuer, &token).await, *expected, "{header}");
    }
}

#[tokio::test]
async fn only_the_accepted_type_is_accepted() {
    check_headers(&[
        (r#"{"alg":"RS256","kid":"rs","typ":"at+jwt"}"#, Ok(())),
        (r#"{"alg":"RS256","kid":"rs","typ":"application/AT+JWT"}"#, Ok(())),
        (r#"{"alg":"RS256","kid":"rs","typ":"JWT"}"#, Err(TokenError::WrongType)),
        (r#"{"alg":"RS256","kid":"rs"}"#, Err(TokenError::WrongType)),
        (r#"{"alg":"RS256","kid":"rs","typ":""}"#, Err(TokenError::WrongType)),
        (r#"{"alg":"RS256","kid":"rs","typ":"dpop+jwt"}"#, Err(TokenError::WrongType)),
    ])
    .await;
}

#[tokio::test]
async fn critical_extensions_are_refused_whatever_they_are() {
    let refused = || Err(TokenError::CriticalHeader);
    check_headers(&[
        (r#"{"alg":"RS256","kid":"rs","typ":"at+jwt","crit":["b64"],"b64":false}"#, refused()),
        (r#"{"alg":"RS256","kid":"rs","typ":"at+jwt","crit":["x"]}"#, refused()),
        (r#"{"alg":"RS256","kid":"rs","typ":"at+jwt","crit":[]}"#, refused()),
        (r#"{"alg":"RS256","kid":"rs","typ":"at+jwt","crit":null}"#, refused()),
    ])
    .await;
}

#[tokio::test]
async fn algorithms_and_key_ids_are_taken_literally() {
    let refused = || Err(TokenError::AlgorithmRefused);
    let malformed = || Err(TokenError::Malformed);
    let unknown = || Err(TokenError::UnknownKey);
    let long = format!(r#"{{"alg":"RS256","kid":"{}","typ":"at+jwt"}}"#, "k".repeat(257));
    let longest = format!(r#"{{"alg":"RS256","kid":"{}","typ":"at+jwt"}}"#, "k".repeat(256));
    check_headers(&[
        (r#"{"alg":"RS256","typ":"at+jwt"}"#, Ok(())),
        (r#"{"alg":"none","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"None","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"rs256","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"RS384","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"Ed25519","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"ES256","kid":"rs","typ":"at+jwt"}"#, refused()),
        (r#"{"alg":"RS256","alg":"none","kid":"rs"}"#, malformed()),
        (r#"{"kid":"rs","typ":"at+jwt"}"#, malformed()),
        (r#"{"alg":"RS256","kid":7,"typ":"at+jwt"}"#, malformed()),
        (r#"["RS256","rs","at+jwt",false]"#, malformed()),
        (&long, malformed()),
        (&longest, unknown()),
        (r#"{"alg":"RS256","kid":"RS","typ":"at+jwt"}"#, unknown()),
        (r#"{"alg":"RS256","kid":"x","typ":"at+jwt","jku":"http://127.0.0.1:1/k"}"#, unknown()),
    ])
    .await;
}

#[tokio::test]
async fn a_public_key_is_no_hmac_secret() {
    let key = Signing::rsa("rs", "RS256", 0);
    let issuer = MiniIssuer::start(&[&key]).await;
    for secret in key.public_texts() {
        let header = r#"{"alg":"HS256","kid":"rs","typ":"at+jwt"}"#;
        let message = format!("{}.{}", encode(header), encode(issuer.claims().to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", encode(mac));
        assert_eq!(outcome_of(&issuer, &token).await, Err(TokenError::AlgorithmRefused));
    }
}

#[tokio::test]
async fn a_key_verifies_only_its_own_algorithm_and_tokens() {
    let (first, second) = (Signing::rsa("one", "RS256", 0), Signing::rsa("two", "RS256", 1));
    let (es, ed) = (Signing::p256("es"), Signing::ed25519("ed"));
    let issuer = MiniIssuer::start(&[&first, &second, &es, &ed]).await;
    let claims = issuer.claims().to_string();

    // The right family and a right PSS signature, under a key declared RS256.
    let header = r#"{"alg":"PS256","kid":"one","typ":"at+jwt"}"#;
    let message = format!("{}.{}", encode(header), encode(&claims));
    let signature = encode(first.sign_as("PS256", message.as_bytes()));
    let outcome = outcome_of(&issuer, &format!("{message}.{signature}")).await;
    assert_eq!(outcome, Err(TokenError::AlgorithmRefused));

    // Signed by one key under the id of another.
    let stolen = [(&first, &second), (&second, &first)];
    for (signer, named) in stolen {
        let token = signer.token_of(&named.header().to_string(), &claims);
        assert_eq!(outcome_of(&issuer, &token).await, Err(TokenError::BadSignature));
    }
    for (signer, named) in [(&es, &ed), (&ed, &es)] {
        let token = signer.token_of(&named.header().to_string(), &claims);
        assert_eq!(outcome_of(&issuer, &token).await, Err(TokenError::BadSignature));
    }
    // Without an id the set must leave no choice.
    let token = first.token_of(r#"{"alg":"RS256","typ":"at+jwt"}"#, &claims);
    assert_eq!(outcome_of(&issuer, &token).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn tokens_that_are_no_signed_jwt_are_malformed() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let good = key.token(&issuer.claims());
    let header = key.header().to_string();
    let claims = issuer.claims().to_string();
    let twice = claims.replacen('{', r#"{"sub":"user-2","#, 1);
    let escaped = claims.replacen('{', "{\"s\\u0075b\":\"user-2\",", 1);
    let seq = r#"["iss","sub"]"#.to_owned();
    let malformed = [
        "opaque-token".to_owned(),
        "..".into(),
        "a.b".into(),
        format!("{good}.x"),
        format!("{good}="),
        format!("{good}+"),
        format!(".{good}"),
        format!("{}.{}", encode("{"), encode("{}")),
        key.token_of(&header, &twice),
        key.token_of(&header, &escaped),
        key.token_of(&header, &seq),
        key.token_of(&header, "null"),
        key.token_of(&header, &format!("{claims}{claims}")),
    ];
    for token in malformed {
        let outcome = outcome_of(&issuer, &token).await;
        assert_eq!(outcome, Err(TokenError::Malformed), "{token}");
    }
    assert_eq!(issuer.key_fetches(), 0, "junk costs no fetch");
}

#[tokio::test]
async fn every_flipped_character_refuses_the_token() {
    for key in [Signing::rsa("rs", "RS256", 0), Signing::p256("es"), Signing::ed25519("ed")] {
        let issuer = MiniIssuer::start(&[&key]).await;
        let validator = issuer.validator();
        let good = key.token(&issuer.claims());
        validator.verify(&bearer(&good)).await.unwrap();
        for position in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bytes).unwrap();
            let outcome = validator.verify(&bearer(&bad)).await;
            assert!(outcome.is_err(), "character {position} of {}", key.alg);
        }
        assert!(issuer.key_fetches() <= 2);
    }
}

#[tokio::test]
async fn an_issuer_may_be_allowed_plain_jwt_and_still_id_tokens_are_refused() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let mut config = issuer.config();
    config.accepted_types = vec![TokenType::Jwt];
    let validator = issuer.validator_with(config, options());
    let plain = [r#"{"alg":"EdDSA","kid":"ed","typ":"JWT"}"#, r#"{"alg":"EdDSA","kid":"ed"}"#];
    for header in plain {
        let token = key.token_of(header, &issuer.claims().to_string());
        assert!(validator.verify(&bearer(&token)).await.is_ok(), "{header}");
        let marks = [
            ("at_hash", json!("x")),
            ("c_hash", json!("x")),
            ("typ", json!("ID")),
            ("token_use", json!("id")),
        ];
        for (name, value) in marks {
            let token = key.token_of(header, &issuer.claims_with(name, value).to_string());
            let outcome = validator.verify(&bearer(&token)).await;
            assert_eq!(outcome, Err(TokenError::WrongType), "{name}");
        }
        let claims = issuer.claims_with("typ", json!("Bearer"));
        let token = key.token_of(header, &claims.to_string());
        assert!(validator.verify(&bearer(&token)).await.is_ok());
    }
    let typed = validator.verify(&bearer(&key.token(&issuer.claims()))).await;
    assert_eq!(typed, Err(TokenError::WrongType), "at+jwt isn't in the list");
}

#[tokio::test]
async fn a_configured_lifetime_and_skew_are_kept() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let mut config = issuer.config();
    config.max_lifetime = Duration::from_secs(300);
    config.clock_skew = Duration::ZERO;
    let validator = issuer.validator_with(config, options());
    let verify = |claims: Value| {
        let token = bearer(&key.token(&claims));
        let validator = validator.clone();
        async move { validator.verify(&token).await.map(|_| ()) }
    };
    assert_eq!(verify(issuer.claims()).await, Ok(()));
    let long = TokenError::LifetimeTooLong { seconds: 301, maximum: 300 };
    assert_eq!(verify(issuer.claims_with("exp", json!(NOW + 291))).await, Err(long));
    let expired = TokenError::Expired { expires_at: NOW, now: NOW };
    assert_eq!(verify(issuer.claims_with("exp", json!(NOW))).await, Err(expired));
    assert_eq!(verify(issuer.claims_with("exp", json!(NOW + 1))).await, Ok(()));
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_life() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let validator = issuer.validator();
    let token = bearer(&key.token(&issuer.claims()));
    validator.verify(&token).await.unwrap();
    issuer.clock.set(NOW + 294);
    validator.verify(&token).await.unwrap();
    issuer.clock.set(NOW + 295);
    let expired = TokenError::Expired { expires_at: NOW + 290, now: NOW + 295 };
    assert_eq!(validator.verify(&token).await, Err(expired));
}
