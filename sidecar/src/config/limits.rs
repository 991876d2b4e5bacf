//! `auth`, `paper`, `preview`, `approvals` and `risk`: what may be done, and how much of it.
//!
//! A limit that the file doesn't give is the built-in one. The built-in ones are small at a real
//! broker and generous on the simulator, where no money is.

use super::{Backing, ConfigError, invalid};
use crate::app::SidecarConfig;
use ibkr_agent_domain::{AccountId, AssetClass, Currency, Mode, Money, Scope, ScopeSet, Tier};
use ibkr_agent_gates::{Policy, PolicyLimits};
use ibkr_agent_protocol::config::{RawConfig, RawDecimal, RawRiskPolicy};
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Longest life of a preview.
pub const MAX_PREVIEW_TTL: Duration = Duration::from_secs(3600);
/// Longest life of an approval: IBKR refuses a repeated order reference for 24 hours.
pub const MAX_APPROVAL_TTL: Duration = Duration::from_secs(12 * 3600);
/// Most approvals that may wait at once.
pub const MAX_OPEN_APPROVALS: u32 = 200;

/// Approvals that may wait at once when the file doesn't say.
const OPEN_APPROVALS: u32 = 20;

/// What is switched on beyond reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) preview: bool,
    pub(super) paper: bool,
}

/// On the simulator everything but live is on; at a real broker nothing is until the file says so.
pub(super) fn allowed(raw: &RawConfig, backing: &Backing) -> Allowed {
    let paper = *backing == Backing::Simulator || raw.paper.enabled;
    Allowed { preview: raw.preview.enabled.unwrap_or(paper), paper }
}

/// Every scope that can be given at all.
pub(super) fn ceiling(allowed: Allowed) -> ScopeSet {
    let grants = |scope: &Scope| match scope.tier() {
        Tier::Read => true,
        Tier::Preview => allowed.preview,
        Tier::Paper => allowed.paper && allowed.preview,
        Tier::Live => false,
    };
    Scope::ALL.iter().copied().filter(grants).collect()
}

pub(super) fn scopes(key: &'static str, texts: &[String]) -> Result<ScopeSet, ConfigError> {
    let parse = |text: &String| {
        Scope::parse(text).ok_or_else(|| invalid(key, format!("{text:?} isn't a scope")))
    };
    texts.iter().map(parse).collect()
}

pub(super) fn local_scopes(raw: &RawConfig, allowed: Allowed) -> Result<ScopeSet, ConfigError> {
    let ceiling = ceiling(allowed);
    let Some(listed) = &raw.auth.enabled_scopes else {
        return Ok(ceiling);
    };
    let asked = scopes("auth.enabled_scopes", listed)?;
    let beyond = asked.iter().find(|scope| !ceiling.contains(*scope));
    match beyond {
        None => Ok(asked),
        Some(scope) => {
            let needs = match scope.tier() {
                Tier::Preview => "preview.enabled",
                Tier::Paper => "paper.enabled and preview.enabled",
                Tier::Live => "live trading, which isn't built in this version",
                Tier::Read => "nothing",
            };
            Err(ConfigError::WriteScope { scope: scope.to_string(), needs })
        }
    }
}

/// What the simulator runs with: the one place of its defaults.
fn simulator() -> SidecarConfig {
    SidecarConfig::simulator(PathBuf::new(), "")
}

/// Life of previews, life of approvals, approvals that may wait.
pub(super) fn lives(raw: &RawConfig) -> Result<(Duration, Duration, usize), ConfigError> {
    let life = |key, seconds: Option<u64>, default: Duration, most: Duration| match seconds {
        None => Ok(default),
        Some(value) if value > 0 && Duration::from_secs(value) <= most => {
            Ok(Duration::from_secs(value))
        }
        Some(value) => Err(invalid(key, format!("{value} isn't between 1 and {}", most.as_secs()))),
    };
    let SidecarConfig { preview_ttl, approval_ttl, .. } = simulator();
    let (previews, approvals) = (raw.preview.ttl_seconds, raw.approvals.ttl_seconds);
    let preview = life("preview.ttl_seconds", previews, preview_ttl, MAX_PREVIEW_TTL)?;
    let approval = life("approvals.ttl_seconds", approvals, approval_ttl, MAX_APPROVAL_TTL)?;
    let open = raw.approvals.max_open.unwrap_or(OPEN_APPROVALS);
    if open == 0 || open > MAX_OPEN_APPROVALS {
        let message = format!("{open} isn't between 1 and {MAX_OPEN_APPROVALS}");
        return Err(invalid("approvals.max_open", message));
    }
    Ok((preview, approval, usize::try_from(open).unwrap_or(usize::MAX)))
}

/// How long a question of the broker waits for a human.
pub(super) fn question_timeout(raw: &RawConfig) -> Result<Duration, ConfigError> {
    let Some(seconds) = raw.approvals.question_timeout_seconds else {
        return Ok(simulator().question_timeout);
    };
    if (5..=600).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let message = format!("{seconds} isn't between 5 and 600");
    Err(invalid("approvals.question_timeout_seconds", message))
}

