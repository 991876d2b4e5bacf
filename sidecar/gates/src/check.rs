//! One gate's result, and all of them together.

use crate::Guard;
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
    /// Currency and exchange are allowed.
    Venue,
    /// Order type, time in force and hours are allowed.
    OrderForm,
    /// Orders that belong together so are offered.
    Relation,
    /// It opens no short position that the policy forbids.
    Short,
    /// The quantity is within the limit.
    Quantity,
    /// The quantity is one that the contract takes.
    SizeStep,
    /// The price is one that the contract takes.
    PriceStep,
    /// The value is within the limit.
    Notional,
    /// The market data is real time, or the mode accepts less.
    DataStatus,
    /// The quote is young enough by our own clock.
    QuoteAge,
    /// The instrument isn't halted.
    Halted,
    /// The market is open, or the policy lets orders wait.
    MarketHours,
    /// Bid and ask aren't too far apart.
    Spread,
    /// The price isn't too far on the side that costs.
    PriceCollar,
    /// The broker's own preview has nothing against it.
    WhatIf,
    /// Available funds cover it.
    BuyingPower,
    /// It borrows no money that the policy forbids to borrow.
    MarginLoan,
    /// Enough excess liquidity is left.
    ExcessLiquidity,
    /// Margin takes no more of the equity than allowed.
    MarginUse,
    /// The position's value stays within the limit.
    PositionNotional,
    /// The position stays a small enough part of the account.
    Concentration,
    /// All positions together stay within the limit.
    GrossExposure,
    /// The day's loss hasn't reached the limit.
    DayLoss,
    /// It doesn't repeat an order of a moment ago.
    Duplicate,
    /// It can't trade with another order of the account.
    SelfMatch,
    /// Not too many orders work at once.
    OpenOrders,
    /// Orders per minute.
    Frequency,
    /// Requests per minute.
    Messages,
    /// Equal orders that filled today.
    SameExecution,
    /// Orders per trading day.
    OrdersPerDay,
    /// Value per trading day.
    NotionalPerDay,
}

impl Gate {
    /// Every gate.
    pub const ALL: &'static [Self] = &[
        Self::ModeEnabled,
        Self::Account,
        Self::KillSwitch,
        Self::InDoubt,
        Self::Session,
        Self::Clock,
        Self::Audit,
        Self::Approval,
        Self::Drift,
        Self::Symbol,
        Self::AssetClass,
        Self::Venue,
        Self::OrderForm,
        Self::Relation,
        Self::Short,
        Self::Quantity,
        Self::SizeStep,
        Self::PriceStep,
        Self::Notional,
        Self::DataStatus,
        Self::QuoteAge,
        Self::Halted,
        Self::MarketHours,
        Self::Spread,
        Self::PriceCollar,
        Self::WhatIf,
        Self::BuyingPower,
        Self::MarginLoan,
        Self::ExcessLiquidity,
        Self::MarginUse,
        Self::PositionNotional,
        Self::Concentration,
        Self::GrossExposure,
        Self::DayLoss,
        Self::Duplicate,
        Self::SelfMatch,
        Self::OpenOrders,
        Self::Frequency,
        Self::Messages,
        Self::SameExecution,
        Self::OrdersPerDay,
        Self::NotionalPerDay,
    ];

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
            Self::Venue => "venue",
            Self::OrderForm => "order_form",
            Self::Relation => "relation",
            Self::Short => "short",
            Self::Quantity => "quantity",
            Self::SizeStep => "size_step",
            Self::PriceStep => "price_step",
            Self::Notional => "notional",
            Self::DataStatus => "data_status",
            Self::QuoteAge => "quote_age",
            Self::Halted => "halted",
            Self::MarketHours => "market_hours",
            Self::Spread => "spread",
            Self::PriceCollar => "price_collar",
            Self::WhatIf => "what_if",
            Self::BuyingPower => "buying_power",
            Self::MarginLoan => "margin_loan",
            Self::ExcessLiquidity => "excess_liquidity",
            Self::MarginUse => "margin_use",
            Self::PositionNotional => "position_notional",
            Self::Concentration => "concentration",
            Self::GrossExposure => "gross_exposure",
            Self::DayLoss => "day_loss",
            Self::Duplicate => "duplicate",
            Self::SelfMatch => "self_match",
            Self::OpenOrders => "open_orders",
            Self::Frequency => "frequency",
            Self::Messages => "messages",
            Self::SameExecution => "same_execution",
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
    /// The key of the policy by which a human may allow it; none where no policy can.
    pub rule: Option<&'static str>,
    /// The nearest order that would pass this gate, or what to do first.
    pub nearest: Option<String>,
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
        let (observed, limit) = (observed.to_string(), limit.to_string());
        Self { gate, verdict, observed, limit, rule: None, nearest: None }
    }

    /// As [`Check::new`], with the code of a limit.
    pub(crate) fn policy(
        gate: Gate,
        passed: bool,
        rule: &'static str,
        observed: impl fmt::Display,
        limit: impl fmt::Display,
    ) -> Self {
        let check = Self::new(gate, passed, ErrorCode::OrderPolicyRefused, observed, limit);
        Self { rule: Some(rule), ..check }
    }

    /// The same check, saying what would pass.
    pub(crate) fn nearest(self, nearest: Option<String>) -> Self {
        Self { nearest, ..self }
    }

    /// The same check, warned of instead of denied where a guard says so.
    pub(crate) fn guarded(mut self, guard: Guard) -> Self {
        if guard == Guard::Warn && self.is_denied() {
            self.verdict = Verdict::Warned;
        }
        self
    }

    /// The same check, warned of if it passes.
    pub(crate) fn warned_if(mut self, warned: bool) -> Self {
        if warned && self.verdict == Verdict::Passed {
            self.verdict = Verdict::Warned;
        }
        self
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
        let mut text =
            format!("{} {word}: {} (limit: {})", self.gate.as_str(), self.observed, self.limit);
        if self.is_denied()
            && let Some(nearest) = &self.nearest
        {
            text.push_str("; ");
            text.push_str(nearest);
        }
        text
    }

    /// How a human may allow what is denied; none where nothing but waiting or another order helps.
    #[must_use]
    pub fn how_to_allow(&self) -> Option<String> {
        let rule = self.rule.filter(|_| self.is_denied())?;
        Some(format!("an operator may change {rule} in the risk policy"))
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
