//! `risk`: the policies, and which of them holds for an account in a mode.
//!
//! A limit that the file doesn't give is the built-in one. The built-in ones are small at a real
//! broker and generous on the simulator, where no money is. A policy without a binding holds for
//! every account; with a binding anywhere, what isn't bound may not trade.

use super::limits::{Allowed, simulator};
use super::{Backing, ConfigError, invalid};
use ibkr_agent_domain::{AccountId, AssetClass, Currency, Mode, OrderType, TimeInForce};
use ibkr_agent_gates::{Bounds, Guard, KnownQuestion, MarketHours, Policy, PolicyLimits, Slot};
use ibkr_agent_protocol::config::{
    RawBinding, RawConfig, RawDecimal, RawQuantities, RawRiskPolicy,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The policies of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// What holds where nothing is bound.
    pub limits: PolicyLimits,
    /// What is bound to an account in a mode.
    pub bound: Vec<(AccountId, Mode, PolicyLimits)>,
}

/// The limits that hold for orders.
pub(super) fn policies(
    raw: &RawConfig,
    backing: &Backing,
    accounts: &BTreeSet<AccountId>,
    allowed: Allowed,
) -> Result<Policies, ConfigError> {
    check_ids(&raw.risk.policies)?;
    let mut built_in = match backing {
        Backing::Simulator => simulator().limits,
        Backing::Brokers(_) => PolicyLimits::tight(modes(allowed)),
    };
    built_in.accounts.clone_from(accounts);
    if raw.risk.bind.is_empty() {
        let given = chosen(&raw.risk.policies)?;
        let limits = given.map_or(Ok(built_in.clone()), |given| applied(given, built_in))?;
        return Ok(Policies { limits, bound: Vec::new() });
    }
    let bound = raw.risk.bind.iter().map(|binding| bind(raw, binding, &built_in));
    let bound = bound.collect::<Result<Vec<_>, _>>()?;
    let mut pairs = BTreeSet::new();
    if let Some((account, mode, _)) =
        bound.iter().find(|(account, mode, _)| !pairs.insert((account.clone(), *mode)))
    {
        return Err(invalid("risk.bind", format!("{account} in {mode} is bound twice")));
    }
    // A cancel is bound to the accounts of the list, whatever may trade.
    let limits = PolicyLimits { accounts: accounts.clone(), ..PolicyLimits::closed() };
    Ok(Policies { limits, bound })
}

fn modes(allowed: Allowed) -> BTreeSet<Mode> {
    if allowed.paper { BTreeSet::from([Mode::Paper]) } else { BTreeSet::new() }
}

fn check_ids(policies: &[RawRiskPolicy]) -> Result<(), ConfigError> {
    let mut ids = BTreeSet::new();
    for policy in policies {
        if policy.id.is_empty() || !ids.insert(policy.id.as_str()) {
            return Err(invalid("risk.policies", "every policy needs an id of its own"));
        }
    }
    Ok(())
}

fn bind(
    raw: &RawConfig,
    binding: &RawBinding,
    built_in: &PolicyLimits,
) -> Result<(AccountId, Mode, PolicyLimits), ConfigError> {
    const KEY: &str = "risk.bind";
    let account = AccountId::parse(&binding.account)
        .ok()
        .filter(|account| built_in.accounts.contains(account))
        .ok_or_else(|| invalid(KEY, format!("{} isn't in accounts.allowed", binding.account)))?;
    let mode = Mode::parse(&binding.mode)
        .ok_or_else(|| invalid(KEY, format!("{:?} is no mode", binding.mode)))?;
    if mode == Mode::Live {
        return Err(ConfigError::Live { key: "risk.bind.mode" });
    }
    let given = raw.risk.policies.iter().find(|policy| policy.id == binding.policy);
    let given =
        given.ok_or_else(|| invalid(KEY, format!("there is no policy {:?}", binding.policy)))?;
    if given.mode.as_ref().is_some_and(|of| *of != binding.mode) {
        let message = format!("policy {:?} is for another mode", binding.policy);
        return Err(invalid(KEY, message));
    }
    let mut limits = applied(given, built_in.clone())?;
    limits.accounts = BTreeSet::from([account.clone()]);
    limits.modes.retain(|allowed| *allowed == mode);
    Ok((account, mode, limits))
}

