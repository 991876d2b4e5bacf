//! The identity provider over real HTTP: what it grants and what it refuses.

use super::*;
use crate::demo::client::{Login, client};
use reqwest::StatusCode;
use reqwest::Url;

const RESOURCE: &str = "http://127.0.0.1:9/mcp";

async fn provider() -> IdentityProvider {
    let provider = IdentityProvider::start().await.unwrap();
    provider.protect(RESOURCE);
    provider
}

fn payload(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_login_gives_a_token_for_the_resource_and_the_scopes_asked() {
    let provider = provider().await;
    let http = client().unwrap();
    let login = Login { issuer: provider.issuer(), resource: RESOURCE };
    let token = login.with_code(&http, "ibkr:accounts:read ibkr:orders:live:submit").await.unwrap();
    let claims = payload(&token);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["iss"], provider.issuer());
    assert_eq!(claims["sub"], USER);
    assert_eq!(claims["client_id"], LOGIN_CLIENT);
    assert_eq!(claims["scope"], "ibkr:accounts:read");
    provider.shutdown().await;
}

#[tokio::test]
async fn the_service_client_needs_its_secret() {
    let provider = provider().await;
    let http = client().unwrap();
    for (secret, status) in
        [(provider.service_secret(), StatusCode::OK), ("wrong", StatusCode::UNAUTHORIZED)]
    {
        let body = format!(
            "grant_type=client_credentials&client_id={SERVICE_CLIENT}&client_secret={secret}"
        );
        let answer = http.post(provider.token_endpoint()).body(body).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    provider.shutdown().await;
}

#[tokio::test]
async fn a_redirect_off_this_machine_a_plain_challenge_and_another_resource_are_refused() {
    let provider = provider().await;
    let http = client().unwrap();
    let challenge = "A".repeat(43);
    let ask = |change: (&str, &str)| {
        let mut url = Url::parse(&format!("{}/authorize", provider.issuer())).unwrap();
        let mut parameters = BTreeMap::from([
            ("response_type", "code"),
            ("client_id", LOGIN_CLIENT),
            ("redirect_uri", "http://127.0.0.1:1/callback"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("resource", RESOURCE),
        ]);
        parameters.insert(change.0, change.1);
        url.query_pairs_mut().extend_pairs(parameters);
        http.get(url).send()
    };
    let location = |answer: &reqwest::Response| {
        answer.headers().get("location").map(|text| text.to_str().unwrap().to_owned())
    };
    let fine = ask(("state", "s")).await.unwrap();
    assert!(location(&fine).unwrap().contains("code="), "{fine:?}");
    for away in
        ["https://evil.example/cb", "http://evil.example/cb", "http://127.0.0.1.evil.example/"]
    {
        let answer = ask(("redirect_uri", away)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(location(&answer), None);
    }
    for (change, error) in [
        (("code_challenge_method", "plain"), "invalid_request"),
        (("resource", "https://other.example/mcp"), "invalid_target"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "ibkr:orders:live:submit"), "invalid_scope"),
    ] {
        let answer = ask(change).await.unwrap();
        let back = location(&answer).unwrap();
        assert!(back.contains(&format!("error={error}")) && !back.contains("code="), "{back}");
    }
    provider.shutdown().await;
}

#[tokio::test]
async fn a_code_works_once() {
    let provider = provider().await;
    let http = client().unwrap();
    let login = Login { issuer: provider.issuer(), resource: RESOURCE };
    let code = login.code(&http, "ibkr:accounts:read").await.unwrap();
    assert!(login.redeem(&http, &code).await.is_ok());
    assert!(login.redeem(&http, &code).await.is_err());
    provider.shutdown().await;
}
