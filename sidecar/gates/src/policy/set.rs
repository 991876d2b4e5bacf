//! Which policy holds where: one for each account and mode that is bound, one for all others.

use super::Policy;
use ibkr_agent_domain::{AccountId, Digest, Mode, OrderPlan};
use std::collections::BTreeMap;

/// The policies of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySet {
    others: Policy,
    bound: BTreeMap<(AccountId, Mode), Policy>,
}

impl From<Policy> for PolicySet {
    /// One policy for every account and mode.
    fn from(policy: Policy) -> Self {
        Self { others: policy, bound: BTreeMap::new() }
    }
}

impl PolicySet {
    /// Policies that are bound to an account and a mode, and the one of what isn't bound.
    #[must_use]
    pub fn bound(
        others: Policy,
        policies: impl IntoIterator<Item = ((AccountId, Mode), Policy)>,
    ) -> Self {
        Self { others, bound: policies.into_iter().collect() }
    }

    /// The policy of an account in a mode.
    #[must_use]
    pub fn of(&self, account: &AccountId, mode: Mode) -> &Policy {
        self.bound.get(&(account.clone(), mode)).unwrap_or(&self.others)
    }

    /// The policy that judges a plan.
    #[must_use]
    pub fn of_plan(&self, plan: &OrderPlan) -> &Policy {
        self.of(plan.account(), plan.mode())
    }

    /// A policy of an account, where the mode isn't known: any that lists it.
    #[must_use]
    pub fn of_account(&self, account: &AccountId) -> &Policy {
        let own = self.bound.iter().find(|((bound, _), _)| bound == account);
        own.map_or(&self.others, |(_, policy)| policy)
    }

    /// The policy of what isn't bound; where nothing is, the only one.
    #[must_use]
    pub const fn others(&self) -> &Policy {
        &self.others
    }

    /// Each policy that an account is bound to, or the only one.
    pub fn all(&self) -> impl Iterator<Item = &Policy> {
        let others = self.bound.is_empty().then_some(&self.others);
        self.bound.values().chain(others)
    }

    /// Each binding with its policy.
    pub fn bindings(&self) -> impl Iterator<Item = (&AccountId, Mode, &Policy)> {
        self.bound.iter().map(|((account, mode), policy)| (account, *mode, policy))
    }

    /// SHA-256 over every binding and every policy; of one policy for all it is that policy's own.
    #[must_use]
    pub fn hash(&self) -> Digest {
        if self.bound.is_empty() {
            return self.others.hash();
        }
        let lines = self
            .bound
            .iter()
            .map(|((account, mode), policy)| format!("{account} {mode} {}\n", policy.hash()));
        let text: String =
            core::iter::once("ibkr-agent-policies/v1\n".to_owned()).chain(lines).collect();
        Digest::of(text.as_bytes())
    }
}
