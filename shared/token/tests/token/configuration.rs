//! Configurations, bearer headers, error codes, and what is never shown.

use std::sync::Arc;
use std::time::Duration;

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_token::{
    BearerToken, Clock as _, ConfigError, HttpOptions, IssuerConfig, MAX_ISSUERS, MAX_TOKEN_BYTES,
    SystemClock, TokenError, Validator,
};

use crate::issuer::{MiniIssuer, NOW, bearer};
use crate::keys::Signing;

fn made(issuers: Vec<IssuerConfig>) -> Result<(), ConfigError> {
    Validator::new(issuers, HttpOptions::default(), Arc::new(SystemClock)).map(|_| ())
}

fn named(issuer: &str) -> IssuerConfig {
    IssuerConfig::new(issuer, vec!["https://agent.example/mcp".into()])
}

#[test]
fn plain_http_is_for_loopback_only() {
    for good in [
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://localhost:9000/realm",
        "http://[::1]:8080",
    ] {
        assert_eq!(made(vec![named(good)]), Ok(()), "{good}");
    }
    for bad in [
        "http://id.example",
        "http://10.0.0.1",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "ftp://127.0.0.1",
    ] {
        assert_eq!(made(vec![named(bad)]), Err(ConfigError::Insecure { url: bad.into() }));
    }
    for bad in [
        "",
        "https://id.example/a|b",
        "id.example",
        "https://",
        "https://user@id.example",
        "https://:secret@id.example",
        "https://id.example?x=1",
        "https://id.example#x",
        "file:///etc/passwd",
    ] {
        assert_eq!(made(vec![named(bad)]), Err(ConfigError::BadUrl { url: bad.into() }));
    }
    let keys = "http://127.0.0.1/keys";
    let mut downgraded = named("https://id.example");
    downgraded.jwks_url = Some(keys.into());
    assert_eq!(made(vec![downgraded]), Err(ConfigError::Insecure { url: keys.into() }));
}

#[test]
fn configurations_that_would_accept_nothing_or_too_much_are_refused() {
    let base = "http://127.0.0.1:8080";
    let issuer = || base.to_owned();
    let with = |change: fn(&mut IssuerConfig)| {
        let mut config = named(base);
        change(&mut config);
        made(vec![config])
    };
    let issuer = issuer();
    assert_eq!(made(vec![]), Err(ConfigError::IssuerCount(0)));
    let many = |count| (0..count).map(|n| named(&format!("{base}/{n}"))).collect();
    assert_eq!(made(many(MAX_ISSUERS)), Ok(()));
    assert_eq!(made(many(MAX_ISSUERS + 1)), Err(ConfigError::IssuerCount(MAX_ISSUERS + 1)));
    let twice = made(vec![named(base), named(base)]);
    assert_eq!(twice, Err(ConfigError::DuplicateIssuer(issuer.clone())));
    let none = Err(ConfigError::NoAudience { issuer: issuer.clone() });
    assert_eq!(with(|config| config.audiences.clear()), none);
    assert_eq!(with(|config| config.audiences.push(String::new())), none);
    let types = Err(ConfigError::NoTokenType { issuer: issuer.clone() });
    assert_eq!(with(|config| config.accepted_types.clear()), types);
    assert_eq!(with(|config| config.clock_skew = Duration::from_secs(300)), Ok(()));
    let skew = Err(ConfigError::SkewTooLarge { issuer: issuer.clone() });
    assert_eq!(with(|config| config.clock_skew = Duration::from_millis(300_001)), skew);
    let lifetime = Err(ConfigError::NoLifetime { issuer: issuer.clone() });
    assert_eq!(with(|config| config.max_lifetime = Duration::from_millis(999)), lifetime);
    let both = with(|config| {
        config.jwks_url = Some("http://127.0.0.1/keys".into());
        config.metadata_url = Some("http://127.0.0.1/metadata".into());
    });
    assert_eq!(both, Err(ConfigError::TwoSources { issuer }));
}

