//! Whose turn it is to be looked at: the broker's limits may let fewer looks through than there are
//! accounts, and then it must not be the same ones each time. Holds one number for each account.

use ibkr_agent_domain::AccountId;
use std::collections::{BTreeMap, BTreeSet};

/// Who was looked at when.
#[derive(Debug, Default)]
pub(super) struct Looks {
    count: u64,
    last: BTreeMap<AccountId, u64>,
}

impl Looks {
    pub(super) fn note(&mut self, account: AccountId) {
        self.count = self.count.saturating_add(1);
        self.last.insert(account, self.count);
    }

    /// The one that waited longest first.
    pub(super) fn in_turn(&self, accounts: BTreeSet<AccountId>) -> Vec<AccountId> {
        let mut accounts: Vec<AccountId> = accounts.into_iter().collect();
        accounts.sort_by_key(|account| self.last.get(account).copied().unwrap_or(0));
        accounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_the_limits_left_no_turn_is_looked_at_first() {
        let accounts: BTreeSet<AccountId> =
            (1..=5).map(|number| AccountId::parse(&format!("DU{number}")).unwrap()).collect();
        let mut looks = Looks::default();
        let mut seen = BTreeSet::new();
        // The limits let two looks through at a time.
        for _ in 0..3 {
            for account in looks.in_turn(accounts.clone()).into_iter().take(2) {
                seen.insert(account.clone());
                looks.note(account);
            }
        }
        assert_eq!(seen, accounts);
    }
}
