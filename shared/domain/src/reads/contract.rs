//! Contract rules, trading hours, option series, futures, currency pairs.

use crate::{Conid, Contract, Currency, Date, OptionRight, Timestamp, Untrusted};
use rust_decimal::Decimal;

/// A price step that holds from a price upwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceStep {
    /// The lowest price that it holds for.
    pub from: Decimal,
    /// The step.
    pub step: Decimal,
}

/// What an order on a contract may look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractRules {
    /// The contract.
    pub conid: Conid,
    /// Order types that the broker takes, as it names them.
    pub order_types: Vec<Untrusted>,
    /// Order types outside regular hours.
    pub order_types_outside: Vec<Untrusted>,
    /// Times in force, as the broker writes them (`DAY/o,a`).
    pub times_in_force: Vec<Untrusted>,
    /// Smallest price step now.
    pub price_increment: Option<Decimal>,
    /// Price steps by price.
    pub price_steps: Vec<PriceStep>,
    /// Step in which the broker's own entry field counts the quantity. It isn't what orders must
    /// keep to: of a share with 100 one can be bought.
    pub size_increment: Option<Decimal>,
    /// Usual quantity.
    pub default_size: Option<Decimal>,
    /// Whether fractions of a unit can be traded.
    pub takes_fractions: bool,
    /// Decimal places that a fraction of a unit may have.
    pub fraction_digits: Option<u32>,
    /// Whether an order can be given as an amount of money.
    pub takes_cash_quantity: bool,
    /// Whether overnight trading is offered.
    pub overnight: Option<bool>,
    /// Whether prices below zero can occur.
    pub negative_prices: Option<bool>,
}

impl ContractRules {
    /// The step that holds at an order's price: of the steps by price, the one with the highest
    /// lower edge at or below it; without any, the step that holds now. `None` where the broker
    /// tells none, as below the lowest edge.
    #[must_use]
    pub fn increment_at(&self, price: Decimal) -> Option<Decimal> {
        if self.price_steps.is_empty() {
            return self.price_increment;
        }
        let below = self.price_steps.iter().filter(|step| step.from <= price);
        below.max_by_key(|step| step.from).map(|step| step.step)
    }

    /// Whether a price stands on the step that holds at it; `None` where no step is told.
    #[must_use]
    pub fn takes_price(&self, price: Decimal) -> Option<bool> {
        let step = self.increment_at(price)?;
        Some(price.checked_rem(step)?.is_zero())
    }

    /// Whether an order may have this quantity: whole units, or a fraction with as many decimal
    /// places as the contract takes. A fraction of unknown places isn't taken. What this interface
    /// doesn't tell is a venue's lot, as in Tokyo.
    #[must_use]
    pub fn takes_quantity(&self, quantity: Decimal) -> bool {
        if quantity <= Decimal::ZERO {
            return false;
        }
        let digits = self.fraction_digits.filter(|_| self.takes_fractions).unwrap_or(0);
        quantity.normalize().scale() <= digits
    }
}

/// Everything that the broker tells of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractDetails {
    /// The contract.
    pub contract: Contract,
    /// Local symbol.
    pub local_symbol: Option<Untrusted>,
    /// Trading class.
    pub trading_class: Option<Untrusted>,
    /// Contract month as the broker writes it.
    pub contract_month: Option<Untrusted>,
    /// Last trading day or expiry.
    pub expiry: Option<Date>,
    /// Contract that it is derived from.
    pub underlying: Option<Conid>,
    /// Strike of an option.
    pub strike: Option<Decimal>,
    /// Right of an option.
    pub right: Option<OptionRight>,
    /// Exchanges it trades at.
    pub exchanges: Vec<String>,
    /// Industry.
    pub industry: Option<Untrusted>,
    /// Category.
    pub category: Option<Untrusted>,
    /// Whether it can be traded outside regular hours, as the broker says (`r_t_h`).
    pub outside_rth: Option<bool>,
}

/// One span of trading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradingSpan {
    /// When it begins.
    pub opens: Timestamp,
    /// When it ends.
    pub closes: Timestamp,
}

/// The trading hours of one day; none at all on a holiday.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingDay {
    /// The exchange's date.
    pub date: Date,
    /// Regular hours.
    pub regular: Vec<TradingSpan>,
    /// All hours, regular ones included.
    pub extended: Vec<TradingSpan>,
}

/// When a contract trades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingHours {
    /// The contract.
    pub conid: Conid,
    /// The exchange's time zone, such as `US/Eastern`.
    pub time_zone: Option<Untrusted>,
    /// The days that the broker lists, oldest first.
    pub days: Vec<TradingDay>,
}

/// The months in which an underlying has options or futures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionSeries {
    /// The underlying.
    pub underlying: Contract,
    /// Month codes, such as `JAN27`, soonest first.
    pub months: Vec<String>,
    /// Exchanges, `SMART` first where it is offered.
    pub exchanges: Vec<String>,
}

/// The strikes of one month.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strikes {
    /// Of calls, ascending.
    pub calls: Vec<Decimal>,
    /// Of puts, ascending.
    pub puts: Vec<Decimal>,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionContract {
    /// The contract.
    pub conid: Conid,
    /// Underlying's symbol.
    pub symbol: Untrusted,
    /// Expiry.
    pub expiry: Date,
    /// Call or put.
    pub right: OptionRight,
    /// Strike.
    pub strike: Decimal,
    /// Units of the underlying.
    pub multiplier: Decimal,
    /// Trading class.
    pub trading_class: Untrusted,
    /// Currency.
    pub currency: Currency,
}

/// One future.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FutureContract {
    /// The contract.
    pub conid: Conid,
    /// Symbol of the product.
    pub symbol: Untrusted,
    /// Contract that it is derived from.
    pub underlying: Option<Conid>,
    /// Expiry.
    pub expiry: Date,
    /// Last trading day.
    pub last_trading_day: Option<Date>,
}

/// A currency pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyPair {
    /// The contract.
    pub conid: Conid,
    /// The pair, such as `USD.CHF`.
    pub symbol: Untrusted,
    /// The other currency.
    pub quote: Currency,
}