/// The only policy, or the one that is called `paper`.
fn chosen(policies: &[RawRiskPolicy]) -> Result<Option<&RawRiskPolicy>, ConfigError> {
    match policies {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        several => several.iter().find(|policy| policy.id == "paper").map(Some).ok_or_else(|| {
            let message = "of several policies one must have the id paper, or risk.bind says \
                           which one holds where";
            invalid("risk.policies", message)
        }),
    }
}

/// The built-in limits with what a policy gives, checked.
fn applied(given: &RawRiskPolicy, built_in: PolicyLimits) -> Result<PolicyLimits, ConfigError> {
    let mut limits = PolicyLimits { id: given.id.clone(), ..built_in };
    currency(given, &mut limits)?;
    instruments(given, &mut limits)?;
    orders(given, &mut limits)?;
    size(given, &mut limits)?;
    price(given, &mut limits)?;
    exposure(given, &mut limits)?;
    counts(given, &mut limits)?;
    questions(given, &mut limits)?;
    // The rules for limits stand in one place; here they only get the file's key.
    Policy::new(limits.clone()).map_err(|error| invalid("risk.policies", error.to_string()))?;
    Ok(limits)
}

fn questions(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const KEY: &str = "risk.policies.questions.known";
    for known in &given.questions.known {
        let mut bounds = BTreeMap::new();
        for (name, raw) in &known.bounds {
            let slot = Slot::parse(name);
            let slot = slot.ok_or_else(|| invalid(KEY, format!("{name:?} is no slot")))?;
            let parse =
                |text: &Option<RawDecimal>| text.as_ref().map(|text| number(KEY, text)).transpose();
            bounds.insert(slot, Bounds { min: parse(&raw.min)?, max: parse(&raw.max)? });
        }
        let question = KnownQuestion::new(&known.id, &known.text, bounds);
        let question = question.map_err(|error| invalid(KEY, format!("{}: {error}", known.id)))?;
        limits.known_questions.insert(question);
    }
    Ok(())
}

/// The section's value, or the plain key's of earlier versions; never both.
fn either<'a, T>(
    key: &'static str,
    section: &'a Option<T>,
    plain: &'a Option<T>,
) -> Result<Option<&'a T>, ConfigError> {
    match (section, plain) {
        (Some(_), Some(_)) => Err(invalid(key, "is given twice, under its old name too")),
        (given, None) | (None, given) => Ok(given.as_ref()),
    }
}

fn number(key: &'static str, text: &RawDecimal) -> Result<Decimal, ConfigError> {
    Decimal::from_str_exact(text.as_str())
        .map_err(|_| invalid(key, format!("{} has too many digits", text.as_str())))
}

fn set(
    key: &'static str,
    given: Option<&RawDecimal>,
    limit: &mut Decimal,
) -> Result<(), ConfigError> {
    if let Some(text) = given {
        *limit = number(key, text)?;
    }
    Ok(())
}

fn one_of<T: Copy>(
    key: &'static str,
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, ConfigError> {
    let found = all.iter().copied().find(|one| name(*one) == text);
    found.ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        invalid(key, format!("{text:?} isn't one of {}", known.join(", ")))
    })
}

