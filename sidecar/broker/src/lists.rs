//! The newest list of orders of each account, for whoever is content with one that isn't read for
//! him: a decision within its policy's age, an answer that tells the list's age.
//!
//! A list counts only while nothing that we know of can have changed it: a write of ours on the
//! account and an order or a fill that the stream tells end it, when they begin and when they are
//! answered. That makes a look due; it proves nothing, so no list is ever made from it, and a list
//! shows no absence of what was done after it was asked for: [`Dated::as_of`] says when that was.
//!
//! Bound: as many accounts as the login shows.

use crate::Dated;
use core::time::Duration;
use ibkr_agent_domain::{AccountId, BrokerOrder, Listed};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

#[derive(Debug, Default)]
struct Row {
    touched: Option<Instant>,
    newest: Option<(Instant, Dated<Listed<BrokerOrder>>)>,
}

/// The lists by account.
#[derive(Debug, Default)]
pub(crate) struct OrderLists(Mutex<BTreeMap<AccountId, Row>>);

impl OrderLists {
    /// Something may have changed the account's orders.
    pub(crate) fn touch(&self, account: &AccountId) {
        let mut rows = self.lock();
        let row = rows.entry(account.clone()).or_default();
        row.touched = Some(Instant::now());
        row.newest = None;
    }

    /// The session or the login changed.
    pub(crate) fn forget(&self) {
        for row in self.lock().values_mut() {
            row.touched = Some(Instant::now());
            row.newest = None;
        }
    }

    /// After which moment a list must have been asked for to be at most so old and to count.
    pub(crate) fn oldest(&self, account: &AccountId, age: Duration) -> Instant {
        let now = Instant::now();
        let young = now.checked_sub(age).unwrap_or(now);
        let rows = self.lock();
        let touched = rows.get(account).and_then(|row| row.touched);
        touched.map_or(young, |touched| touched.max(young))
    }

    /// The newest list, if it was asked for after that moment.
    pub(crate) fn find(
        &self,
        account: &AccountId,
        after: Instant,
    ) -> Option<Dated<Listed<BrokerOrder>>> {
        let rows = self.lock();
        let (asked, list) = rows.get(account)?.newest.as_ref()?;
        (*asked > after).then(|| list.clone())
    }

    /// Keeps a list that was asked for then, unless a newer one is there or it ended meanwhile.
    pub(crate) fn keep(
        &self,
        account: &AccountId,
        asked: Instant,
        list: &Dated<Listed<BrokerOrder>>,
    ) {
        let mut rows = self.lock();
        let row = rows.entry(account.clone()).or_default();
        let is_ended = row.touched.is_some_and(|touched| asked <= touched);
        let is_older = row.newest.as_ref().is_some_and(|(newest, _)| asked <= *newest);
        if !is_ended && !is_older {
            row.newest = Some((asked, list.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountId, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    fn second() -> Duration {
        Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_serves_within_its_age_until_something_may_have_changed_it() {
        let (lists, account) = (OrderLists::default(), AccountId::parse("DU1").unwrap());
        let list = Dated { value: Listed::default(), as_of: None };
        let find = || lists.find(&account, lists.oldest(&account, AGE));
        assert_eq!(find(), None);
        lists.keep(&account, Instant::now(), &list);
        tokio::time::advance(AGE - second()).await;
        assert!(find().is_some());
        tokio::time::advance(second()).await;
        assert_eq!(find(), None, "too old");

        let asked = Instant::now();
        tokio::time::advance(second()).await;
        lists.touch(&account);
        tokio::time::advance(second()).await;
        lists.keep(&account, asked, &list);
        assert_eq!(find(), None, "asked for before the write that ended it");
        lists.keep(&account, Instant::now(), &list);
        assert!(find().is_some());
        lists.touch(&AccountId::parse("DU2").unwrap());
        assert!(find().is_some(), "another account's write is none of this one's");
        lists.touch(&account);
        assert_eq!(find(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_was_asked_for_earlier_replaces_no_newer_one() {
        let (lists, account) = (OrderLists::default(), AccountId::parse("DU1").unwrap());
        let at = |millis| Some(ibkr_agent_domain::Timestamp::from_millis(millis));
        let old = (Instant::now(), Dated { value: Listed::default(), as_of: at(1) });
        tokio::time::advance(second()).await;
        let new = (Instant::now(), Dated { value: Listed::default(), as_of: at(2) });
        lists.keep(&account, new.0, &new.1);
        lists.keep(&account, old.0, &old.1);
        let found = lists.find(&account, lists.oldest(&account, AGE));
        assert_eq!(found.and_then(|list| list.as_of), at(2));
    }
}
