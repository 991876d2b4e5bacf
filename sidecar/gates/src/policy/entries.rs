//! The one table of a policy's limits: key, value, and which of two values is tighter.
//!
//! The limits are taken apart by name, so that a new one can't be left out of the hash, of what is
//! printed or of a comparison. Keys are those of the configuration file, below `risk.policies[]`.

use super::{Guard, MarketHours, PolicyLimits};
use core::fmt;
use ibkr_agent_domain::{AssetClass, Digest, Money};
use rust_decimal::Decimal;
use std::collections::BTreeSet;

/// The value of a limit, in the form in which two of them compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Only these; `None` is any.
    Only(Option<BTreeSet<String>>),
    /// Not these.
    Not(BTreeSet<String>),
    /// At most this.
    Most(Decimal),
    /// At least this.
    Least(Decimal),
    /// One of several choices, the tightest of which has number 0.
    Choice(usize, &'static str),
    /// A name, which is neither tighter nor looser than another.
    Name(String),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(None) => f.write_str("any"),
            Self::Only(Some(items)) | Self::Not(items) if items.is_empty() => f.write_str("none"),
            Self::Only(Some(items)) => f.write_str(&joined(items)),
            Self::Not(items) => write!(f, "not {}", joined(items)),
            Self::Most(number) | Self::Least(number) => write!(f, "{}", number.normalize()),
            Self::Choice(_, word) => f.write_str(word),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn joined(items: &BTreeSet<String>) -> String {
    items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// One limit of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the file, below the policy.
    pub key: &'static str,
    /// Its value.
    pub limit: Limit,
    /// What the value counts, such as `%`, `s` or a currency; empty for a plain number.
    pub unit: String,
}

/// How a limit differs from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It allows less, and nothing more.
    Tighter,
    /// It allows something that the other one didn't.
    Looser,
    /// It has another name, and allows the same.
    Renamed,
}

impl Change {
    /// Our name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tighter => "tighter",
            Self::Looser => "looser",
            Self::Renamed => "renamed",
        }
    }
}

/// One limit that differs between two policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its key.
    pub key: &'static str,
    /// The value before.
    pub before: Limit,
    /// The value after.
    pub after: Limit,
    /// What it counts.
    pub unit: String,
    /// Which way it goes.
    pub change: Change,
}

fn compare(before: &Limit, after: &Limit) -> Change {
    let tighter = match (before, after) {
        (Limit::Name(_), Limit::Name(_)) => return Change::Renamed,
        (Limit::Only(None), Limit::Only(_)) => true,
        (Limit::Only(Some(_)), Limit::Only(None)) => false,
        (Limit::Only(Some(before)), Limit::Only(Some(after))) => after.is_subset(before),
        (Limit::Not(before), Limit::Not(after)) => after.is_superset(before),
        (Limit::Most(before), Limit::Most(after)) => after < before,
        (Limit::Least(before), Limit::Least(after)) => after > before,
        (Limit::Choice(before, _), Limit::Choice(after, _)) => after < before,
        // Two forms of one key: nobody can say that it is tighter.
        (
            Limit::Only(_)
            | Limit::Not(_)
            | Limit::Most(_)
            | Limit::Least(_)
            | Limit::Choice(..)
            | Limit::Name(_),
            _,
        ) => false,
    };
    if tighter { Change::Tighter } else { Change::Looser }
}

/// What differs. In another currency no two amounts compare: each is looser.
pub(super) fn differences(before: &PolicyLimits, after: &PolicyLimits) -> Vec<Difference> {
    let same_currency = before.max_notional.currency == after.max_notional.currency;
    let pairs = of(before).into_iter().zip(of(after));
    pairs
        .filter(|(before, after)| before != after)
        .map(|(before, after)| {
            let comparable = same_currency || before.unit == after.unit;
            let change = compare(&before.limit, &after.limit);
            Difference {
                key: after.key,
                change: if comparable { change } else { Change::Looser },
                before: before.limit,
                after: after.limit,
                unit: after.unit,
            }
        })
        .collect()
}

/// SHA-256 over every limit.
pub(super) fn hash(limits: &PolicyLimits) -> Digest {
    let mut text = String::from("ibkr-agent-policy/v2\n");
    for Entry { key, limit, unit } in of(limits) {
        // Quoted, so that no two lists and no two names read alike.
        let value = match &limit {
            Limit::Only(Some(items)) => format!("only {items:?}"),
            Limit::Not(items) => format!("not {items:?}"),
            Limit::Name(name) => format!("{name:?}"),
            Limit::Only(None) | Limit::Most(_) | Limit::Least(_) | Limit::Choice(..) => {
                limit.to_string()
            }
        };
        text.push_str(&format!("{key}={value} {unit}\n"));
    }
    Digest::of(text.as_bytes())
}

