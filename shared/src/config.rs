//! The configuration file as text: every section, typed, unknown keys refused with their line.
//!
//! Remote and sidecar read the same file format, each its own sections; a file may hold all of
//! them. What is here is raw: the reader of a section turns it into its own checked type and owns
//! the rules (ranges, switches that must agree). Nothing is enabled by default.

mod broker;
mod front;
mod notices;
pub mod place;
mod risk;
mod tools;
mod trading;

pub use broker::{
    RawAccounts, RawBackend, RawBroker, RawExpect, RawNamedBroker, RawRegion, RawSession,
    RawSidecar, RawTls,
};
pub use front::{
    DEFAULT_SUBMIT_TOKEN_AGE, MAX_SUBMIT_TOKEN_AGE, RawLogFormat, RawLogging, RawRelay,
    RawRemoteMcp, RawSafety, RawTokenType,
};
pub use notices::{RawNotices, RawWebhook};
pub use risk::{
    RawBinding, RawBounds, RawDay, RawExposure, RawGuard, RawInstruments, RawKnownQuestion,
    RawOrders, RawPrice, RawQuantities, RawQuestions, RawRate, RawRisk, RawRiskPolicy, RawSize,
};
pub use tools::RawTools;
pub use trading::{
    RawApprovals, RawAudit, RawAuth, RawDecimal, RawLiveTrading, RawPaper, RawPreview, RawStore,
};

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest configuration file in bytes.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// The whole configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The one-entry form of `brokers`: a single broker login.
    pub broker: Option<RawBroker>,
    /// Broker logins by name, such as `paper` and `live`.
    pub brokers: BTreeMap<String, RawNamedBroker>,
    /// What is known of the broker session from outside.
    pub session: RawSession,
    /// Which accounts may be seen.
    pub accounts: RawAccounts,
    /// Scopes of local callers.
    pub auth: RawAuth,
    /// The audit log.
    pub audit: RawAudit,
    /// The second of the two switches that each dangerous section has.
    pub safety: RawSafety,
    /// The hosted MCP endpoint.
    pub remote_mcp: RawRemoteMcp,
    /// The relay acceptor of the hosted endpoint.
    pub relay: RawRelay,
    /// The on-prem sidecar.
    pub sidecar: RawSidecar,
    /// Paper orders at a real broker.
    pub paper: RawPaper,
    /// Live orders.
    pub live_trading: RawLiveTrading,
    /// Order previews.
    pub preview: RawPreview,
    /// Approvals by a human.
    pub approvals: RawApprovals,
    /// Limits.
    pub risk: RawRisk,
    /// The store of the sidecar.
    pub store: RawStore,
    /// Logs.
    pub logging: RawLogging,
    /// How a human hears of what must not wait.
    pub notices: RawNotices,
    /// Which tools clients are shown.
    pub tools: RawTools,
}

/// Why a configuration text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// 1-based line, when known.
    pub line: Option<u64>,
    /// 1-based column, when known.
    pub column: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl core::fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                write!(f, "line {line}, column {column}: {}", self.message)
            }
            (Some(line), None) => write!(f, "line {line}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

impl core::error::Error for ConfigProblem {}

/// Parses a configuration text; an empty one is the default, with everything off.
///
/// # Errors
/// [`ConfigProblem`] with the line of the first thing that is wrong: syntax, an unknown or a
/// repeated key, a wrong type, or a text over [`MAX_CONFIG_BYTES`].
pub fn load(text: &str) -> Result<RawConfig, ConfigProblem> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(ConfigProblem {
            line: None,
            column: None,
            message: format!("the file is longer than {MAX_CONFIG_BYTES} bytes"),
        });
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(RawConfig::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        ConfigProblem {
            line: location.map(|at| at.line()).filter(|line| *line > 0),
            column: location.map(|at| at.column()).filter(|column| *column > 0),
            message: plain_message(&error),
        }
    })
}

/// The line where a value stands, outside comments and as a word of its own; 1-based.
#[must_use]
pub fn line_of(text: &str, value: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let has = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default();
        !line.trim_start().starts_with('#')
            && line.match_indices(value).any(|(at, _)| {
                let before = line.get(..at).unwrap_or_default();
                let after = line.get(at.saturating_add(value.len())..).unwrap_or_default();
                !before.ends_with(is_word) && !after.starts_with(is_word)
            })
    };
    let at = text.lines().position(has)?;
    Some(at.saturating_add(1))
}

