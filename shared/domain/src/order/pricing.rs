//! How an order's price is set: its type together with exactly the prices that the type needs.
//!
//! [`Pricing::new`] is the one way from a type and given prices to a pricing. A price that the type
//! doesn't have is refused by name, never ignored; a missing one is refused by name.

use super::OrderType;
use crate::{InvalidValue, Price, SignedPrice};
use core::fmt;
use rust_decimal::Decimal;

/// How far a trailing order stays from the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offset {
    /// By an amount of the contract's currency.
    Amount(Price),
    /// By a part of the price.
    Percent(Percent),
}

/// A part of a price in per cent: 1 is one per cent. Above 0, below 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(Decimal);

impl Percent {
    /// A percentage.
    ///
    /// # Errors
    /// [`InvalidValue`] for anything that isn't above 0 and below 100.
    pub fn new(value: Decimal) -> Result<Self, InvalidValue> {
        if value <= Decimal::ZERO {
            return Err(InvalidValue::NotPositive("percentage"));
        }
        if value >= Decimal::ONE_HUNDRED {
            return Err(InvalidValue::TooLarge("percentage"));
        }
        Ok(Self(value.normalize()))
    }

    /// The number: 1 is one per cent.
    #[must_use]
    pub const fn get(self) -> Decimal {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price that a caller can give with an order, or an order carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceField {
    /// The worst price that is accepted.
    Limit,
    /// The price that sets the order off.
    Trigger,
    /// The distance of a trailing order, as an amount.
    TrailAmount,
    /// The distance of a trailing order, in per cent.
    TrailPercent,
    /// How far a trailing order's limit lies from its trigger, as an amount.
    LimitOffset,
    /// The worst price that an order at the middle accepts.
    Cap,
}

impl PriceField {
    /// The name of the argument and of the canonical line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit_price",
            Self::Trigger => "trigger_price",
            Self::TrailAmount => "trail_amount",
            Self::TrailPercent => "trail_percent",
            Self::LimitOffset => "limit_offset",
            Self::Cap => "cap_price",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Trigger => "trigger",
            Self::TrailAmount | Self::TrailPercent => "trailing by",
            Self::LimitOffset => "limit offset",
            Self::Cap => "cap",
        }
    }

    /// Whether it is in the contract's currency, so that the contract's price step holds for it.
    #[must_use]
    pub const fn is_amount(self) -> bool {
        match self {
            Self::Limit | Self::Trigger | Self::TrailAmount | Self::LimitOffset | Self::Cap => true,
            Self::TrailPercent => false,
        }
    }
}

impl fmt::Display for PriceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The prices that a caller gave, before it is known whether they fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the `PriceField` of its name")]
pub struct GivenPrices {
    pub limit: Option<Decimal>,
    pub trigger: Option<Decimal>,
    pub trail_amount: Option<Decimal>,
    pub trail_percent: Option<Decimal>,
    pub limit_offset: Option<Decimal>,
    pub cap: Option<Decimal>,
}

impl GivenPrices {
    const fn field(&mut self, field: PriceField) -> &mut Option<Decimal> {
        match field {
            PriceField::Limit => &mut self.limit,
            PriceField::Trigger => &mut self.trigger,
            PriceField::TrailAmount => &mut self.trail_amount,
            PriceField::TrailPercent => &mut self.trail_percent,
            PriceField::LimitOffset => &mut self.limit_offset,
            PriceField::Cap => &mut self.cap,
        }
    }

    /// Every price field, given or not, in the order of the canonical lines.
    #[must_use]
    pub const fn each(self) -> [(PriceField, Option<Decimal>); 6] {
        let Self { limit, trigger, trail_amount, trail_percent, limit_offset, cap } = self;
        [
            (PriceField::Trigger, trigger),
            (PriceField::Limit, limit),
            (PriceField::TrailAmount, trail_amount),
            (PriceField::TrailPercent, trail_percent),
            (PriceField::LimitOffset, limit_offset),
            (PriceField::Cap, cap),
        ]
    }

    /// The first price that is given.
    fn first(self) -> Option<PriceField> {
        self.each().into_iter().find_map(|(field, given)| given.is_some().then_some(field))
    }
}

