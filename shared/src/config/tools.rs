//! Section `tools`: which tools clients are shown.

use schemars::JsonSchema;
use serde::Deserialize;

/// `tools`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTools {
    /// `default` (at most 21 tools, the choice if left out), `all`, or names of toolsets, in any
    /// combination. A tool that isn't listed can still be called by whoever may call it; over HTTP
    /// a client chooses for itself with `?toolsets=market,options` in the endpoint's URL.
    pub toolsets: Vec<String>,
}
