//! The limits, as data.
//!
//! Our windows are a little longer than IBKR's, since it measures arrival and we measure sending.

use super::Urgency;
use crate::transport::Method;
use core::time::Duration;
use std::collections::BTreeSet;

/// At most `most` requests within `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) most: usize,
    pub(crate) per: Duration,
}

const fn window(most: usize, millis: u64) -> Window {
    Window { most, per: Duration::from_millis(millis) }
}

/// The window of all requests together.
pub(crate) const GLOBAL: Window = window(10, 1_100);

const TEN_A_SECOND: &[Window] = &[window(10, 1_100)];
const ONE_A_SECOND: &[Window] = &[window(1, 1_100)];
const ONE_IN_FIVE_SECONDS: &[Window] = &[window(1, 5_200)];
const ONE_A_MINUTE: &[Window] = &[window(1, 60_500)];
const ONE_IN_A_QUARTER: &[Window] = &[window(1, 15 * 60_000 + 5_000)];
const HISTORY: &[Window] = &[window(10, 1_100), window(50, 60_500)];

/// Which limits a request is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Any read without a limit of its own.
    Read,
    /// `/portfolio/accounts`.
    Accounts,
    /// `/portfolio/subaccounts`.
    Subaccounts,
    /// `/iserver/account/orders`.
    Orders,
    /// `/iserver/account/trades`.
    Trades,
    /// `/iserver/account/pnl/partitioned`.
    ProfitAndLoss,
    /// `/iserver/marketdata/snapshot`.
    Snapshot,
    /// `/iserver/marketdata/history`.
    History,
    /// `/iserver/scanner/params`.
    ScannerParameters,
    /// `/iserver/scanner/run`.
    ScannerRun,
    /// `/pa/performance`.
    Performance,
    /// `/pa/summary`.
    PerformanceSummary,
    /// `/pa/transactions`.
    Transactions,
    /// `/fyi/notifications`.
    Notifications,
    /// Everything else under `/fyi`, together.
    Fyi,
    /// `/sso/validate`.
    Validate,
    /// `/tickle`.
    Tickle,
    /// Authentication.
    KeepAlive,
    /// Placing and replying.
    Place,
    /// Cancelling.
    Cancel,
}

/// Who goes first, and how many of the requests of [`GLOBAL`] it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Cancels: all.
    Cancel,
    /// Placing, replies and the session.
    Effect,
    /// Whatever a decision waits for.
    Decision,
    /// Orders and trades that somebody asked for, which settle what became of an effect.
    Evidence,
    /// Everything else that somebody asked for.
    Read,
    /// Looks that nobody waits for.
    Survey,
}

impl Tier {
    pub(crate) const ALL: [Self; 6] =
        [Self::Cancel, Self::Effect, Self::Decision, Self::Evidence, Self::Read, Self::Survey];

    pub(crate) const fn share(self) -> usize {
        match self {
            Self::Cancel => GLOBAL.most,
            Self::Effect | Self::Decision | Self::Evidence => GLOBAL.most - 1,
            Self::Read | Self::Survey => GLOBAL.most - 2,
        }
    }
}

/// Path, and the lane of requests to it. The first that fits holds; `*` is one segment, a trailing
/// `/` any number of them.
const PATHS: &[(Method, &str, Lane)] = &[
    (Method::Delete, "/iserver/account/*/order/*", Lane::Cancel),
    (Method::Post, "/iserver/account/*/orders", Lane::Place),
    (Method::Post, "/iserver/reply/*", Lane::Place),
    (Method::Get, "/iserver/account/orders", Lane::Orders),
    (Method::Get, "/iserver/account/trades", Lane::Trades),
    (Method::Get, "/iserver/account/pnl/partitioned", Lane::ProfitAndLoss),
    (Method::Get, "/iserver/marketdata/snapshot", Lane::Snapshot),
    (Method::Get, "/iserver/marketdata/history", Lane::History),
    (Method::Get, "/iserver/scanner/params", Lane::ScannerParameters),
    (Method::Post, "/iserver/scanner/run", Lane::ScannerRun),
    (Method::Post, "/pa/performance", Lane::Performance),
    (Method::Post, "/pa/summary", Lane::PerformanceSummary),
    (Method::Post, "/pa/transactions", Lane::Transactions),
    (Method::Get, "/portfolio/accounts", Lane::Accounts),
    (Method::Get, "/portfolio/subaccounts", Lane::Subaccounts),
    (Method::Get, "/fyi/notifications", Lane::Notifications),
    (Method::Get, "/fyi/", Lane::Fyi),
    (Method::Get, "/sso/validate", Lane::Validate),
    (Method::Post, "/tickle", Lane::Tickle),
    (Method::Post, "/iserver/auth/", Lane::KeepAlive),
];

impl Lane {
    /// The lane of a request.
    pub(crate) fn of(method: Method, path: &str) -> Self {
        let fits = |pattern: &str| match pattern.strip_suffix('/') {
            Some(_) => path.starts_with(pattern),
            None => {
                let (mut ours, mut theirs) = (pattern.split('/'), path.split('/'));
                ours.by_ref().zip(theirs.by_ref()).all(|(our, their)| our == "*" || our == their)
                    && pattern.matches('/').count() == path.matches('/').count()
            }
        };
        PATHS
            .iter()
            .find(|(of, pattern, _)| *of == method && fits(pattern))
            .map_or(Self::Read, |(_, _, lane)| *lane)
    }

