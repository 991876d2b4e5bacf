//! Sections about what may be done: scopes, audit, paper, live, previews, approvals, limits.

use core::fmt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// `auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAuth {
    /// Scopes of local callers; the mode's default when absent.
    pub enabled_scopes: Option<Vec<String>>,
}

/// `audit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAudit {
    /// Path of the store, under the name that it had; `store.path` is the same.
    pub sqlite_path: Option<String>,
    /// Name of the environment variable with the secret that keys hashes in records.
    pub hmac_secret_env: Option<String>,
    /// Days that records of live writes are kept; at least 2555.
    pub live_write_retention_days: Option<u32>,
    /// Whether records must be exported before they can be purged.
    pub export_required_before_purge: Option<bool>,
    /// Whether records of live writes are never purged.
    pub immutable_live_events: Option<bool>,
}

/// `paper`: orders at a real broker's paper account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawPaper {
    /// Whether paper orders may be sent to a real broker.
    pub enabled: bool,
}

/// `live_trading`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLiveTrading {
    /// Whether live orders may be sent; `safety.live_trading_enabled` must agree.
    pub enabled: bool,
    /// Accounts that may trade.
    pub allowed_accounts: Vec<String>,
    /// The policy of `risk.policies` that holds for live orders.
    pub risk_policy_id: Option<String>,
    /// The paper-to-live check-list was worked through.
    pub paper_to_live_checklist_acknowledged: bool,
    /// Seconds between comparisons with the broker.
    pub reconciler_interval_seconds: Option<u64>,
}

/// `preview`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawPreview {
    /// Whether orders may be previewed; the mode's default when absent.
    pub enabled: Option<bool>,
    /// Life of a preview in seconds.
    pub ttl_seconds: Option<u64>,
}

/// `approvals`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawApprovals {
    /// Life of an approval in seconds; at most 12 hours.
    pub ttl_seconds: Option<u64>,
    /// Approvals that may wait for a human at once.
    pub max_open: Option<u32>,
    /// How long a question of the broker waits for a human, in seconds, before the answer is no:
    /// 5 to 600, 60 if left out. Nothing else is placed on that login meanwhile.
    pub question_timeout_seconds: Option<u64>,
}

/// `store`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStore {
    /// Path of the sidecar's store.
    pub path: Option<String>,
}

/// A non-negative plain decimal as written, quoted or not; never goes through a float.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(extend("type" = ["string", "number"]))]
pub struct RawDecimal(String);

impl RawDecimal {
    /// The digits as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RawDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asking for a string gives the scalar's own text, also when it isn't quoted.
        deserializer.deserialize_str(DecimalText)
    }
}

struct DecimalText;

impl Visitor<'_> for DecimalText {
    type Value = RawDecimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain decimal such as 1000 or \"1000.50\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawDecimal, E> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits(whole) && digits(fraction) && text.len() <= 28 {
            return Ok(RawDecimal(text.to_owned()));
        }
        Err(E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
