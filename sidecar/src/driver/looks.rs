//! Which looks at accounts are under way, and whose turn it is: the broker's limits may let fewer
//! looks through than there are accounts, and then it must not be the same ones each time. Holds
//! one number for each account, and two looks at most.

use ibkr_agent_broker::Urgency;
use ibkr_agent_domain::AccountId;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Whether something pressed a look while one was under way, which may have read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    Yes,
}

/// Who was looked at when, and who is.
#[derive(Debug, Default)]
pub(super) struct Looks {
    count: u64,
    last: BTreeMap<AccountId, u64>,
    under_way: BTreeMap<(AccountId, Urgency), Again>,
    newest: BTreeMap<AccountId, Instant>,
}

impl Looks {
    /// Whether to look now: one at a time of each urgency. A look around that is under way serves;
    /// one that something pressed is made again.
    pub(super) fn begin(&mut self, account: &AccountId, urgency: Urgency) -> bool {
        match self.under_way.get_mut(&(account.clone(), urgency)) {
            Some(again) => {
                if urgency > Urgency::Survey {
                    *again = Again::Yes;
                }
                false
            }
            None => {
                self.under_way.insert((account.clone(), urgency), Again::No);
                true
            }
        }
    }

    /// A look ended; whether it had its turn at the broker. Says whether to look again.
    pub(super) fn end(&mut self, account: &AccountId, urgency: Urgency, had_turn: bool) -> Again {
        if had_turn {
            self.note(account.clone());
        }
        self.under_way.remove(&(account.clone(), urgency)).unwrap_or(Again::No)
    }

    /// Whether nothing was taken in yet of a look that began later.
    pub(super) fn is_newest(&mut self, account: &AccountId, begun: Instant) -> bool {
        let newest = self.newest.entry(account.clone()).or_insert(begun);
        let is_newest = begun >= *newest;
        *newest = begun.max(*newest);
        is_newest
    }

    fn note(&mut self, account: AccountId) {
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
    fn what_presses_a_look_while_one_is_under_way_is_looked_at_again_and_once() {
        let account = AccountId::parse("DU1").unwrap();
        let mut looks = Looks::default();
        assert!(looks.begin(&account, Urgency::Survey));
        assert!(!looks.begin(&account, Urgency::Survey));
        assert!(looks.begin(&account, Urgency::Asked), "it doesn't wait for a look around");
        assert!(!looks.begin(&account, Urgency::Asked));
        assert!(!looks.begin(&account, Urgency::Asked));
        assert_eq!(looks.end(&account, Urgency::Survey, true), Again::No, "the watch comes back");
        assert_eq!(looks.end(&account, Urgency::Asked, true), Again::Yes);
        assert!(looks.begin(&account, Urgency::Asked));
        assert_eq!(looks.end(&account, Urgency::Asked, true), Again::No);
    }

    #[test]
    fn a_look_that_began_earlier_undoes_nothing_of_a_later_one() {
        let account = AccountId::parse("DU1").unwrap();
        let mut looks = Looks::default();
        let early = Instant::now();
        let late = early + std::time::Duration::from_secs(1);
        assert!(looks.is_newest(&account, early));
        assert!(looks.is_newest(&account, late));
        assert!(!looks.is_newest(&account, early));
        assert!(looks.is_newest(&AccountId::parse("DU2").unwrap(), early));
    }

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
