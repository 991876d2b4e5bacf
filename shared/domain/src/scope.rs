//! The 25 permissions a caller can hold, and sets of them.

use core::fmt;
use std::collections::BTreeSet;

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $tier:ident;)*) => {
        /// One permission. The text form carries the prefix `ibkr:`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scope { $($(#[$doc])* $name,)* }

        impl Scope {
            /// Every scope, in catalogue order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The scope as it stands in a token.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Parses a token's scope; unknown texts are not ours and give `None`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// The tier that first includes this scope.
            #[must_use]
            pub const fn tier(self) -> Tier {
                match self { $(Self::$name => Tier::$tier,)* }
            }
        }
    };
}

/// Nested bundles of scopes: read ⊂ preview ⊂ paper ⊂ live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Reads only.
    Read,
    /// Reads and order previews.
    Preview,
    /// The above, approvals asked and paper orders.
    Paper,
    /// The above and live orders.
    Live,
}

scopes! {
    /// Health, backend and session state.
    HealthRead = "ibkr:health:read", Read;
    /// Accounts and their metadata.
    AccountsRead = "ibkr:accounts:read", Read;
    /// Summaries, snapshots, profit and loss.
    PortfolioRead = "ibkr:portfolio:read", Read;
    /// Positions.
    PositionsRead = "ibkr:positions:read", Read;
    /// Contracts, quotes and bars.
    MarketdataRead = "ibkr:marketdata:read", Read;
    /// Orders and executions.
    OrdersRead = "ibkr:orders:read", Read;
    /// The caller's own audit records.
    AuditRead = "ibkr:audit:read", Read;
    /// Limits and what is left of them.
    RiskRead = "ibkr:risk:read", Read;
    /// Option chains and greeks.
    OptionsRead = "ibkr:options:read", Read;
    /// Order book depth.
    MarketdataDepthRead = "ibkr:marketdata:depth:read", Read;
    /// Market scanners.
    ScannerRead = "ibkr:scanner:read", Read;
    /// News.
    NewsRead = "ibkr:news:read", Read;
    /// Fundamentals.
    FundamentalsRead = "ibkr:fundamentals:read", Read;
    /// Trading hours and holidays.
    CalendarRead = "ibkr:calendar:read", Read;
    /// Exchange rates.
    CurrencyRead = "ibkr:currency:read", Read;
    /// Transactions.
    TransfersRead = "ibkr:transfers:read", Read;
    /// Export of audit records with proofs.
    AuditExport = "ibkr:audit:export", Read;
    /// Order previews; nothing is sent.
    OrdersPreview = "ibkr:orders:preview", Preview;
    /// Paper order submission, with a human's approval.
    OrdersPaperSubmit = "ibkr:orders:paper:submit", Paper;
    /// Paper order cancellation.
    OrdersPaperCancel = "ibkr:orders:paper:cancel", Paper;
    /// Paper order modification.
    OrdersPaperModify = "ibkr:orders:paper:modify", Paper;
    /// Asking for an approval.
    ApprovalsCreate = "ibkr:approvals:create", Paper;
    /// Live order submission.
    OrdersLiveSubmit = "ibkr:orders:live:submit", Live;
    /// Live order cancellation.
    OrdersLiveCancel = "ibkr:orders:live:cancel", Live;
    /// Live order modification.
    OrdersLiveModify = "ibkr:orders:live:modify", Live;
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes; empty by default, which permits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// Every scope up to and including a tier.
    #[must_use]
    pub fn up_to(tier: Tier) -> Self {
        Scope::ALL.iter().copied().filter(|scope| scope.tier() <= tier).collect()
    }

    /// Parses a space-separated list; texts that are not ours are left out.
    #[must_use]
    pub fn parse_list(text: &str) -> Self {
        text.split(' ').filter_map(Scope::parse).collect()
    }

    /// Whether the set holds a scope.
    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// The scopes that both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.intersection(&other.0).copied().collect()
    }

    /// The scopes in catalogue order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }

    /// Whether the set permits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes that only read.
    #[must_use]
    pub fn reads_only(&self) -> Self {
        self.iter().filter(|scope| scope.tier() == Tier::Read).collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_scopes_and_each_parses_back() {
        assert_eq!(Scope::ALL.len(), 25);
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(*scope));
        }
        assert_eq!(Scope::parse("ibkr:orders:approve"), None);
    }

    #[test]
    fn tiers_nest() {
        let sizes = [Tier::Read, Tier::Preview, Tier::Paper, Tier::Live]
            .map(|tier| ScopeSet::up_to(tier).iter().count());
        assert_eq!(sizes, [17, 18, 22, 25]);
        assert!(!ScopeSet::up_to(Tier::Paper).contains(Scope::OrdersLiveSubmit));
    }
}
