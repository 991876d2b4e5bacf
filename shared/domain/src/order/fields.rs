//! The one table of an order's fields: their names, their order and what stands in each.
//!
//! Canonical bytes, the stored form and what is read back from it all follow this table. A field is
//! added in [`Field`], which makes the compiler ask for its key and its text.

use super::{CanonicalOrder, ContractIdentity, Form, PriceField};
use core::fmt::Write as _;

macro_rules! fields {
    ($($name:ident = $key:literal, $form:ident;)*) => {
        /// A field of an order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each variant's key says what it is")]
        pub enum Field { $($name,)* }

        impl Field {
            /// Every field, in the order of the canonical lines.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name of its line.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// The first form that has it.
            pub(super) const fn since(self) -> Form {
                match self { $(Self::$name => Form::$form,)* }
            }
        }
    };
}

fields! {
    Action = "action", V2;
    Broker = "broker", V1;
    Mode = "mode", V1;
    Account = "account", V1;
    Conid = "conid", V1;
    Symbol = "symbol", V1;
    AssetClass = "asset_class", V1;
    TradingClass = "trading_class", V2;
    Right = "right", V2;
    Strike = "strike", V2;
    Expiry = "expiry", V2;
    BaseCurrency = "base_currency", V2;
    ComboLegs = "combo_legs", V2;
    Exchange = "exchange", V1;
    Currency = "currency", V1;
    Multiplier = "multiplier", V1;
    Side = "side", V1;
    Quantity = "quantity", V1;
    OrderType = "order_type", V1;
    Trigger = "trigger_price", V2;
    Limit = "limit_price", V1;
    TrailAmount = "trail_amount", V2;
    TrailPercent = "trail_percent", V2;
    LimitOffset = "limit_offset", V2;
    Cap = "cap_price", V2;
    TimeInForce = "time_in_force", V1;
    OutsideRth = "outside_rth", V1;
}

impl CanonicalOrder {
    /// What stands in a field; `None` where the order doesn't have it.
    #[must_use]
    pub fn field(&self, field: Field) -> Option<String> {
        let contract = &self.contract;
        let terms = &self.terms;
        match field {
            Field::Action => Some("place".to_owned()),
            Field::Broker => Some(self.broker.to_string()),
            Field::Mode => Some(self.mode.to_string()),
            Field::Account => Some(self.account.to_string()),
            Field::Conid => Some(contract.conid().to_string()),
            Field::Symbol => Some(contract.symbol().to_owned()),
            Field::AssetClass => Some(self.class().to_string()),
            Field::TradingClass
            | Field::Right
            | Field::Strike
            | Field::Expiry
            | Field::BaseCurrency
            | Field::ComboLegs => identity_field(contract.identity(), field),
            Field::Exchange => Some(contract.exchange().to_owned()),
            Field::Currency => Some(contract.currency().to_string()),
            Field::Multiplier => Some(contract.multiplier().to_string()),
            Field::Side => Some(terms.side.to_string()),
            Field::Quantity => Some(terms.quantity.to_string()),
            Field::OrderType => Some(terms.pricing.order_type().to_string()),
            Field::Trigger => self.price(PriceField::Trigger),
            Field::Limit => self.price(PriceField::Limit),
            Field::TrailAmount => self.price(PriceField::TrailAmount),
            Field::TrailPercent => self.price(PriceField::TrailPercent),
            Field::LimitOffset => self.price(PriceField::LimitOffset),
            Field::Cap => self.price(PriceField::Cap),
            Field::TimeInForce => Some(terms.time_in_force.as_str().to_owned()),
            Field::OutsideRth => Some(terms.outside_rth.to_string()),
        }
    }

    /// The fields that the order has in its form, in order.
    pub fn fields(&self) -> impl Iterator<Item = (Field, String)> {
        let known = Field::ALL.iter().copied().filter(|field| field.since() <= self.form);
        known.filter_map(|field| self.field(field).map(|text| (field, text)))
    }

    /// The bytes that are hashed, shown and signed; see the module documentation.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut text = String::from(self.form.header());
        for (field, value) in self.fields() {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{}={value}", field.key());
        }
        text.into_bytes()
    }

    fn price(&self, wanted: PriceField) -> Option<String> {
        let prices = self.terms.pricing.prices().each();
        let (_, price) = prices.into_iter().find(|(field, _)| *field == wanted)?;
        price.map(|price| price.normalize().to_string())
    }
}

fn identity_field(identity: &ContractIdentity, wanted: Field) -> Option<String> {
    let texts = match identity {
        ContractIdentity::Stock => Vec::new(),
        ContractIdentity::Option { right, strike, expiry, trading_class } => vec![
            (Field::TradingClass, trading_class.clone()),
            (Field::Right, right.as_str().to_owned()),
            (Field::Strike, strike.to_string()),
            (Field::Expiry, expiry.to_string()),
        ],
        ContractIdentity::Future { expiry } => vec![(Field::Expiry, expiry.to_string())],
        ContractIdentity::Pair { base } => vec![(Field::BaseCurrency, base.to_string())],
        ContractIdentity::Combo { class: _, legs } => vec![(Field::ComboLegs, legs.text())],
    };
    texts.into_iter().find_map(|(field, text)| (field == wanted).then_some(text))
}
