//! Section `notices`: how a human hears of what must not wait.

use schemars::JsonSchema;
use serde::Deserialize;

/// `notices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawNotices {
    /// A program with its arguments, run for each notice without a shell; the notice is a JSON
    /// object on its standard input. The program's path must be absolute.
    pub command: Option<Vec<String>>,
    /// A webhook that each notice is posted to, signed.
    pub webhook: Option<RawWebhook>,
    /// Seconds that a session must be lost before that is told; 10 if left out.
    pub session_lost_after_seconds: Option<u64>,
    /// Minutes before a session's end that a reminder is sent; 15 if left out.
    pub remind_minutes_before_end: Option<u64>,
}

/// `notices.webhook`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Its address: https, or http on loopback.
    pub url: String,
    /// Name of the environment variable with the signing secret, `whsec_` and base64 as Standard
    /// Webhooks describe.
    pub secret_env: String,
}