#[test]
fn unreadable_extra_roots_are_refused() {
    let http = HttpOptions {
        extra_roots_pem: Some(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
        ),
        ..HttpOptions::default()
    };
    let made = Validator::new(vec![named("https://id.example")], http, Arc::new(SystemClock));
    assert_eq!(made.map(|_| ()), Err(ConfigError::HttpClient));
}

#[test]
fn only_a_bearer_header_of_bounded_size_is_read() {
    assert_eq!(BearerToken::from_header("Bearer a.b.c").unwrap().expose(), "a.b.c");
    assert_eq!(BearerToken::from_header("bearer a.b.c").unwrap().expose(), "a.b.c");
    let table = [
        ("", TokenError::Missing),
        ("Bearer ", TokenError::Missing),
        ("Bearer", TokenError::NotBearer),
        ("a.b.c", TokenError::NotBearer),
        ("Basic YTpi", TokenError::NotBearer),
        (" Bearer a.b.c", TokenError::NotBearer),
        ("Bearer\ta.b.c", TokenError::NotBearer),
        ("Bearer  a.b.c", TokenError::Malformed),
        ("Bearer a.b.c ", TokenError::Malformed),
        ("Bearer a.b.c, Bearer d.e.f", TokenError::Malformed),
        ("Bearer a.b.\u{e9}", TokenError::Malformed),
    ];
    for (header, error) in table {
        assert_eq!(BearerToken::from_header(header).unwrap_err(), error, "{header:?}");
    }
    let longest = "a".repeat(MAX_TOKEN_BYTES);
    assert!(BearerToken::from_header(&format!("Bearer {longest}")).is_ok());
    let longer = BearerToken::from_header(&format!("Bearer {longest}a"));
    assert_eq!(longer.unwrap_err(), TokenError::TooLong);
}

#[tokio::test]
async fn nothing_that_is_printed_shows_the_token() {
    let key = Signing::ed25519("ed");
    let issuer = MiniIssuer::start(&[&key]).await;
    let text = key.token(&issuer.claims());
    let token = bearer(&text);
    let validator = issuer.validator();
    let verified = validator.verify(&token).await.unwrap();
    let shown = format!("{token:?} {verified:?} {validator:?} {:?}", validator.ready());
    assert!(shown.contains("user-1"), "{shown}");
    for part in text.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}

#[test]
fn every_cause_has_its_stable_code_and_says_whether_to_try_again() {
    let now = NOW;
    let invalid = ErrorCode::AuthTokenInvalid;
    let issuer = String::new();
    let table = [
        (TokenError::Missing, ErrorCode::AuthTokenMissing, false),
        (TokenError::NotBearer, invalid, false),
        (TokenError::TooLong, invalid, false),
        (TokenError::Malformed, invalid, false),
        (TokenError::AlgorithmRefused, invalid, false),
        (TokenError::CriticalHeader, invalid, false),
        (TokenError::WrongType, invalid, false),
        (TokenError::UnknownKey, invalid, false),
        (TokenError::BadSignature, invalid, false),
        (TokenError::MissingClaim("sub"), invalid, false),
        (TokenError::BadClaim("sub"), invalid, false),
        (TokenError::UnknownIssuer, ErrorCode::AuthInvalidIssuer, false),
        (TokenError::WrongAudience, ErrorCode::AuthInvalidAudience, false),
        (TokenError::Expired { expires_at: now, now }, ErrorCode::AuthTokenExpired, false),
        (TokenError::NotYetValid { not_before: now, now }, invalid, true),
        (TokenError::IssuedInFuture { issued_at: now, now }, invalid, true),
        (TokenError::LifetimeTooLong { seconds: 2, maximum: 1 }, invalid, false),
        (TokenError::KeysUnavailable { issuer }, ErrorCode::AuthKeysUnavailable, true),
    ];
    for (error, code, retryable) in table {
        assert_eq!((error.code(), error.is_retryable()), (code, retryable), "{error}");
    }
}

#[test]
fn the_system_clock_runs() {
    assert!(SystemClock.now_unix() > 1_700_000_000);
}
