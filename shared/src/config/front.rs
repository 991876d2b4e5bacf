//! Sections of the hosted front end: switches, MCP endpoint, relay acceptor, logs.

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Oldest token that may submit, in seconds, when the file doesn't say.
pub const DEFAULT_SUBMIT_TOKEN_AGE: u64 = 15 * 60;
/// The largest such age: a day.
pub const MAX_SUBMIT_TOKEN_AGE: u64 = 24 * 3600;

/// `safety`: each of these must agree with its section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSafety {
    /// Must equal `remote_mcp.enabled`.
    pub remote_mcp_enabled: bool,
    /// Must equal `live_trading.enabled`.
    pub live_trading_enabled: bool,
    /// Must equal `sidecar.enabled`.
    pub sidecar_enabled: bool,
}

/// `remote_mcp`: the MCP endpoint over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRemoteMcp {
    /// Whether the endpoint is served; `safety.remote_mcp_enabled` must agree.
    pub enabled: bool,
    /// Address and port to listen on; 127.0.0.1:8080 when absent.
    pub bind_address: Option<String>,
    /// The URL that clients use, which is also the audience of their tokens.
    pub resource: Option<String>,
    /// The issuer whose tokens are accepted, exactly as its metadata spells it.
    pub issuer: Option<String>,
    /// Where the issuer's keys are; found through its metadata when absent.
    pub jwks_url: Option<String>,
    /// Where the issuer's metadata is; the well-known places when absent.
    pub metadata_url: Option<String>,
    /// Accepted audiences; the resource when absent.
    pub audiences: Vec<String>,
    /// The most that any token can be used for; every read scope when absent.
    pub allowed_scopes: Vec<String>,
    /// Tolerated clock difference to the issuer; at most 300.
    pub clock_skew_seconds: Option<u64>,
    /// Requests per window and principal.
    pub rate_limit_max_requests: Option<u32>,
    /// Length of the window in seconds.
    pub rate_limit_window_seconds: Option<u64>,
    /// Connections open at once.
    pub max_connections: Option<u32>,
    /// Name of the environment variable with the secret that keys token ids in logs.
    pub token_id_hmac_secret_env: Option<String>,
    /// Browser origins that may call, such as `https://app.example.com`; the resource's own
    /// origin is always allowed.
    pub allowed_origins: Vec<String>,
    /// Further `Host` values that are accepted beside the resource's.
    pub allowed_hosts: Vec<String>,
    /// Values of a token's `typ` header that are accepted; `at+jwt` alone when absent.
    pub accepted_token_types: Vec<RawTokenType>,
    /// Oldest token by which an agent may submit an order, in seconds; 900 when absent, a day at
    /// most. Reads, asks and cancels never depend on a token's age. Both ends check it, each with
    /// the value of its own file.
    pub max_submit_token_age_seconds: Option<u64>,
    /// Longest accepted time between a token's issue and its expiry; a day when absent.
    pub max_token_lifetime_seconds: Option<u64>,
    /// A page for people, named in the resource metadata.
    pub documentation_url: Option<String>,
}

impl RawRemoteMcp {
    /// The key of [`Self::submit_token_age`].
    pub const SUBMIT_TOKEN_AGE: &'static str = "remote_mcp.max_submit_token_age_seconds";

    /// Oldest token by which an agent may submit.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn submit_token_age(&self) -> Result<Duration, String> {
        match self.max_submit_token_age_seconds.unwrap_or(DEFAULT_SUBMIT_TOKEN_AGE) {
            seconds @ 1..=MAX_SUBMIT_TOKEN_AGE => Ok(Duration::from_secs(seconds)),
            seconds => Err(format!("{seconds} isn't within 1 to {MAX_SUBMIT_TOKEN_AGE}")),
        }
    }
}

/// `relay`: where sidecars connect to the hosted endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRelay {
    /// Address and port to listen on; 127.0.0.1:8443 when absent.
    pub bind_address: Option<String>,
    /// The name that sidecars dial; localhost when absent.
    pub server_name: Option<String>,
    /// Folder of keys and store.
    pub state_dir: Option<String>,
    /// Life of a sidecar's certificate in hours; 24 when absent.
    pub certificate_hours: Option<u32>,
}

/// `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogging {
    /// Shape of a log line; text when absent.
    pub format: Option<RawLogFormat>,
    /// Filter directives, such as `info` or `info,ibkr_agent_remote=debug`.
    pub filter: Option<String>,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A value of a token's `typ` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RawTokenType {
    /// `at+jwt`, as RFC 9068 asks.
    #[serde(rename = "at+jwt")]
    AtJwt,
    /// `JWT`, for issuers that don't mark access tokens.
    #[serde(rename = "jwt")]
    Jwt,
}
