//! `policy …`: the risk policies of a configuration. Needs no sidecar, and changes nothing.

use crate::args::PolicyVerb;
use crate::failure::Failure;
use crate::run::Context;
use crate::world::Taken;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::config::{PolicySet, Settings, describe_policies, policy_differences};
use ibkr_agent_protocol::config::RawConfig;
use ibkr_agent_protocol::config::place::{Found, FoundBy};
use serde_json::json;

/// Shows, checks or compares.
pub(crate) fn run(context: &Context<'_>, verb: PolicyVerb) -> Result<(), Failure> {
    let own = policies(&context.taken.raw)?;
    let answer = match verb {
        PolicyVerb::Show => describe_policies(&own),
        PolicyVerb::Check => json!({
            "valid": true,
            "hash": own.hash().to_string(),
            "policies": own.all().map(|policy| policy.limits().id.as_str()).collect::<Vec<_>>(),
        }),
        PolicyVerb::Diff { other } => {
            let other = Taken::read(Found { path: other, by: FoundBy::Flag })?;
            policy_differences(&own, &policies(&other.raw)?)
        }
    };
    context.printer.value(&answer)
}

fn policies(raw: &RawConfig) -> Result<PolicySet, Failure> {
    let settings = Settings::try_from_raw(raw)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    settings
        .policies()
        .map_err(|error| Failure::because(ErrorCode::ConfigInvalid, "risk.policies", &error))
}