fn set<T: ToString>(items: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn only<T: ToString>(items: impl IntoIterator<Item = T>) -> Limit {
    Limit::Only(Some(set(items)))
}

fn only_if<'a, T: ToString + 'a>(items: Option<impl IntoIterator<Item = &'a T>>) -> Limit {
    Limit::Only(items.map(|items| items.into_iter().map(ToString::to_string).collect()))
}

fn guard(guard: Guard) -> Limit {
    Limit::Choice(usize::from(guard == Guard::Warn), guard.as_str())
}

fn hours(hours: MarketHours) -> Limit {
    let number = MarketHours::ALL.iter().position(|known| *known == hours);
    Limit::Choice(number.unwrap_or(usize::MAX), hours.as_str())
}

fn switch(is_on: bool) -> Limit {
    Limit::Choice(usize::from(is_on), if is_on { "true" } else { "false" })
}

fn count(number: impl Into<Decimal>) -> Limit {
    Limit::Most(number.into())
}

/// Every limit, in the file's order.
#[expect(clippy::too_many_lines, reason = "one table: a line for each limit")]
pub(super) fn of(limits: &PolicyLimits) -> Vec<Entry> {
    let PolicyLimits {
        id,
        modes,
        accounts,
        allowed_symbols,
        denied_symbols,
        asset_classes,
        currencies,
        exchanges,
        order_types,
        times_in_force,
        outside_hours,
        fractions,
        market_hours,
        max_quantity,
        max_quantity_of,
        max_notional,
        collar_percent,
        mid_percent,
        last_percent,
        max_spread_percent,
        passive_warning_percent,
        slippage_percent,
        max_quote_age,
        max_drift_percent,
        delayed_data_modes,
        shorts,
        margin_loan,
        max_position_notional,
        max_concentration_percent,
        max_gross,
        min_excess_liquidity,
        max_margin_use_percent,
        what_if,
        max_orders_per_day,
        max_notional_per_day,
        max_loss_per_day,
        max_orders_per_minute,
        max_messages_per_minute,
        same_order_window,
        same_execution_limit,
        max_open_orders,
        self_match,
        known_questions,
    } = limits;
    let plain = |key, limit| Entry { key, limit, unit: String::new() };
    let percent =
        |key, number: &Decimal| Entry { key, limit: Limit::Most(*number), unit: "%".to_owned() };
    let seconds = |key, limit| Entry { key, limit, unit: "s".to_owned() };
    let amount =
        |key, limit, currency: &Money| Entry { key, limit, unit: currency.currency.to_string() };
    let age = Decimal::from(max_quote_age.as_secs());
    let window = Decimal::from(same_order_window.as_secs());
    let times = times_in_force.iter().map(|time| time.as_str());
    let mut entries = vec![
        plain("id", Limit::Name(id.clone())),
        plain("mode", only(modes)),
        plain("accounts", only(accounts)),
        plain("instruments.allow_symbols", only_if(allowed_symbols.as_ref())),
        plain("instruments.deny_symbols", Limit::Not(denied_symbols.clone())),
        plain("instruments.classes", only(asset_classes)),
        plain("instruments.currencies", only_if(currencies.as_ref())),
        plain("instruments.exchanges", only_if(exchanges.as_ref())),
        plain("orders.types", only(order_types)),
        plain("orders.time_in_force", only(times)),
        plain("orders.outside_rth", switch(*outside_hours)),
        plain("orders.fractions", switch(*fractions)),
        plain("orders.market_hours", hours(*market_hours)),
    ];
    for (key, class) in CLASS_QUANTITIES {
        let most = max_quantity_of.get(class).unwrap_or(max_quantity);
        entries.push(plain(key, Limit::Most(*most)));
    }
    entries.extend([
        amount("size.max_notional", Limit::Most(max_notional.amount), max_notional),
        percent("price.collar_percent", collar_percent),
        percent("price.mid_percent", mid_percent),
        percent("price.last_percent", last_percent),
        percent("price.max_spread_percent", max_spread_percent),
        percent("price.passive_warning_percent", passive_warning_percent),
        // A larger one counts more for the same order.
        Entry {
            key: "price.slippage_percent",
            limit: Limit::Least(*slippage_percent),
            unit: "%".to_owned(),
        },
        seconds("price.max_quote_age_seconds", Limit::Most(age)),
        percent("price.max_drift_percent", max_drift_percent),
        plain("price.delayed_data", only(delayed_data_modes)),
        plain("exposure.shorts", guard(*shorts)),
        plain("exposure.margin_loan", guard(*margin_loan)),
        amount("exposure.max_position_notional", Limit::Most(*max_position_notional), max_notional),
        percent("exposure.max_concentration_percent", max_concentration_percent),
        amount("exposure.max_gross", Limit::Most(*max_gross), max_notional),
        amount("exposure.min_excess_liquidity", Limit::Least(*min_excess_liquidity), max_notional),
        percent("exposure.max_margin_use_percent", max_margin_use_percent),
        plain("exposure.what_if", guard(*what_if)),
        plain("day.max_orders", count(*max_orders_per_day)),
        amount("day.max_notional", Limit::Most(max_notional_per_day.amount), max_notional_per_day),
        amount("day.max_loss", Limit::Most(*max_loss_per_day), max_notional),
        plain("rate.orders_per_minute", count(*max_orders_per_minute)),
        plain("rate.messages_per_minute", count(*max_messages_per_minute)),
        seconds("rate.same_order_window_seconds", Limit::Least(window)),
        plain("rate.same_execution_limit", count(*same_execution_limit)),
        plain("rate.max_open_orders", count(*max_open_orders)),
        plain("guard.self_match", guard(*self_match)),
        plain("questions.known", only(known_questions)),
    ]);
    entries
}

/// A key for the quantity of each asset class.
const CLASS_QUANTITIES: [(&str, &AssetClass); 11] = [
    ("size.max_quantity.stock", &AssetClass::Stock),
    ("size.max_quantity.option", &AssetClass::Option),
    ("size.max_quantity.future", &AssetClass::Future),
    ("size.max_quantity.future_option", &AssetClass::FutureOption),
    ("size.max_quantity.forex", &AssetClass::Forex),
    ("size.max_quantity.index", &AssetClass::Index),
    ("size.max_quantity.bond", &AssetClass::Bond),
    ("size.max_quantity.fund", &AssetClass::Fund),
    ("size.max_quantity.cfd", &AssetClass::Cfd),
    ("size.max_quantity.warrant", &AssetClass::Warrant),
    ("size.max_quantity.crypto", &AssetClass::Crypto),
];
