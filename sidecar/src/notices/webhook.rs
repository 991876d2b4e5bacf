//! Posts a message, signed as <https://www.standardwebhooks.com> describes: the headers
//! `webhook-id`, `webhook-timestamp` and `webhook-signature` (`v1,` and base64 of HMAC-SHA256 over
//! `id.timestamp.body`). No redirects, no proxy, a short time-out; any 2xx counts as taken.

use crate::notices::{Message, WebhookSettings};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long one try may take.
const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// Fewest and most bytes of a secret.
const SECRET_BYTES: core::ops::RangeInclusive<usize> = 24..=64;

/// The secret shared with the webhook's receiver. Never shown.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// Why a text is no webhook secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is whsec_ and the base64 of 24 to 64 random bytes")]
pub struct SecretError;

impl WebhookSecret {
    /// Parses `whsec_` and base64; the prefix may be missing.
    ///
    /// # Errors
    /// [`SecretError`] for anything else, or fewer than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SecretError)?);
        if SECRET_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(SecretError) }
    }

    fn signature(&self, id: &str, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// A client of one webhook.
pub(super) struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
    secret: WebhookSecret,
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings) -> Result<Self, &'static str> {
        let url: reqwest::Url = settings.url.parse().map_err(|_| "isn't a URL")?;
        let mut builder = reqwest::Client::builder()
            .timeout(POST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("ibkr-agent/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Nothing to check, so a host without a certificate store will do.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let client = builder.build().map_err(|_| "the HTTP client can't be built")?;
        Ok(Self { client, url, secret: settings.secret.clone() })
    }

    pub(super) async fn post(&self, message: &Message) -> Result<(), &'static str> {
        let body = serde_json::to_string(message).map_err(|_| "the message can't be written")?;
        let timestamp = jiff::Timestamp::now().as_second();
        let sent = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.signature(&message.id, timestamp, &body))
            .body(body)
            .send();
        match sent.await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(_) => Err("the receiver refused it"),
            Err(_) => Err("the receiver can't be reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standards_example() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_weak_or_broken_secret_is_refused_and_none_is_shown() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_$$$"] {
            assert!(WebhookSecret::parse(text).is_err(), "{text}");
        }
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
    }
}