/// The limits that hold for orders.
pub(super) fn policy(
    raw: &RawConfig,
    backing: &Backing,
    accounts: &BTreeSet<AccountId>,
    allowed: Allowed,
) -> Result<PolicyLimits, ConfigError> {
    let mut limits = match backing {
        Backing::Simulator => simulator().limits,
        Backing::Brokers(_) => broker_limits(allowed),
    };
    limits.accounts.clone_from(accounts);
    if let Some(given) = chosen(&raw.risk.policies)? {
        apply(given, &mut limits)?;
    }
    // The rules for limits stand in one place; here they only get the file's key.
    Policy::new(limits.clone()).map_err(|error| invalid("risk.policies", error.to_string()))?;
    Ok(limits)
}

/// The only policy, or the one that is called `paper`.
fn chosen(policies: &[RawRiskPolicy]) -> Result<Option<&RawRiskPolicy>, ConfigError> {
    const KEY: &str = "risk.policies";
    let mut ids = BTreeSet::new();
    for policy in policies {
        if policy.id.is_empty() || !ids.insert(policy.id.as_str()) {
            return Err(invalid(KEY, "every policy needs an id of its own"));
        }
    }
    match policies {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        several => several
            .iter()
            .find(|policy| policy.id == "paper")
            .map(Some)
            .ok_or_else(|| invalid(KEY, "of several policies one must have the id paper")),
    }
}

fn apply(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    limits.id.clone_from(&given.id);
    let symbols = |list: &[String]| list.iter().map(|symbol| symbol.to_ascii_uppercase()).collect();
    if let Some(list) = &given.allowed_symbols {
        limits.allowed_symbols = Some(symbols(list));
    }
    limits.denied_symbols = symbols(&given.denied_symbols);
    if let Some(list) = &given.asset_classes {
        limits.asset_classes = list.iter().map(|text| class(text)).collect::<Result<_, _>>()?;
    }
    if let Some(code) = &given.currency {
        let currency = Currency::parse(code).ok().filter(|currency| *currency != Currency::BASE);
        let currency = currency.ok_or_else(|| {
            invalid("risk.policies.currency", "isn't a currency code such as USD")
        })?;
        limits.max_notional.currency = currency;
        limits.max_notional_per_day.currency = currency;
    }
    set(&given.max_quantity, "risk.policies.max_quantity", &mut limits.max_quantity)?;
    set(&given.max_notional, "risk.policies.max_notional", &mut limits.max_notional.amount)?;
    let collar = "risk.policies.price_collar_percent";
    set(&given.price_collar_percent, collar, &mut limits.collar_percent)?;
    let day = "risk.policies.max_notional_per_day";
    set(&given.max_notional_per_day, day, &mut limits.max_notional_per_day.amount)?;
    if let Some(seconds) = given.max_quote_age_seconds {
        limits.max_quote_age = Duration::from_secs(seconds);
    }
    if given.accept_delayed_for_paper == Some(false) {
        limits.delayed_data_modes.clear();
    }
    limits.max_orders_per_day = given.max_orders_per_day.unwrap_or(limits.max_orders_per_day);
    limits.max_orders_per_minute =
        given.max_orders_per_minute.unwrap_or(limits.max_orders_per_minute);
    Ok(())
}

fn set(
    given: &Option<RawDecimal>,
    key: &'static str,
    limit: &mut Decimal,
) -> Result<(), ConfigError> {
    if let Some(text) = given {
        *limit = Decimal::from_str_exact(text.as_str())
            .map_err(|_| invalid(key, format!("{} has too many digits", text.as_str())))?;
    }
    Ok(())
}

fn class(text: &str) -> Result<AssetClass, ConfigError> {
    let unknown = || invalid("risk.policies.asset_classes", format!("{text:?} isn't one"));
    AssetClass::ALL.iter().copied().find(|class| class.as_str() == text).ok_or_else(unknown)
}

/// Limits of a real broker's paper account when the file gives none.
fn broker_limits(allowed: Allowed) -> PolicyLimits {
    let modes = if allowed.paper { BTreeSet::from([Mode::Paper]) } else { BTreeSet::new() };
    PolicyLimits {
        id: "built-in".to_owned(),
        delayed_data_modes: modes.clone(),
        modes,
        accounts: BTreeSet::new(),
        allowed_symbols: None,
        denied_symbols: BTreeSet::new(),
        asset_classes: BTreeSet::from([AssetClass::Stock]),
        max_quantity: Decimal::from(100),
        max_notional: dollars(10_000),
        collar_percent: Decimal::from(2),
        passive_warning_percent: Decimal::from(10),
        max_quote_age: Duration::from_secs(15),
        max_drift_percent: Decimal::from(2),
        max_orders_per_minute: 5,
        max_orders_per_day: 50,
        max_notional_per_day: dollars(50_000),
        known_questions: BTreeSet::new(),
    }
}

fn dollars(amount: u32) -> Money {
    Money::new(Decimal::from(amount), Currency::USD)
}
