//! A small issuer: one ES256 key on loopback, and tokens of any shape.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::future::IntoFuture as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// A running issuer; stops when dropped.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) resource: String,
    key: EcdsaKeyPair,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Issuer {
    pub(crate) async fn start(resource: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        });
        let keys = json!({ "keys": [jwk] }).to_string();
        let app = Router::new().route("/keys", get(move || async move { keys }));
        let task = tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, resource: resource.to_owned(), key, task }
    }

    /// The claims of a good token of a user with some scopes.
    pub(crate) fn claims(&self, subject: &str, scope: &str) -> Value {
        json!({
            "iss": self.url, "sub": subject, "aud": self.resource, "client_id": "agent-1",
            "iat": now() - 5, "exp": now() + 300, "scope": scope,
        })
    }

    /// A good token.
    pub(crate) fn token(&self, subject: &str, scope: &str) -> String {
        self.sign(&self.claims(subject, scope))
    }

    /// A token of these claims under a good header.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}), claims)
    }

    /// A token of these claims under this header.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", encode(signature))
    }

    /// A token whose HS256 key is the issuer's public key.
    pub(crate) fn confused(&self, claims: &Value) -> String {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": "k1"});
        let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
        format!("{text}.{}", encode(hmac::sign(&key, text.as_bytes())))
    }
}
