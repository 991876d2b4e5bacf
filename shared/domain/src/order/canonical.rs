//! Reading canonical bytes back: strict, so that what is read writes exactly the same bytes.

use super::{
    CanonicalOrder, ComboLegs, ContractIdentity, Field, GivenPrices, InvalidOrder, Mode,
    OrderContract, OrderTarget, OrderTerms, OrderType, Pricing, Side, TimeInForce,
};
use crate::{
    AccountId, AssetClass, BrokerName, Conid, Contract, Currency, Date, OptionRight, Price,
    Quantity, Untrusted,
};
use rust_decimal::Decimal;

/// The form of an order's canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Stock limit orders only; read from older stores, never written for a new order.
    V1,
    /// Every kind.
    V2,
}

impl Form {
    const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The first line.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::V1 => "ibkr-agent-order/v1\n",
            Self::V2 => "ibkr-agent-action/v2\n",
        }
    }
}

impl CanonicalOrder {
    /// Reads canonical bytes of either form.
    ///
    /// # Errors
    /// [`InvalidOrder::NotCanonical`] for anything that an order doesn't write exactly so.
    pub fn parse(text: &str) -> Result<Self, InvalidOrder> {
        let order = read(text).ok_or(InvalidOrder::NotCanonical)?;
        if order.canonical_bytes() == text.as_bytes() {
            Ok(order)
        } else {
            Err(InvalidOrder::NotCanonical)
        }
    }
}

/// What stands in each field of canonical bytes, without regard to the order of their lines:
/// writing them again shows that.
struct Lines<'a>([Option<&'a str>; Field::ALL.len()]);

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let mut found = [None; Field::ALL.len()];
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let mut fields = Field::ALL.iter().zip(&mut found);
            if let Some((_, place)) = fields.find(|(field, _)| field.key() == key) {
                place.get_or_insert(value);
            }
        }
        Self(found)
    }

    fn find(&self, field: Field) -> Option<&'a str> {
        let mut fields = Field::ALL.iter().zip(&self.0);
        fields.find(|(known, _)| **known == field).and_then(|(_, value)| *value)
    }

    fn decimal(&self, field: Field) -> Option<Decimal> {
        self.find(field)?.parse().ok()
    }

    /// A price that may be absent; `None` for one that isn't a number.
    fn price(&self, field: Field) -> Option<Option<Decimal>> {
        self.find(field).map(str::parse).transpose().ok()
    }
}

fn read(text: &str) -> Option<CanonicalOrder> {
    let found = Form::ALL.into_iter().find(|form| text.starts_with(form.header()))?;
    let lines = Lines::of(text.strip_prefix(found.header())?);
    let target = OrderTarget {
        broker: BrokerName::parse(lines.find(Field::Broker)?).ok()?,
        mode: Mode::parse(lines.find(Field::Mode)?)?,
        account: AccountId::parse(lines.find(Field::Account)?).ok()?,
    };
    let order = CanonicalOrder::of(target, read_contract(&lines)?, read_terms(&lines)?).ok()?;
    match found {
        Form::V1 => order.in_form_1().ok(),
        Form::V2 => Some(order),
    }
}

fn read_contract(lines: &Lines<'_>) -> Option<OrderContract> {
    let identity = read_identity(lines)?;
    let contract = Contract {
        conid: Conid::new(lines.find(Field::Conid)?.parse().ok()?).ok()?,
        symbol: Untrusted::new(lines.find(Field::Symbol)?),
        name: Untrusted::default(),
        class: identity.class(),
        exchange: lines.find(Field::Exchange)?.to_owned(),
        listing_exchange: Untrusted::default(),
        currency: Currency::parse(lines.find(Field::Currency)?).ok()?,
        multiplier: lines.decimal(Field::Multiplier)?,
        price_increment: None,
    };
    OrderContract::new(&contract, identity).ok()
}

fn read_identity(lines: &Lines<'_>) -> Option<ContractIdentity> {
    let expiry = || Date::parse(lines.find(Field::Expiry)?).ok();
    let class = AssetClass::parse(lines.find(Field::AssetClass)?)?;
    if let Some(legs) = lines.find(Field::ComboLegs) {
        return Some(ContractIdentity::Combo { class, legs: ComboLegs::parse(legs)? });
    }
    match class {
        AssetClass::Stock => Some(ContractIdentity::Stock),
        AssetClass::Option => Some(ContractIdentity::Option {
            right: OptionRight::parse(lines.find(Field::Right)?)?,
            strike: Price::new(lines.decimal(Field::Strike)?).ok()?,
            expiry: expiry()?,
            trading_class: lines.find(Field::TradingClass)?.to_owned(),
        }),
        AssetClass::Future => Some(ContractIdentity::Future { expiry: expiry()? }),
        AssetClass::Forex => {
            let base = Currency::parse(lines.find(Field::BaseCurrency)?).ok()?;
            Some(ContractIdentity::Pair { base })
        }
        AssetClass::FutureOption
        | AssetClass::Index
        | AssetClass::Bond
        | AssetClass::Fund
        | AssetClass::Cfd
        | AssetClass::Warrant
        | AssetClass::Crypto => None,
    }
}

fn read_terms(lines: &Lines<'_>) -> Option<OrderTerms> {
    let given = GivenPrices {
        limit: lines.price(Field::Limit)?,
        trigger: lines.price(Field::Trigger)?,
        trail_amount: lines.price(Field::TrailAmount)?,
        trail_percent: lines.price(Field::TrailPercent)?,
        limit_offset: lines.price(Field::LimitOffset)?,
        cap: lines.price(Field::Cap)?,
    };
    let order_type = OrderType::parse(lines.find(Field::OrderType)?)?;
    Some(OrderTerms {
        side: Side::parse(lines.find(Field::Side)?)?,
        quantity: Quantity::new(lines.decimal(Field::Quantity)?).ok()?,
        pricing: Pricing::new(order_type, given).ok()?,
        time_in_force: TimeInForce::parse(lines.find(Field::TimeInForce)?)?,
        outside_rth: lines.find(Field::OutsideRth)?.parse().ok()?,
    })
}