/// Why a type and prices don't make a pricing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPricing {
    /// The type needs a price that wasn't given.
    #[error("{field} is missing: a {order_type} order needs it")]
    Missing {
        /// The type.
        order_type: OrderType,
        /// What is missing.
        field: PriceField,
    },
    /// A trailing order needs one of two distances.
    #[error("trail_amount or trail_percent is missing: a {order_type} order needs one of them")]
    NoDistance {
        /// The type.
        order_type: OrderType,
    },
    /// A price was given that the type doesn't have.
    #[error("{field} doesn't belong to a {order_type} order")]
    Foreign {
        /// The type.
        order_type: OrderType,
        /// What doesn't belong.
        field: PriceField,
    },
    /// A price isn't one.
    #[error("{field}: {reason}")]
    Value {
        /// Which.
        field: PriceField,
        /// Why.
        reason: InvalidValue,
    },
}

/// How the price is set. Prices are signed, since futures and combinations can trade below zero;
/// an order for any other contract refuses a price that isn't above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each field is the `PriceField` of its name")]
pub enum Pricing {
    /// At the market's price.
    Market,
    /// At this price or better.
    Limit { limit: SignedPrice },
    /// A market order once the trigger is reached.
    Stop { trigger: SignedPrice },
    /// A limit order once the trigger is reached.
    StopLimit { trigger: SignedPrice, limit: SignedPrice },
    /// A stop that follows the market.
    Trailing { by: Offset },
    /// A stop limit that follows the market.
    TrailingLimit { by: Offset, limit_offset: Price },
    /// A market order once the trigger is touched.
    MarketIfTouched { trigger: SignedPrice },
    /// A limit order once the trigger is touched.
    LimitIfTouched { trigger: SignedPrice, limit: SignedPrice },
    /// In the closing auction, at the limit or better if there is one.
    AtClose { limit: Option<SignedPrice> },
    /// In the opening auction, at the limit or better if there is one.
    AtOpen { limit: Option<SignedPrice> },
    /// At the middle of the market, never worse than the cap if there is one.
    MidPrice { cap: Option<SignedPrice> },
}

impl Pricing {
    /// Makes a pricing of a type and the given prices.
    ///
    /// # Errors
    /// [`InvalidPricing`] names the price that is missing, doesn't belong or isn't a price.
    pub fn new(order_type: OrderType, given: GivenPrices) -> Result<Self, InvalidPricing> {
        let mut given = Taker { order_type, given };
        let limit = PriceField::Limit;
        let trigger = PriceField::Trigger;
        let pricing = match order_type {
            OrderType::Market => Self::Market,
            OrderType::Limit => Self::Limit { limit: given.needed(limit)? },
            OrderType::Stop => Self::Stop { trigger: given.needed(trigger)? },
            OrderType::StopLimit => {
                Self::StopLimit { trigger: given.needed(trigger)?, limit: given.needed(limit)? }
            }
            OrderType::Trailing => Self::Trailing { by: given.distance()? },
            OrderType::TrailingLimit => {
                let by = given.distance()?;
                Self::TrailingLimit { by, limit_offset: given.amount()? }
            }
            OrderType::MarketIfTouched => Self::MarketIfTouched { trigger: given.needed(trigger)? },
            OrderType::LimitIfTouched => Self::LimitIfTouched {
                trigger: given.needed(trigger)?,
                limit: given.needed(limit)?,
            },
            OrderType::AtClose => Self::AtClose { limit: given.optional(limit)? },
            OrderType::AtOpen => Self::AtOpen { limit: given.optional(limit)? },
            OrderType::MidPrice => Self::MidPrice { cap: given.optional(PriceField::Cap)? },
        };
        match given.given.first() {
            Some(field) => Err(InvalidPricing::Foreign { order_type, field }),
            None => Ok(pricing),
        }
    }

    /// Its type.
    #[must_use]
    pub const fn order_type(&self) -> OrderType {
        match self {
            Self::Market => OrderType::Market,
            Self::Limit { .. } => OrderType::Limit,
            Self::Stop { .. } => OrderType::Stop,
            Self::StopLimit { .. } => OrderType::StopLimit,
            Self::Trailing { .. } => OrderType::Trailing,
            Self::TrailingLimit { .. } => OrderType::TrailingLimit,
            Self::MarketIfTouched { .. } => OrderType::MarketIfTouched,
            Self::LimitIfTouched { .. } => OrderType::LimitIfTouched,
            Self::AtClose { .. } => OrderType::AtClose,
            Self::AtOpen { .. } => OrderType::AtOpen,
            Self::MidPrice { .. } => OrderType::MidPrice,
        }
    }

