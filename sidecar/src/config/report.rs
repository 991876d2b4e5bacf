//! The risk policies of a configuration, and how two differ, as every surface shows them.

use super::Settings;
use ibkr_agent_domain::{AccountId, Mode};
use ibkr_agent_gates::{Change, InvalidPolicy, Policy, PolicyLimits, PolicySet};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The policies in force: without a binding, one for all.
///
/// # Errors
/// [`InvalidPolicy`] names the limit that is wrong.
pub fn policy_set(
    limits: &PolicyLimits,
    bound: &[(AccountId, Mode, PolicyLimits)],
) -> Result<PolicySet, InvalidPolicy> {
    let others = Policy::new(limits.clone())?;
    let bound = bound.iter().map(|(account, mode, limits)| {
        Ok(((account.clone(), *mode), Policy::new(limits.clone())?))
    });
    Ok(PolicySet::bound(others, bound.collect::<Result<Vec<_>, InvalidPolicy>>()?))
}

impl Settings {
    /// The policies in force.
    ///
    /// # Errors
    /// [`InvalidPolicy`] never in practice: the limits were checked when the file was read.
    pub fn policies(&self) -> Result<PolicySet, InvalidPolicy> {
        policy_set(&self.limits, &self.bound)
    }
}

/// Every limit of every policy, each with where it holds and its hash.
#[must_use]
pub fn describe(policies: &PolicySet) -> Value {
    let of = |place: Option<(&AccountId, Mode)>, policy: &Policy| {
        let limits: Vec<Value> = policy
            .entries()
            .into_iter()
            .map(|entry| {
                json!({ "key": entry.key, "value": entry.limit.to_string(), "unit": entry.unit })
            })
            .collect();
        json!({
            "policy": policy.limits().id,
            "account": place.map(|(account, _)| account.as_str()),
            "mode": place.map(|(_, mode)| mode.as_str()),
            "hash": policy.hash().to_string(),
            "limits": limits,
        })
    };
    let bound =
        policies.bindings().map(|(account, mode, policy)| of(Some((account, mode)), policy));
    let mut rows: Vec<Value> = bound.collect();
    if rows.is_empty() {
        rows.push(of(None, policies.others()));
    }
    json!({ "hash": policies.hash().to_string(), "policies": rows })
}

/// What another configuration's policies say differently, account by account.
#[must_use]
pub fn differences(before: &PolicySet, after: &PolicySet) -> Value {
    let bindings = before.bindings().chain(after.bindings());
    let places: BTreeSet<(AccountId, Mode)> =
        bindings.map(|(account, mode, _)| (account.clone(), mode)).collect();
    let mut rows = Vec::new();
    let mut looser = 0_usize;
    let mut compare = |place: Option<&(AccountId, Mode)>, before: &Policy, after: &Policy| {
        for found in before.changes_to(after) {
            looser = looser.saturating_add(usize::from(found.change == Change::Looser));
            rows.push(json!({
                "account": place.map(|(account, _)| account.as_str()),
                "mode": place.map(|(_, mode)| mode.as_str()),
                "key": found.key,
                "before": found.before.to_string(),
                "after": found.after.to_string(),
                "unit": found.unit,
                "change": found.change.as_str(),
            }));
        }
    };
    compare(None, before.others(), after.others());
    for place in &places {
        let (account, mode) = place;
        compare(Some(place), before.of(account, *mode), after.of(account, *mode));
    }
    json!({
        "before": before.hash().to_string(),
        "after": after.hash().to_string(),
        "looser": looser,
        "differences": rows,
    })
}