/// The error's sentence without the excerpt of the file and without the position.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let end = first.rfind(" at line ").unwrap_or(first.len());
    first.get(..end).unwrap_or(first).trim_end_matches([':', ',']).to_owned()
}

/// The JSON Schema (2020-12) of the configuration file.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawConfig)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_switches_nothing_on() {
        for text in ["", "\n# only a comment\n"] {
            let config = load(text).unwrap();
            assert_eq!(config, RawConfig::default());
            assert!(!config.safety.remote_mcp_enabled && !config.remote_mcp.enabled);
            assert!(!config.paper.enabled && !config.live_trading.enabled);
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let problem = load("safety:\n  remote_mcp_enabled: true\n  remote_mpc: true\n");
        let problem = problem.unwrap_err();
        assert_eq!(problem.line, Some(3), "{problem:?}");
        assert!(problem.message.contains("remote_mpc"), "{problem:?}");
        assert!(!problem.message.contains('\n'));
        assert_eq!(load("nonsense: 1\n").unwrap_err().line, Some(1));
    }

    #[test]
    fn repeated_keys_and_wrong_types_are_errors() {
        let repeated = load("paper:\n  enabled: true\n  enabled: false\n").unwrap_err();
        assert_eq!(repeated.line, Some(3), "{repeated:?}");
        let typed = load("remote_mcp:\n  clock_skew_seconds: soon\n").unwrap_err();
        assert_eq!(typed.line, Some(2), "{typed:?}");
    }

    #[test]
    fn both_broker_shapes_load() {
        let one = load(
            "broker:\n  backend: client_portal_gateway\n  base_url: https://localhost:5000\n  \
             allow_insecure_tls_for_localhost: true\n",
        )
        .unwrap();
        assert_eq!(one.broker.unwrap().backend, RawBackend::ClientPortalGateway);
        let two = load(
            "brokers:\n  paper:\n    base_url: https://localhost:5000\n    expect: paper\n    \
             tls: { pin_sha256: ab }\n  live:\n    base_url: https://localhost:5001\n    \
             expect: live\n",
        )
        .unwrap();
        assert_eq!(two.brokers.len(), 2);
        assert_eq!(two.brokers["paper"].tls.pin_sha256.as_deref(), Some("ab"));
    }

    #[test]
    fn limits_are_decimals_quoted_or_not_and_never_floats() {
        let text = "risk:\n  policies:\n  - id: small\n    max_notional: \"1000.10\"\n    \
                    max_quantity: 5\n    price_collar_percent: 2.5\n";
        let config = load(text).unwrap();
        let policy = &config.risk.policies[0];
        assert_eq!(policy.max_notional.as_ref().unwrap().as_str(), "1000.10");
        assert_eq!(policy.max_quantity.as_ref().unwrap().as_str(), "5");
        assert_eq!(policy.price_collar_percent.as_ref().unwrap().as_str(), "2.5");
        for bad in ["1e9", "-1", ".inf", "nan", "1_000", "''"] {
            let text = format!("risk:\n  policies:\n  - id: x\n    max_notional: {bad}\n");
            assert_eq!(load(&text).unwrap_err().line, Some(4), "{bad}");
        }
    }

    #[test]
    fn the_schema_names_every_section_and_forbids_others() {
        let schema = serde_json::to_value(schema()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"].as_object().unwrap().len(), 19);
        jsonschema::draft202012::new(&schema).unwrap();
    }

    #[test]
    fn the_line_of_a_value_is_where_it_stands_and_not_where_it_is_mentioned() {
        let text = "# DU1\naccounts: # DU1\n  allowed:\n    - DU12\n    - DU1 # mine\n";
        assert_eq!(line_of(text, "DU1"), Some(5));
        assert_eq!(line_of(text, "DU12"), Some(4));
        assert_eq!(line_of(text, "DU2"), None);
        assert_eq!(line_of("a: [X, DU1]", "DU1"), Some(1));
    }

    #[test]
    fn an_oversized_file_is_refused() {
        let text = format!("# {}\n", "x".repeat(MAX_CONFIG_BYTES));
        assert!(load(&text).unwrap_err().message.contains("longer than"));
    }
}
