//! One gate's result, and all of them together.

use core::fmt;
use ibkr_agent_domain::ErrorCode;

/// The gates, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// The mode (simulated, paper) is switched on.
    ModeEnabled,
    /// The account is on the sidecar's list and reported by the broker.
    Account,
    /// Trading isn't halted.
    KillSwitch,
    /// No earlier order on this account and instrument has an unknown outcome.
    InDoubt,
    /// The broker session works.
    Session,
    /// Our clock and the broker's agree.
    Clock,
    /// The audit log can be written.
    Audit,
    /// The approval is given, unexpired, unspent and for this very order.
    Approval,
    /// The market and the position are where they were when it was approved.
    Drift,
    /// The symbol is allowed.
    Symbol,
    /// The asset class is allowed.
    AssetClass,
    /// Orders that belong together so are offered.
    Relation,
    /// The quantity is within the limit.
    Quantity,
    /// The value is within the limit.
    Notional,
    /// The market data is real time, or the mode accepts less.
    DataStatus,
    /// The quote is young enough by our own clock.
    QuoteAge,
    /// The price isn't too far on the side that costs.
    PriceCollar,
    /// Orders per minute.
    Frequency,
    /// Orders per trading day.
    OrdersPerDay,
    /// Value per trading day.
    NotionalPerDay,
}

impl Gate {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModeEnabled => "mode_enabled",
            Self::Account => "account",
            Self::KillSwitch => "kill_switch",
            Self::InDoubt => "in_doubt",
            Self::Session => "session",
            Self::Clock => "clock",
            Self::Audit => "audit",
            Self::Approval => "approval",
            Self::Drift => "drift",
            Self::Symbol => "symbol",
            Self::AssetClass => "asset_class",
            Self::Relation => "relation",
            Self::Quantity => "quantity",
            Self::Notional => "notional",
            Self::DataStatus => "data_status",
            Self::QuoteAge => "quote_age",
            Self::PriceCollar => "price_collar",
            Self::Frequency => "frequency",
            Self::OrdersPerDay => "orders_per_day",
            Self::NotionalPerDay => "notional_per_day",
        }
    }
}

/// What a gate found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Passed.
    Passed,
    /// Passed; the human should look at it.
    Warned,
    /// Doesn't apply, because the order only reduces a position.
    Exempt,
    /// Denied, with the code.
    Denied(ErrorCode),
}

/// One gate's result with both numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which gate.
    pub gate: Gate,
    /// What it found.
    pub verdict: Verdict,
    /// What was seen.
    pub observed: String,
    /// What it was compared with.
    pub limit: String,
}

impl Check {
    /// A check that passes or denies.
    pub(crate) fn new(
        gate: Gate,
        passed: bool,
        code: ErrorCode,
        observed: impl fmt::Display,
        limit: impl fmt::Display,
    ) -> Self {
        let verdict = if passed { Verdict::Passed } else { Verdict::Denied(code) };
        Self { gate, verdict, observed: observed.to_string(), limit: limit.to_string() }
    }

    /// The same check, exempt instead of denied.
    pub(crate) fn exempt_if(mut self, exempt: bool) -> Self {
        if exempt && matches!(self.verdict, Verdict::Denied(_)) {
            self.verdict = Verdict::Exempt;
        }
        self
    }

    /// Whether this gate denies.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self.verdict, Verdict::Denied(_))
    }

    /// The gate's result in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let word = match self.verdict {
            Verdict::Passed => "passes",
            Verdict::Warned => "passes with a warning",
            Verdict::Exempt => "doesn't apply to an order that only reduces a position",
            Verdict::Denied(_) => "denies",
        };
        format!("{} {word}: {} (limit: {})", self.gate.as_str(), self.observed, self.limit)
    }
}

/// Every gate's result, at least one of which denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denials {
    checks: Vec<Check>,
}

impl Denials {
    /// The checks as an error, unless all pass.
    pub(crate) fn from_checks(checks: Vec<Check>) -> Result<Vec<Check>, Self> {
        if checks.iter().any(Check::is_denied) { Err(Self { checks }) } else { Ok(checks) }
    }

    /// Every check, passed ones too.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks that deny.
    pub fn denied(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.is_denied())
    }

    /// The code of the first gate that denies.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.denied()
            .find_map(|check| match check.verdict {
                Verdict::Denied(code) => Some(code),
                Verdict::Passed | Verdict::Warned | Verdict::Exempt => None,
            })
            .unwrap_or(ErrorCode::OrderPolicyRefused)
    }
}

impl fmt::Display for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, check) in self.denied().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&check.sentence())?;
        }
        Ok(())
    }
}

impl core::error::Error for Denials {}