    /// The windows of the lane, beside the one of all requests.
    pub(crate) const fn windows(self) -> &'static [Window] {
        match self {
            Self::Read | Self::KeepAlive | Self::Place | Self::Cancel => &[],
            Self::Snapshot => TEN_A_SECOND,
            Self::History => HISTORY,
            Self::ScannerRun | Self::Notifications | Self::Fyi | Self::Tickle => ONE_A_SECOND,
            Self::Accounts
            | Self::Subaccounts
            | Self::Orders
            | Self::Trades
            | Self::ProfitAndLoss => ONE_IN_FIVE_SECONDS,
            Self::Validate => ONE_A_MINUTE,
            Self::ScannerParameters
            | Self::Performance
            | Self::PerformanceSummary
            | Self::Transactions => ONE_IN_A_QUARTER,
        }
    }

    /// The path, where it is a lane of its own.
    pub(crate) fn name(self) -> Option<&'static str> {
        PATHS.iter().find(|(_, _, lane)| *lane == self).map(|(_, path, _)| *path)
    }

    /// Whether the path takes one request in its window.
    pub(crate) fn is_narrow(self) -> bool {
        self.windows().iter().any(|window| window.most == 1)
    }

    /// The lanes that are.
    pub(crate) fn narrow() -> impl Iterator<Item = Self> {
        let all: BTreeSet<Self> = PATHS.iter().map(|(_, _, lane)| *lane).collect();
        all.into_iter().filter(|lane| lane.is_narrow())
    }

    /// How many requests of the lane may be in flight at once.
    pub(crate) const fn at_once(self) -> usize {
        match self {
            Self::History => 5,
            Self::Read
            | Self::Accounts
            | Self::Subaccounts
            | Self::Orders
            | Self::Trades
            | Self::ProfitAndLoss
            | Self::Snapshot
            | Self::ScannerParameters
            | Self::ScannerRun
            | Self::Performance
            | Self::PerformanceSummary
            | Self::Transactions
            | Self::Notifications
            | Self::Fyi
            | Self::Validate
            | Self::Tickle
            | Self::KeepAlive
            | Self::Place
            | Self::Cancel => usize::MAX,
        }
    }

    /// Who goes before whom: the path says it of what isn't a read, its errand of what is.
    pub(crate) const fn tier(self, urgency: Urgency) -> Tier {
        let asked = match self {
            Self::Cancel => return Tier::Cancel,
            Self::Place | Self::KeepAlive | Self::Tickle => return Tier::Effect,
            Self::Orders | Self::Trades => Tier::Evidence,
            Self::Read
            | Self::Accounts
            | Self::Subaccounts
            | Self::ProfitAndLoss
            | Self::Snapshot
            | Self::History
            | Self::ScannerParameters
            | Self::ScannerRun
            | Self::Performance
            | Self::PerformanceSummary
            | Self::Transactions
            | Self::Notifications
            | Self::Fyi
            | Self::Validate => Tier::Read,
        };
        match urgency {
            Urgency::Decision => Tier::Decision,
            Urgency::Asked => asked,
            Urgency::Survey => Tier::Survey,
        }
    }

    /// Whether it is sent even to a broker that has put us into its penalty box.
    pub(crate) const fn ignores_penalty(self) -> bool {
        matches!(self, Self::Tickle | Self::KeepAlive | Self::Cancel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_lane() {
        for (method, path, lane) in [
            (Method::Delete, "/iserver/account/DU1/order/7", Lane::Cancel),
            (Method::Post, "/iserver/account/DU1/orders", Lane::Place),
            (Method::Post, "/iserver/account/DU1/orders/whatif", Lane::Read),
            (Method::Post, "/iserver/reply/abc", Lane::Place),
            (Method::Get, "/iserver/account/orders", Lane::Orders),
            (Method::Get, "/iserver/account/order/status/7", Lane::Read),
            (Method::Get, "/iserver/marketdata/history", Lane::History),
            (Method::Post, "/pa/transactions", Lane::Transactions),
            (Method::Get, "/portfolio/accounts", Lane::Accounts),
            (Method::Get, "/portfolio/DU1/summary", Lane::Read),
            (Method::Get, "/fyi/notifications", Lane::Notifications),
            (Method::Get, "/fyi/unreadnumber", Lane::Fyi),
            (Method::Post, "/tickle", Lane::Tickle),
            (Method::Post, "/iserver/auth/ssodh/init", Lane::KeepAlive),
            (Method::Get, "/sso/validate", Lane::Validate),
            (Method::Get, "", Lane::Read),
        ] {
            assert_eq!(Lane::of(method, path), lane, "{path}");
        }
    }

    #[test]
    fn what_settles_an_effect_has_room_that_reads_cannot_take() {
        let shares = Tier::ALL.map(Tier::share);
        assert_eq!(shares, [10, 9, 9, 9, 8, 8]);
    }

    #[test]
    fn every_narrow_path_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Lane::narrow().filter_map(Lane::name).collect();
        assert_eq!(names.len(), Lane::narrow().count());
        assert!(names.contains("/iserver/account/orders") && names.contains("/pa/performance"));
        assert!(!Lane::Read.is_narrow() && !Lane::Snapshot.is_narrow());
    }

    #[test]
    fn no_errand_slows_a_cancel_or_an_order_down_and_a_read_goes_as_its_errand_presses() {
        for urgency in [Urgency::Survey, Urgency::Asked, Urgency::Decision] {
            assert_eq!(Lane::Cancel.tier(urgency), Tier::Cancel);
            assert_eq!(Lane::Place.tier(urgency), Tier::Effect);
        }
        for lane in [Lane::Orders, Lane::Read, Lane::Snapshot] {
            assert!(lane.tier(Urgency::Decision) < lane.tier(Urgency::Asked));
            assert!(lane.tier(Urgency::Asked) < lane.tier(Urgency::Survey));
        }
    }
}