fn some_of<T: Copy + Ord>(
    key: &'static str,
    list: &[String],
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<BTreeSet<T>, ConfigError> {
    list.iter().map(|text| one_of(key, text, all, &name)).collect()
}

fn upper(list: &[String]) -> BTreeSet<String> {
    list.iter().map(|text| text.to_ascii_uppercase()).collect()
}

fn currency_of(key: &'static str, code: &str) -> Result<Currency, ConfigError> {
    let currency = Currency::parse(code).ok().filter(|currency| *currency != Currency::BASE);
    currency.ok_or_else(|| invalid(key, format!("{code:?} isn't a currency code such as USD")))
}

fn currency(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    if let Some(code) = &given.currency {
        let currency = currency_of("risk.policies.currency", code)?;
        limits.max_notional.currency = currency;
        limits.max_notional_per_day.currency = currency;
    }
    Ok(())
}

fn instruments(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const CLASSES: &str = "risk.policies.instruments.classes";
    const ALLOW: &str = "risk.policies.instruments.allow_symbols";
    const DENY: &str = "risk.policies.instruments.deny_symbols";
    let of = &given.instruments;
    if let Some(list) = either(ALLOW, &of.allow_symbols, &given.allowed_symbols)? {
        limits.allowed_symbols = Some(upper(list));
    }
    if let Some(list) = either(DENY, &of.deny_symbols, &given.denied_symbols)? {
        limits.denied_symbols = upper(list);
    }
    if let Some(list) = either(CLASSES, &of.classes, &given.asset_classes)? {
        limits.asset_classes = some_of(CLASSES, list, AssetClass::ALL, AssetClass::as_str)?;
    }
    if let Some(list) = &of.currencies {
        let each =
            list.iter().map(|code| currency_of("risk.policies.instruments.currencies", code));
        limits.currencies = Some(each.collect::<Result<_, _>>()?);
    }
    if let Some(list) = &of.exchanges {
        limits.exchanges = Some(upper(list));
    }
    Ok(())
}

fn orders(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const TYPES: &str = "risk.policies.orders.types";
    const TIMES: &str = "risk.policies.orders.time_in_force";
    const HOURS: &str = "risk.policies.orders.market_hours";
    let of = &given.orders;
    if let Some(list) = &of.types {
        limits.order_types = some_of(TYPES, list, OrderType::ALL, OrderType::as_str)?;
        // A kind that this version can't place is an error, never a promise.
        if let Some(kind) = limits.order_types.iter().find(|kind| **kind != OrderType::Limit) {
            return Err(invalid(TYPES, format!("this version can't place {kind} orders")));
        }
    }
    if let Some(list) = &of.time_in_force {
        let all = [TimeInForce::Day, TimeInForce::GoodTillCancelled];
        limits.times_in_force = some_of(TIMES, list, &all, TimeInForce::as_str)?;
    }
    limits.outside_hours = of.outside_rth.unwrap_or(limits.outside_hours);
    limits.fractions = of.fractions.unwrap_or(limits.fractions);
    if let Some(word) = &of.market_hours {
        limits.market_hours = one_of(HOURS, word, MarketHours::ALL, MarketHours::as_str)?;
    }
    Ok(())
}

fn size(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const QUANTITY: &str = "risk.policies.size.max_quantity";
    const VALUE: &str = "risk.policies.size.max_notional";
    match (&given.size.max_quantity, &given.max_quantity) {
        (Some(_), Some(_)) => {
            return Err(invalid(QUANTITY, "is given twice, under its old name too"));
        }
        (Some(RawQuantities::Each(most)), None) | (None, Some(most)) => {
            limits.max_quantity = number(QUANTITY, most)?;
        }
        (Some(RawQuantities::ByClass(quantities)), None) => {
            for (name, most) in quantities {
                let class = one_of(QUANTITY, name, AssetClass::ALL, AssetClass::as_str)?;
                limits.max_quantity_of.insert(class, number(QUANTITY, most)?);
            }
        }
        (None, None) => {}
    }
    let value = either(VALUE, &given.size.max_notional, &given.max_notional)?;
    set(VALUE, value, &mut limits.max_notional.amount)
}

fn price(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const COLLAR: &str = "risk.policies.price.collar_percent";
    const AGE: &str = "risk.policies.price.max_quote_age_seconds";
    const DATA: &str = "risk.policies.price.data";
    let of = &given.price;
    let collar = either(COLLAR, &of.collar_percent, &given.price_collar_percent)?;
    set(COLLAR, collar, &mut limits.collar_percent)?;
    for (key, text, limit) in [
        ("risk.policies.price.mid_percent", &of.mid_percent, &mut limits.mid_percent),
        ("risk.policies.price.last_percent", &of.last_percent, &mut limits.last_percent),
        (
            "risk.policies.price.max_spread_percent",
            &of.max_spread_percent,
            &mut limits.max_spread_percent,
        ),
        (
            "risk.policies.price.passive_warning_percent",
            &of.passive_warning_percent,
            &mut limits.passive_warning_percent,
        ),
        (
            "risk.policies.price.max_drift_percent",
            &of.max_drift_percent,
            &mut limits.max_drift_percent,
        ),
    ] {
        set(key, text.as_ref(), limit)?;
    }
    if let Some(seconds) = either(AGE, &of.max_quote_age_seconds, &given.max_quote_age_seconds)? {
        limits.max_quote_age = Duration::from_secs(*seconds);
    }
    let is_strict = match of.data.as_deref() {
        None => None,
        Some("real_time") => Some(true),
        Some("delayed") => Some(false),
        Some(other) => {
            return Err(invalid(DATA, format!("{other:?} isn't one of real_time, delayed")));
        }
    };
    let plain = given.accept_delayed_for_paper.map(|accepted| !accepted);
    if either(DATA, &is_strict, &plain)? == Some(&true) {
        limits.delayed_data_modes.clear();
    }
    Ok(())
}

fn exposure(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const WHAT_IF: &str = "risk.policies.exposure.what_if";
    let of = &given.exposure;
    for (key, word, guard) in [
        ("risk.policies.exposure.shorts", &of.shorts, &mut limits.shorts),
        ("risk.policies.exposure.margin_loan", &of.margin_loan, &mut limits.margin_loan),
        ("risk.policies.guard.self_match", &given.guard.self_match, &mut limits.self_match),
    ] {
        if let Some(word) = word {
            *guard = one_of(key, word, Guard::ALL, Guard::as_str)?;
        }
    }
    limits.what_if = match of.what_if.as_deref() {
        None => limits.what_if,
        Some("required") => Guard::Deny,
        Some("warn") => Guard::Warn,
        Some(other) => {
            return Err(invalid(WHAT_IF, format!("{other:?} isn't one of required, warn")));
        }
    };
    for (key, text, limit) in [
        (
            "risk.policies.exposure.max_position_notional",
            &of.max_position_notional,
            &mut limits.max_position_notional,
        ),
        (
            "risk.policies.exposure.max_concentration_percent",
            &of.max_concentration_percent,
            &mut limits.max_concentration_percent,
        ),
        ("risk.policies.exposure.max_gross", &of.max_gross, &mut limits.max_gross),
        (
            "risk.policies.exposure.min_excess_liquidity",
            &of.min_excess_liquidity,
            &mut limits.min_excess_liquidity,
        ),
        (
            "risk.policies.exposure.max_margin_use_percent",
            &of.max_margin_use_percent,
            &mut limits.max_margin_use_percent,
        ),
    ] {
        set(key, text.as_ref(), limit)?;
    }
    Ok(())
}

fn counts(given: &RawRiskPolicy, limits: &mut PolicyLimits) -> Result<(), ConfigError> {
    const ORDERS: &str = "risk.policies.day.max_orders";
    const VALUE: &str = "risk.policies.day.max_notional";
    const MINUTE: &str = "risk.policies.rate.orders_per_minute";
    let (day, rate) = (&given.day, &given.rate);
    if let Some(most) = either(ORDERS, &day.max_orders, &given.max_orders_per_day)? {
        limits.max_orders_per_day = *most;
    }
    let value = either(VALUE, &day.max_notional, &given.max_notional_per_day)?;
    set(VALUE, value, &mut limits.max_notional_per_day.amount)?;
    set("risk.policies.day.max_loss", day.max_loss.as_ref(), &mut limits.max_loss_per_day)?;
    if let Some(most) = either(MINUTE, &rate.orders_per_minute, &given.max_orders_per_minute)? {
        limits.max_orders_per_minute = *most;
    }
    let kept = |given: Option<u32>, limit: u32| given.unwrap_or(limit);
    limits.max_messages_per_minute = kept(rate.messages_per_minute, limits.max_messages_per_minute);
    limits.same_execution_limit = kept(rate.same_execution_limit, limits.same_execution_limit);
    limits.max_open_orders = kept(rate.max_open_orders, limits.max_open_orders);
    if let Some(seconds) = rate.same_order_window_seconds {
        limits.same_order_window = Duration::from_secs(seconds);
    }
    Ok(())
}