    /// The worst price at which it can trade, where it states one.
    #[must_use]
    pub const fn limit(&self) -> Option<SignedPrice> {
        match *self {
            Self::Limit { limit }
            | Self::StopLimit { trigger: _, limit }
            | Self::LimitIfTouched { trigger: _, limit } => Some(limit),
            Self::AtClose { limit } | Self::AtOpen { limit } | Self::MidPrice { cap: limit } => {
                limit
            }
            Self::Market
            | Self::Stop { .. }
            | Self::Trailing { .. }
            | Self::TrailingLimit { .. }
            | Self::MarketIfTouched { .. } => None,
        }
    }

    /// Type and prices for people: `LIMIT 100`, `STOP LIMIT trigger 95 limit 94`.
    #[must_use]
    pub fn words(&self) -> String {
        let name = self.order_type().as_str().replace('_', " ").to_ascii_uppercase();
        if let Self::Limit { limit } = self {
            return format!("{name} {limit}");
        }
        let given = self.prices().each().into_iter().filter_map(|(field, price)| {
            let percent = if field == PriceField::TrailPercent { " %" } else { "" };
            price.map(|price| format!(" {} {}{percent}", field.words(), price.normalize()))
        });
        core::iter::once(name).chain(given).collect()
    }

    /// Its prices; with the type they make the same pricing again.
    #[must_use]
    pub fn prices(&self) -> GivenPrices {
        let none = GivenPrices::default();
        let price = |price: SignedPrice| Some(price.get());
        let maybe = |price: Option<SignedPrice>| price.map(SignedPrice::get);
        match *self {
            Self::Market => none,
            Self::Limit { limit } => GivenPrices { limit: price(limit), ..none },
            Self::Stop { trigger } | Self::MarketIfTouched { trigger } => {
                GivenPrices { trigger: price(trigger), ..none }
            }
            Self::StopLimit { trigger, limit } | Self::LimitIfTouched { trigger, limit } => {
                GivenPrices { trigger: price(trigger), limit: price(limit), ..none }
            }
            Self::Trailing { by } => by.given(),
            Self::TrailingLimit { by, limit_offset } => {
                GivenPrices { limit_offset: Some(limit_offset.get()), ..by.given() }
            }
            Self::AtClose { limit } | Self::AtOpen { limit } => {
                GivenPrices { limit: maybe(limit), ..none }
            }
            Self::MidPrice { cap } => GivenPrices { cap: maybe(cap), ..none },
        }
    }
}

impl Offset {
    fn given(self) -> GivenPrices {
        let none = GivenPrices::default();
        match self {
            Self::Amount(amount) => GivenPrices { trail_amount: Some(amount.get()), ..none },
            Self::Percent(percent) => GivenPrices { trail_percent: Some(percent.get()), ..none },
        }
    }
}

/// Takes prices one by one, so that what nobody took is left to refuse.
struct Taker {
    order_type: OrderType,
    given: GivenPrices,
}

impl Taker {
    const fn take(&mut self, field: PriceField) -> Option<Decimal> {
        self.given.field(field).take()
    }

    fn optional(&mut self, field: PriceField) -> Result<Option<SignedPrice>, InvalidPricing> {
        let value = |reason| InvalidPricing::Value { field, reason };
        self.take(field).map(SignedPrice::new).transpose().map_err(value)
    }

    fn needed(&mut self, field: PriceField) -> Result<SignedPrice, InvalidPricing> {
        let order_type = self.order_type;
        self.optional(field)?.ok_or(InvalidPricing::Missing { order_type, field })
    }

    fn amount(&mut self) -> Result<Price, InvalidPricing> {
        let (order_type, field) = (self.order_type, PriceField::LimitOffset);
        let given = self.take(field).ok_or(InvalidPricing::Missing { order_type, field })?;
        Price::new(given).map_err(|reason| InvalidPricing::Value { field, reason })
    }

    fn distance(&mut self) -> Result<Offset, InvalidPricing> {
        let (amount, percent) = (PriceField::TrailAmount, PriceField::TrailPercent);
        let value = |field| move |reason| InvalidPricing::Value { field, reason };
        // With both given, the second is left over and refused.
        if let Some(given) = self.take(amount) {
            return Price::new(given).map(Offset::Amount).map_err(value(amount));
        }
        let given = self.take(percent);
        let given = given.ok_or(InvalidPricing::NoDistance { order_type: self.order_type })?;
        Percent::new(given).map(Offset::Percent).map_err(value(percent))
    }
}
