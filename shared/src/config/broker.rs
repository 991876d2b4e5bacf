//! Sections of the broker's side: logins, accounts, the sidecar's link.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `broker`: a single login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBroker {
    /// What answers; the embedded simulator when absent.
    pub backend: RawBackend,
    /// Address of the Client Portal Gateway, such as `https://localhost:5000`.
    pub base_url: Option<String>,
    /// Accepts any certificate, on a loopback address only.
    pub allow_insecure_tls_for_localhost: bool,
    /// Which kind of account the login must show.
    pub expect: Option<RawExpect>,
    /// How the gateway's certificate is checked.
    pub tls: RawTls,
}

/// What answers broker requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawBackend {
    /// The embedded simulator.
    #[default]
    Fake,
    /// IBKR's Client Portal Gateway.
    ClientPortalGateway,
}

/// `brokers.<name>`: one of several logins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawNamedBroker {
    /// Address of the Client Portal Gateway.
    pub base_url: Option<String>,
    /// Which kind of account the login must show.
    pub expect: Option<RawExpect>,
    /// How the gateway's certificate is checked.
    pub tls: RawTls,
}

/// `session`: what is known of the broker session from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSession {
    /// Whose midnight ends the session; New York's when absent.
    pub region: RawRegion,
}

/// Where IBKR keeps the account's servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawRegion {
    /// America.
    #[default]
    NewYork,
    /// Europe.
    Zug,
    /// Asia.
    HongKong,
}

/// Which kind of account a login must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawExpect {
    /// Paper accounts.
    Paper,
    /// Live accounts.
    Live,
}

/// How the gateway's certificate is checked; by the system's authorities when nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTls {
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub pin_sha256: Option<String>,
    /// File with the authority's certificate (PEM).
    pub ca_file: Option<String>,
    /// Accepts any certificate, on a loopback address only.
    pub allow_insecure_tls_for_localhost: bool,
}

/// `accounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAccounts {
    /// Accounts that may be seen; the simulator's own when absent. A real broker's must be listed.
    pub allowed: Option<Vec<String>>,
    /// Whether the broker is `ibkr-agent simulator run` behind an address: the simulator's account
    /// ids are refused otherwise, and no others are taken then.
    pub simulated: bool,
    /// Names that agents see instead of account ids.
    pub aliases: BTreeMap<String, String>,
}

/// `sidecar`: the on-prem half.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSidecar {
    /// Whether it dials a remote; `safety.sidecar_enabled` must agree.
    pub enabled: bool,
    /// The remote's relay, such as `wss://relay.example.com:8443/relay`.
    pub remote_relay_url: Option<String>,
    /// Address of the Client Portal Gateway; the same as `broker.base_url`.
    pub local_client_portal_base_url: Option<String>,
    /// Seconds between heartbeats.
    pub heartbeat_interval_seconds: Option<u64>,
    /// Seconds of silence after which the link is cut.
    pub heartbeat_timeout_seconds: Option<u64>,
}
